/** What a report says, held against what was counted, deleted and built. */
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Report, WhatIf } from '../../registry/report/report.ts';
import { runJson } from '../../test-images/cli.ts';
import { command, output } from '../../test-images/command.ts';
import {
  compareReport,
  type Figures,
  independentFigures,
  isSame,
} from '../../test-images/figures.ts';
import type { Registry } from '../../test-images/registry.ts';

/** A row of the table: a figure, or how many of one kind were compared. */
export interface Finding {
  readonly figure: string;
  readonly report: string;
  readonly independent: string;
  readonly isRight: boolean;
}

/** Wrong figures of a kind that are shown. */
const SHOWN = 5;
/** What deletions may be off by, and what-if. */
const DELETION_SHARE = 0.01;
const WHAT_IF_SHARE = 0.1;
const count = (value: unknown): string =>
  typeof value === 'number' ? value.toLocaleString('en') : JSON.stringify(value);

/** Compares every figure of a report; a row for each of the headline, and one for each other kind. */
export function checkFigures(kind: string, made: Report, counted: Figures): Finding[] {
  const all = [...compareReport(made, counted)];
  const groups = Map.groupBy(all, ({ path: [group = '', , figure] }) =>
    /^(headline|deletion)$/.test(group)
      ? group
      : `${group}${figure === undefined || /^\d+$/.test(figure) ? '' : `.${figure}`}`,
  );
  return [...groups].flatMap(([group, own]): Finding[] => {
    const isOne = group === 'headline' || group === 'deletion';
    const wrong = own.filter((one) => !isSame(one));
    const rows = isOne ? own : wrong.slice(0, SHOWN);
    const summary = {
      figure: `${kind}: ${group}`,
      report: `${own.length} compared`,
      independent: `${own.length - wrong.length} equal`,
      isRight: wrong.length === 0,
    };
    const single = rows.map((one) => ({
      figure: `${kind}: ${one.path.join('.')}`,
      report: count(one.report),
      independent: count(one.independent),
      isRight: isSame(one),
    }));
    return isOne ? single : [summary, ...single];
  });
}

/** Whether the causes of each update sum to what it pulls. */
export function checkCauses(kind: string, { updates }: Report): Finding[] {
  const sums = updates.map(({ bytes, causes = [] }) => [
    bytes,
    causes.reduce((sum, cause) => sum + cause.bytes, 0),
  ]);
  const equal = sums.filter(([bytes, sum]) => bytes === sum).length;
  return [
    {
      figure: `${kind}: causes sum to updates`,
      report: `${sums.length} compared`,
      independent: `${equal} equal`,
      isRight: equal === sums.length && sums.length > 0,
    },
  ];
}

/** A row for two numbers that may be so far apart, as a share of `real`. */
function near(figure: string, told: number, real: number, share: number): Finding {
  const off = real === 0 ? 0 : told / real - 1;
  return {
    figure,
    report: count(told),
    independent: `${count(real)} (${(100 * off).toFixed(3)} % off)`,
    isRight: Math.abs(told - real) <= share * real,
  };
}

/** What-if on the originals against what was counted once they were rechunked. */
export function checkWhatIf(
  before: Report & { readonly whatIf: WhatIf },
  counted: Figures,
): Finding[] {
  const { whatIf, repositories, tags } = before;
  const {
    repositories: own,
    updates,
    tags: all,
  } = counted as {
    readonly repositories: Record<
      string,
      { tags: string[]; total: { compressed: number }; sharedWith: Record<string, number> }
    >;
    readonly updates: Record<string, { bytes: number }>;
    readonly tags: Record<string, { size: { compressed: number } }>;
  };
  const names = Object.keys(own).filter((name) => name.endsWith('-rechunked'));
  // There are two; what both have, such as layers of their base, is stored once.
  const [one = '', other = ''] = names;
  const total = names.reduce((sum, name) => sum + (own[name]?.total.compressed ?? 0), 0);
  const stored = total - (own[one]?.sharedWith[other] ?? 0);
  const newest = names.map((name) => all[own[name]?.tags.at(-1) ?? '']?.size.compressed ?? 0);
  const rows = whatIf.updates.map(({ repository, from, to, then }) => {
    const name = `${repositories[repository]?.name.replace(/^.*\//, '')}-rechunked`;
    const [old, next] = [from, to].map((at) => `${name}:${tags[at]?.tag}`);
    return { name: `${old} -> ${next}`, then, real: updates[`${old} -> ${next}`]?.bytes ?? 0 };
  });
  const real = rows.map((row) => row.real).sort((a, b) => a - b);
  const mean = real.reduce((sum, one) => sum + one, 0) / real.length;
  const p95 = real[Math.ceil(0.95 * real.length) - 1] ?? 0;
  const differ = rows.map((row) =>
    near(`what-if: update ${row.name}`, row.then, row.real, WHAT_IF_SHARE),
  );
  return [
    near('what-if: stored', whatIf.storage.then, stored, WHAT_IF_SHARE),
    near('what-if: an update, mean', whatIf.mean.then, Math.round(mean), WHAT_IF_SHARE),
    near('what-if: an update, 95th percentile', whatIf.p95.then, p95, WHAT_IF_SHARE),
    near(
      'what-if: the switch',
      whatIf.firstMigration,
      newest.reduce((a, b) => a + b, 0),
      WHAT_IF_SHARE,
    ),
    ...differ,
  ];
}

/** Deletes what `patterns` name, by the registry's interface, has it collect its garbage, and compares what `du` then says. */
export async function checkDeletion(
  registry: Registry,
  patterns: readonly string[],
  work: string,
): Promise<Finding[]> {
  const asked = patterns.flatMap((pattern) => ['--if-deleted', pattern]);
  const made = await runJson<Report>(['report', `docker://${registry.host}`, ...asked]);
  const before = await diskUse(registry.storage);
  const { onDisk } = await independentFigures(registry.storage);
  for (const at of made.deletion?.tags ?? []) {
    const { repository = -1, digest } = made.tags[at] ?? {};
    const name = made.repositories[repository]?.name.slice(registry.host.length + 1);
    const to = `http://${registry.host}/v2/${name}/manifests/${digest}`;
    const { status } = await fetch(to, { method: 'DELETE' });
    if (status !== 202) throw new Error(`deleting ${to}: got ${status}, want 202`);
  }
  const config = join(work, 'gc.json');
  const filesystem = { rootdirectory: registry.storage };
  await writeFile(
    config,
    JSON.stringify({ version: 0.1, storage: { filesystem, delete: { enabled: true } } }),
  );
  await command('docker-registry', ['garbage-collect', config]);
  const after = await diskUse(registry.storage);
  const left = await independentFigures(registry.storage);
  const freed = made.deletion?.freed.compressed ?? 0;
  const what = `deleting ${made.deletion?.tags.length} tags (${patterns[0]}${patterns.length > 1 ? ', …' : ''})`;
  return [
    near(`${what}: blobs`, freed, Number(onDisk) - Number(left['onDisk']), 0),
    near(`${what}: du, apparent size`, freed, before.apparent - after.apparent, DELETION_SHARE),
    near(`${what}: du, blocks`, freed, before.blocks - after.blocks, DELETION_SHARE),
  ];
}

async function diskUse(directory: string): Promise<{ apparent: number; blocks: number }> {
  const du = async (...options: string[]): Promise<number> =>
    Number.parseInt(await output('du', ['-s', '--block-size=1', ...options, directory]), 10);
  return { apparent: await du('--apparent-size'), blocks: await du() };
}
