/**
 * A blob's bytes from a registry as one seamless stream: a transfer that breaks off or stalls is resumed where it
 * stopped, by Range where the server can, else by skipping what was delivered already.
 *
 * The reader checks digest and size; here only the count of bytes is kept.
 */
import { pipeline } from 'node:stream';
import { createGunzip } from 'node:zlib';
import { pullScope, type RegistryClient } from './client.ts';
import { RechunkError } from './errors.ts';
import { type HttpResponse, showUrl, unexpected } from './http.ts';
import type { Blob, ByteRange } from './image.ts';
import { checkTarget } from './network.ts';
import type { Descriptor } from './oci.ts';
import { interrupted, isTransient, pauseAfter } from './retry.ts';

/** A blob on a registry. */
export interface RemoteBlob extends Blob {
  /** Where it is, so that a destination on the same host can mount it. */
  readonly origin: { readonly host: string; readonly repository: string };
}

/** Whether `blob` lies on a registry. */
export function isRemoteBlob(blob: Blob): blob is RemoteBlob {
  return 'origin' in blob;
}

/** The statuses of servers that do not do ranges; the whole blob is asked for instead. */
const NO_RANGE: readonly number[] = [400, 416, 501];

/** The blob `descriptor` of `repository`; nothing is fetched before it is read. */
export function remoteBlob(
  client: RegistryClient,
  repository: string,
  descriptor: Descriptor,
): RemoteBlob {
  const stream = (signal?: AbortSignal): AsyncIterable<Uint8Array> =>
    new Download(client, repository, descriptor, signal).read();
  const part = (range: ByteRange): Promise<Buffer | undefined> =>
    readPart(client, repository, descriptor, range);
  return { origin: { host: client.host, repository }, stream, part };
}

/** A stretch of a blob by one request; undefined where the server does not do ranges. */
async function readPart(
  client: RegistryClient,
  repository: string,
  { digest }: Descriptor,
  { offset, size }: ByteRange,
): Promise<Buffer | undefined> {
  const release = await client.transfer();
  try {
    const response = await client.request({
      method: 'GET',
      to: `/v2/${repository}/blobs/${digest}`,
      scopes: [pullScope(repository)],
      want: [200, 206, 404, ...NO_RANGE],
      headers: { range: `bytes=${offset}-${offset + size - 1}` },
    });
    if (response.status === 206 && rangeStart(response) === offset) {
      const bytes = await response.bytes(size);
      return bytes.length === size ? bytes : undefined;
    }
    await response.discard();
    return undefined;
  } finally {
    release();
  }
}

/** First byte of a 206 by its `Content-Range`; undefined where it has none that can be read. */
function rangeStart(response: HttpResponse): number | undefined {
  const found = /^bytes (\d+)-\d+\/(?:\d+|\*)$/.exec(response.header('content-range') ?? '');
  return found ? Number(found[1]) : undefined;
}

/** One reading of a blob: how far it got, and how the server gives it. */
class Download {
  readonly #client: RegistryClient;
  readonly #repository: string;
  readonly #descriptor: Descriptor;
  readonly #signal: AbortSignal | undefined;
  #offset = 0;
  #ranges = true;
  /** The `urls` of a foreign layer, still to be tried. */
  readonly #foreign: string[];
  #from: URL | undefined;

  constructor(
    client: RegistryClient,
    repository: string,
    descriptor: Descriptor,
    signal: AbortSignal | undefined,
  ) {
    this.#client = client;
    this.#repository = repository;
    this.#descriptor = descriptor;
    this.#signal = signal ?? client.policy.signal;
    this.#foreign = [...(descriptor.urls ?? [])];
  }

  async *read(): AsyncGenerator<Uint8Array> {
    const release = await this.#client.transfer();
    try {
      yield* this.#tries();
    } finally {
      release();
    }
  }

  async *#tries(): AsyncGenerator<Uint8Array> {
    const policy = { ...this.#client.policy, signal: this.#signal };
    for (let failures = 0; ; ) {
      const before = this.#offset;
      try {
        yield* this.#once();
        return;
      } catch (error) {
        // It broke after the last byte (a Content-Length that is too large): nothing is missing.
        if (this.#offset === this.#descriptor.size && this.#offset > before) return;
        // What made progress starts counting anew: a large blob over a bad line breaks often.
        failures = this.#offset > before ? 1 : failures + 1;
        await pauseAfter(error, failures, policy);
      }
    }
  }

  /** Streams from the offset to the end; throws a transient error when the end does not come. */
  async *#once(): AsyncGenerator<Uint8Array> {
    const { size } = this.#descriptor;
    const response = await this.#open();
    let skip = this.#offset - this.#startOf(response);
    for await (const chunk of this.#decoded(response)) {
      const fresh = skip > 0 ? chunk.subarray(Math.min(skip, chunk.length)) : chunk;
      skip -= chunk.length - fresh.length;
      this.#offset += fresh.length;
      if (fresh.length > 0) yield fresh;
      // What is too long is the reader's to refuse; here it only must not go on for ever.
      if (this.#offset > size) return;
    }
    if (this.#offset >= size) return;
    throw new RechunkError(
      'network',
      `GET ${showUrl(response.url)}: ended early: got ${this.#offset} bytes, want ${size}`,
      { details: { transient: true } },
    );
  }

  #startOf(response: HttpResponse): number {
    if (response.status === 200) return 0;
    const start = rangeStart(response);
    if (start !== undefined && start <= this.#offset) return start;
    this.#ranges = false;
    const got = response.header('content-range') ?? 'none';
    response.discard();
    throw new RechunkError(
      'registry',
      `GET ${showUrl(response.url)}: got Content-Range '${got}', want one from ${this.#offset}`,
      { details: { transient: true } },
    );
  }

  /**
   * The blob's own bytes. `Content-Encoding: gzip` is taken at its word only where the sizes show that a proxy has
   * compressed the blob: some stores name with it how the blob itself is compressed.
   */
  #decoded(response: HttpResponse): AsyncIterable<Uint8Array> {
    if (!/^(x-)?gzip$/i.test(response.header('content-encoding') ?? '')) return response.chunks();
    const { size, mediaType } = this.#descriptor;
    const length = response.header('content-length');
    const start = response.status === 206 ? (rangeStart(response) ?? 0) : 0;
    const raw = length === undefined ? /gzip$/.test(mediaType) : Number(length) === size - start;
    if (raw) return response.chunks();
    this.#ranges = false;
    return gunzip(response);
  }

  async #open(): Promise<HttpResponse> {
    if (this.#from) return this.#openForeign(this.#from);
    try {
      return await this.#openOwn();
    } catch (error) {
      if (this.#foreign.length === 0 || this.#offset > 0 || isTransient(error)) throw error;
      return this.#findForeign(error);
    }
  }

  async #openOwn(): Promise<HttpResponse> {
    const range = this.#rangeHeader();
    const response = await this.#client.request({
      method: 'GET',
      to: `/v2/${this.#repository}/blobs/${this.#descriptor.digest}`,
      scopes: [pullScope(this.#repository)],
      want: range ? [200, 206, ...NO_RANGE] : [200],
      headers: range ?? {},
      tries: 'once',
      signal: this.#signal,
    });
    if (!NO_RANGE.includes(response.status)) return response;
    await response.discard();
    this.#ranges = false;
    return this.#openOwn();
  }

  #rangeHeader(): Record<string, string> | undefined {
    return this.#ranges && this.#offset > 0 ? { range: `bytes=${this.#offset}-` } : undefined;
  }

  /** The first of the descriptor's `urls` that answers; without credentials, and only on public hosts. */
  async #findForeign(error: unknown): Promise<HttpResponse> {
    for (const text of this.#foreign) {
      const url = URL.parse(text);
      if (!url) continue;
      try {
        // A stranger's URL: judged as if a public https host sent us there.
        checkTarget(new URL('https://registry.invalid'), url, this.#client.http.insecure);
        const response = await this.#openForeign(url);
        this.#from = url;
        this.#client.notice(
          `${this.#descriptor.digest} is read from ${showUrl(url)}, which its descriptor names`,
        );
        return response;
      } catch (cause) {
        if (this.#signal?.aborted) throw interrupted(cause);
      }
    }
    throw error;
  }

  async #openForeign(url: URL): Promise<HttpResponse> {
    const request = {
      method: 'GET',
      url,
      headers: this.#rangeHeader(),
      signal: this.#signal,
    } as const;
    const response = await this.#client.http.send(request);
    if (response.status === 200 || response.status === 206) return response;
    throw await unexpected(response, [200]);
  }
}

async function* gunzip(response: HttpResponse): AsyncGenerator<Uint8Array> {
  const decoder = createGunzip();
  let failure: unknown;
  pipeline(response.chunks(), decoder, (error) => {
    failure = error;
  });
  try {
    for await (const chunk of decoder) yield chunk as Buffer;
  } catch (error) {
    if (failure instanceof RechunkError) throw failure;
    throw new RechunkError('network', `GET ${showUrl(response.url)}: broken gzip encoding`, {
      details: { transient: true },
      cause: error,
    });
  }
}
