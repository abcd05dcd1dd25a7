/** Where a command keeps what it learnt, for the next. */
import { readFileSync, statSync } from 'node:fs';
import { isAbsolute, join, resolve } from 'node:path';
import type { Command } from 'commander';
import { digestOf } from '../../registry/oci.ts';
import type { CacheOptions } from '../cache/cache.ts';
import { SOURCES, VERSION } from '../version.ts';
import { type Host, option, type Values } from './options.ts';
import { parseSize } from './values.ts';

/** Of the sources' digest, in the name of a directory. */
const DIGEST_CHARS = 16;

/** Options of commands that use the cache. */
export function addCacheOptions(command: Command): Command {
  return command
    .addOption(
      option(
        '--cache <dir>',
        'where what was learnt of layers is kept (default: $XDG_CACHE_HOME/rechunk, else ~/.cache/rechunk)',
      ),
    )
    .addOption(option('--no-cache', 'learn everything anew, and keep nothing'))
    .addOption(option('--cache-size <size>', 'what the cache may take on disk (default: 2GiB)'));
}

/** The cache that `values` and the environment name, for the program of `sources`; undefined where there is none. */
export function cacheOptions(
  values: Values,
  { env }: Host,
  sources: string | undefined = SOURCES,
): CacheOptions | undefined {
  const size = values['cacheSize'] as string | undefined;
  const limit = size === undefined ? undefined : parseSize(size, '--cache-size');
  const named = values['cache'] as string | false | undefined;
  const directory = named === undefined ? defaultDirectory(env) : named && resolve(named);
  if (!directory) return undefined;
  const version = sources ? `${VERSION}-${sources.slice(0, DIGEST_CHARS)}` : VERSION;
  return { directory, isDefault: named === undefined, limit, version };
}

/** By the XDG base directory specification 0.8, which takes no notice of relative paths. A user without a home, as containers have, has `/`: none. */
function defaultDirectory(env: Host['env']): string | undefined {
  const { XDG_CACHE_HOME: cache = '', HOME: home = '' } = env;
  if (isAbsolute(cache)) return join(cache, 'rechunk');
  return isAbsolute(home) && home !== '/' ? join(home, '.cache', 'rechunk') : undefined;
}

/** Options that decide nothing of the result: how it is reached, and how it is told. */
const WITHOUT_EFFECT: ReadonlySet<string> = new Set([
  ...['authfile', 'certFile', 'insecure', 'retries', 'threads', 'memoryLimit', 'tempDir'],
  ...['cache', 'cacheSize', 'digestFile', 'summaryFile', 'outputsFile', 'json', 'quiet', 'tag'],
]);

/**
 * All that decides the result of a build besides the images: every option that is not known to have no effect. Undefined where a map is
 * no file that can be read twice, and where nothing says of which `sources` the program is, which decide too.
 */
export function describeRequest(
  values: Values,
  { env }: Host,
  sources: string | undefined = SOURCES,
): string | undefined {
  if (sources === undefined) return undefined;
  const options = Object.entries(values).filter(([name]) => !WITHOUT_EFFECT.has(name));
  const maps = (values['map'] as readonly string[] | undefined) ?? [];
  if (!maps.every((file) => statSync(file).isFile())) return undefined;
  const contents = maps.map((file) => digestOf(readFileSync(file)));
  return JSON.stringify([sources, options.sort(), contents, env['SOURCE_DATE_EPOCH'] ?? '']);
}
