/**
 * The figures of a report under names that do not tell where it came from, and the same figures from `rechunk/report/sums.py`, which sums
 * files on the registry's disk and unpacks layers.
 */
import { fileURLToPath } from 'node:url';
import type { Report } from '../registry/report/report.ts';
import { command } from './command.ts';

/** Any plain data. */
export type Figures = { readonly [name: string]: unknown };

/** What the script is asked beyond manifests. */
export interface Independent {
  /** Unpack layers. */
  readonly files?: boolean;
  /** Patterns of `REPOSITORY:TAG`. */
  readonly deleted?: readonly string[];
  readonly holds?: readonly string[];
}

const SCRIPT = fileURLToPath(new URL('../rechunk/report/sums.py', import.meta.url));

/** Figures of what lies in the directory of a registry (CNCF distribution). */
export async function independentFigures(
  storage: string,
  { files, deleted = [], holds = [] }: Independent = {},
): Promise<Figures> {
  const words = [
    ...(files ? ['--files'] : []),
    ...deleted.flatMap((pattern) => ['--deleted', pattern]),
    ...holds.flatMap((pattern) => ['--holds', pattern]),
  ];
  return JSON.parse((await command('python3', [SCRIPT, storage, ...words])).toString()) as Figures;
}

type Named<T> = readonly (readonly [string, T])[];
const named = <T>(rows: Named<T>): Record<string, T> => Object.fromEntries(rows);

/** Names in the place of indexes. */
class Names {
  readonly #report: Report;

  constructor(report: Report) {
    this.#report = report;
  }

  readonly repository = (at: number): string => {
    const { name = '', store = 0 } = this.#report.repositories[at] ?? {};
    return name.slice((this.#report.stores[store] ?? '').length + 1);
  };

  readonly tag = (at: number): string => {
    const { repository = -1, tag } = this.#report.tags[at] ?? {};
    return `${this.repository(repository)}:${tag}`;
  };

  readonly layer = (at: number): string => this.#report.layers[at]?.digest ?? '';

  readonly update = ({ from, to }: { readonly from: number; readonly to: number }): string =>
    `${this.tag(from)} -> ${this.tag(to)}`;
}

/** The figures of a report of one store, whose images are of one platform, as the script tells them. */
function figuresOf(report: Report): Figures {
  const names = new Names(report);
  const { deletion, node, files, retarred, headline } = report;
  const { rechunked: _, ...told } = headline;
  return {
    headline: told,
    repositories: named(
      report.repositories.map((_, at) => [names.repository(at), repositoryOf(report, at, names)]),
    ),
    tags: named(report.tags.map((tag, at) => [names.tag(at), tagOf(tag, names)])),
    layers: named(
      report.layers.map(({ digest, tags, stores: _, createdBy = '', ...rest }) => [
        digest,
        { ...rest, createdBy, tags: tags.map(names.tag) },
      ]),
    ),
    updates: named(
      report.updates.map((update) => {
        const { layers, bytes, chainBytes, total, floor } = update;
        return [
          names.update(update),
          { ...layers, bytes, chainBytes, total, ...(floor !== undefined && { floor }) },
        ];
      }),
    ),
    matrices: named(
      report.matrices.map(({ repository, tags, bytes, floor }) => [
        names.repository(repository),
        { tags: tags.map(names.tag), bytes, ...(floor && { floor }) },
      ]),
    ),
    recompressed: named(
      report.recompressed.map(({ diffId, blobs, wasted }) => [
        diffId,
        { blobs: blobs.length, wasted },
      ]),
    ),
    ...(retarred && { retarred: named(retarred.map((one) => retarredOf(report, one))) }),
    ...unreferencedOf(report),
    ...(deletion && {
      deletion: {
        tags: deletion.tags.map(names.tag).sort(),
        freed: deletion.freed,
        blobs: deletion.blobs,
      },
    }),
    ...(node && {
      pulls: named(node.pulls.map(({ tag, bytes, layers }) => [names.tag(tag), { bytes, layers }])),
    }),
    ...(files && { files: filesOf(files, names) }),
  };
}

function repositoryOf(report: Report, at: number, names: Names): Figures {
  const { tags, logical, total, shared, unique, sharedWith, links } = report.repositories[
    at
  ] as Report['repositories'][number];
  return {
    tags: tags.map(names.tag),
    ...{ logical, total, shared, unique, ...(links && { links }) },
    sharedWith: named(
      sharedWith.map(({ repository, bytes }) => [names.repository(repository), bytes]),
    ),
  };
}

function tagOf(tag: Report['tags'][number], names: Names): Figures {
  const { digest, created, platforms, images, total, unique, sharedInRepository, sharedAcross } =
    tag;
  const [image] = images;
  return {
    ...{ digest, created, total, unique, sharedInRepository, sharedAcross },
    platform: platforms.join(),
    layers: image?.layers.map(names.layer),
    size: image?.size,
    manifestSize: image?.manifestSize,
  };
}

function retarredOf(
  report: Report,
  { layers, wasted }: NonNullable<Report['retarred']>[number],
): readonly [string, Figures] {
  const diffIds = layers.map((at) => report.layers[at]?.diffId ?? '').sort();
  return [diffIds[0] ?? '', { layers: diffIds.length, wasted }];
}

/** What no tag needs, where the store can tell. */
function unreferencedOf({ unreferenced: [one] }: Report): Figures {
  if (!one || one.unknown !== undefined) return {};
  const { blobs, bytes, untagged, untaggedBytes } = one;
  const lost = untagged.map(({ digest }) => digest).sort();
  return { unreferenced: { blobs: blobs.length, bytes, untagged: lost, untaggedBytes } };
}

function filesOf(files: NonNullable<Report['files']>, names: Names): Figures {
  const { duplicates, metadataOnly, ...rest } = files;
  return {
    ...rest,
    duplicates: duplicates.map(({ layers, ...one }) => ({
      ...one,
      layers: layers.map(names.layer).sort(),
    })),
    metadataOnly: named(
      metadataOnly.map((row) => [names.update(row), { files: row.files, bytes: row.bytes }]),
    ),
  };
}

/** A figure that a report has: where it stands, what the report says, what the script says. */
export interface Compared {
  readonly path: readonly string[];
  readonly report: unknown;
  readonly independent: unknown;
}

/** What only an index of files can tell. */
const BY_FILES = ['files', 'floor', 'retarred', 'uncompressed', 'uniqueFiles'];
/** What only a directory can tell. */
const BY_DIRECTORY = ['links', 'unreferenced'];

/** Every figure of a report beside the script's, but those that the report's depth, or its store, cannot tell. */
export function compareReport(report: Report, independent: Figures): Iterable<Compared> {
  const canList = report.unreferenced.some(({ unknown }) => unknown === undefined);
  const absent = new Set([
    'onDisk',
    ...(report.depth === 'files' ? [] : BY_FILES),
    ...(canList ? [] : BY_DIRECTORY),
  ]);
  return compareFigures(without(figuresOf(report), absent), without(independent, absent), []);
}

/** `figures` without what is named, at whatever depth. */
function without(figures: unknown, names: ReadonlySet<string>): unknown {
  if (Array.isArray(figures) || typeof figures !== 'object' || figures === null) return figures;
  const rest = Object.entries(figures).filter(([name]) => !names.has(name));
  return Object.fromEntries(rest.map(([name, value]) => [name, without(value, names)]));
}

/** Every figure that either has, beside the other's. */
function* compareFigures(
  report: unknown,
  independent: unknown,
  path: readonly string[],
): Generator<Compared> {
  const isNested = (one: unknown): one is Figures => typeof one === 'object' && one !== null;
  if (!isNested(report) || !isNested(independent)) {
    yield { path, report, independent };
    return;
  }
  const keys = new Set([...Object.keys(report), ...Object.keys(independent)]);
  for (const key of keys) yield* compareFigures(report[key], independent[key], [...path, key]);
}

/** Sums of fractions that are rounded at their end, and shares: what they may be apart. */
const APART: Readonly<Record<string, number>> = { floor: 1, uniqueFiles: 1, lorenz: 1e-9 };

/** Whether both say the same; what is a sum of fractions may be rounded apart. */
export function isSame({ path, report, independent }: Compared): boolean {
  if (report === independent) return true;
  if (typeof report !== 'number' || typeof independent !== 'number') return false;
  const apart = Math.max(0, ...path.map((name) => APART[name] ?? 0));
  return Math.abs(report - independent) <= apart;
}
