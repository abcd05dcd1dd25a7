/**
 * A survey of one repository on a registry: its tags, what they lead to, what is attached. Each document is read once by digest; what
 * cannot be read by itself ends nothing.
 */
import { RechunkError } from '../errors.ts';
import { type Digest, isIndexType, isManifestType } from '../oci.ts';
import type { Asker } from './asking.ts';
import {
  type BlobFacts,
  configFacts,
  type DocumentFacts,
  hasImageConfig,
  manifestFacts,
} from './facts.ts';
import type { ReadPack } from './pack.ts';
import type { Skipped } from './report.ts';
import { type Attachment, attachedTo, eachOf, type SurveyedRepository } from './survey.ts';

/** Attached things at a time; what they come to is bounded by the host's places. */
const ATTACHMENTS = 8;
/** Documents after which what was learnt is written, so that a run that is killed has not learnt for nothing. */
const REMEMBER_EVERY = 2000;
/** Indexes in indexes, and referrers of referrers. */
const DEPTH_LIMIT = 4;
/** Tags and attachments of one repository that may fail for the registry's own reasons before the survey ends. */
const FAILURES = 20;

/** Errors that concern one tag, or one attachment, alone. */
const OF_ONE: ReadonlySet<string> = new Set(
  'not-found manifest unsupported digest-mismatch size-mismatch limit'.split(' '),
);

/** What a repository is surveyed with. */
export interface RepositoryTask {
  readonly asker: Asker;
  /** What the survey before has learnt. */
  readonly known: ReadPack;
  /** Facts of the whole host, which grow. */
  readonly documents: Map<Digest, DocumentFacts>;
  /** Keeps what is known by now for the next survey. */
  readonly remember: (
    tags: ReadonlyMap<string, Digest>,
    documents: Iterable<DocumentFacts>,
  ) => void;
  readonly skipped: Skipped[];
}

/** What is learnt of one repository. */
export class Repository {
  readonly #task: RepositoryTask;
  readonly #asker: Asker;
  readonly #known: ReadPack;
  readonly #documents: Map<Digest, DocumentFacts>;
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
  /** What things say that they are attached to, and what is there though no tag that was surveyed leads to it. */
  readonly #present: Set<Digest> = new Set();
  #news = 0;
  #failures = 0;

  constructor(task: RepositoryTask) {
    this.#task = task;
    this.#asker = task.asker;
    this.#known = task.known;
    this.#documents = task.documents;
  }

  /** As reports name it. */
  get name(): string {
    return `${this.#asker.host.name}/${this.#asker.repository}`;
  }

  /** Surveys the image under `tag`; throws what concerns more than that tag. */
  async image(tag: string): Promise<void> {
    await this.#passingOver(`:${tag}`, async () => {
      const root = await this.#resolve(tag);
      await this.#follow(root, 0);
      this.#tags.set(tag, root.digest);
    });
  }

  /** Does `work`; what concerns `what` of this repository alone is told under `skipped`. */
  async #passingOver(what: string, work: () => Promise<void>): Promise<void> {
    try {
      await work();
    } catch (error) {
      if (!(error instanceof RechunkError)) throw error;
      const isOwn = OF_ONE.has(error.code);
      if (!isOwn && (error.code !== 'registry' || ++this.#failures > FAILURES)) throw error;
      this.#task.skipped.push({ name: `${this.name}${what}`, why: error.message });
    }
  }

  /** The document that `tag` names by now. */
  async #resolve(tag: string): Promise<DocumentFacts> {
    const known = this.#known.documents.get(this.#known.tags.get(tag) as Digest);
    if (!known || known.kind === 'config') {
      const { descriptor, bytes } = await this.#asker.manifest(tag);
      return this.#learn(manifestFacts(descriptor, bytes, `${this.name}:${tag}`));
    }
    const head = await this.#asker.head(tag, plain(known));
    if (!head) throw new RechunkError('not-found', `${this.name}:${tag} is gone`);
    const found = await this.#document(head);
    if (!found) throw new RechunkError('not-found', `${this.name}:${tag} is gone`);
    return found;
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
    const what = `${this.name}@${digest}`;
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
    const isReached = (tag: string): boolean =>
      this.#reached.has(attachedTo(tag)?.subject as Digest);
    let pending = tags.filter((tag) => attachedTo(tag));
    for (;;) {
      // What is attached may have something attached to it.
      const { next = [], later = [] } = Object.groupBy(pending, (tag) =>
        isReached(tag) ? 'next' : 'later',
      );
      pending = later;
      if (next.length === 0) break;
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
  #attachTag(tag: string): Promise<void> {
    return this.#passingOver(`:${tag}`, async () => {
      const to = attachedTo(tag);
      if (!to) return;
      const root = await this.#resolve(tag);
      const isReached = this.#reached.has(to.subject);
      await this.#follow(root, 0);
      this.#others.set(tag, root.digest);
      if (isReached && to.isStandIn) this.#addStandIn(to.subject, root);
      else if (isReached) this.#add(to.subject, { digest: root.digest, by: 'tag' });
      else {
        this.#tags.set(tag, root.digest);
        if (await this.#asker.has(to.subject)) this.#present.add(to.subject);
      }
    });
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
      await this.#passingOver(`@${descriptor.digest}`, async () => {
        const facts = await this.#document(descriptor);
        if (!facts) return;
        await this.#follow(facts, 0);
        this.#add(subject, { digest: facts.digest, by: 'referrers' });
        await this.#attachListed(facts.digest, depth + 1);
      });
    }
  }

  /** Writes what is known by now for the next survey. */
  remember(): void {
    const documents = [...this.#reached].flatMap((digest) => this.#documents.get(digest) ?? []);
    this.#task.remember(new Map([...this.#tags, ...this.#others]), documents);
  }

  result(): SurveyedRepository {
    const [tags, attached, standIns] = [this.#tags, this.#attached, this.#standIns];
    return { name: this.name, tags, attached, standIns, present: this.#present };
  }
}

function plain({ digest, size, mediaType }: BlobFacts): BlobFacts {
  return { digest, size, mediaType };
}
