/** What a report is about, as users name it: registries, repositories, OCI layouts, a registry's own directory. */
import { RechunkError } from '../errors.ts';
import { parseRepository, withoutCredentials } from '../reference.ts';

/** One thing to survey. */
export type Target =
  | { readonly kind: 'registry'; readonly host: string }
  | {
      readonly kind: 'repository';
      readonly host: string;
      readonly repository: string;
      /** Which tags, by `*` and `?`; all by default. */
      readonly pattern?: string;
    }
  | { readonly kind: 'layout' | 'storage'; readonly path: string };

const WANTED =
  'want docker://HOST, docker://HOST/REPO[:PATTERN], oci:DIR, or storage:DIR (the directory of a registry)';
/** Chars of a tag, `*` and `?`. */
const PATTERN = /^[\w.*?-]{1,128}$/;
/** A host alone: with a slash at its end, or what can be no repository of Docker Hub (`debian:12` is one). */
const HOST = /^([^/]+)\/$|^((?:localhost|\[[^\]/]+\]|[^/:]*\.[^/:]*)(?::\d+)?)$/;

/** Parses a target; throws `reference` for what is none. Nothing is opened. */
export function parseTarget(text: string): Target {
  const [, kind, path] = /^(oci|storage):(.*)$/s.exec(text) ?? [];
  if (kind && path === '') throw wrong(text, 'the directory is missing');
  if (kind && path?.includes(':'))
    throw wrong(text, 'a directory with a colon, or one image of it');
  if (kind) return { kind: kind === 'oci' ? 'layout' : 'storage', path: path as string };
  const rest = text.replace(/^docker:\/\//, '');
  if (/^[a-z-]+:\/\//.test(rest) || /^(oci|docker)-archive:|^rootfs:|^dir:/.test(rest))
    throw wrong(text, 'nothing that holds several images');
  if (hideCredentials(text) !== text)
    throw wrong(text, 'credentials, where a login or --authfile serves');
  if (rest.includes('@')) throw wrong(text, 'a single image');
  const [, slashed, host = slashed] = HOST.exec(rest) ?? [];
  if (host !== undefined) return { kind: 'registry', host };
  return parseNamed(text, rest);
}

function parseNamed(text: string, rest: string): Target {
  const colon = rest.indexOf(':', rest.lastIndexOf('/') + 1);
  const pattern = colon < 0 ? undefined : rest.slice(colon + 1);
  if (pattern !== undefined && !PATTERN.test(pattern))
    throw wrong(text, `'${pattern}', which is no pattern of tags`);
  const { host, repository } = parseName(text, colon < 0 ? rest : rest.slice(0, colon));
  return { kind: 'repository', host, repository, ...(pattern !== undefined && { pattern }) };
}

/** The repository `name` of the target `text`. What references may be otherwise is no help here. */
function parseName(text: string, name: string): ReturnType<typeof parseRepository> {
  try {
    return parseRepository(name);
  } catch (error) {
    if (!(error instanceof RechunkError && error.code === 'reference')) throw error;
    const rule = "lower case letters, digits, '.', '_' and '-' between slashes";
    throw wrong(text, `'${name}', which is no name of a repository (${rule})`);
  }
}

/** `text` as it may be shown. A target may end with a host, which references do not. */
function hideCredentials(text: string): string {
  if (/@sha(256|512):[0-9a-f]*$/.test(text)) return withoutCredentials(text);
  return withoutCredentials(`${text}/`).slice(0, -1);
}

function wrong(text: string, found: string): RechunkError {
  return new RechunkError(
    'reference',
    `reading the target '${hideCredentials(text)}': got ${found}; ${WANTED}`,
  );
}

/** Whether names match `pattern`: `*` is any text, `?` one char, all else itself. */
export function matcher(pattern: string): (name: string) => boolean {
  const parts = pattern.replace(/[.+^${}()|[\]\\]/g, '\\$&').replace(/\*+/g, '.*');
  const expression = new RegExp(`^${parts.replaceAll('?', '.')}$`, 's');
  return (name) => expression.test(name);
}

/**
 * Indexes of those of `names` that one of `patterns` matches, ascending. A pattern with `:` or `/` is of `NAME:TAG`, where the name's beginning may
 * be left out at a slash, and `docker://` may stand before it; any other is of the tag alone. Throws `not-found` for a pattern that matches nothing.
 */
export function choose(
  names: readonly { readonly name: string; readonly tag: string }[],
  patterns: readonly string[],
): number[] {
  const chosen = new Set<number>();
  for (const pattern of patterns) {
    const found = indexesLike(names, pattern.replace(/^docker:\/\//, ''));
    if (found.length === 0)
      throw new RechunkError('not-found', `no tag is like '${pattern}', of ${names.length}`);
    for (const at of found) chosen.add(at);
  }
  return [...chosen].sort((a, b) => a - b);
}

function indexesLike(
  names: readonly { readonly name: string; readonly tag: string }[],
  pattern: string,
): number[] {
  const isFull = /[:/]/.test(pattern);
  const [whole, ending] = [matcher(pattern), matcher(`*/${pattern}`)];
  return names.flatMap(({ name, tag }, at) => {
    const text = isFull ? `${name}:${tag}` : tag;
    return whole(text) || (isFull && ending(text)) ? [at] : [];
  });
}
