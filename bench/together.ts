/**
 * What a registry holds of three variants of an image, rechunked apart and with `--together`: real Debian images, and plans of the
 * newest releases of two series (`series/`), which have more packages. `node bench/together.ts`; needs root and mmdebstrap. The
 * tables go to `bench/README.md`.
 */
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { type Plan, type PlanItem, plan } from '../rechunk/plan.ts';
import { expectChanges } from '../rechunk/rate.ts';
import { NOTHING_OBSERVED } from '../rechunk/remember.ts';
import { planTogether, type Variant } from '../rechunk/variants.ts';
import { runJson } from '../test-images/cli.ts';
import { command } from '../test-images/command.ts';
import { debianImage } from '../test-images/debian.ts';
import { cutSeries, dpkgInfo } from './reuse/cuts.ts';
import { markdownTable } from './reuse/table.ts';
import { type ComponentFacts, loadSeries, type Release, type SeriesName } from './series/series.ts';

const README = fileURLToPath(new URL('README.md', import.meta.url));
const MARKS = ['<!-- together -->', '<!-- /together -->'] as const;
const COUNTS = [16, 32, 64, 100];
const HEAD = [
  'image (components)',
  'layers',
  'apart, MB',
  'together, MB',
  'saved',
  'expected updates pull',
];
const BASE = ['perl', 'python3'];
const VARIANTS: Readonly<Record<string, readonly string[]>> = {
  base: BASE,
  dev: [...BASE, 'git', 'make'],
  remote: [...BASE, 'openssh-client', 'rsync', 'vim'],
};

/** Bytes of all blobs of a layout. */
function blobBytes(layout: string): number {
  const directory = join(layout, 'blobs/sha256');
  return readdirSync(directory).reduce(
    (sum, name) => sum + statSync(join(directory, name)).size,
    0,
  );
}

async function measure(work: string, maxLayers: number): Promise<string[]> {
  const from = (tag: string): string => `oci:${join(work, 'variants')}:${tag}`;
  const [apart, together] = [join(work, 'apart'), join(work, 'together')];
  const limit = ['--max-layers', String(maxLayers)];
  const tags = Object.keys(VARIANTS);
  for (const tag of tags) await runJson(['build', from(tag), `oci:${apart}:${tag}`, ...limit]);
  await runJson(['build', '--together', ...tags.map(from), '--to', `oci:${together}:`, ...limit]);
  const [separate, one] = [blobBytes(apart), blobBytes(together)];
  for (const layout of [apart, together]) rmSync(layout, { recursive: true });
  return ['Debian (85, 96, 95)', ...rowOf(maxLayers, separate, one), ''];
}

/** Variants of a release: four fifths of its components; a tenth more; the other tenth more. Databases are of one alone. */
function modelVariants(release: Release): Variant[] {
  const shares = [(n: number) => n < 80, (n: number) => n < 90, (n: number) => n < 80 || n >= 90];
  return shares.map((has, number) => {
    const ids = [...release.components.keys()].filter((id) => has(drawOf(id)));
    const items = ids.map((id): PlanItem => {
      const facts = release.components.get(id) as ComponentFacts;
      const { compressedSize, size } = facts;
      return { id, size: compressedSize, tarSize: size, ...expectChanges(facts, release.date) };
    });
    const digests = new Map(ids.map((id) => [id, /^database:/.test(id) ? `${number}` : '']));
    return {
      items,
      recollection: { digests, past: undefined, shares: [], observed: NOTHING_OBSERVED },
    };
  });
}

/** 0 to 99, by the name. */
function drawOf(id: string): number {
  let hash = 7;
  for (let i = 0; i < id.length; i++) hash = (hash * 31 + id.charCodeAt(i)) >>> 0;
  return (hash >>> 4) % 100;
}

/** Compressed bytes of all layers of the variants, each once. */
function planBytes(plans: readonly Plan[], variants: readonly Variant[]): number {
  const sizes = new Map<string, number>();
  plans.forEach(({ layers }, i) => {
    const digests = variants[i]?.recollection.digests;
    for (const { components, size } of layers)
      sizes.set(components.map((id) => `${id} ${digests?.get(id)}`).join(), size);
  });
  return [...sizes.values()].reduce((sum, size) => sum + size, 0);
}

async function modelRows(series: SeriesName): Promise<string[][]> {
  const release = cutSeries(await loadSeries(series), dpkgInfo).at(-1) as Release;
  const variants = modelVariants(release);
  return COUNTS.map((maxLayers) => {
    const apart = variants.map(({ items }) => plan(items, { maxLayers }));
    const together = planTogether(variants, { maxLayers });
    const [separate, one] = [planBytes(apart, variants), planBytes(together, variants)];
    const update = (plans: readonly Plan[]): number =>
      plans.reduce((sum, { updateBytes }) => sum + updateBytes, 0);
    const sizes = variants.map(({ items }) => items.length).join(', ');
    const more = `${((update(together) / update(apart) - 1) * 100).toFixed(1)} %`;
    return [`${series} (${sizes})`, ...rowOf(maxLayers, separate, one), more];
  });
}

function rowOf(maxLayers: number, separate: number, one: number): string[] {
  const megabytes = [separate, one].map((bytes) => (bytes / 1e6).toFixed(1));
  return [String(maxLayers), ...megabytes, `${((1 - one / separate) * 100).toFixed(1)} %`];
}

async function main(): Promise<void> {
  const work = mkdtempSync('/var/tmp/rechunk-bench-');
  try {
    for (const [tag, include] of Object.entries(VARIANTS)) {
      const layout = await debianImage({ include });
      await command('skopeo', [
        'copy',
        '-q',
        `oci:${layout}:latest`,
        `oci:${work}/variants:${tag}`,
      ]);
    }
    const rows: string[][] = [];
    for (const count of COUNTS) rows.push(await measure(work, count));
    for (const series of ['debian', 'npm'] as const) rows.push(...(await modelRows(series)));
    const table = markdownTable([HEAD, ...rows]);
    console.log(table);
    const text = readFileSync(README, 'utf8');
    const [start, end] = MARKS.map((mark) => text.indexOf(mark)) as [number, number];
    if (start < 0 || end < 0) throw new Error(`${README} has no place for the table`);
    writeFileSync(
      README,
      `${text.slice(0, start + MARKS[0].length)}\n${table}\n${text.slice(end)}`,
    );
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
}

await main();
