/** `rechunk lint`: what will break, or look other than meant, on which runtime? */
import type { Command } from 'commander';
import { LINT_CODES, type LintCode } from '../lint/findings.ts';
import {
  type LintedRuntime,
  type LintFinding,
  type LintReport,
  lint as lintImage,
} from '../lint/lint.ts';
import { parseRuntimes } from '../runtimes/report.ts';
import {
  addRunOptions,
  type Host,
  option,
  platformOptions,
  profileOption,
  type Values,
} from './options.ts';
import { noticeIndexes, print, withSession } from './session.ts';
import { oneLine } from './values.ts';

/** Adds the command to `program`. */
export function addLint(program: Command, host: Host): void {
  const command = program
    .command('lint')
    .description(
      'tell what in an image will break, or look other than meant, on which runtime; exit status 1 if something does, times aside',
    )
    .argument('<image>', 'the image to read')
    .addOption(
      option('--runtimes <ids>', 'runtimes that matter, separated by commas (default: all)'),
    )
    .addOption(
      option(
        '--profile <name>',
        'whom the image is for: its limits count (default: all are told of)',
      ),
    )
    .addOption(option('--all', 'list every path'));
  addRunOptions(command).action((image, values) => lint(image, values, host));
}

async function lint(image: string, values: Values, host: Host): Promise<void> {
  const runtimes = parseRuntimes((values['runtimes'] as string | undefined) ?? 'all');
  const profile = profileOption(values)?.profile;
  const options = { runtimes, profile, ...platformOptions(values) };
  const report = await withSession(values, host, async (session) => {
    const source = await session.source(image);
    noticeIndexes([source], options, session);
    return lintImage(source, { ...session.run, ...options });
  });
  print(report, values, (one) => format(one, values['all'] === true));
  if (report.isWrong) process.exitCode = 1;
}

/** Paths of one code that are listed unless all are asked for. */
const SHOWN_PATHS = 10;

function format(report: LintReport, all: boolean): string {
  const codes = Object.keys(LINT_CODES) as LintCode[];
  const findings = codes.flatMap((code) =>
    formatCode(
      report.findings.filter((finding) => finding.code === code),
      all,
    ),
  );
  const right = report.runtimes.filter(({ verdict }) => verdict === 'right');
  const lines = [
    ...report.exceeded.map(({ limit, text }) => `${limit}: ${text}`),
    ...findings,
    ...formatRuntimes(report.runtimes.filter(({ verdict }) => verdict !== 'right')),
    ...(right.length > 0 ? [`as meant: ${right.map(({ id }) => id).join(', ')}`] : []),
  ];
  return `${lines.map(oneLine).join('\n')}\n`;
}

/** Findings of one code: a line for each path that some runtime shows otherwise, unless all are wanted. */
function formatCode(findings: readonly LintFinding[], all: boolean): string[] {
  if (all) return findings.map(formatFinding);
  const [first] = findings;
  if (!first) return [];
  const telling = findings.filter(({ effects }) => effects.length > 0);
  const count = (number: number, what: string): string[] =>
    number > 0
      ? [`${first.code}: ${number} path${number === 1 ? '' : 's'} ${what} (--all lists all)`]
      : [];
  return [
    ...telling.slice(0, SHOWN_PATHS).map(formatFinding),
    ...count(telling.length - SHOWN_PATHS, 'more that some runtime shows otherwise'),
    ...count(findings.length - telling.length, 'that every runtime shows as meant'),
  ];
}

function formatFinding({ code, at, layers, detail, effects }: LintFinding): string {
  const about = detail === '' ? '' : ` (${detail})`;
  const told = effects.map(({ runtimes, text, refuses }) => {
    const names = runtimes.join(', ');
    return refuses ? `${names}: refused, ${text}` : `${names}: ${text}`;
  });
  return `${code} ${at} in layer${layers.length > 1 ? 's' : ''} ${formatNumbers(layers)}${about}: ${told.join('; ') || 'as meant everywhere'}`;
}

/** Numbers with stretches drawn together: `1, 3-7`. */
function formatNumbers(numbers: readonly number[]): string {
  const stretches: [number, number][] = [];
  for (const number of numbers) {
    const last = stretches.at(-1);
    if (last && last[1] === number - 1) last[1] = number;
    else stretches.push([number, number]);
  }
  return stretches.map(([from, to]) => (from === to ? `${from}` : `${from}-${to}`)).join(', ');
}

/** What runtimes make of the image, those together that make the same of it. */
function formatRuntimes(runtimes: readonly LintedRuntime[]): string[] {
  const same = Map.groupBy(runtimes, describeRuntime);
  return [...same].map(([text, group]) => `${group.map(({ id }) => id).join(', ')}: ${text}`);
}

function describeRuntime({ verdict, refused, paths, unexplained }: LintedRuntime): string {
  if (refused) return `refused because of ${refused.at} in ${refused.layer}: ${refused.reason}`;
  const others = unexplained.map(
    ({ at, what, want, got }) => `${at} ${what} ${got || 'none'} for ${want || 'none'}`,
  );
  const also = others.length > 0 ? `; not told of above: ${others.join(', ')}` : '';
  const what = verdict === 'time' ? 'another time' : 'something other than meant';
  return `${what} at ${paths} path${paths === 1 ? '' : 's'}${also}`;
}
