/**
 * A survey of repositories on one registry. A tag costs one request: of one that is known only its digest is asked for (HEAD, which
 * Docker Hub does not count), of others the manifest. Manifests and configs are read once by digest, and remembered.
 */
import { during, RechunkError } from '../errors.ts';
import { listRepositories } from '../lists.ts';
import { type Digest, digestOf, isIndexType, isManifestType } from '../oci.ts';
import { Asker, Host } from './asking.ts';
import {
  type BlobFacts,
  configFacts,
  type DocumentFacts,
  hasImageConfig,
  manifestFacts,
} from './facts.ts';
import { type ReadPack, readPack, writePack } from './pack.ts';
import type { Skipped } from './report.ts';
import {
  type Attachment,
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
/** Attached things at a time; what they come to is bounded by the host's places. */
const ATTACHMENTS = 8;
/** Documents after which what was learnt is written, so that a run that is killed has not learnt for nothing. */
const REMEMBER_EVERY = 2000;
/** Indexes in indexes, and referrers of referrers. */
const DEPTH_LIMIT = 4;
/** Tags of one repository that may fail for the registry's own reasons before the survey ends. */
const FAILURES = 20;

/** Errors that concern one tag alone. */
const OF_ONE_TAG: ReadonlySet<string> = new Set(
  'not-found manifest unsupported digest-mismatch size-mismatch limit'.split(' '),
);

/** Surveys `wanted` on `host`; what cannot be read goes to `skipped`. Throws `auth`, `network`, `not-found`, `registry`. */
export async function surveyRegistry(
  host: string,
  wanted: readonly Wanted[],
  options: SurveyOptions,
  skipped: Skipped[],
): Promise<SurveyedStore> {
  const patterns = await patternsOf(host, wanted, options);
  const asked = new Host(host, options.remote, options.requests ?? REQUESTS);
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

async function patternsOf(
  host: string,
  wanted: readonly Wanted[],
  options: SurveyOptions,
): Promise<Map<string, Asked>> {
  const all = wanted.some(({ repository }) => repository === undefined);
  const listed = all ? await listAll(host, options) : [];
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

async function listAll(host: string, options: SurveyOptions): Promise<string[]> {
  try {
    return await listRepositories(host, options.remote);
  } catch (error) {
    if (!(error instanceof RechunkError) || !['not-found', 'auth', 'registry'].includes(error.code))
      throw error;
    const advice = `${host} does not list its repositories (/v2/_catalog); name them: docker://${host}/REPO`;
    throw new RechunkError(error.code, `${error.message}; ${advice}`, { cause: error });
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
    const one = new Repository(asker, known, this.documents, remember);
    let failures = 0;
    await eachOf(images, this.#options.requests ?? REQUESTS, async (tag) => {
      const problem = await one.image(tag);
      if (problem) this.#skipped.push({ name: `${name}:${tag}`, why: problem.message });
      if (problem && !OF_ONE_TAG.has(problem.code) && ++failures > FAILURES) throw problem;
      this.#done++;
      this.#options.onProgress?.({ name, done: this.#done, total: this.#total });
    });
    await one.attach(all, { isWhole: asked.isWhole, byApi: this.#options.referrers !== false });
    one.remember();
    this.found.push(one.result(name));
  }
}

/** What is learnt of one repository. */
class Repository {
  readonly #asker: Asker;
  readonly #known: ReadPack;
  readonly #documents: Map<Digest, DocumentFacts>;
  readonly #remember: (
    tags: ReadonlyMap<string, Digest>,
    documents: Iterable<DocumentFacts>,
  ) => void;
  readonly #tags: Map<string, Digest> = new Map();
  readonly #attached: Map<Digest, Attachment[]> = new Map();
  readonly #standIns: Map<Digest, Digest> = new Map();
  /** Digests of attached tags, for the next survey. */
  readonly #others: Map<string, Digest> = new Map();
  readonly #reading: Map<Digest, Promise<DocumentFacts | undefined>> = new Map();
  readonly #reached: Set<Digest> = new Set();
  /** What was followed, and the least depth at which it was. */
  readonly #followed: Map<Digest, { readonly depth: number; readonly done: Promise<void> }> =
    new Map();
  #news = 0;

  constructor(
    asker: Asker,
    known: ReadPack,
    documents: Map<Digest, DocumentFacts>,
    remember: (tags: ReadonlyMap<string, Digest>, documents: Iterable<DocumentFacts>) => void,
  ) {
    this.#asker = asker;
    this.#known = known;
    this.#documents = documents;
    this.#remember = remember;
  }

  /** Surveys the image under `tag`; the error where it alone cannot be read. */
  async image(tag: string): Promise<RechunkError | undefined> {
    try {
      const root = await this.#resolve(tag);
      await this.#follow(root, 0);
      this.#tags.set(tag, root.digest);
      return undefined;
    } catch (error) {
      if (!(error instanceof RechunkError)) throw error;
      if (OF_ONE_TAG.has(error.code) || error.code === 'registry') return error;
      throw error;
    }
  }

  /** The document that `tag` names by now. */
  async #resolve(tag: string): Promise<DocumentFacts> {
    const known = this.#known.documents.get(this.#known.tags.get(tag) as Digest);
    if (!known || known.kind === 'config') {
      const { descriptor, bytes } = await this.#asker.manifest(tag);
      return this.#learn(manifestFacts(descriptor, bytes, `${this.#name}:${tag}`));
    }
    const head = await this.#asker.head(tag, plain(known));
    if (!head) throw new RechunkError('not-found', `${this.#name}:${tag} is gone`);
    const found = await this.#document(head);
    if (!found) throw new RechunkError('not-found', `${this.#name}:${tag} is gone`);
    return found;
  }

  get #name(): string {
    return `${this.#asker.host.name}/${this.#asker.repository}`;
  }

  #learn(facts: DocumentFacts): DocumentFacts {
    this.#documents.set(facts.digest, facts);
    if (++this.#news % REMEMBER_EVERY === 0) this.remember();
    return facts;
  }

  /** A document, read once; undefined where the registry has not got it. */
  #document(descriptor: BlobFacts): Promise<DocumentFacts | undefined> {
    const known =
      this.#documents.get(descriptor.digest) ?? this.#known.documents.get(descriptor.digest);
    if (known) {
      this.#documents.set(known.digest, known);
      return Promise.resolve(known);
    }
    const reading = this.#reading.get(descriptor.digest) ?? this.#read(descriptor);
    this.#reading.set(descriptor.digest, reading);
    return reading;
  }

  async #read(descriptor: BlobFacts): Promise<DocumentFacts | undefined> {
    const { digest, mediaType } = descriptor;
    const what = `${this.#name}@${digest}`;
    try {
      if (!isManifestType(mediaType) && !isIndexType(mediaType))
        return this.#learn(configFacts(digest, await this.#asker.config(descriptor), what));
      const { bytes } = await this.#asker.manifest(digest);
      return this.#learn(manifestFacts({ digest, mediaType, size: bytes.length }, bytes, what));
    } catch (error) {
      if (error instanceof RechunkError && error.code === 'not-found') return undefined;
      throw error;
    }
  }

  /** Reads what `facts` leads to, each document once however often it is named; indexes may lack some of their images. */
  #follow(facts: DocumentFacts, depth: number): Promise<void> {
    const known = this.#followed.get(facts.digest);
    if (known && known.depth <= depth) return known.done;
    const done = this.#readBelow(facts, depth);
    this.#followed.set(facts.digest, { depth, done });
    return done;
  }

  async #readBelow(facts: DocumentFacts, depth: number): Promise<void> {
    this.#reached.add(facts.digest);
    if (facts.kind === 'manifest' && hasImageConfig(facts)) {
      const config = await this.#document(facts.config);
      if (config) this.#reached.add(config.digest);
    }
    if (facts.kind !== 'index' || depth === DEPTH_LIMIT) return;
    await Promise.all(
      facts.entries.map(async (entry) => {
        if (!isManifestType(entry.mediaType) && !isIndexType(entry.mediaType)) return;
        const child = await this.#document(entry);
        if (child) await this.#follow(child, depth + 1);
      }),
    );
  }

  /** Finds what is attached to what was reached: by tags, by the API. What is attached to nothing counts where all tags were read. */
  async attach(
    tags: readonly string[],
    { isWhole, byApi }: { readonly isWhole: boolean; readonly byApi: boolean },
  ): Promise<void> {
    const subjects = [...this.#reached];
    let pending = tags.filter((tag) => attachedTo(tag));
    const isReached = (tag: string): boolean =>
      this.#reached.has(attachedTo(tag)?.subject as Digest);
    // What is attached may have something attached to it.
    for (let next = pending.filter(isReached); next.length > 0; next = pending.filter(isReached)) {
      pending = pending.filter((tag) => !next.includes(tag));
      await eachOf(next, ATTACHMENTS, (tag) => this.#attachTag(tag));
    }
    if (isWhole) await eachOf(pending, ATTACHMENTS, (tag) => this.#attachTag(tag));
    if (!byApi) return;
    // The first tells whether the registry lists any.
    const [first, ...rest] = subjects;
    if (first) await this.#attachListed(first, 0);
    await eachOf(rest, ATTACHMENTS, (digest) => this.#attachListed(digest, 0));
  }

  /** Surveys a tag that names what it belongs to; it is one like any other where that is not there. */
  async #attachTag(tag: string): Promise<void> {
    const to = attachedTo(tag);
    const root = await this.#resolve(tag).catch(ignoreMissing);
    if (!to || !root) return;
    const isThere = this.#reached.has(to.subject);
    await this.#follow(root, 0);
    this.#others.set(tag, root.digest);
    if (!isThere) this.#tags.set(tag, root.digest);
    else if (to.isStandIn) this.#addStandIn(to.subject, root);
    else this.#add(to.subject, { digest: root.digest, by: 'tag' });
  }

  #add(subject: Digest, attachment: Attachment): void {
    const all = this.#attached.get(subject) ?? [];
    if (all.some(({ digest }) => digest === attachment.digest)) return;
    this.#attached.set(subject, [...all, attachment]);
  }

  #addStandIn(subject: Digest, root: DocumentFacts): void {
    this.#standIns.set(subject, root.digest);
    if (root.kind !== 'index') return;
    for (const { digest } of root.entries) this.#add(subject, { digest, by: 'referrers' });
  }

  async #attachListed(subject: Digest, depth: number): Promise<void> {
    const kind = this.#documents.get(subject)?.kind;
    if (depth === DEPTH_LIMIT || (kind !== 'manifest' && kind !== 'index')) return;
    for (const descriptor of await this.#asker.referrers(subject)) {
      const facts = await this.#document(descriptor).catch(ignoreMissing);
      if (!facts) continue;
      await this.#follow(facts, 0);
      this.#add(subject, { digest: facts.digest, by: 'referrers' });
      await this.#attachListed(facts.digest, depth + 1);
    }
  }

  /** Writes what is known by now for the next survey. */
  remember(): void {
    const documents = [...this.#reached].flatMap((digest) => this.#documents.get(digest) ?? []);
    this.#remember(new Map([...this.#tags, ...this.#others]), documents);
  }

  result(name: string): SurveyedRepository {
    const [tags, attached, standIns] = [this.#tags, this.#attached, this.#standIns];
    return { name, tags, attached, standIns };
  }
}

/** What is attached and cannot be read is not worth an error. */
function ignoreMissing(error: unknown): undefined {
  if (error instanceof RechunkError && OF_ONE_TAG.has(error.code)) return undefined;
  throw error;
}

function plain({ digest, size, mediaType }: BlobFacts): BlobFacts {
  return { digest, size, mediaType };
}
