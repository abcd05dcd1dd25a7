/**
 * Time, memory and bytes of whole runs, beside other tools on the same input in the same session:
 *
 * `node bench/speed.ts [--only NAME,…] [--rounds N] [--prepare] [--quick] [--results DIR] [--cli FILE]`
 *
 * Runs of all commands take turns, ratios are medians over rounds, since machines are noisy. All runs are kept in `results/speed.json`
 * (inputs that are not named keep theirs), the chart in `results/speed.svg`, the tables in `bench/README.md`. Needs root (umoci),
 * `CHUNKAH=FILE` names chunkah's binary. `--prepare` only makes the inputs; `--quick` tries the machinery on tiny ones;
 * `--cli` times another build, and keeps its results elsewhere.
 */
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { cpus } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { output } from '../test-images/command.ts';
import { cacheDirectory } from '../test-images/debian.ts';
import { chart } from './speed/chart.ts';
import { commandsOf } from './speed/commands.ts';
import {
  INPUTS,
  type Input,
  type InputName,
  layersOf,
  prepare,
  type Scale,
  warmUp,
} from './speed/inputs.ts';
import { measure, type Run } from './speed/measure.ts';
import { goalTable, progressLine, report } from './speed/report.ts';
import { merge, type Row, type Section } from './speed/results.ts';
import { openTools, type Tools } from './speed/tools.ts';
import { measureWarm } from './speed/warm.ts';

const root = fileURLToPath(new URL('..', import.meta.url));

/** Inputs from disk to disk, then from registry to registry. */
const SECTIONS = [...INPUTS, 'warm-debian', 'warm-small-files'] as const;
type SectionName = (typeof SECTIONS)[number];

const isWarm = (name: SectionName): name is 'warm-debian' | 'warm-small-files' =>
  name.startsWith('warm-');
const inputOf = (name: SectionName): InputName =>
  isWarm(name) ? (name.slice('warm-'.length) as InputName) : name;

/** Inputs that a run takes about a second or two of have five rounds, the others three. */
const roundsOf = (name: SectionName): number => (inputOf(name) === 'debian' ? 5 : 3);

const LAYOUTS = 'OCI layout to OCI layout, page cache warm, no cache of rechunk, destination empty';
const STATES = {
  layout: LAYOUTS,
  rootfs: 'to OCI layout, page cache warm, no cache of rechunk, destination empty',
  warm: 'registry to registry on this machine, page cache warm; cold: destination empty, no cache of rechunk; warm: the destination holds what the release before became, the cache is as that run left it',
};

function tell(name: string, command: string, run: Run): void {
  console.error(progressLine(name, command, run));
}

/** Bytes of a written layout, by what its files hold. */
async function sizeOf(path: string): Promise<number> {
  return Number((await output('du', ['-sb', path])).split('\t')[0]);
}

/** All commands on one input from disk to disk, in turn. */
async function measureCold(
  name: InputName,
  input: Input,
  rounds: number,
  tools: Tools,
): Promise<Row[]> {
  const to = join(cacheDirectory(), `speed-output-${process.pid}`);
  const clean = (): void => rmSync(to, { recursive: true, force: true });
  process.once('exit', clean);
  const rows = commandsOf(name, tools).map((command) => ({ command, runs: [] as Run[], bytes: 0 }));
  for (let round = 0; round < rounds; round++) {
    for (const row of rows.filter(({ command }) => round === 0 || command.rounds === 'all')) {
      const run = await measure(row.command.make(input, to));
      row.runs.push(run);
      if (existsSync(to)) row.bytes = await sizeOf(to);
      clean();
      tell(name, row.command.name, run);
    }
  }
  process.off('exit', clean);
  return rows.map(({ command: { name, beside }, runs, bytes }) => ({
    command: name,
    beside,
    runs,
    ...(bytes > 0 && { outputBytes: bytes }),
  }));
}

type Facts = Pick<Section, 'commit' | 'machine' | 'node' | 'tools'>;

/** What is the same for all sections of a run; results that are written meanwhile are no change. */
async function facts(tools: Tools): Promise<Facts> {
  const commit = await output('git', ['-C', root, 'rev-parse', '--short', 'HEAD']);
  const others = ['.', ':!bench/results', ':!bench/README.md'];
  const changed = await output('git', [
    '-C',
    root,
    'status',
    '--porcelain',
    '-uno',
    '--',
    ...others,
  ]);
  const machine = `${cpus().length} cores, ${cpus()[0]?.model.trim()}`;
  return {
    commit: changed === '' ? commit : `${commit} with changes`,
    machine,
    node: process.version,
    tools: tools.versions,
  };
}

async function measureSection(
  name: SectionName,
  rounds: number,
  scale: Scale,
  tools: Tools,
  same: Facts,
): Promise<Section> {
  const input = await prepare(inputOf(name), scale);
  await warmUp(input);
  const state = isWarm(name) ? STATES.warm : input.isTree ? STATES.rootfs : STATES.layout;
  const entries = input.entries === undefined ? {} : { entries: input.entries };
  const common = { name, about: input.about, state, ...same, ...entries };
  if (!isWarm(name)) {
    return { ...common, rows: await measureCold(inputOf(name), input, rounds, tools) };
  }
  const rows = await measureWarm(input, rounds, tools, (command, run) => tell(name, command, run));
  const changedLayerBytes = layersOf(input.next as string).at(-1)?.size ?? 0;
  return { ...common, changedLayerBytes, rows };
}

const MARKS = ['<!-- speed -->', '<!-- /speed -->'] as const;

function writeReadme(text: string): void {
  const file = join(root, 'bench/README.md');
  const old = readFileSync(file, 'utf8');
  const [start, end] = MARKS.map((mark) => old.indexOf(mark)) as [number, number];
  if (start < 0 || end < 0) throw new Error(`${file} has no place for the tables`);
  writeFileSync(file, `${old.slice(0, start + MARKS[0].length)}\n${text}\n${old.slice(end)}`);
}

/** Where results are kept that the README shows. */
const RESULTS = join(root, 'bench/results');

/** Keeps the results. */
function store(sections: readonly Section[], directory: string): void {
  const file = join(directory, 'speed.json');
  const old: Section[] = existsSync(file)
    ? (JSON.parse(readFileSync(file, 'utf8')).sections ?? [])
    : [];
  const all = merge(old, sections, SECTIONS);
  mkdirSync(directory, { recursive: true });
  writeFileSync(file, `${JSON.stringify({ sections: all }, null, 1)}\n`);
  writeFileSync(join(directory, 'speed.svg'), chart(all));
  const picture = '![Wall time of each command on each input](results/speed.svg)';
  if (directory === RESULTS) writeReadme(`${picture}\n\n${report(all)}`);
}

function parseNames(text: string | undefined): readonly SectionName[] {
  const names = text?.split(',') ?? SECTIONS;
  const unknown = names.filter((name) => !(SECTIONS as readonly string[]).includes(name));
  if (unknown.length > 0)
    throw new Error(`--only: got ${unknown.join(', ')}, want some of ${SECTIONS.join(', ')}`);
  return names as readonly SectionName[];
}

function parseRounds(text: string | undefined): number | undefined {
  if (text !== undefined && !/^[1-9]\d*$/.test(text))
    throw new Error(`--rounds: got '${text}', want a number from 1 on`);
  return text === undefined ? undefined : Number(text);
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      only: { type: 'string' },
      rounds: { type: 'string' },
      results: { type: 'string' },
      cli: { type: 'string' },
      prepare: { type: 'boolean' },
      quick: { type: 'boolean' },
    },
  });
  const scale = values.quick ? 'quick' : 'full';
  const names = parseNames(values.only);
  const given = parseRounds(values.rounds);
  for (const name of new Set(names.map(inputOf))) await prepare(name, scale);
  if (values.prepare) return;
  const tools = await openTools(scale, values.cli);
  const directory = values.results ?? RESULTS;
  if (directory === RESULTS && (scale === 'quick' || values.cli !== undefined))
    throw new Error('--quick, --cli: want --results DIR too');
  const own = await facts(tools);
  const same = { ...own, commit: values.cli ?? own.commit };
  for (const name of names) {
    const rounds = given ?? (scale === 'quick' ? 1 : roundsOf(name));
    // Kept after each input, so that a run that is ended loses one.
    store([await measureSection(name, rounds, scale, tools, same)], directory);
  }
  const { sections } = JSON.parse(readFileSync(join(directory, 'speed.json'), 'utf8'));
  console.log(scale === 'quick' ? report(sections) : goalTable(sections));
}

// What is written on the way is removed when the process exits, not when a signal ends it.
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => process.exit(2));
await main();
