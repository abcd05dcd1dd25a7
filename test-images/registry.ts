/**
 * A real registry (Debian's `docker-registry`, CNCF distribution 2.8) on a random port, for tests and benches.
 *
 * Storage is a directory of its own under the system's temporary directory unless one is given; the process and that
 * directory are gone after `stop`, and when the test's process ends without it.
 */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import type { Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';

/** How the registry is set up; by default: plain http, no accounts, deletion allowed. */
export interface RegistryOptions {
  /** Directory for the registry's data, kept by `stop`; a temporary one that `stop` removes by default. */
  readonly storage?: string;
  /** Accounts for Basic authentication, passwords by user; anyone may do anything by default. */
  readonly users?: Readonly<Record<string, string>>;
  /** A token server whose JWTs the registry accepts; `rootCertificates` is a PEM file with its certificate. */
  readonly token?: {
    readonly realm: string;
    readonly service: string;
    readonly issuer: string;
    readonly rootCertificates: string;
  };
  /** Serves https with these PEM files. */
  readonly tls?: { readonly certificate: string; readonly key: string };
}

/** One line of the registry's access log. */
export interface AccessRecord {
  readonly method: string;
  /** With the query. */
  readonly path: string;
  readonly status: number;
  /** Bytes of the response's body. */
  readonly bytes: number;
  readonly userAgent: string;
}

/** A running registry. */
export interface Registry {
  /** `127.0.0.1:PORT`. */
  readonly host: string;
  /** The directory with the registry's data. */
  readonly storage: string;
  /** The requests answered so far, in the order of their ends. */
  accessLog(): readonly AccessRecord[];
  /** Lets this process end without `stop`; what runs is ended and removed then. */
  unref(): void;
  /** Ends the process and removes temporary files; idempotent. */
  stop(): Promise<void>;
}

/** Longest wait for the registry to listen, ms. */
const START_TIMEOUT_MS = 20_000;

/** bcrypt, the only form that the registry takes, by the C library's crypt (perl-base is always there on Debian). */
function hashPassword(password: string): string {
  const script = 'print crypt($ARGV[0], q($2b$04$rechunkrechunkrechunkO))';
  return execFileSync('perl', ['-e', script, password], { encoding: 'utf8' });
}

function authConfig(options: RegistryOptions, directory: string): object | undefined {
  if (options.token) {
    const { realm, service, issuer, rootCertificates } = options.token;
    return { token: { realm, service, issuer, rootcertbundle: rootCertificates } };
  }
  if (!options.users) return undefined;
  const path = join(directory, 'htpasswd');
  const lines = Object.entries(options.users).map(
    ([user, password]) => `${user}:${hashPassword(password)}\n`,
  );
  writeFileSync(path, lines.join(''));
  return { htpasswd: { realm: 'test', path } };
}

/** The configuration file's text; JSON is YAML. */
function configText(options: RegistryOptions, directory: string, storage: string): string {
  const auth = authConfig(options, directory);
  const tls = options.tls && { certificate: options.tls.certificate, key: options.tls.key };
  return JSON.stringify({
    version: 0.1,
    log: { level: 'info', formatter: 'text', accesslog: { disabled: false } },
    storage: { filesystem: { rootdirectory: storage }, delete: { enabled: true } },
    http: { addr: '127.0.0.1:0', secret: 'test', ...(tls && { tls }) },
    ...(auth && { auth }),
    validation: { manifests: { urls: { allow: ['^https?://'] } } },
  });
}

const ACCESS_LINE = /"([A-Z]+) (\S+) HTTP\/[\d.]+" (\d{3}) (\d+|-) "[^"]*" "([^"]*)"/;

function parseAccess(line: string): AccessRecord | undefined {
  const found = ACCESS_LINE.exec(line);
  if (!found) return undefined;
  const [, method = '', path = '', status, bytes, userAgent = ''] = found;
  return { method, path, status: Number(status), bytes: Number(bytes) || 0, userAgent };
}

/** The address that the registry prints once it listens. */
function listening(child: ChildProcess): Promise<string> {
  return new Promise((resolve, reject) => {
    let printed = '';
    const fail = (why: string): void => reject(new Error(`docker-registry ${why}: ${printed}`));
    const timer = setTimeout(
      fail,
      START_TIMEOUT_MS,
      `does not listen after ${START_TIMEOUT_MS} ms`,
    );
    const read = (data: Buffer): void => {
      printed += data;
      const host = /listening on (127\.0\.0\.1:\d+)/.exec(printed)?.[1];
      if (!host) return;
      clearTimeout(timer);
      child.stderr?.off('data', read).resume();
      resolve(host);
    };
    child.stderr?.on('data', read);
    child.once('error', reject);
    child.once('close', (code) => {
      clearTimeout(timer);
      fail(`ended (${code})`);
    });
  });
}

function ended(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return Promise.resolve();
  return new Promise((resolve) => child.once('exit', () => resolve()));
}

/**
 * Starts a registry and waits until it listens; throws when `docker-registry` is missing or refuses its options. The
 * caller stops it; a test process that ends without doing so takes it along.
 */
export async function startRegistry(options: RegistryOptions = {}): Promise<Registry> {
  const directory = mkdtempSync(join(tmpdir(), 'test-registry-'));
  const storage = options.storage ?? join(directory, 'storage');
  const configPath = join(directory, 'config.yml');
  writeFileSync(configPath, configText(options, directory, storage));
  // Proxies and telemetry of the caller's environment are none of its business.
  const env = { PATH: process.env['PATH'] ?? '', OTEL_TRACES_EXPORTER: 'none' };
  const child = spawn('docker-registry', ['serve', configPath], {
    env,
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const cleanUp = (): void => {
    child.kill('SIGKILL');
    rmSync(directory, { recursive: true, force: true });
  };
  process.once('exit', cleanUp);
  const records: AccessRecord[] = [];
  createInterface({ input: child.stdout }).on('line', (line) => {
    const record = parseAccess(line);
    if (record) records.push(record);
  });
  const stop = async (): Promise<void> => {
    process.off('exit', cleanUp);
    child.kill('SIGKILL');
    await ended(child);
    rmSync(directory, { recursive: true, force: true });
  };
  try {
    const host = await listening(child);
    const unref = (): void => {
      child.unref();
      for (const pipe of [child.stdout, child.stderr]) (pipe as Socket).unref();
    };
    return { host, storage, accessLog: () => records, unref, stop };
  } catch (error) {
    await stop();
    throw error;
  }
}
