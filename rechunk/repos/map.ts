/**
 * Components that a user named in a map file (`--map FILE`), for images whose files no package database knows.
 *
 * One rule a line: a glob, white space, and the component's name.
 *
 *     # comment: a line that begins with '#'
 *     /opt/app/               app          everything below, and the directory itself where it is empty
 *     /opt/app/models/*.bin   models       of several lines that match, the last one counts
 *     /usr/lib/jvm/**         jdk
 *
 * Globs are of whole paths from the root, the leading slash may be left out. `*` stands for any text within a part, `?`
 * for one character, `**` as a whole part for any number of parts, none included. A backslash takes the next character
 * as it is (`\ ` for a space in a name). `[`, `]`, `{` and `}` are kept for later and must be written with a backslash.
 */
import { RechunkError } from '../../registry/errors.ts';
import { joinPath, type Path, showPath } from '../../registry/path.ts';
import type { Claim, ComponentRepo, Detection } from '../components.ts';
import type { Entry, Tree } from '../tree.ts';

/** Largest map file, chars. */
const SIZE_LIMIT: number = 16 << 20;
/** Longest name of a component, bytes (Linux: NAME_MAX). */
const NAME_LIMIT = 255;

/** A part of a glob: text to match as it is, a pattern within the part, or `**`. */
type Part =
  | { readonly kind: 'text'; readonly text: string }
  | { readonly kind: 'pattern'; readonly source: string }
  | { readonly kind: 'any' };

interface Rule {
  readonly line: number;
  /** As the user wrote it. */
  readonly glob: string;
  readonly parts: readonly Part[];
  /** It ended with a slash: what lies below is meant. */
  readonly tree: boolean;
  readonly component: string;
}

const quote = (char: string): string => char.replace(/[\\^$.*+?()[\]{}|/]/g, '\\$&');
const bytesOf = (text: string): string => Buffer.from(text, 'utf8').toString('latin1');
/** One character of a path whose chars are bytes: a UTF-8 sequence, or a byte that is none. */
const ONE_CHARACTER = '(?:[\\xc2-\\xf4][\\x80-\\xbf]{1,3}|[^/])';

/** The chars of a glob's part, told apart from wildcards by `literal`. */
function* tokensOf(part: string): Generator<{ readonly char: string; readonly literal: boolean }> {
  for (let i = 0; i < part.length; i++) {
    const escaped = part[i] === '\\';
    if (escaped) i++;
    yield { char: part[i] ?? '', literal: escaped };
  }
}

function parsePart(part: string): Part {
  if (part === '**') return { kind: 'any' };
  const tokens = [...tokensOf(bytesOf(part))];
  const wild = tokens.some(({ char, literal }) => !literal && (char === '*' || char === '?'));
  if (!wild) return { kind: 'text', text: tokens.map(({ char }) => char).join('') };
  const source = tokens.map(({ char, literal }) => {
    if (!literal && char === '*') return '[^/]*';
    return !literal && char === '?' ? ONE_CHARACTER : quote(char);
  });
  return { kind: 'pattern', source: source.join('') };
}

/** Why `glob` cannot be used; undefined where it can. */
function globTrouble(glob: string): string | undefined {
  const parts = glob.replace(/^\/+|\/+$/g, '').split('/');
  const bare = glob.replace(/\\./g, '');
  if (/[[\]{}]/.test(bare)) return "has '[', ']', '{' or '}', want a backslash before it";
  if (bare.endsWith('\\')) return 'ends with a backslash, want a character after it';
  if (parts.some((part) => part === '..' || part === '.')) return "has a part '.' or '..'";
  if (parts.some((part) => part !== '**' && part.replace(/\\./g, '').includes('**'))) {
    return "has '**' beside other text, want it as a whole part";
  }
  if (parts.slice(1).includes('')) return 'has an empty part';
  return undefined;
}

function parseLine(text: string, line: number, name: string): Rule | undefined {
  const trimmed = text.replace(/^\s+|(?<!\\)\s+$/g, '');
  if (trimmed === '' || trimmed.startsWith('#')) return undefined;
  const fail = (what: string): never => {
    throw new RechunkError('usage', `reading map ${name}: line ${line} ${what}`);
  };
  const words = trimmed.match(/(?:\\.|[^\s\\]|\\$)+/g) ?? [];
  const [glob = '', component = ''] = words;
  if (words.length !== 2) {
    return fail(`has ${words.length} words, want two: a glob and the name of a component`);
  }
  const trouble = globTrouble(glob);
  if (trouble !== undefined) return fail(`has the glob '${glob}', which ${trouble}`);
  if (Buffer.byteLength(component) > NAME_LIMIT || /[\x00-\x1f\x7f\\]/.test(component)) {
    return fail(`names a component that is longer than ${NAME_LIMIT} bytes or has odd characters`);
  }
  const body = glob.replace(/^\/+|\/+$/g, '');
  const parts = body === '' ? [] : body.split('/').map(parsePart);
  const repeats = (part: Part, i: number) => part.kind === 'any' && parts[i - 1]?.kind === 'any';
  return {
    line,
    glob,
    parts: parts.filter((part, i) => !repeats(part, i)),
    tree: glob.endsWith('/'),
    component,
  };
}

/** A rule made ready for one tree: symlinks among its leading parts are followed there. */
interface Matcher {
  readonly rule: Rule;
  /** What matching paths begin with, for speed. */
  readonly prefix: string;
  /** Paths that the glob itself names. */
  readonly self: RegExp;
  /** Paths below those. */
  readonly below: RegExp;
}

/** The source of a pattern for `parts`, each preceded by a slash. */
function sourceOf(parts: readonly Part[]): string {
  const sources = parts.map((part, i) => {
    if (part.kind === 'text') return `/${quote(part.text)}`;
    if (part.kind === 'pattern') return `/${part.source}`;
    return i === parts.length - 1 ? '/.+' : '(?:/[^/]+)*';
  });
  return sources.join('');
}

function prepare(rule: Rule, tree: Tree): Matcher {
  const last = rule.parts.length - (rule.tree ? 0 : 1);
  const wild = rule.parts.findIndex((part) => part.kind !== 'text');
  const fixed = Math.max(0, wild < 0 ? last : Math.min(wild, last));
  const texts = rule.parts.slice(0, fixed).map((part) => (part.kind === 'text' ? part.text : ''));
  const written = texts.reduce<Path>((path, text) => joinPath(path, text), '' as Path);
  const prefix = tree.resolve(written, 'all') ?? written;
  const start = prefix === '' ? '' : `/${prefix}`;
  const source = `^${quote(start)}${sourceOf(rule.parts.slice(fixed))}`;
  const self = new RegExp(`${source}$`, 's');
  return { rule, prefix: start, self, below: new RegExp(`${source}/.+$`, 's') };
}

/** Whether `entry`, whose path with a leading slash is `path`, is meant by the rule. */
function isMatch(matcher: Matcher, path: string, entry: Entry): boolean {
  const { rule, prefix, self, below } = matcher;
  if (!path.startsWith(prefix)) return false;
  if (!rule.tree) return self.test(path);
  return below.test(path) || (entry.inode.type === 'dir' && self.test(path));
}

/** Things that are in components: all but directories that hold something. */
const isLeaf = (tree: Tree, { path, inode }: Entry): boolean =>
  inode.type !== 'dir' || tree.list(path).length === 0;

function match(tree: Tree, rules: readonly Rule[]): { claims: Claim[]; used: Set<Rule> } {
  const matchers = rules.map((rule) => prepare(rule, tree)).reverse();
  const used = new Set<Rule>();
  const claims: Claim[] = [];
  for (const entry of tree.entries) {
    if (!isLeaf(tree, entry)) continue;
    const path = `/${entry.path}`;
    const matching = matchers.filter((matcher) => isMatch(matcher, path, entry));
    for (const { rule } of matching) used.add(rule);
    const [winner] = matching;
    if (!winner) continue;
    const component = `user:${winner.rule.component}`;
    claims.push({ path: entry.path, component, strength: 'explicit' });
  }
  return { claims, used };
}

function detect(tree: Tree, rules: readonly Rule[], name: string): Detection {
  const { claims, used } = match(tree, rules);
  const ids = new Set(claims.map(({ component }) => component));
  return {
    repo: 'map',
    components: [...ids].sort().map((id) => ({ id, kind: 'user' })),
    claims,
    warnings: rules
      .filter((rule) => !used.has(rule))
      .map(({ glob, line }) => `map ${name}, line ${line}: nothing matches ${showPath(glob)}`),
  };
}

/**
 * Parses the text of a map file (form: at the top of this module) called `name` into a source of explicit claims on
 * components `user:NAME`. Throws `usage`, naming the line, where a line cannot be understood. A rule that matches nothing
 * in a tree is a warning of the detection.
 */
export function parseMap(text: string, name: string): ComponentRepo {
  if (text.length > SIZE_LIMIT) {
    throw new RechunkError('limit', `reading map ${name}: it is larger than ${SIZE_LIMIT} chars`);
  }
  const rules = text
    .replace(/^\ufeff/, '')
    .split(/\r?\n/)
    .map((line, i) => parseLine(line, i + 1, name))
    .filter((rule) => rule !== undefined);
  return { name: 'map', detect: async (tree) => detect(tree, rules, name) };
}
