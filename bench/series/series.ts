/**
 * Update series: what the releases of a real image hold, as facts without the content, so that packing rules, planners and
 * floors can be compared in seconds and without a network. `README.md` says where each series comes from, what in it is
 * real and what is modelled; `make.ts` makes the stored ones anew.
 */
import { readFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import type { ComponentInfo } from '../../rechunk/components.ts';
import { decodeSeries } from './format.ts';

/** One name in a release: a file, link, device, or a directory with nothing in it. */
export interface FileFacts {
  /** Without a leading slash, one char a byte. */
  readonly path: string;
  /** First 16 hex digits of the content's sha256; '' for what has no content (a later name of a hard-link group too). */
  readonly content: string;
  /** Bytes of content. */
  readonly size: number;
  /** Bytes of the content alone, zstd level 3. */
  readonly compressedSize: number;
  /** All metadata but times: type, mode, owner, target, device numbers, xattrs; equal strings are equal metadata. */
  readonly metadata: string;
  /** Seconds since the epoch; absent where the installer stamped the moment of installation, which is the release's date. */
  readonly mtime?: number;
}

/** One state of a component; releases in which nothing of it changed share the object. */
export interface ComponentFacts extends ComponentInfo {
  /** In canonical order. */
  readonly files: readonly FileFacts[];
  /** Bytes of content, each hard-link group once. */
  readonly size: number;
  /** Bytes of its files as one tar without parent directories, zstd level 3 in frames as layers have them. */
  readonly compressedSize: number;
  /**
   * The same for those files only that the component's previous state in the series did not have with this content and
   * metadata; `compressedSize` where there was none.
   */
  readonly changedSize: number;
}

/** What an image held on a day. */
export interface Release {
  readonly name: string;
  /** Seconds since the epoch. */
  readonly date: number;
  /** By component id. */
  readonly components: ReadonlyMap<string, ComponentFacts>;
}

/** The series that are stored here. */
export const SERIES = ['npm', 'alpine', 'debian', 'debian-year'] as const;

/** The name of a stored series. */
export type SeriesName = (typeof SERIES)[number];

/** Where a stored series lies. */
export function seriesFile(name: SeriesName): string {
  return fileURLToPath(new URL(`${name}.json.gz`, import.meta.url));
}

/** The releases of a stored series, oldest first. */
export async function loadSeries(name: SeriesName): Promise<Release[]> {
  return decodeSeries(await readFile(seriesFile(name)));
}

/** Whether a file has the same content and metadata, times aside. */
export function isSameFile(a: FileFacts, b: FileFacts): boolean {
  return a.path === b.path && a.content === b.content && a.metadata === b.metadata;
}
