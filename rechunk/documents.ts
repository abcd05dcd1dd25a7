/**
 * What the index of a report keeps of content (`registry/report/index/kept.ts`), so that the components of indexed images are found without
 * reading their layers again: the files that component repos read, and digests of files that packages of operating systems may own.
 */
import type { KeepRule } from '../registry/report/index/kept.ts';
import { REPOS } from './repos.ts';

const DOCUMENTS: readonly RegExp[] = REPOS.flatMap(({ documents }) => documents ?? []);
/** Where no distribution's packages put files (Filesystem Hierarchy Standard 3.0): what lies elsewhere may be theirs. */
const NOT_PACKAGED = /^(?:usr\/local|home|root|srv|app|src|workspace|tmp|run|nix)\//;

/** What reports keep. */
export const KEPT: KeepRule = {
  isDocument: (path) => DOCUMENTS.some((pattern) => pattern.test(path)),
  isDigested: (path) => path.includes('/') && !NOT_PACKAGED.test(path),
};
