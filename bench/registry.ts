/**
 * `rechunk report` on a real registry of 40 tags in 4 repositories: the newest releases of the series `debian` and `npm`, as people build
 * them and rechunked. Every figure is compared with sums over the registry's disk and unpacked layers (`rechunk/report/sums.py`), what a
 * deletion frees with `du` after the registry's own garbage collection, and what-if with what the builds then come to.
 *
 * `node bench/registry.ts [--releases N] [--package-bytes N] [--work DIR]`; 10 releases and all packages by default; with a limit Debian
 * packages beyond it are left out. Needs root, mmdebstrap, npm, docker-registry, python3 and
 * zstd. Layouts and what was fetched are kept in the directory. Exit status 1 where a figure differs.
 */
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import type { Report, WhatIf } from '../registry/report/report.ts';
import { openDestination, openSource } from '../registry/transport.ts';
import { runCli, runJson } from '../test-images/cli.ts';
import { copyImage } from '../test-images/copyimage.ts';
import { type Figures, independentFigures } from '../test-images/figures.ts';
import { type Registry, startRegistry } from '../test-images/registry.ts';
import {
  checkCauses,
  checkDeletion,
  checkFigures,
  checkWhatIf,
  type Finding,
} from './registry/checks.ts';
import { type Originals, writeOriginals } from './registry/originals.ts';
import { markdownTable } from './reuse/table.ts';

const { values } = parseArgs({
  options: {
    releases: { type: 'string', default: '10' },
    'package-bytes': { type: 'string', default: 'Infinity' },
    work: { type: 'string', default: '/var/tmp/rechunk-registry' },
  },
});
const [releases, packageBytes] = [Number(values.releases), Number(values['package-bytes'])];
const { work } = values;
const storage = join(work, 'storage');
const env = { RECHUNK_NO_CACHE: '', RECHUNK_CACHE: join(work, 'run-cache') };

/** Says what is being done, with the seconds since the start. */
function say(text: string): void {
  process.stderr.write(`${(performance.now() / 1000).toFixed(0).padStart(5)} s  ${text}\n`);
}

async function push(registry: Registry, { product, layout, tags }: Originals): Promise<void> {
  for (const tag of tags) {
    const to = await openDestination(`docker://${registry.host}/${product}:${tag}`, { env: {} });
    await copyImage(await openSource(`oci:${layout}:${tag}`), to);
  }
}

/** Rechunks the releases as a user would, each continuing the one before. */
async function rechunkAll(registry: Registry, { product, tags }: Originals): Promise<void> {
  let previous: string[] = [];
  for (const tag of tags) {
    const from = `docker://${registry.host}/${product}:${tag}`;
    const to = `docker://${registry.host}/${product}-rechunked:${tag}`;
    const { status, stderr } = await runCli(['build', from, to, '--quiet', ...previous]);
    if (status !== 0) throw new Error(stderr);
    previous = ['--previous', to];
    say(`${product}:${tag} rechunked`);
  }
}

/** Rows that were printed, and whether all are right. */
class Table {
  isRight = true;

  constructor() {
    console.log(markdownTable([['figure', 'report', 'independent', '']]));
  }

  add(findings: readonly Finding[]): void {
    for (const { figure, report, independent, isRight } of findings) {
      console.log(`| ${figure} | ${report} | ${independent} | ${isRight ? '' : 'WRONG'} |`);
      this.isRight &&= isRight;
    }
  }
}

/** Compares all figures of reports by interface and by directory, of manifests and of files; gives what was counted. */
async function checkReports(registry: Registry, table: Table): Promise<Figures> {
  const [deleted, holds] = [
    ['debian:*', 'npm-rechunked:*-1?'],
    ['npm:*-1?', 'debian-rechunked:*'],
  ];
  say('unpacking and counting all layers');
  const want = await independentFigures(storage, { files: true, deleted, holds });
  const asked = [
    ...deleted.flatMap((pattern) => ['--if-deleted', pattern]),
    ...holds.flatMap((pattern) => ['--holds', pattern]),
  ];
  const index = ['--files', '--index', join(work, 'index'), '--causes', String(releases)];
  for (const target of [`docker://${registry.host}`, `storage:${storage}`])
    for (const options of [[], index]) {
      const kind = `${target.replace(/:.*/, '')}${options.length > 0 ? ' --files' : ''}`;
      say(`reporting: ${kind}`);
      const made = await runJson<Report>(['report', target, ...asked, ...options], { env });
      table.add(checkFigures(kind, made, want));
      if (options.length > 0) table.add(checkCauses(kind, made));
    }
  return want;
}

/** Deletes some tags, then a repository. */
async function checkDeletions(
  registry: Registry,
  [debian, npm]: readonly Originals[],
  table: Table,
): Promise<void> {
  const some = [
    ...(debian?.tags ?? []).slice(1, 5).map((tag) => `debian:${tag}`),
    ...(npm?.tags ?? []).slice(2, 7).map((tag) => `npm-rechunked:${tag}`),
  ];
  for (const patterns of [some, ['npm:*']]) {
    say(`deleting ${patterns.join(' ')}`);
    table.add(await checkDeletion(registry, patterns, work));
  }
}

async function main(): Promise<boolean> {
  for (const one of ['storage', 'index', 'run-cache', 'run-cache-files'])
    await rm(join(work, one), { recursive: true, force: true });
  const cache = process.env['RECHUNK_SERIES_CACHE'] ?? join(work, 'cache');
  say('making the releases, where they are not there');
  const originals = await writeOriginals({ work, cache, releases, packageBytes });
  const registry = await startRegistry({ storage });
  try {
    for (const one of originals) await push(registry, one);
    say('trying what rechunking would come to');
    const tried = ['report', `docker://${registry.host}`, '--what-if', String(releases)];
    const before = await runJson<Report & { readonly whatIf: WhatIf }>(tried);
    for (const one of originals) await rechunkAll(registry, one);
    const table = new Table();
    const counted = await checkReports(registry, table);
    table.add(checkWhatIf(before, counted));
    await checkDeletions(registry, originals, table);
    return table.isRight;
  } finally {
    await registry.stop();
    await rm(storage, { recursive: true, force: true });
  }
}

process.exitCode = (await main()) ? 0 : 1;
