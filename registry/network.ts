/**
 * How hosts are reached: TLS with the user's certificate authorities, proxies by environment, connections kept open,
 * and which hosts a server may send us on to.
 */
import { existsSync, readFileSync } from 'node:fs';
import { BlockList, isIP } from 'node:net';
import { createSecureContext, getCACertificates, type SecureContext } from 'node:tls';
import { Agent, type Dispatcher, ProxyAgent } from 'undici';
import { describe, RechunkError } from './errors.ts';
import type { Environment } from './program.ts';

/** How hosts are reached. */
export interface NetworkOptions {
  /** HTTP_PROXY, HTTPS_PROXY and NO_PROXY (or in lower case) are read from it. */
  readonly env: Environment;
  /** Neither https nor a valid certificate is asked for. */
  readonly insecure?: boolean | undefined;
  /** A PEM file with certificate authorities that are trusted besides the system's and Node's own. */
  readonly caFile?: string | undefined;
}

/** Longest wait for a connection, ms. */
const CONNECT_TIMEOUT_MS = 30_000;
/** Connections kept for one host: the transfers and a few small requests beside them. */
const CONNECTIONS = 8;

const BLOCKS: readonly (readonly [HostClass, string, number])[] = [
  ['loopback', '127.0.0.0', 8],
  ['loopback', '::1', 128],
  ['private', '10.0.0.0', 8],
  ['private', '172.16.0.0', 12],
  ['private', '192.168.0.0', 16],
  ['private', '100.64.0.0', 10],
  ['private', 'fc00::', 7],
  ['local', '169.254.0.0', 16],
  ['local', 'fe80::', 10],
  ['local', '0.0.0.0', 8],
  ['local', '::', 128],
];

type HostClass = 'loopback' | 'private' | 'local' | 'public';

const blockLists: Map<HostClass, BlockList> = new Map();
for (const [name, net, prefix] of BLOCKS) {
  const list = blockLists.get(name) ?? new BlockList();
  list.addSubnet(net, prefix, isIP(net) === 6 ? 'ipv6' : 'ipv4');
  blockLists.set(name, list);
}

/** `host` without a port and without the brackets of an IPv6 address. */
function bareHost(host: string): string {
  return host
    .replace(/:\d+$/, '')
    .replace(/^\[(.*)\]$/, '$1')
    .replace(/\.$/, '')
    .toLowerCase();
}

function classOf(hostname: string): HostClass {
  const name = bareHost(hostname);
  if (name === 'localhost' || name.endsWith('.localhost')) return 'loopback';
  const family = isIP(name);
  if (family === 0) return 'public';
  for (const [kind, list] of blockLists)
    if (list.check(name, family === 6 ? 'ipv6' : 'ipv4')) return kind;
  return 'public';
}

/** Whether `host` (with or without a port) names this machine: plain http is then no danger. */
export function isLoopback(host: string): boolean {
  return classOf(host) === 'loopback';
}

/**
 * Throws `network` where `from` may not send us on to `to`: to another scheme than http(s), from https to http unless
 * `insecure`, or to an address inside the network (loopback, private, link-local) that `from` is not itself part of, as
 * a hostile registry would do to reach what it cannot. Addresses are judged as written; names are not resolved.
 */
export function checkTarget(from: URL, to: URL, insecure: boolean): void {
  const refuse = (why: string): never => {
    throw new RechunkError(
      'network',
      `${from.host} sends us on to ${to.protocol}//${to.host}: ${why}`,
    );
  };
  if (to.protocol !== 'https:' && to.protocol !== 'http:') refuse('want https');
  if (from.protocol === 'https:' && to.protocol === 'http:' && !insecure)
    refuse('want https, or permission for insecure connections');
  if (from.hostname === to.hostname) return;
  const kind = classOf(to.hostname);
  if (kind === 'public' || (kind !== 'local' && kind === classOf(from.hostname))) return;
  refuse(`a ${kind === 'local' ? 'link-local or unspecified' : kind} address of another host`);
}

function inRange(net: string, bits: number, hostname: string): boolean {
  const family = isIP(net) === 6 ? 'ipv6' : 'ipv4';
  if (isIP(hostname) === 0 || bits > (family === 'ipv6' ? 128 : 32)) return false;
  const list = new BlockList();
  list.addSubnet(net, bits, family);
  return list.check(hostname, isIP(hostname) === 6 ? 'ipv6' : 'ipv4');
}

/** Whether NO_PROXY's `entry` covers the host: `*`, a range, or a name or address, maybe with a port, and what is below. */
function covers(entry: string, hostname: string, port: string): boolean {
  if (entry === '*') return true;
  const [, net = '', bits] = /^(.+)\/(\d+)$/.exec(entry) ?? [];
  if (isIP(net)) return inRange(net, Number(bits), hostname);
  if (isIP(entry) === 6) return hostname === entry;
  const entryPort = /:(\d+)$/.exec(entry)?.[1];
  if (entryPort && entryPort !== port) return false;
  const name = bareHost(entry).replace(/^\*?\./, '');
  return hostname === name || hostname.endsWith(`.${name}`);
}

/**
 * The proxy for `url` by the environment, as curl and Go read it: HTTPS_PROXY or HTTP_PROXY by the scheme (lower case
 * first), none for hosts in NO_PROXY and for this machine.
 */
export function proxyOf(url: URL, env: Environment): string | undefined {
  const read = (name: string): string => env[name.toLowerCase()] || env[name] || '';
  const proxy = read(url.protocol === 'https:' ? 'HTTPS_PROXY' : 'HTTP_PROXY').trim();
  if (!proxy || isLoopback(url.hostname)) return undefined;
  const port = url.port || (url.protocol === 'https:' ? '443' : '80');
  const exceptions = read('NO_PROXY')
    .toLowerCase()
    .split(/[,\s]+/)
    .filter(Boolean);
  if (exceptions.some((entry) => covers(entry, bareHost(url.hostname), port))) return undefined;
  return proxy.includes('://') ? proxy : `http://${proxy}`;
}

/** The connections of one client: direct ones and those through each proxy, opened when first needed. */
export class Network {
  readonly #options: NetworkOptions;
  readonly #dispatchers: Map<string, Dispatcher> = new Map();
  #tls: object | undefined;

  constructor(options: NetworkOptions) {
    this.#options = options;
  }

  /** Whether plain http and unverified certificates are allowed everywhere. */
  get insecure(): boolean {
    return this.#options.insecure === true;
  }

  /** What sends requests to `url`; throws `network` for a proxy that is no URL, `not-found` for a missing `caFile`. */
  dispatcher(url: URL): Dispatcher {
    const proxy = proxyOf(url, this.#options.env);
    const key = `${url.protocol} ${proxy ?? ''}`;
    const known = this.#dispatchers.get(key);
    if (known) return known;
    const tls = url.protocol === 'https:' || proxy?.startsWith('https:') ? this.#tlsOptions() : {};
    const connect = { timeout: CONNECT_TIMEOUT_MS, allowH2: false, ...tls };
    const made = proxy
      ? openProxy(proxy, connect)
      : new Agent({ connect, connections: CONNECTIONS, allowH2: false });
    this.#dispatchers.set(key, made);
    return made;
  }

  /** Ends every connection; requests under way fail. */
  async close(): Promise<void> {
    const open = [...this.#dispatchers.values()];
    this.#dispatchers.clear();
    await Promise.all(open.map((dispatcher) => dispatcher.destroy()));
  }

  #tlsOptions(): object {
    this.#tls ??= this.insecure
      ? { rejectUnauthorized: false }
      : { secureContext: trustContext(this.#options) };
    return this.#tls;
  }
}

/** Made once: to parse some hundreds of certificates takes longer than a small request. */
let ownContext: SecureContext | undefined;

/** TLS that trusts Node's own authorities, the system's (where companies put theirs), and those in `caFile`. */
function trustContext({ caFile, env }: NetworkOptions): SecureContext {
  if (caFile === undefined && ownContext) return ownContext;
  const system = hasSystemAuthorities(env) ? getCACertificates('system') : [];
  const ca = new Set([...getCACertificates('default'), ...system]);
  if (caFile !== undefined) ca.add(readAuthorities(caFile));
  const context = createSecureContext({ ca: [...ca] });
  if (caFile === undefined) ownContext = context;
  return context;
}

/** Where Node looks for the system's authorities on Linux. */
const SYSTEM_AUTHORITIES = ['/etc/ssl/cert.pem', '/etc/ssl/certs'] as const;

/** Whether the system may have any: where it has none, as slim images do, Node prints a complaint of its own when it is asked. */
function hasSystemAuthorities(env: Environment): boolean {
  if (process.platform !== 'linux' || env['SSL_CERT_FILE'] || env['SSL_CERT_DIR']) return true;
  return SYSTEM_AUTHORITIES.some((path) => existsSync(path));
}

function readAuthorities(caFile: string): string {
  try {
    const pem = readFileSync(caFile, 'utf8');
    if (pem.includes('-----BEGIN CERTIFICATE-----')) return pem;
    throw new RechunkError('usage', 'no PEM certificate in it');
  } catch (error) {
    throw describe(`reading certificate authorities from '${caFile}'`, error);
  }
}

function openProxy(proxy: string, connect: object): Dispatcher {
  const uri = URL.parse(proxy);
  if (!uri) throw new RechunkError('network', 'the proxy in the environment is no URL');
  return new ProxyAgent({
    uri: uri.href,
    requestTls: connect,
    proxyTls: connect,
    connections: CONNECTIONS,
    connectTimeout: CONNECT_TIMEOUT_MS,
    allowH2: false,
  });
}
