/** The results as Markdown: goals first, then a table an input. */
import { type Find, GOALS, judge } from './goals.ts';
import { figure, type RegistryRun, type Row, ratio, type Section } from './results.ts';

/** Each goal with its figure and its verdict. */
export function goalTable(sections: readonly Section[]): string {
  const find: Find = (name) => sections.find((section) => section.name === name);
  const rows = GOALS.map((goal) => {
    const value = goal.measure(find);
    const digits = { '': 2, ' s': 2, ' MiB': 0, ' B': 0, ' layers': 0 }[goal.unit];
    const shown = value === undefined ? '' : `${value.toFixed(digits)}${goal.unit}`;
    return [goal.text, `${goal.kind} ${goal.limit}${goal.unit}`, shown, judge(goal, value)];
  });
  return table(['what', 'goal', 'measured', ''], rows);
}

function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]): string => `| ${cells.join(' | ')} |`;
  const rule = head.map(() => '---');
  return [head, rule, ...rows].map(line).join('\n');
}

const mega = (bytes: number): string => (bytes / 1e6).toFixed(1);

interface Column {
  readonly head: string;
  readonly cell: (row: Row, section: Section) => string;
}

const column = (
  head: string,
  pick: (run: RegistryRun) => number | undefined,
  show: (value: number) => string,
): Column => ({ head, cell: (row) => show(figure(row, pick)) });

const COMMON: readonly Column[] = [
  { head: 'command', cell: ({ command }) => command },
  { head: 'runs', cell: ({ runs }) => String(runs.length) },
  column(
    'wall s',
    (run) => run.wallSeconds,
    (value) => value.toFixed(2),
  ),
  column(
    'CPU s',
    (run) => run.cpuSeconds,
    (value) => value.toFixed(2),
  ),
  column(
    'peak RSS MiB',
    (run) => run.peakMiB,
    (value) => value.toFixed(0),
  ),
  column('read MB', (run) => run.readBytes, mega),
  column('written MB', (run) => run.writtenBytes, mega),
  column('from disk MB', (run) => run.diskReadBytes, mega),
  column('to disk MB', (run) => run.diskWrittenBytes, mega),
];

const OUTPUT: Column = {
  head: 'output MB',
  cell: ({ outputBytes }) => (outputBytes === undefined ? '' : mega(outputBytes)),
};
const BESIDE: Column = {
  head: 'rechunk ÷ this',
  cell: ({ command, beside }, section) =>
    command === beside ? '' : (ratio(section, beside, command)?.toFixed(2) ?? ''),
};
const REGISTRY: readonly Column[] = [
  column('from the registry MB', (run) => run.fetchedBytes, mega),
  column(
    'layers fetched',
    (run) => run.fetchedLayers,
    (value) => value.toFixed(0),
  ),
  {
    head: '÷ cold',
    cell: ({ command, beside }, section) => ratio(section, command, beside)?.toFixed(2) ?? '',
  },
];

function sectionText(section: Section): string {
  const isRegistry = section.rows.some((row) => row.runs[0]?.fetchedBytes !== undefined);
  const columns = [...COMMON, ...(isRegistry ? REGISTRY : [OUTPUT, BESIDE])];
  const rows = section.rows.map((row) => columns.map(({ cell }) => cell(row, section)));
  const about = `${section.about}; ${section.state}. At ${section.commit}, Node ${section.node}, ${section.machine}; ${section.tools}.`;
  const heads = columns.map(({ head }) => head);
  return `### ${section.name}\n\n${about}\n\n${table(heads, rows)}`;
}

/** All that is to be read of the results. */
export function report(sections: readonly Section[]): string {
  return [goalTable(sections), ...sections.map(sectionText)].join('\n\n');
}

/** One line about a run, for whoever waits. */
export function progressLine(name: string, command: string, run: RegistryRun): string {
  const fetched = run.fetchedBytes === undefined ? '' : `, ${mega(run.fetchedBytes)} MB fetched`;
  return `${name}, ${command}: ${run.wallSeconds.toFixed(2)} s, CPU ${run.cpuSeconds.toFixed(2)} s, ${run.peakMiB} MiB${fetched}`;
}
