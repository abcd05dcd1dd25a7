/**
 * One HTTP exchange over undici: bytes as the server sent them (nothing is decoded), redirects followed by hand, every
 * failure a RechunkError that names the method and the URL without its secrets.
 *
 * `Authorization` goes to the host that it is meant for and to no other.
 */
import type { IncomingHttpHeaders } from 'node:http';
import { STATUS_CODES } from 'node:http';
import type { Readable } from 'node:stream';
import { request as send } from 'undici';
import { describe, RechunkError, systemCode } from './errors.ts';
import { checkTarget, type Network } from './network.ts';
import { interrupted, isTransientStatus, parseRetryAfter } from './retry.ts';

/** A request's body, which can be opened again for a redirect or another try. */
export interface RequestBody {
  /** Exact size in bytes, sent as Content-Length. */
  readonly size: number;
  open(): Uint8Array | AsyncIterable<Uint8Array>;
}

/** One request. */
export interface HttpRequest {
  readonly method: 'GET' | 'HEAD' | 'POST' | 'PUT' | 'PATCH' | 'DELETE';
  readonly url: URL;
  readonly headers?: Readonly<Record<string, string>> | undefined;
  readonly body?: RequestBody | undefined;
  /** Sent as long as the request stays with the URL's host. */
  readonly authorization?: string | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** How long silence is borne, ms. */
export interface Timeouts {
  /** From the request (or the last byte of its body that went out) to the response's headers. */
  readonly headersMs: number;
  /** Between two parts of a response's body. */
  readonly bodyMs: number;
}

/** Silence borne by default; a registry that stores a large blob elsewhere is slow to answer. */
export const DEFAULT_TIMEOUTS: Timeouts = { headersMs: 180_000, bodyMs: 30_000 };

/** Redirects followed for one request. */
const REDIRECT_LIMIT = 8;
/** Bytes read of a body that explains an error, or that is thrown away to keep the connection. */
const ERROR_BODY_LIMIT = 64 << 10;
/** Chars shown of an error's explanation. */
const EXPLANATION_LIMIT = 300;

const REDIRECTS: ReadonlySet<number> = new Set([301, 302, 303, 307, 308]);

/** Errors of sockets and of undici that may go away by themselves. */
const TRANSIENT_CODES =
  /^(ECONNRESET|ECONNABORTED|EPIPE|ETIMEDOUT|EAI_AGAIN|ENETUNREACH|EHOSTUNREACH|UND_ERR_(SOCKET|CONNECT_TIMEOUT|HEADERS_TIMEOUT|BODY_TIMEOUT|RES_CONTENT_LENGTH_MISMATCH|PRX_CONN)|HPE_.*)$/;

/** Query parameters whose values are no secrets. */
const SHOWN_PARAMETERS: ReadonlySet<string> = new Set(
  'account artifactType digest from last mount n scope service'.split(' '),
);

/** `url` for people: no credentials, no values of query parameters that may be secret. */
export function showUrl(url: URL): string {
  const query = [...url.searchParams].map(([name, value]) =>
    SHOWN_PARAMETERS.has(name) ? `${name}=${value}` : `${name}=…`,
  );
  return `${url.origin}${url.pathname}${query.length > 0 ? `?${query.join('&')}` : ''}`;
}

/** A response whose body is read once: by `chunks`, `bytes` or `discard`, else the connection stays taken. */
export class HttpResponse {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  /** Where the response came from, after redirects. */
  readonly url: URL;
  readonly method: string;
  readonly #body: Readable;

  constructor(request: HttpRequest, status: number, headers: IncomingHttpHeaders, body: Readable) {
    this.status = status;
    this.headers = headers;
    this.url = request.url;
    this.method = request.method;
    this.#body = body;
    // An error while nobody reads (the other side left) must not end the process.
    body.on('error', () => {});
  }

  /** One header's value; several are joined as RFC 9110 section 5.3 does. */
  header(name: string): string | undefined {
    const value = this.headers[name];
    return Array.isArray(value) ? value.join(', ') : value;
  }

  /** The body as it arrives; throws `network` when it breaks off. Leaving early ends the connection. */
  async *chunks(): AsyncGenerator<Uint8Array> {
    try {
      for await (const chunk of this.#body) yield chunk as Buffer;
    } catch (error) {
      throw networkError(error, this.method, this.url);
    }
  }

  /** The whole body; throws `limit` beyond `limit` bytes. */
  async bytes(limit: number): Promise<Buffer> {
    const parts: Uint8Array[] = [];
    let size = 0;
    for await (const chunk of this.chunks()) {
      size += chunk.length;
      if (size > limit) {
        const what = `${this.method} ${showUrl(this.url)}`;
        throw new RechunkError('limit', `${what}: got more than ${limit} bytes`);
      }
      parts.push(chunk);
    }
    return Buffer.concat(parts, size);
  }

  /** Throws the rest of the body away, or the connection where much is left. */
  async discard(): Promise<void> {
    try {
      await this.bytes(ERROR_BODY_LIMIT);
    } catch {
      // It was to be thrown away.
    }
  }
}

/** Errors of a certificate that no authority that we know has signed, or for another host or time. */
const UNTRUSTED =
  /^(DEPTH_ZERO_SELF_SIGNED_CERT|SELF_SIGNED_CERT_IN_CHAIN|UNABLE_TO_(VERIFY_LEAF_SIGNATURE|GET_ISSUER_CERT(_LOCALLY)?)|CERT_HAS_EXPIRED|ERR_TLS_CERT_ALTNAME_INVALID)$/;
const TRUST = 'name its authority with --cert-file, or trust anything with --insecure';

/** The error that a failed exchange becomes; `interrupted` where the user asked for it. */
function networkError(error: unknown, method: string, url: URL): unknown {
  if (error instanceof RechunkError) return error;
  if ((error as Error | undefined)?.name === 'AbortError') return interrupted(error);
  const code = systemCode(error) ?? systemCode((error as Error | undefined)?.cause);
  if (code === undefined) return error;
  const text = (error as Error).message || code;
  const plain = text.replace(/; if the root CA is installed locally.*$/s, '');
  const told = plain.includes(code) || code.startsWith('UND_') ? plain : `${plain} (${code})`;
  const found = UNTRUSTED.test(code) ? `${told}; ${TRUST}` : told;
  return new RechunkError('network', `${method} ${showUrl(url)}: ${found}`, {
    details: { method, url: showUrl(url), error: code, transient: TRANSIENT_CODES.test(code) },
    cause: error,
  });
}

/** A body whose own failure (a file that cannot be read) is told apart from the network's. */
function guarded(body: RequestBody): { content: unknown; failure: () => unknown } {
  const content = body.open();
  let failure: unknown;
  if (content instanceof Uint8Array) return { content, failure: () => undefined };
  async function* watch(source: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
    try {
      yield* source;
    } catch (error) {
      failure = error;
      throw error;
    }
  }
  return { content: watch(content), failure: () => failure };
}

/** Sends requests over one {@link Network}. */
export class Http {
  readonly #network: Network;
  readonly #timeouts: Timeouts;
  readonly #userAgent: string;
  /** Hosts that answered before: when one refuses a connection later, it is restarting. */
  readonly #reached: Set<string> = new Set();

  constructor(network: Network, userAgent: string, timeouts: Timeouts = DEFAULT_TIMEOUTS) {
    this.#network = network;
    this.#userAgent = userAgent;
    this.#timeouts = timeouts;
  }

  /** Whether plain http and unverified certificates are allowed everywhere. */
  get insecure(): boolean {
    return this.#network.insecure;
  }

  /**
   * Sends `request` and follows redirects: the method and the body stay the same but for 303, `Authorization` is left
   * out for another host, and {@link checkTarget} has a say. Any status that is no redirect is returned.
   */
  async send(request: HttpRequest): Promise<HttpResponse> {
    let current = request;
    for (let redirects = 0; ; redirects++) {
      const response = await this.#exchange(current);
      const location = response.header('location');
      if (!REDIRECTS.has(response.status) || location === undefined) return response;
      await response.discard();
      if (redirects === REDIRECT_LIMIT) {
        const what = `${request.method} ${showUrl(request.url)}`;
        throw new RechunkError('registry', `${what}: more than ${REDIRECT_LIMIT} redirects`);
      }
      current = this.#redirected(current, response, location);
    }
  }

  /** The URL that `response` names by `location`, which may be relative; checked. */
  resolve(response: HttpResponse, location: string): URL {
    const url = URL.parse(location, response.url.href);
    if (!url) {
      const what = `${response.method} ${showUrl(response.url)}`;
      throw new RechunkError('registry', `${what}: the Location that it answers is no URL`);
    }
    checkTarget(response.url, url, this.insecure);
    return url;
  }

  #redirected(request: HttpRequest, response: HttpResponse, location: string): HttpRequest {
    const url = this.resolve(response, location);
    const { authorization, body, ...rest } = request;
    const keep =
      url.host === request.url.host &&
      !(request.url.protocol === 'https:' && url.protocol === 'http:');
    const next = { ...rest, url, ...(keep && authorization !== undefined && { authorization }) };
    if (response.status === 303 && request.method !== 'HEAD') return { ...next, method: 'GET' };
    return body ? { ...next, body } : next;
  }

  async #exchange(request: HttpRequest): Promise<HttpResponse> {
    const { method, url, authorization, signal } = request;
    if (signal?.aborted) throw interrupted(signal.reason);
    const body = request.body && guarded(request.body);
    try {
      const response = await send(url, {
        dispatcher: this.#network.dispatcher(url),
        method,
        headers: {
          'user-agent': this.#userAgent,
          'accept-encoding': 'identity',
          ...request.headers,
          ...(request.body && { 'content-length': String(request.body.size) }),
          ...(authorization !== undefined && { authorization }),
        },
        body: (body?.content ?? null) as Uint8Array | null,
        // undici would close the connection after each, for servers that send a body all the same; Go's clients keep it, too.
        ...(method === 'HEAD' && { reset: false }),
        signal: signal ?? null,
        headersTimeout: this.#timeouts.headersMs,
        bodyTimeout: this.#timeouts.bodyMs,
      });
      this.#reached.add(url.host);
      return new HttpResponse(request, response.statusCode, response.headers, response.body);
    } catch (error) {
      const own = body?.failure();
      if (own !== undefined) throw describe('reading what is to be sent', own);
      throw this.#explain(networkError(error, method, url), url);
    }
  }

  #explain(error: unknown, url: URL): unknown {
    if (!(error instanceof RechunkError) || error.details['error'] !== 'ECONNREFUSED') return error;
    if (!this.#reached.has(url.host)) return error;
    const details = { ...error.details, transient: true };
    return new RechunkError('network', error.message, { details, cause: error.cause });
  }
}

/** A registry's own words in an error's body: `errors[].code` and message, an HTML title, or the text (bounded). */
function explain(body: Buffer, contentType: string): { text: string; code: string } {
  const text = body.toString('utf8');
  try {
    const json = JSON.parse(text) as {
      errors?: { code?: unknown; message?: unknown; detail?: unknown }[];
    };
    const errors = (json.errors ?? []).filter((error) => typeof error === 'object' && error);
    const lines = errors.map(({ code, message, detail }) =>
      [code, message, typeof detail === 'string' ? detail : undefined].filter(Boolean).join(': '),
    );
    if (lines.length > 0) return { text: lines.join('; '), code: String(errors[0]?.code ?? '') };
  } catch {
    // Not JSON: shown as text.
  }
  const title = /html/.test(contentType) ? /<title>([^<]*)/i.exec(text)?.[1] : undefined;
  return { text: title ?? text, code: '' };
}

function statusCode(status: number): 'auth' | 'not-found' | 'registry' {
  if (status === 401 || status === 403) return 'auth';
  return status === 404 ? 'not-found' : 'registry';
}

/** The error for a `response` whose status is not one of `wanted`; reads its body. `note` is added to the message. */
export async function unexpected(
  response: HttpResponse,
  wanted: readonly number[],
  note = '',
): Promise<RechunkError> {
  const { status, method, url } = response;
  let body: Buffer = Buffer.alloc(0);
  try {
    body = await response.bytes(ERROR_BODY_LIMIT);
  } catch {
    // The status says enough.
  }
  const said = explain(body, response.header('content-type') ?? '');
  const words = said.text
    .replace(/[\x00-\x1f\x7f\s]+/g, ' ')
    .trim()
    .slice(0, EXPLANATION_LIMIT);
  const got = `${status} ${STATUS_CODES[status] ?? ''}`.trim();
  const retryAfterMs = parseRetryAfter(response.header('retry-after'), Date.now());
  return new RechunkError(
    statusCode(status),
    `${method} ${showUrl(url)}: got ${got}${words && ` (${words})`}, want ${wanted.filter((one) => one < 400).join(' or ')}${note}`,
    {
      details: {
        method,
        url: showUrl(url),
        status,
        ...(said.code && { registryCode: said.code }),
        ...(isTransientStatus(status) && { transient: true }),
        ...(retryAfterMs !== undefined && { retryAfterMs }),
      },
    },
  );
}
