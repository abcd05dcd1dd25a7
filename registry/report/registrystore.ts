/**
 * A survey of repositories on one registry. A tag costs one request: of one that is known only its digest is asked for (HEAD, which
 * Docker Hub does not count), of others the manifest. Manifests and configs are read once by digest, and remembered.
 */
import { during, RechunkError } from '../errors.ts';
import { listRepositories } from '../lists.ts';
import { type Digest, digestOf } from '../oci.ts';
import { Asker, Host } from './asking.ts';
import type { DocumentFacts } from './facts.ts';
import { readPack, writePack } from './pack.ts';
import type { Skipped } from './report.ts';
import { Repository } from './repository.ts';
import {
  attachedTo,
  eachOf,
  type SurveyedRepository,
  type SurveyedStore,
  type SurveyOptions,
} from './survey.ts';
import { matcher } from './target.ts';

/** Which repositories of a host, and which tags of each; without `repository` all of them. */
export interface Wanted {
  readonly repository?: string;
  readonly pattern?: string | undefined;
}

/** Requests at a time with one host: they are small, and hosted registries bear ten. */
const REQUESTS = 8;
/** Repositories at a time, so that many small ones do not wait for each other. */
const REPOSITORIES = 4;
/** Surveys `wanted` on `host`; what cannot be read goes to `skipped`. Throws `auth`, `network`, `not-found`, `registry`. */
export async function surveyRegistry(
  host: string,
  wanted: readonly Wanted[],
  options: SurveyOptions,
  skipped: Skipped[],
): Promise<SurveyedStore> {
  const asked = new Host(host, options.remote, options.requests ?? REQUESTS);
  const patterns = await patternsOf(asked, wanted);
  const run = new Run(asked, options, skipped);
  await eachOf(patterns, REPOSITORIES, ([repository, of]) => run.repository(repository, of));
  const repositories = [...run.found].sort((a, b) => (a.name < b.name ? -1 : 1));
  const unknown = 'a registry’s interface lists no blobs; survey its directory with storage:DIR';
  return { name: host, repositories, documents: run.documents, unknown };
}

/** What is asked of each repository: its patterns, or all tags; whether it was named. */
interface Asked {
  readonly matches: (tag: string) => boolean;
  readonly isWhole: boolean;
  readonly isNamed: boolean;
}

async function patternsOf(host: Host, wanted: readonly Wanted[]): Promise<Map<string, Asked>> {
  const all = wanted.some(({ repository }) => repository === undefined);
  const listed = all ? await listAll(host) : [];
  const found = new Map<string, Asked>();
  for (const name of new Set([...listed, ...wanted.flatMap((one) => one.repository ?? [])])) {
    const own = wanted.filter(({ repository }) => repository === name);
    const isWhole = listed.includes(name) || own.some(({ pattern }) => pattern === undefined);
    const tests = own.map(({ pattern }) => matcher(pattern ?? '*'));
    const matches = (tag: string): boolean => isWhole || tests.some((test) => test(tag));
    found.set(name, { matches, isWhole, isNamed: own.length > 0 });
  }
  return found;
}

/** Statuses of registries that have no catalog, whoever asks. */
const WITHOUT_CATALOG: ReadonlySet<unknown> = new Set([404, 405, 501]);

async function listAll({ name, options }: Host): Promise<string[]> {
  try {
    return await listRepositories(name, options);
  } catch (error) {
    if (!(error instanceof RechunkError)) throw error;
    const advice = `name them: docker://${name}/REPO`;
    if (WITHOUT_CATALOG.has(error.details['status'])) {
      const what = `${name} does not list its repositories (/v2/_catalog); ${advice}`;
      throw new RechunkError('usage', `${error.message}; ${what}`, { cause: error });
    }
    if (error.code !== 'auth') throw error;
    const what = `to list repositories (/v2/_catalog) more rights are needed: log in, or ${advice}`;
    throw new RechunkError('auth', `${error.message}; ${what}`, { cause: error });
  }
}

/** One survey of one host. */
class Run {
  readonly found: SurveyedRepository[] = [];
  readonly documents: Map<Digest, DocumentFacts> = new Map();
  readonly #host: Host;
  readonly #options: SurveyOptions;
  readonly #skipped: Skipped[];
  #done = 0;
  #total = 0;

  constructor(host: Host, options: SurveyOptions, skipped: Skipped[]) {
    this.#host = host;
    this.#options = options;
    this.#skipped = skipped;
  }

  async repository(repository: string, asked: Asked): Promise<void> {
    const asker = new Asker(this.#host, repository);
    const name = `${this.#host.name}/${repository}`;
    try {
      const tags = await this.#tagsOf(asker, asked, name);
      if (tags) await this.#survey(asker, tags, asked);
    } finally {
      await asker.close();
    }
  }

  /** Undefined where there is nothing to survey. */
  async #tagsOf(asker: Asker, asked: Asked, name: string): Promise<string[] | undefined> {
    try {
      return await during(`listing the tags of ${name}`, () => asker.tags());
    } catch (error) {
      // Catalogs list repositories that are empty, or that others may read.
      const isOther = error instanceof RechunkError && /^(not-found|auth)$/.test(error.code);
      if (asked.isNamed || !isOther) throw error;
      if (error.code === 'auth') this.#skipped.push({ name, why: error.message });
      return undefined;
    }
  }

  async #survey(asker: Asker, all: readonly string[], asked: Asked): Promise<void> {
    const name = `${this.#host.name}/${asker.repository}`;
    const key = digestOf(name).slice('sha256:'.length);
    const { memory } = this.#options;
    const known = readPack(await memory?.read(key));
    const images = all.filter((tag) => !attachedTo(tag) && asked.matches(tag));
    if (asked.isNamed && images.length === 0 && all.length > 0 && !asked.isWhole)
      throw new RechunkError('not-found', `${name}: no tag matches, of ${all.length}`);
    this.#total += images.length;
    const remember = (
      tags: ReadonlyMap<string, Digest>,
      documents: Iterable<DocumentFacts>,
    ): void => memory?.write(key, writePack({ tags, documents }));
    const { documents } = this;
    const one = new Repository({ asker, known, documents, remember, skipped: this.#skipped });
    await eachOf(images, this.#options.requests ?? REQUESTS, async (tag) => {
      await one.image(tag);
      this.#done++;
      this.#options.onProgress?.({ name, done: this.#done, total: this.#total });
    });
    await one.attach(all, { isWhole: asked.isWhole, byApi: this.#options.referrers !== false });
    one.remember();
    this.found.push(one.result());
  }
}
