/** In which order tags came, as far as can be told. */

/** Before this moment no time is believed: builds that are reproducible say 1970 or 1980. RFC 3339. */
const EARLIEST_MS = Date.UTC(1980, 0, 2);

/** A tag to order. */
export interface Dated {
  readonly tag: string;
  readonly created?: string | undefined;
}

/** Compares names as people read versions: numbers by value (`1.9` < `1.10`), what is before its release (`1.0-rc1`, `1.0~b`) first. */
export function compareVersions(a: string, b: string): number {
  const [left, right] = [partsOf(a), partsOf(b)];
  for (let i = 0; i < Math.max(left.length, right.length); i++) {
    const order = comparePart(left[i] ?? '', right[i] ?? '');
    if (order !== 0) return order;
  }
  return a < b ? -1 : a > b ? 1 : 0;
}

const partsOf = (name: string): string[] =>
  name.replace(/^v(?=\d)/, '').match(/\d+|[-_.+~]?[^\d\-_.+~]+|[-_.+~]/g) ?? [];

/** What comes before the release of the same version. */
const EARLY = /^(~|[-_.]?(alpha|beta|rc|pre|dev|snapshot|next))/i;

function comparePart(a: string, b: string): number {
  if (a === b) return 0;
  const [isEarlyA, isEarlyB] = [EARLY.test(a), EARLY.test(b)];
  if (isEarlyA !== isEarlyB) return isEarlyA ? -1 : 1;
  const [isNumberA, isNumberB] = [/^\d/.test(a), /^\d/.test(b)];
  if (isNumberA && isNumberB) return compareNumbers(a, b);
  if (a === '' || b === '') return a === '' ? -1 : 1;
  if (isNumberA !== isNumberB) return isNumberA ? -1 : 1;
  return a < b ? -1 : 1;
}

function compareNumbers(a: string, b: string): number {
  const [left, right] = [a.replace(/^0+(?=\d)/, ''), b.replace(/^0+(?=\d)/, '')];
  if (left.length !== right.length) return left.length - right.length;
  return left < right ? -1 : left > right ? 1 : 0;
}

/** The moment, ms; undefined for one that nobody means. */
function momentOf({ created }: Dated): number | undefined {
  const moment = created === undefined ? Number.NaN : Date.parse(created);
  return moment >= EARLIEST_MS ? moment : undefined;
}

/** `tags` oldest first: by creation where every one tells a believable time, then by version. */
export function inTime<T extends Dated>(tags: readonly T[]): T[] {
  const dated = tags.map((tag) => ({ tag, moment: momentOf(tag) }));
  const areDated = dated.every(({ moment }) => moment !== undefined);
  dated.sort((a, b) => {
    const order = areDated ? (a.moment as number) - (b.moment as number) : 0;
    return order || compareVersions(a.tag.tag, b.tag.tag);
  });
  return dated.map(({ tag }) => tag);
}

/** Hexadecimal digits that are a commit rather than a word or a number, also as `git describe` has them. */
const COMMIT = /(?<![a-z0-9])g?(?=[a-f]*\d)(?=\d*[a-f])[0-9a-f]{7,64}(?![a-z0-9])/g;

/** First of the characters that stand for nothing: they keep a word's place. */
const PRIVATE = 0xe000;

/** Names of processors, whose digits are no version. */
const PROCESSOR =
  /(?<![a-z0-9])(?:amd64|x86[-_]64|x64|i[3-6]86|arm64(?:v8)?|aarch64|arm32(?:v[5-7])?|armv?[5-8](?:l|hf)?|ppc64(?:le|el)?|s390x|riscv64|mips64(?:le|el)?|loong64)(?![a-z0-9])/g;
/** A number that stands by itself, or counts releases and builds. */
const VERSION =
  /(?<![a-z0-9])(?:v|r|rev|b|build|p|patch|post|u|sp|ls)?\d+(?:[._]\d+)*(?![a-z0-9])/g;
/** Any number. */
const NUMBER = /v?\d+(?:[._]\d+)*/g;

/**
 * What `tag` is a version of: its name without version numbers, dates and commits. `3.19-slim` and `3.20.1-slim` are updates of one
 * thing, `3.20-alpine` of another. A number within a word (`jdk8`) belongs to the word where there is another that stands by itself. Names without a
 * number (`latest`, `bookworm`, `arm64`) are versions of nothing, ''.
 */
export function streamOf(tag: string): string {
  const early = /[-_.]?(alpha|beta|rc|pre|dev)[-_.]?(?=\d|$)/gi;
  const words: string[] = [];
  const named = tag
    .toLowerCase()
    .replace(PROCESSOR, (word) => String.fromCharCode(PRIVATE + words.push(word) - 1));
  const plain = named.replace(COMMIT, '#').replace(early, '');
  const own = plain.replace(VERSION, '#');
  const stream = own.includes('#') ? own : plain.replace(NUMBER, '#');
  if (!stream.includes('#')) return '';
  const joined = stream.replace(/#([-_.+]?#)+/g, '#');
  return joined.replace(/[\ue000-\uf8ff]/g, (one) => words[one.charCodeAt(0) - PRIVATE] ?? one);
}

/** Whether names of one stream say by themselves which came after which: commits do not. */
export function areVersions(tags: readonly string[]): boolean {
  return tags.every((tag) => tag.toLowerCase().search(COMMIT) < 0);
}
