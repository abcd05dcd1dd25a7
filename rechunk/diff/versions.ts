/**
 * What component repos write of packages, taken apart into name and version, and the order of versions by the rules of each
 * package manager. Rules: deb-version(7); rpm 4.20 `rpmvercmp`, which pacman's `vercmp` follows; apk-tools 2 `version.c`;
 * semver.org 2.0.0, section 11; PEP 440.
 */

/** A package as a database names it. */
export interface NamedVersion {
  readonly name: string;
  /** '' where the package has none. */
  readonly version: string;
}

/** How a component's repo writes a package: what comes before the first colon of the component's id. */
export function repoOf(component: string): string {
  return component.slice(0, component.indexOf(':'));
}

const TITLES: Readonly<Record<string, RegExp>> = {
  dpkg: /^(\S+) (.+)$/s,
  apk: /^(\S+) (.+)$/s,
  node: /^(.+)@(.*)$/s,
  python: /^(.+?)==(.*)$/s,
  rpm: /^(.+)-([^-]+-[^-]+?)(?:\.[^.-]+)?$/s,
  alpm: /^(.+)-([^-]+-[^-]+)$/s,
};

/** Takes apart one of a component's `packages`; what has another form is a name without version. */
export function parseTitle(repo: string, title: string): NamedVersion {
  const [, name, version] = TITLES[repo]?.exec(title) ?? [];
  return name === undefined ? { name: title, version: '' } : { name, version: version ?? '' };
}

type Order = (a: string, b: string) => number;

const ORDERS: Readonly<Record<string, Order>> = {
  dpkg: byParts(compareDebian),
  rpm: byParts(compareRpm),
  alpm: byParts(compareRpm),
  apk: compareApk,
  node: compareSemver,
  python: comparePython,
};

/** Negative where version `a` comes before `b` by the rules of `repo`, 0 where none comes first or the rules are not known. */
export function compareVersions(repo: string, a: string, b: string): number {
  return a === b ? 0 : (ORDERS[repo]?.(a, b) ?? 0);
}

const byText = (a: string, b: string): number => (a < b ? -1 : a > b ? 1 : 0);

/** Whole numbers of any length, as text. */
function compareNumbers(a: string, b: string): number {
  const [x, y] = [a.replace(/^0+/, ''), b.replace(/^0+/, '')];
  return x.length - y.length || byText(x, y);
}

/** The order of `[EPOCH:]VERSION[-RELEASE]`, each part by `order`; a missing epoch is 0. */
function byParts(order: Order): Order {
  const partsOf = (text: string): readonly [string, string, string] => {
    const [, epoch = '0', rest = ''] = /^(?:(\d+):)?(.*)$/s.exec(text) ?? [];
    const dash = rest.lastIndexOf('-');
    return dash < 0 ? [epoch, rest, ''] : [epoch, rest.slice(0, dash), rest.slice(dash + 1)];
  };
  return (a, b) => {
    const [x, y] = [partsOf(a), partsOf(b)];
    return compareNumbers(x[0], y[0]) || order(x[1], y[1]) || order(x[2], y[2]);
  };
}

/** Where a character stands among those that are no digits: `~` before the end, letters, then all else. */
function debianRank(char: string | undefined): number {
  if (char === undefined || /\d/.test(char)) return 0;
  if (char === '~') return -1;
  return /[A-Za-z]/.test(char) ? char.charCodeAt(0) : char.charCodeAt(0) + 256;
}

function compareDebian(a: string, b: string): number {
  return compareLists(a.match(/\d+|\D/g) ?? [], b.match(/\d+|\D/g) ?? [], (p, q) => {
    const isText = [p, q].some((part) => part !== undefined && !/^\d/.test(part));
    return isText ? debianRank(p) - debianRank(q) : compareNumbers(p ?? '0', q ?? '0');
  });
}

/** `~` comes before the end, `^` after it but before anything more; numbers come after letters. */
function compareRpm(a: string, b: string): number {
  const partsOf = (text: string): string[] => text.match(/[~^]|\d+|[A-Za-z]+/g) ?? [];
  return compareLists(partsOf(a), partsOf(b), compareRpmParts);
}

/** Where a part stands by its kind: nothing is between `~` and `^`. */
function rpmRank(part: string | undefined): number {
  if (part === undefined) return 1;
  return part === '~' ? 0 : part === '^' ? 2 : /^\d/.test(part) ? 4 : 3;
}

function compareRpmParts(p: string | undefined, q: string | undefined): number {
  const order = rpmRank(p) - rpmRank(q);
  if (order !== 0 || p === undefined || q === undefined) return order;
  return /^\d/.test(p) ? compareNumbers(p, q) : byText(p, q);
}

/** Suffixes of apk versions in order; no suffix stands between `_rc` and `_cvs`. */
const APK_SUFFIXES = ['alpha', 'beta', 'pre', 'rc', '', 'cvs', 'svn', 'git', 'hg', 'p'];
const APK = /^([\d.]*)([a-z]?)((?:_[a-z]+\d*)*)(?:-r(\d+))?/;

function compareApk(a: string, b: string): number {
  const [, numbersA = '', letterA = '', suffixesA = '', releaseA = '0'] = APK.exec(a) ?? [];
  const [, numbersB = '', letterB = '', suffixesB = '', releaseB = '0'] = APK.exec(b) ?? [];
  return (
    compareLists(numbersA.split('.'), numbersB.split('.'), compareApkNumbers) ||
    byText(letterA, letterB) ||
    compareLists(suffixesOf(suffixesA), suffixesOf(suffixesB), compareSuffixes) ||
    compareNumbers(releaseA, releaseB)
  );
}

/** Numbers that begin with 0 are compared as fractions are. */
function compareApkNumbers(p = '', q = ''): number {
  if (p === '' || q === '') return p.length - q.length;
  return p.startsWith('0') || q.startsWith('0') ? byText(p, q) : compareNumbers(p, q);
}

type Suffix = readonly [name: string, number: string];

function suffixesOf(text: string): Suffix[] {
  return [...text.matchAll(/_([a-z]+)(\d*)/g)].map(([, name = '', number = '']) => [name, number]);
}

function compareSuffixes(p: Suffix = ['', ''], q: Suffix = ['', '']): number {
  const order = APK_SUFFIXES.indexOf(p[0]) - APK_SUFFIXES.indexOf(q[0]);
  return order || compareNumbers(p[1], q[1]);
}

function compareLists<T>(
  a: readonly T[],
  b: readonly T[],
  order: (p: T | undefined, q: T | undefined) => number,
): number {
  for (let i = 0; i < a.length || i < b.length; i++) {
    const found = order(a[i], b[i]);
    if (found !== 0) return found;
  }
  return 0;
}

const SEMVER = /^v?(\d+)\.(\d+)\.(\d+)(?:-([0-9A-Za-z.-]+))?/;

function compareSemver(a: string, b: string): number {
  const [x, y] = [SEMVER.exec(a), SEMVER.exec(b)];
  if (!x || !y) return 0;
  const order = compareLists(x.slice(1, 4), y.slice(1, 4), (p = '', q = '') =>
    compareNumbers(p, q),
  );
  if (order !== 0 || x[4] === y[4]) return order;
  // A release comes after all that lead up to it.
  if (x[4] === undefined || y[4] === undefined) return x[4] === undefined ? 1 : -1;
  return compareLists(x[4].split('.'), y[4].split('.'), (p, q) => compareIdentifiers(p, q));
}

/** Fewer come first; numbers stand before text (-1) or after it (1). */
function compareIdentifiers(
  p: string | undefined,
  q: string | undefined,
  numbers: -1 | 1 = -1,
): number {
  if (p === undefined || q === undefined) return p === undefined ? -1 : 1;
  const [isP, isQ] = [/^\d+$/.test(p), /^\d+$/.test(q)];
  if (isP && isQ) return compareNumbers(p, q);
  return isP === isQ ? byText(p, q) : isP ? numbers : -numbers;
}

const PEP440 = new RegExp(
  [
    /^v?(?:(?<epoch>\d+)!)?(?<release>\d+(?:\.\d+)*)/,
    /(?:[-_.]?(?<phase>a|alpha|b|beta|c|rc|pre|preview)[-_.]?(?<number>\d*))?/,
    /(?<post>-\d+|[-_.]?(?:post|rev|r)[-_.]?\d*)?/,
    /(?<dev>[-_.]?dev[-_.]?\d*)?(?:\+(?<local>[a-z0-9._-]+))?$/,
  ]
    .map(({ source }) => source)
    .join(''),
  'i',
);
/** Alpha, beta, candidate, by their first letter. */
const PHASES: Readonly<Record<string, string>> = { a: '1', b: '2', c: '3', r: '3', p: '3' };
/** Before all phases (a development version of a release), and after them (the release itself). */
const [BEFORE, AFTER] = ['0', '4'];

const numberIn = (text: string): string => /\d+$/.exec(text)?.[0] ?? '0';

/** The numbers by which Python versions of one release are ordered. */
function pythonKey({ phase, number, post, dev }: Record<string, string>): readonly string[] {
  const isBare = phase === undefined && post === undefined && dev !== undefined;
  const stage = phase && PHASES[phase.charAt(0).toLowerCase()];
  return [
    stage ?? (isBare ? BEFORE : AFTER),
    number || '0',
    post === undefined ? '0' : `${BigInt(numberIn(post)) + 1n}`,
    dev === undefined ? AFTER : BEFORE,
    dev === undefined ? '0' : numberIn(dev),
  ];
}

function comparePython(a: string, b: string): number {
  const [x, y] = [PEP440.exec(a)?.groups, PEP440.exec(b)?.groups];
  if (!x || !y) return 0;
  const releaseOf = ({ release = '' }: Record<string, string>): string[] => release.split('.');
  const order = (p = '0', q = '0'): number => compareNumbers(p, q);
  return (
    order(x['epoch'], y['epoch']) ||
    compareLists(releaseOf(x), releaseOf(y), order) ||
    compareLists(pythonKey(x), pythonKey(y), order) ||
    compareLocal(x['local'], y['local'])
  );
}

/** A local version comes after the public one; its numbers come after its words. */
function compareLocal(a: string | undefined, b: string | undefined): number {
  if (a === undefined || b === undefined) return Number(a !== undefined) - Number(b !== undefined);
  return compareLists(a.split(/[._-]/), b.split(/[._-]/), (p, q) => compareIdentifiers(p, q, 1));
}
