/** Images as they are without a rechunker, and the plainest rule for having more layers. */
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import type { ComponentFacts, Release } from '../series/series.ts';
import { layersOf, type Packer, type PackerMaker } from './layers.ts';

/** Everything in one layer, as `FROM scratch` and one `ADD` give it. */
export const packOne: PackerMaker = () => (release) =>
  layersOf(release, [release.components.keys()]);

/** Apko's and Nix's idea: the largest components alone, the rest together above them. */
export const packLargest: PackerMaker = (maxLayers) => (release) => {
  const sizeAt = (id: string): number => release.components.get(id)?.compressedSize ?? 0;
  const ids = [...release.components.keys()].sort(
    (a, b) => sizeAt(b) - sizeAt(a) || (a < b ? -1 : 1),
  );
  const alone = ids.slice(0, maxLayers - 1).map((id) => [id]);
  return layersOf(release, [...alone, ids.slice(maxLayers - 1)]);
};

/** Packages of a minimal Debian 12, the usual base image. */
const BASE = new URL(
  '../../test-images/packages/dpkg/bookworm-minbase/expected.json',
  import.meta.url,
);

/** Sources of the packages that the base has, as ids of components. */
export function readBaseSources(): ReadonlySet<string> {
  const { packages } = JSON.parse(readFileSync(fileURLToPath(BASE), 'utf8')) as {
    packages: readonly { readonly source: string }[];
  };
  return new Set(packages.map(({ source }) => `dpkg:${source}`));
}

function packBy(isBelow: (state: ComponentFacts) => boolean): Packer {
  return (release: Release) => {
    const groups = Map.groupBy(release.components.values(), (state) => isBelow(state));
    const idsOf = (below: boolean): string[] => (groups.get(below) ?? []).map(({ id }) => id);
    return layersOf(release, [idsOf(true), idsOf(false)]);
  };
}

/** Installed packages below, what `COPY` adds above. */
const packApplication: PackerMaker = () => packBy(({ kind }) => kind !== 'application');

/** A base image that is built anew when one of its packages is updated, and one layer of what `apt-get install` adds. */
const packOnBase: PackerMaker = () => {
  const base = readBaseSources();
  return packBy(({ id }) => base.has(id));
};

/** Models of the images that the series come from, by series; one layer where nothing is named. */
export const ORIGINALS: Readonly<Record<string, PackerMaker>> = {
  npm: packApplication,
  debian: packOnBase,
  'debian-year': packOnBase,
};
