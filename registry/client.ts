/**
 * Requests to one registry (distribution-spec v1.1.1): finds out whether it speaks https, proves who we are when asked,
 * tries again what may go away by itself, and turns every other answer than the wanted ones into an error.
 */
import { Authorizer } from './auth.ts';
import { parseChallenges } from './challenge.ts';
import { type Credentials, findCredentials, isHub } from './credentials.ts';
import { RechunkError } from './errors.ts';
import {
  DEFAULT_TIMEOUTS,
  Http,
  type HttpRequest,
  type HttpResponse,
  type Timeouts,
  unexpected,
} from './http.ts';
import { isLoopback, Network } from './network.ts';
import type { Environment } from './program.ts';
import {
  DEFAULT_DELAY_MS,
  DEFAULT_RETRIES,
  isTransientStatus,
  type RemoteEvent,
  type RetryPolicy,
  withRetries,
} from './retry.ts';

/** How a registry is reached; nothing is read from this process but what stands here. */
export interface ClientOptions {
  /**
   * Environment variables: DOCKER_CONFIG, DOCKER_AUTH_CONFIG, REGISTRY_AUTH_FILE, XDG_RUNTIME_DIR, XDG_CONFIG_HOME, HOME
   * (credentials), PATH (credential helpers), HTTP_PROXY, HTTPS_PROXY, NO_PROXY. Default: none, so that no credentials and no proxies
   * are found.
   */
  readonly env?: Environment;
  /** The only file to read credentials from. */
  readonly authFile?: string;
  /** Used in place of any that could be found. */
  readonly credentials?: Credentials;
  /**
   * Certificates are not verified, and a registry that does not speak https is spoken to in plain http, as with
   * `--tls-verify=false` of podman and skopeo. Loopback hosts may speak plain http in any case.
   */
  readonly insecure?: boolean;
  /** A PEM file with certificate authorities that are trusted besides the system's and Node's own. */
  readonly caFile?: string;
  /** Tries after the first; 4 by default. */
  readonly retries?: number;
  /** Wait before the second try, ms, doubled for each further one; 1000 by default. */
  readonly retryDelayMs?: number;
  /** Silence that is borne; 180 s before a response and 30 s within one by default. */
  readonly timeouts?: Partial<Timeouts>;
  readonly signal?: AbortSignal;
  /** `rechunk` by default. */
  readonly userAgent?: string;
  /** Told of retries and of things that were done another way. */
  readonly onEvent?: (event: RemoteEvent) => void;
  /** Where the API of a host was found, by the host, for several clients that are reached alike; by default each finds it itself. */
  readonly roots?: Map<string, Promise<URL>>;
}

/** One request to a registry. */
export interface RegistryRequest {
  readonly method: HttpRequest['method'];
  /** A path below the registry's root, with the query, or a URL that the registry gave. */
  readonly to: string | URL;
  readonly scopes: readonly string[];
  /** Statuses that are returned; all others throw. */
  readonly want: readonly number[];
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: HttpRequest['body'];
  /** `once` where a second try could do harm or needs more than this request. */
  readonly tries?: 'once';
  readonly signal?: AbortSignal | undefined;
}

/** Blob transfers at a time with one host: what ECR and GHCR bear without slowing down. */
const TRANSFERS = 4;

/** Errors of a host that does not speak TLS on that port, or nothing at all. */
const NOT_TLS = /^(EPROTO|ECONNREFUSED|ECONNRESET|UND_ERR_SOCKET|ERR_SSL_.*|HPE_.*)$/;

/** The scope of reading `repository`. */
export function pullScope(repository: string): string {
  return `repository:${repository}:pull`;
}

/** The scope of reading and writing `repository`. */
export function pushScope(repository: string): string {
  return `repository:${repository}:pull,push`;
}

/**
 * Whether better credentials could help: 401, or 403 for a token that lacks a scope. Only the registry itself is listened
 * to: a host that it redirected us to could name a token server of its own, which would get the credentials.
 */
function wantsMore(response: HttpResponse, base: URL): boolean {
  if (response.url.origin !== base.origin) return false;
  if (response.status === 401) return true;
  const asked = response.header('www-authenticate') ?? '';
  return response.status === 403 && /insufficient_scope/.test(asked);
}

/** Lets at most so many hold a place at a time; those who wait are served in order. */
export class Places {
  #free: number;
  readonly #waiting: (() => void)[] = [];

  constructor(count: number) {
    this.#free = count;
  }

  /** Waits for a place; gives how to give it back, which may be called again. */
  async take(): Promise<() => void> {
    if (this.#free > 0) this.#free--;
    else await new Promise<void>((resolve) => this.#waiting.push(resolve));
    let held = true;
    const give = (): void => {
      if (!held) return;
      held = false;
      const next = this.#waiting.shift();
      if (next) next();
      else this.#free++;
    };
    return give;
  }
}

/** A connection to one registry host; close it when done. */
export class RegistryClient {
  /** The host as people write it (`docker.io`, not where its API lives). */
  readonly host: string;
  readonly http: Http;
  readonly policy: RetryPolicy;
  readonly #network: Network;
  readonly #authorizer: Authorizer;
  readonly #transfers: Places = new Places(TRANSFERS);
  readonly #closing = new AbortController();
  readonly #roots: Map<string, Promise<URL>>;

  /** `repository` decides which credentials are used, where a file has several for the host. */
  constructor(host: string, repository: string, options: ClientOptions) {
    const { env = {}, credentials, authFile, onEvent } = options;
    const ended = this.#closing.signal;
    const signal = options.signal ? AbortSignal.any([options.signal, ended]) : ended;
    this.host = host;
    this.#roots = options.roots ?? new Map();
    this.#network = new Network({ env, insecure: options.insecure, caFile: options.caFile });
    const timeouts = { ...DEFAULT_TIMEOUTS, ...options.timeouts };
    this.http = new Http(this.#network, options.userAgent ?? 'rechunk', timeouts);
    this.policy = {
      retries: options.retries ?? DEFAULT_RETRIES,
      delayMs: options.retryDelayMs ?? DEFAULT_DELAY_MS,
      signal,
      onEvent,
    };
    const onNotice = (message: string): void => onEvent?.({ kind: 'notice', message });
    this.#authorizer = new Authorizer({
      host,
      credentials: async () =>
        credentials ?? findCredentials(host, repository, { env, authFile, onNotice }),
      http: this.http,
      signal,
    });
  }

  /**
   * Takes one of the host's places for a blob transfer; returns how to give it back. Those who wait are served in order.
   */
  transfer(): Promise<() => void> {
    return this.#transfers.take();
  }

  /** Tells people of something that was done another way. */
  notice(message: string): void {
    this.policy.onEvent?.({ kind: 'notice', message });
  }

  /**
   * Sends `request`, once more with better credentials if the registry asks for them, and again while it fails in a way
   * that may go away. Returns a response whose status is wanted; throws `auth`, `not-found`, `registry` or `network`.
   */
  async request(request: RegistryRequest): Promise<HttpResponse> {
    if (request.tries === 'once') return this.#attempt(request);
    const policy = { ...this.policy, signal: request.signal ?? this.policy.signal };
    return withRetries(policy, () => this.#attempt(request));
  }

  /** Ends all connections; requests under way fail, and none is tried again. */
  close(): Promise<void> {
    this.#closing.abort();
    return this.#network.close();
  }

  async #attempt(request: RegistryRequest): Promise<HttpResponse> {
    const base = await this.#root();
    const url = typeof request.to === 'string' ? new URL(request.to, base) : request.to;
    // A URL on another host (an upload that goes to a store) is signed by itself.
    if (url.host !== base.host || url.protocol !== base.protocol)
      return this.#check(request, await this.#send(request, url, undefined));
    const sent = await this.#authorizer.authorization(request.scopes);
    const first = await this.#send(request, url, sent);
    if (!wantsMore(first, base) || request.want.includes(first.status))
      return this.#check(request, first);
    const challenges = parseChallenges(first.headers['www-authenticate']);
    const better = await this.#authorizer.answer(challenges, request.scopes, sent, first);
    if (better === undefined) return this.#check(request, first);
    await first.discard();
    return this.#check(request, await this.#send(request, url, better));
  }

  #send(
    request: RegistryRequest,
    url: URL,
    authorization: string | undefined,
  ): Promise<HttpResponse> {
    const { method, headers, body } = request;
    const signal = request.signal ?? this.policy.signal;
    return this.http.send({ method, url, headers, body, authorization, signal });
  }

  async #check(request: RegistryRequest, response: HttpResponse): Promise<HttpResponse> {
    if (request.want.includes(response.status)) return response;
    throw await unexpected(response, request.want, await this.#note(response));
  }

  /** Which credentials were refused; nothing where another host answered, which was sent none. */
  async #note(response: HttpResponse): Promise<string> {
    const { host } = await this.#root();
    const refused = response.status === 401 || response.status === 403;
    return refused && response.url.host === host ? this.#authorizer.note() : '';
  }

  /** The root of the registry's API. */
  #root(): Promise<URL> {
    const known = this.#roots.get(this.host);
    if (known) return known;
    const found = this.#findRoot().catch((error) => {
      this.#roots.delete(this.host);
      throw error;
    });
    this.#roots.set(this.host, found);
    return found;
  }

  async #findRoot(): Promise<URL> {
    const host = isHub(this.host) ? 'registry-1.docker.io' : this.host;
    const secure = URL.parse(`https://${host}/`);
    if (secure?.pathname !== '/' || secure.username)
      throw new RechunkError(
        'reference',
        `got '${this.host}', want a registry's host name, maybe with a port`,
      );
    if (!this.http.insecure && !isLoopback(host)) return secure;
    try {
      await this.#ping(secure);
      return secure;
    } catch (error) {
      const code = error instanceof RechunkError ? String(error.details['error']) : '';
      if (!NOT_TLS.test(code)) throw error;
      const plain = new URL(`http://${host}/`);
      await withRetries(this.policy, () => this.#ping(plain));
      return plain;
    }
  }

  async #ping(root: URL): Promise<void> {
    const response = await this.http.send({
      method: 'GET',
      url: new URL('/v2/', root),
      signal: this.policy.signal,
    });
    if (isTransientStatus(response.status)) throw await unexpected(response, [200, 401]);
    await response.discard();
  }
}
