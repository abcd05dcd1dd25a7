/**
 * Who we are to a registry: the files that `docker login`, `podman login` and `skopeo login` write, and credential
 * helpers.
 *
 * Places in order, the first with a match wins: the file that the user names (then no other), `REGISTRY_AUTH_FILE` (then
 * no other), `DOCKER_AUTH_CONFIG` (the JSON itself), `DOCKER_CONFIG`, containers' `auth.json` chain, `~/.docker`.
 * Within a file: the helper for the host, the helper for all hosts, then `auths`, where the longest namespace wins
 * (containers-auth.json(5), docker's config.json).
 */
import { spawn } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import * as v from 'valibot';
import { RechunkError, systemCode } from './errors.ts';
import type { Environment } from './program.ts';

/** What proves who we are; one of a password, an identity token and a ready bearer token. */
export interface Credentials {
  readonly username?: string;
  readonly password?: string;
  /** A refresh token, exchanged for access tokens. */
  readonly identityToken?: string;
  /** An access token, used as it is. */
  readonly registryToken?: string;
  /** Where they were found, for messages. */
  readonly origin?: string;
}

/** Where to look for credentials. */
export interface CredentialOptions {
  readonly env: Environment;
  /** The only file to read. */
  readonly authFile?: string | undefined;
  /** Told of trouble that does not end the search. */
  readonly onNotice?: ((message: string) => void) | undefined;
}

/** Docker Hub's names; its credentials stand under the first. */
const HUB_KEY = 'https://index.docker.io/v1/';
const HUB_HOSTS: ReadonlySet<string> = new Set([
  'docker.io',
  'index.docker.io',
  'registry-1.docker.io',
]);
/** Longest run of a credential helper, ms: some ask a cloud. */
const HELPER_TIMEOUT_MS = 60_000;
/** Longest answer of a credential helper, bytes. */
const HELPER_LIMIT = 1 << 20;

const text: v.GenericSchema<unknown, string | null | undefined> = v.nullish(v.string());
const entrySchema = v.looseObject({
  auth: text,
  username: text,
  password: text,
  identitytoken: text,
  registrytoken: text,
});
const fileSchema = v.looseObject({
  auths: v.nullish(v.record(v.string(), v.nullable(entrySchema))),
  credHelpers: v.nullish(v.record(v.string(), v.string())),
  credsStore: text,
});
const helperSchema = v.looseObject({ Username: text, Secret: text });

type AuthEntry = v.InferOutput<typeof entrySchema>;
type AuthFile = v.InferOutput<typeof fileSchema>;

/** Whether `host` is one of Docker Hub's names. */
export function isHub(host: string): boolean {
  return HUB_HOSTS.has(host);
}

/** A key of `auths` as `host[/namespace]`: no scheme, no `/v1/`, one name for Docker Hub. */
function normalizeKey(key: string): string {
  const [host = '', ...rest] = key
    .replace(/^https?:\/\//, '')
    .replace(/\/+$/, '')
    .split('/');
  if (/^v[12]$/.test(rest[0] ?? '') && rest.length === 1) rest.pop();
  return [isHub(host) ? 'docker.io' : host, ...rest].join('/');
}

/** The keys that serve `host/repository`, longest first. */
function keysFor(host: string, repository: string): string[] {
  const parts = [isHub(host) ? 'docker.io' : host, ...repository.split('/').filter(Boolean)];
  return parts.map((_, i) => parts.slice(0, parts.length - i).join('/'));
}

function decodeEntry(entry: AuthEntry, origin: string): Credentials | undefined {
  if (entry.identitytoken) {
    const username = entry.username || undefined;
    return { identityToken: entry.identitytoken, ...(username && { username }), origin };
  }
  if (entry.registrytoken) return { registryToken: entry.registrytoken, origin };
  if (entry.username) return { username: entry.username, password: entry.password ?? '', origin };
  if (!entry.auth) return undefined;
  // Some writers pad with NUL bytes.
  const pair = Buffer.from(entry.auth, 'base64').toString('utf8').replace(/\0+$/, '');
  const colon = pair.indexOf(':');
  if (colon < 0)
    throw new RechunkError(
      'auth',
      `${origin}: an 'auth' without a colon, want base64 of user:password`,
    );
  return { username: pair.slice(0, colon), password: pair.slice(colon + 1), origin };
}

/** Runs `docker-credential-NAME get`; undefined where it has nothing for `server`. */
async function askHelper(
  name: string,
  server: string,
  env: Environment,
): Promise<Credentials | undefined> {
  const origin = `credential helper '${name}'`;
  if (!/^[A-Za-z0-9._-]+$/.test(name))
    throw new RechunkError(
      'auth',
      `credential helper with the name '${name}', want letters, digits, '.', '_', '-'`,
    );
  const { status, stdout, stderr } = await run(`docker-credential-${name}`, server, env);
  if (status !== 0) {
    const said = `${stdout}${stderr}`.trim();
    if (/credentials not found|no credentials/i.test(said)) return undefined;
    throw new RechunkError(
      'auth',
      `${origin} for ${server} failed: ${said.slice(0, 200) || `exit ${status}`}`,
    );
  }
  const { Username: username, Secret: secret } = parseJson(helperSchema, stdout, origin);
  if (!secret) return undefined;
  if (username === '<token>') return { identityToken: secret, origin };
  return { username: username ?? '', password: secret, origin };
}

function run(
  command: string,
  input: string,
  env: Environment,
): Promise<{ status: number | null; stdout: string; stderr: string }> {
  return new Promise((resolve, reject) => {
    // Not spawn's own `timeout`: where the command is missing, its timer would keep the process waiting.
    const signal = AbortSignal.timeout(HELPER_TIMEOUT_MS);
    const child = spawn(command, ['get'], { env: { ...env }, signal });
    const output = { stdout: '', stderr: '' };
    for (const name of ['stdout', 'stderr'] as const) {
      child[name].setEncoding('utf8').on('data', (data: string) => {
        output[name] += data;
        if (output[name].length > HELPER_LIMIT) child.kill();
      });
    }
    child.on('error', (error) =>
      reject(
        signal.aborted
          ? new RechunkError('auth', `${command}: no answer in ${HELPER_TIMEOUT_MS / 1000} s`)
          : error,
      ),
    );
    child.on('close', (status) => resolve({ status, ...output }));
    // A helper may end without reading.
    child.stdin.on('error', () => {});
    child.stdin.end(input);
  });
}

function parseJson<T>(schema: v.GenericSchema<unknown, T>, json: string, origin: string): T {
  let value: unknown;
  try {
    value = JSON.parse(json);
  } catch {
    // The parser's message would show what it parsed.
    throw new RechunkError('auth', `${origin}: not JSON`);
  }
  const result = v.safeParse(schema, value);
  if (result.success) return result.output;
  const [issue] = result.issues;
  throw new RechunkError(
    'auth',
    `${origin}: ${v.getDotPath(issue) ?? 'the document'}: want ${issue.expected}`,
  );
}

async function readAuthFile(path: string): Promise<AuthFile | undefined> {
  let json: string;
  try {
    json = await readFile(path, 'utf8');
  } catch (error) {
    if (systemCode(error) === 'ENOENT' || systemCode(error) === 'ENOTDIR') return undefined;
    throw new RechunkError(
      'auth',
      `reading credentials from '${path}': ${(error as Error).message}`,
      { cause: error },
    );
  }
  if (json.trim() === '') return undefined;
  // docker's oldest form is the map of hosts itself.
  if (path.endsWith('.dockercfg')) json = `{"auths":${json}}`;
  return parseJson(fileSchema, json, `'${path}'`);
}

/** The helper that a file names for `host`, and whether it serves this host alone. */
function helperOf(file: AuthFile, host: string): { name: string; all: boolean } | undefined {
  const entries = Object.entries(file.credHelpers ?? {});
  const own = entries.find(([key]) => normalizeKey(key) === keysFor(host, '')[0])?.[1];
  if (own) return { name: own, all: false };
  return file.credsStore ? { name: file.credsStore, all: true } : undefined;
}

async function searchFile(
  file: AuthFile,
  origin: string,
  host: string,
  repository: string,
  options: CredentialOptions,
): Promise<Credentials | undefined> {
  const helper = helperOf(file, host);
  if (helper) {
    try {
      const found = await askHelper(helper.name, isHub(host) ? HUB_KEY : host, options.env);
      if (found) return found;
    } catch (error) {
      const missing = systemCode(error) === 'ENOENT';
      if (missing && !helper.all)
        throw new RechunkError(
          'auth',
          `${origin} names 'docker-credential-${helper.name}' for ${host}, which is not in PATH`,
        );
      if (!missing) throw error;
      // A config.json taken along from a desktop names its keychain; public images need none.
      options.onNotice?.(
        `${origin} names 'docker-credential-${helper.name}', which is not in PATH: going on without it`,
      );
    }
  }
  const entries = new Map(
    Object.entries(file.auths ?? {}).map(([key, entry]) => [normalizeKey(key), entry]),
  );
  for (const key of keysFor(host, repository)) {
    const entry = entries.get(key);
    const found = entry && decodeEntry(entry, origin);
    if (found) return found;
  }
  return undefined;
}

/** The files to search, in order; `optional` ones may be missing. */
function authFiles(options: CredentialOptions): { path: string; optional: boolean }[] {
  const { env, authFile } = options;
  if (authFile !== undefined) return [{ path: authFile, optional: false }];
  if (env['REGISTRY_AUTH_FILE']) return [{ path: env['REGISTRY_AUTH_FILE'], optional: true }];
  const home = env['HOME'] ?? env['USERPROFILE'];
  const configHome = env['XDG_CONFIG_HOME'] || (home && join(home, '.config'));
  const runtime = env['XDG_RUNTIME_DIR'] || `/run/containers/${process.getuid?.() ?? 0}`;
  const runtimeFile = env['XDG_RUNTIME_DIR']
    ? join(runtime, 'containers/auth.json')
    : join(runtime, 'auth.json');
  const paths = [
    env['DOCKER_CONFIG'] && join(env['DOCKER_CONFIG'], 'config.json'),
    process.platform === 'linux' ? runtimeFile : undefined,
    configHome && join(configHome, 'containers/auth.json'),
    home && !env['DOCKER_CONFIG'] && join(home, '.docker/config.json'),
    home && join(home, '.dockercfg'),
  ];
  return paths
    .filter((path): path is string => typeof path === 'string' && path !== '')
    .map((path) => ({ path, optional: true }));
}

/**
 * Looks up the credentials for `host/repository`; undefined for none (the registry may serve anyone). Throws `auth` for
 * a file that is damaged, for one that the user named and that is missing, and for a helper that fails.
 */
export async function findCredentials(
  host: string,
  repository: string,
  options: CredentialOptions,
): Promise<Credentials | undefined> {
  const inline =
    options.authFile === undefined &&
    !options.env['REGISTRY_AUTH_FILE'] &&
    options.env['DOCKER_AUTH_CONFIG'];
  if (inline) {
    const file = parseJson(fileSchema, inline, 'DOCKER_AUTH_CONFIG');
    const found = await searchFile(file, 'DOCKER_AUTH_CONFIG', host, repository, options);
    if (found) return found;
  }
  for (const { path, optional } of authFiles(options)) {
    const file = await readAuthFile(path);
    if (!file && !optional)
      throw new RechunkError(
        'auth',
        `reading credentials from '${path}': there is no such file, or it is empty`,
      );
    const found = file && (await searchFile(file, `'${path}'`, host, repository, options));
    if (found) return found;
  }
  return undefined;
}
