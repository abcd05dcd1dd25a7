/**
 * Time and memory of whole runs, beside other tools on the same input in the same session: `node bench/speed.ts [--rounds N]
 * [--only NAME,…]`. Results go to `bench/results/speed.json` and the table in `bench/README.md`.
 *
 * The built command line is timed (`npm run build` first), by GNU time; runs of ours and theirs alternate, and ratios are of
 * medians, since these machines are noisy.
 */
import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { cpus } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { cacheDirectory, debianImage } from '../test-images/debian.ts';
import { writeSynthetic } from '../test-images/synthetic.ts';

const root = fileURLToPath(new URL('..', import.meta.url));
const CLI = join(root, 'dist/rechunk/cli/entry.cjs');
const DEFAULT_ROUNDS = 5;

/** One timed run of a whole process tree. */
export interface Run {
  readonly wallSeconds: number;
  readonly cpuSeconds: number;
  readonly peakMiB: number;
}

/** An input and the commands that are timed on it. */
interface Subject {
  readonly name: string;
  readonly input: () => Promise<string>;
  readonly rounds?: number;
}

/** Where each command gets its input layout from and writes its output layout to. */
type Command = (from: string, to: string) => readonly string[];

const COMMANDS: Readonly<Record<string, Command>> = {
  rechunk: (from, to) => [
    process.execPath,
    CLI,
    'build',
    '--quiet',
    `oci:${from}:latest`,
    `oci:${to}:x`,
  ],
  'skopeo zstd': (from, to) => [
    'skopeo',
    'copy',
    '-q',
    '--dest-compress-format',
    'zstd',
    `oci:${from}:latest`,
    `oci:${to}:x`,
  ],
  floor: (from, to) => [
    'sh',
    '-c',
    `mkdir ${to}; for blob in ${largeBlobs(from).join(' ')}; do gzip -dc $blob | zstd -q -3 -T0 | tee ${to}/out | sha256sum > ${to}/sum; done`,
  ],
};

function layersOf(layout: string): string[] {
  const read = (digest: string): string =>
    readFileSync(join(layout, 'blobs', digest.replace(':', '/')), 'utf8');
  const [entry] = JSON.parse(readFileSync(join(layout, 'index.json'), 'utf8')).manifests;
  return JSON.parse(read(entry.digest)).layers.map(({ digest }: { digest: string }) => digest);
}

function largeBlobs(layout: string): string[] {
  return layersOf(layout).map((digest) => join(layout, 'blobs', digest.replace(':', '/')));
}

function synthetic(files: number, bytes: number, layers: number): () => Promise<string> {
  return async () => {
    const directory = join(cacheDirectory(), `synthetic-${files}-${bytes}-${layers}-gzip`);
    if (!existsSync(join(directory, 'index.json'))) {
      await writeSynthetic(directory, { files, bytes, layers, compression: 'gzip' });
    }
    return directory;
  };
}

const SUBJECTS: readonly Subject[] = [
  { name: 'debian', input: () => debianImage({ include: ['python3', 'perl'] }) },
  { name: 'small-files', input: synthetic(150_000, 2 * 2 ** 30, 20), rounds: 3 },
  { name: 'four-gib', input: synthetic(200_000, 4 * 2 ** 30, 20), rounds: 3 },
  { name: 'large-files', input: synthetic(400, 4 * 2 ** 30, 4), rounds: 3 },
];

/** Runs a command under GNU time; throws when it fails. */
function measure(command: readonly string[]): Run {
  const format = '%e %U %S %M';
  const { status, stderr } = spawnSync('/usr/bin/time', ['-f', format, ...command], {
    encoding: 'utf8',
  });
  const numbers = stderr.trim().split('\n').at(-1)?.split(' ').map(Number);
  if (status !== 0 || numbers?.length !== 4)
    throw new Error(`${command.join(' ')}: exit ${status}\n${stderr}`);
  const [wall = 0, user = 0, system = 0, peak = 0] = numbers;
  return { wallSeconds: wall, cpuSeconds: user + system, peakMiB: Math.round(peak / 1024) };
}

function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[sorted.length >> 1] ?? Number.NaN;
}

/** Medians of one command on one input. */
interface Row {
  readonly subject: string;
  readonly command: string;
  readonly runs: readonly Run[];
  readonly wallSeconds: number;
  readonly cpuSeconds: number;
  readonly peakMiB: number;
  /** Wall time of this command by that of ours. */
  readonly oursToThis: number;
  readonly outputBytes: number;
}

async function benchSubject(subject: Subject, rounds: number): Promise<Row[]> {
  const from = await subject.input();
  const work = join(cacheDirectory(), 'speed-output');
  const runs = new Map<string, Run[]>();
  const sizes = new Map<string, number>();
  for (let round = 0; round < rounds; round++) {
    for (const [name, command] of Object.entries(COMMANDS)) {
      rmSync(work, { recursive: true, force: true });
      const run = measure(command(from, work));
      runs.set(name, [...(runs.get(name) ?? []), run]);
      sizes.set(
        name,
        Number(execFileSync('du', ['-sb', work], { encoding: 'utf8' }).split('\t')[0]),
      );
      console.error(`${subject.name} ${name}: ${run.wallSeconds} s, ${run.peakMiB} MiB`);
    }
  }
  rmSync(work, { recursive: true, force: true });
  const wall = (name: string): number =>
    median((runs.get(name) ?? []).map(({ wallSeconds }) => wallSeconds));
  return [...runs].map(([command, all]) => ({
    subject: subject.name,
    command,
    runs: all,
    wallSeconds: wall(command),
    cpuSeconds: median(all.map(({ cpuSeconds }) => cpuSeconds)),
    peakMiB: median(all.map(({ peakMiB }) => peakMiB)),
    oursToThis: Number((wall('rechunk') / wall(command)).toFixed(2)),
    outputBytes: sizes.get(command) ?? 0,
  }));
}

function table(rows: readonly Row[]): string {
  const lines = rows.map(
    ({ subject, command, wallSeconds, cpuSeconds, peakMiB, oursToThis, outputBytes }) =>
      `| ${subject} | ${command} | ${wallSeconds.toFixed(2)} | ${cpuSeconds.toFixed(2)} | ${peakMiB} | ${(outputBytes / 1e6).toFixed(1)} | ${oursToThis.toFixed(2)} |`,
  );
  return [
    '| input | command | wall s | CPU s | peak RSS MiB | output MB | rechunk ÷ this |',
    '|---|---|---|---|---|---|---|',
    ...lines,
  ].join('\n');
}

const MARKS = ['<!-- speed -->', '<!-- /speed -->'] as const;

function writeReadme(rows: readonly Row[], about: string): void {
  const file = join(root, 'bench/README.md');
  const text = readFileSync(file, 'utf8');
  const [start, end] = MARKS.map((mark) => text.indexOf(mark)) as [number, number];
  if (start < 0 || end < 0) throw new Error(`${file} has no place for the table`);
  writeFileSync(
    file,
    `${text.slice(0, start + MARKS[0].length)}\n${about}\n\n${table(rows)}\n${text.slice(end)}`,
  );
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: { rounds: { type: 'string' }, only: { type: 'string' } },
  });
  if (!existsSync(CLI)) throw new Error('the command line is not built: npm run build');
  const rows: Row[] = [];
  for (const subject of SUBJECTS.filter(
    ({ name }) => values.only === undefined || values.only.split(',').includes(name),
  )) {
    rows.push(
      ...(await benchSubject(subject, Number(values.rounds ?? subject.rounds ?? DEFAULT_ROUNDS))),
    );
  }
  const commit = execFileSync('git', ['rev-parse', '--short', 'HEAD'], {
    cwd: root,
    encoding: 'utf8',
  }).trim();
  const [cpu] = cpus();
  const machine = `${cpus().length} cores, ${cpu?.model.trim()}`;
  console.log(table(rows));
  mkdirSync(join(root, 'bench/results'), { recursive: true });
  writeFileSync(
    join(root, 'bench/results/speed.json'),
    `${JSON.stringify({ commit, machine, node: process.version, rows }, null, 2)}\n`,
  );
  writeReadme(
    rows,
    `\`node bench/speed.ts\` at ${commit}, Node ${process.version}, ${machine}; input gzip OCI layouts, warm page cache.`,
  );
}

await main();
