/** Requests of a survey to one repository: few at a time for the whole host, none while the host asks to wait. */
import { setTimeout as sleep } from 'node:timers/promises';
import { readBlob } from '../blob.ts';
import { type ClientOptions, Places, pullScope, RegistryClient } from '../client.ts';
import { remoteBlob } from '../download.ts';
import { RechunkError } from '../errors.ts';
import type { Document } from '../image.ts';
import { getManifest, headManifest } from '../manifest.ts';
import { CONFIG_LIMIT, type Descriptor, type Digest } from '../oci.ts';
import { readNames } from '../page.ts';
import { listByApi } from '../referrers.ts';

/** One host's share of attention: `take` waits for a place, and for the end of a pause. */
export class Host {
  readonly name: string;
  readonly options: ClientOptions;
  /** Whether it lists referrers; false once it has answered that it does not. */
  hasReferrers = true;
  readonly #places: Places;
  #pause: Promise<unknown> = Promise.resolve();

  constructor(name: string, options: ClientOptions, requests: number) {
    this.name = name;
    this.#places = new Places(requests);
    const { onEvent, signal } = options;
    this.options = {
      ...options,
      // Found once, not by each repository.
      roots: new Map(),
      onEvent: (event) => {
        // One who is asked to wait, or whose connection broke, speaks for all.
        if (event.kind === 'retry' && event.waitMs !== undefined)
          this.#pause = sleep(event.waitMs, undefined, signal && { signal }).catch(() => undefined);
        onEvent?.(event);
      },
    };
  }

  /** Does `work` when there is a place for it. */
  async ask<T>(work: () => Promise<T>): Promise<T> {
    const giveBack = await this.#places.take();
    try {
      await this.#pause;
      return await work();
    } finally {
      giveBack();
    }
  }
}

/** Asks about one repository; `close` it when done. */
export class Asker {
  readonly host: Host;
  readonly repository: string;
  readonly #client: RegistryClient;

  constructor(host: Host, repository: string) {
    this.host = host;
    this.repository = repository;
    this.#client = new RegistryClient(host.name, repository, host.options);
  }

  /** Every tag, in the registry's order. */
  tags(): Promise<string[]> {
    const path = `/v2/${this.repository}/tags/list`;
    const { repository } = this;
    return this.host.ask(() => readNames(this.#client, path, 'tags', [pullScope(repository)]));
  }

  /** The manifest under a tag or digest. */
  manifest(reference: string): Promise<Document> {
    return this.host.ask(() => getManifest(this.#client, this.repository, reference));
  }

  /** What a tag that named `known` names by now, without its bytes; undefined where the tag is gone. */
  head(tag: string, known: Descriptor): Promise<Descriptor | undefined> {
    const { repository } = this;
    const scope = pullScope(repository);
    return this.host.ask(() => headManifest(this.#client, repository, tag, scope, known));
  }

  /** Whether there is a manifest with that digest; true also where the registry will not tell. */
  async has(digest: Digest): Promise<boolean> {
    const { repository } = this;
    try {
      const found = await this.host.ask(() => headManifest(this.#client, repository, digest));
      return found !== undefined;
    } catch (error) {
      if (!(error instanceof RechunkError) || error.code === 'interrupted') throw error;
      return true;
    }
  }

  /** The bytes of a config. */
  config(descriptor: Descriptor): Promise<Uint8Array> {
    const blob = remoteBlob(this.#client, this.repository, descriptor);
    const what = `${this.host.name}/${this.repository}@${descriptor.digest}`;
    return this.host.ask(() => readBlob(blob, descriptor, CONFIG_LIMIT, what));
  }

  /** What refers to `digest` by the API; nothing where the registry has none. */
  async referrers(digest: Digest): Promise<readonly Descriptor[]> {
    if (!this.host.hasReferrers) return [];
    try {
      const found = await this.host.ask(() => listByApi(this.#client, this.repository, digest));
      if (!found) this.host.hasReferrers = false;
      return found ?? [];
    } catch (error) {
      if (!(error instanceof RechunkError) || error.code === 'interrupted') throw error;
      this.#client.notice(`what refers to ${digest} could not be listed: ${error.message}`);
      return [];
    }
  }

  close(): Promise<void> {
    return this.#client.close();
  }
}
