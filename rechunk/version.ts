/** The program's version. It does not enter what is written: the layer format has numbers of its own. */
export const VERSION = '0.1.0';

/** What `.ci/build.ts` puts in its place. */
declare const SOURCES_DIGEST: string | undefined;

/** Hex digest of the sources that this program was built of; undefined where it runs from sources, which may change between runs. */
export const SOURCES: string | undefined =
  typeof SOURCES_DIGEST === 'undefined' ? undefined : SOURCES_DIGEST;
