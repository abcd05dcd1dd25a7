/**
 * Sends a blob to a registry (distribution-spec v1.1.1, "Pushing blobs"): whole in one PUT, or in chunks where the
 * registry or a proxy before it does not take it whole or the line does not hold.
 *
 * Sessions that fail are cancelled and started over; a PUT whose answer was lost is looked up before it is repeated.
 */
import { pullScope, pushScope, type RegistryClient } from './client.ts';
import { RechunkError } from './errors.ts';
import { type HttpResponse, type RequestBody, showUrl } from './http.ts';
import type { Digest } from './oci.ts';
import { isTransient, pauseAfter } from './retry.ts';

/** A blob's bytes, readable from any offset and any number of times. */
export interface UploadContent {
  readonly digest: Digest;
  readonly size: number;
  /** Streams the bytes from `offset` up to `end`. */
  open(offset: number, end: number): AsyncIterable<Uint8Array>;
  /** Called once, after the last part was read or given up. */
  close?(): Promise<void>;
}

/** How and where to send. */
export interface UploadOptions {
  readonly client: RegistryClient;
  readonly repository: string;
  /** `chunked` sends in chunks from the start; `whole` only where it must. Default `whole`. */
  readonly mode?: 'whole' | 'chunked' | undefined;
  /** Told of the bytes that went out since the last call; negative where they have to go again. */
  readonly onProgress?: ((bytes: number) => void) | undefined;
}

/** Bytes in one chunk: the most that GHCR takes. */
const CHUNK_SIZE = 4 << 20;
/** Chunks are not made smaller than this, bytes, where they are refused as too large. */
const SMALLEST_CHUNK = 128 << 10;
/** Broken whole transfers in a row after which chunks are sent, which lose less. */
const BREAKS_BEFORE_CHUNKS = 2;

/** Statuses of those who want less at a time: too large, and what GHCR and some gateways say for it. */
const TOO_LARGE: ReadonlySet<unknown> = new Set([413, 416]);

/** Longest time to take back a session, ms. */
const CANCEL_TIMEOUT_MS = 3000;

const NOTHING: RequestBody = { size: 0, open: () => new Uint8Array(0) };
const OCTETS: Readonly<Record<string, string>> = { 'content-type': 'application/octet-stream' };

/** Whether `repository` has the blob, by a HEAD; `scope` is what the token is for, default to push. */
export async function hasBlob(
  client: RegistryClient,
  repository: string,
  digest: Digest,
  { tries, scope = pushScope(repository) }: { tries?: 'once'; scope?: string } = {},
): Promise<boolean> {
  const response = await client.request({
    ...(tries && { tries }),
    method: 'HEAD',
    to: `/v2/${repository}/blobs/${digest}`,
    scopes: [scope],
    want: [200, 404],
  });
  await response.discard();
  return response.status === 200;
}

/**
 * Makes the blob of `source`, another repository of the host, appear in `repository` without sending it; false where
 * the registry would not.
 */
export async function mountBlob(
  client: RegistryClient,
  repository: string,
  source: string,
  digest: Digest,
): Promise<boolean> {
  const query = `mount=${encodeURIComponent(digest)}&from=${encodeURIComponent(source)}`;
  const response = await client.request({
    method: 'POST',
    to: `/v2/${repository}/blobs/uploads/?${query}`,
    scopes: [pushScope(repository), pullScope(source)],
    want: [201, 202],
    body: NOTHING,
  });
  await response.discard();
  if (response.status === 201) return true;
  // The registry began an upload in place of it.
  const location = response.header('location');
  if (location) await cancel(client, repository, client.http.resolve(response, location));
  return false;
}

/** Throws `auth` or `registry` where `repository` cannot be written to, by beginning an upload and taking it back. */
export async function checkPush(client: RegistryClient, repository: string): Promise<void> {
  const response = await startUpload(client, repository);
  const location = response.header('location');
  if (location) await cancel(client, repository, client.http.resolve(response, location));
}

async function startUpload(client: RegistryClient, repository: string): Promise<HttpResponse> {
  const response = await client.request({
    method: 'POST',
    to: `/v2/${repository}/blobs/uploads/`,
    scopes: [pushScope(repository)],
    want: [202],
    body: NOTHING,
  });
  await response.discard();
  return response;
}

/** `location` with the digest as a further parameter; the rest stays byte for byte, since it may be signed. */
function withDigest(location: URL, digest: Digest): URL {
  const { href } = location;
  return new URL(`${href}${href.includes('?') ? '&' : '?'}digest=${encodeURIComponent(digest)}`);
}

async function cancel(client: RegistryClient, repository: string, location: URL): Promise<void> {
  try {
    // Also when the user interrupts, which must not take long.
    const signal = AbortSignal.timeout(CANCEL_TIMEOUT_MS);
    const request = { method: 'DELETE', to: location, want: [204], tries: 'once', signal } as const;
    // A token of its own: some registries (quay) grant nothing at all to those who ask for `delete`.
    const scopes = [pushScope(repository), `repository:${repository}:delete`];
    const response = await client.request({ ...request, scopes });
    await response.discard();
  } catch {
    // Registries clear away sessions by themselves; many cannot be told to.
  }
}

/** The offset to go on from by a `Range: 0-END` answer; undefined where there is none. `0-0` means nothing yet. */
export function parseReceived(header: string | undefined): number | undefined {
  const end = /^(?:bytes=)?0-(\d+)$/.exec(header?.trim() ?? '')?.[1];
  if (end === undefined) return undefined;
  return end === '0' ? 0 : Number(end) + 1;
}

/**
 * Stores the blob in `repository`. Throws `digest-mismatch` when the registry took in something else, and what the
 * registry or the network say after all tries. Safe to repeat.
 */
export async function uploadBlob(content: UploadContent, options: UploadOptions): Promise<void> {
  const release = await options.client.transfer();
  try {
    await new Upload(content, options).run();
  } finally {
    release();
    await content.close?.();
  }
}

/** One blob on its way: the session and what is known of how to send. */
class Upload {
  readonly #content: UploadContent;
  readonly #options: UploadOptions;
  #chunked: boolean;
  #chunkSize: number = CHUNK_SIZE;
  #smallestChunk: number = SMALLEST_CHUNK;
  #breaks = 0;
  /** Where the session goes on; changes with every answer. */
  #location: URL | undefined;
  /** Bytes that the registry has for sure. */
  #received = 0;
  /** The most that the registry ever had. */
  #furthest = 0;
  /** Bytes that were reported as sent. */
  #reported = 0;

  constructor(content: UploadContent, options: UploadOptions) {
    this.#content = content;
    this.#options = options;
    this.#chunked = options.mode === 'chunked';
  }

  async run(): Promise<void> {
    const { client, repository } = this.#options;
    for (let failures = 0; ; ) {
      const before = this.#furthest;
      try {
        return await this.#once();
      } catch (error) {
        // What got further than ever starts counting anew: a large blob over a bad line breaks often.
        failures = this.#furthest > before ? 1 : failures + 1;
        const smaller = this.#makeSmaller(error);
        const ambiguous = isTransient(error) && this.#location !== undefined;
        if (ambiguous && (await this.#arrived())) return this.#report(this.#content.size);
        await this.#giveUpSession(error);
        if (!smaller) await pauseAfter(error, failures, client.policy);
        if (smaller)
          client.notice(
            `${repository}: ${this.#content.digest} is sent in chunks of at most ${this.#chunkSize} bytes`,
          );
      }
    }
  }

  async #once(): Promise<void> {
    this.#location ??= await this.#start();
    if (this.#chunked) await this.#sendChunks();
    const { size, digest } = this.#content;
    const rest = this.#chunked ? undefined : this.#body(0, size);
    const response = await this.#send('PUT', withDigest(this.#location, digest), [201, 204], rest);
    await response.discard();
    const stored = response.header('docker-content-digest');
    if (stored !== undefined && stored !== digest)
      throw new RechunkError(
        'digest-mismatch',
        `PUT ${showUrl(response.url)}: the registry stored ${stored}, want ${digest}`,
      );
    this.#report(size);
  }

  async #start(): Promise<URL> {
    const { client, repository } = this.#options;
    const response = await startUpload(client, repository);
    this.#received = 0;
    const least = Number(response.header('oci-chunk-min-length') ?? 0);
    if (least > 0 && least <= this.#content.size) this.#smallestChunk = least;
    this.#chunkSize = Math.max(this.#chunkSize, this.#smallestChunk);
    return this.#next(response);
  }

  #next(response: HttpResponse): URL {
    const location = response.header('location');
    if (location) return this.#options.client.http.resolve(response, location);
    if (this.#location) return this.#location;
    throw new RechunkError(
      'registry',
      `${response.method} ${showUrl(response.url)}: no Location in the answer`,
    );
  }

  async #sendChunks(): Promise<void> {
    const { size } = this.#content;
    while (this.#received < size) {
      const end = Math.min(this.#received + this.#chunkSize, size);
      const range = { 'content-range': `${this.#received}-${end - 1}` };
      const to = this.#location as URL;
      const response = await this.#send(
        'PATCH',
        to,
        [202, 201, 204],
        this.#body(this.#received, end),
        range,
      );
      await response.discard();
      this.#location = this.#next(response);
      const received = parseReceived(response.header('range')) ?? end;
      if (received <= this.#received || received > size) throw this.#lost(response, received);
      this.#received = received;
      this.#furthest = Math.max(this.#furthest, received);
    }
  }

  #lost(response: HttpResponse, received: number): RechunkError {
    const what = `PATCH ${showUrl(response.url)}: the registry has ${received} bytes`;
    return new RechunkError(
      'registry',
      `${what} after a chunk from ${this.#received}, want more and at most ${this.#content.size}`,
    );
  }

  #send(
    method: 'PUT' | 'PATCH',
    to: URL,
    want: readonly number[],
    body: RequestBody | undefined,
    headers: Readonly<Record<string, string>> = {},
  ): Promise<HttpResponse> {
    const { client, repository } = this.#options;
    return client.request({
      method,
      to,
      want,
      scopes: [pushScope(repository)],
      headers: { ...OCTETS, ...headers },
      body: body ?? NOTHING,
      tries: 'once',
    });
  }

  #body(start: number, end: number): RequestBody {
    const open = (): AsyncIterable<Uint8Array> => this.#measured(start, end);
    return { size: end - start, open };
  }

  async *#measured(start: number, end: number): AsyncGenerator<Uint8Array> {
    let at = start;
    this.#report(at);
    for await (const chunk of this.#content.open(start, end)) {
      yield chunk;
      at += chunk.length;
      this.#report(at);
    }
  }

  #report(sent: number): void {
    if (sent !== this.#reported) this.#options.onProgress?.(sent - this.#reported);
    this.#reported = sent;
  }

  /** After a failure: whether to go on at once with less at a time. */
  #makeSmaller(error: unknown): boolean {
    if (error instanceof RechunkError && TOO_LARGE.has(error.details['status'])) {
      if (this.#chunked && this.#chunkSize / 2 < this.#smallestChunk) return false;
      if (this.#chunked) this.#chunkSize = Math.ceil(this.#chunkSize / 2);
      else this.#chunked = this.#content.size > this.#smallestChunk;
      return this.#chunked;
    }
    const broken = isTransient(error) && error.details['status'] === undefined;
    if (broken && ++this.#breaks >= BREAKS_BEFORE_CHUNKS && this.#content.size > CHUNK_SIZE)
      this.#chunked = true;
    return false;
  }

  /** Whether the blob is there although the answer to the last PUT was lost. */
  async #arrived(): Promise<boolean> {
    const { client, repository } = this.#options;
    try {
      return await hasBlob(client, repository, this.#content.digest, { tries: 'once' });
    } catch {
      return false;
    }
  }

  /** Ends the session, unless chunks broke off in it and the registry tells how far they came. */
  async #giveUpSession(error: unknown): Promise<void> {
    const { client, repository } = this.#options;
    const location = this.#location;
    if (!location) return;
    if (this.#chunked && isTransient(error) && (await this.#ask(location))) return;
    this.#location = undefined;
    await cancel(client, repository, location);
  }

  /** Asks the registry how much it has; false where it cannot tell. */
  async #ask(location: URL): Promise<boolean> {
    const { client, repository } = this.#options;
    try {
      const scopes = [pushScope(repository)];
      const request = { method: 'GET', to: location, scopes, want: [204], tries: 'once' } as const;
      const response = await client.request(request);
      await response.discard();
      const received = parseReceived(response.header('range'));
      if (received === undefined || received > this.#content.size) return false;
      this.#location = this.#next(response);
      this.#received = received;
      return true;
    } catch {
      return false;
    }
  }
}
