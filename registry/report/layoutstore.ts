/** A survey of an OCI layout (image-spec v1.1.1, image-layout.md); zot keeps each repository as one. */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { during, RechunkError } from '../errors.ts';
import {
  ANNOTATION,
  type Annotations,
  type Descriptor,
  type Digest,
  parseDigest,
  parseIndex,
} from '../oci.ts';
import { attachedBySubject, LocalDocuments, layoutBlobs } from './localstore.ts';
import type { Skipped } from './report.ts';
import {
  type Attachment,
  attachedTo,
  type SurveyedRepository,
  type SurveyedStore,
} from './survey.ts';

/** Chars of a digest in the name of an image that has none. */
const SHORT_DIGEST = 'sha256:'.length + 12;

/** Surveys the layout in `directory`; what cannot be read goes to `skipped`. Throws `not-found`, `manifest`, `io`. */
export async function surveyLayout(directory: string, skipped: Skipped[]): Promise<SurveyedStore> {
  const name = `oci:${directory}`;
  return during(`reading ${name}`, async () => {
    const version = await readFile(join(directory, 'oci-layout'), 'utf8');
    if (!/"imageLayoutVersion"\s*:\s*"1\./.test(version))
      throw new RechunkError(
        'unsupported',
        `oci-layout holds ${version.slice(0, 80)}, want version 1.0.0`,
      );
    const locate = (digest: Digest): string => blobPath(directory, digest);
    const local = new LocalDocuments(locate);
    const repository = await surveyIndex({ directory, name, local, unnamed: 'image', skipped });
    const blobs = await layoutBlobs(join(directory, 'blobs'));
    const held = new Map(blobs.map(({ digest, size }) => [digest, size]));
    const { documents, doubts } = local;
    return { name, repositories: [repository], documents, held, ...doubts, locate };
  });
}

/** Where a blob of the layout in `directory` lies. */
export function blobPath(directory: string, digest: Digest): string {
  const [algorithm = '', hex = ''] = parseDigest(digest).split(':');
  return join(directory, 'blobs', algorithm, hex);
}

/** One index.json to survey. */
export interface LayoutTask {
  readonly directory: string;
  /** Of the repository. */
  readonly name: string;
  readonly local: LocalDocuments;
  /** What entries without a name are: images of their own, or manifests that lost their tag (zot). */
  readonly unnamed: 'image' | 'untagged';
  readonly skipped: Skipped[];
}

/** Surveys what `index.json` lists. */
export async function surveyIndex(task: LayoutTask): Promise<SurveyedRepository> {
  const bytes = await readFile(join(task.directory, 'index.json'));
  const entries = parseIndex(bytes, 'index.json').manifests;
  const revisions = new Set<Digest>();
  for (const entry of entries) if (await readEntry(entry, task)) revisions.add(entry.digest);
  const { documents } = task.local;
  const attached = attachedBySubject(revisions, documents);
  const belongs = new Set(
    [...attached].flatMap(([subject, all]) =>
      documents.has(subject) ? all.map(({ digest }) => digest) : [],
    ),
  );
  const tags = new Map<string, Digest>();
  const standIns = new Map<Digest, Digest>();
  for (const { digest, annotations } of entries) {
    if (!revisions.has(digest)) continue;
    const name = nameOf(annotations);
    const to = name === undefined ? undefined : attachedTo(name);
    if (to && documents.has(to.subject)) attach(to, digest, { attached, standIns });
    else if (name !== undefined && !tags.has(name)) tags.set(name, digest);
    else if (task.unnamed === 'image' && !belongs.has(digest))
      tags.set(`@${digest.slice(0, SHORT_DIGEST)}`, digest);
  }
  return { name: task.name, tags, attached, standIns, revisions };
}

/** The tag that an entry of an index tells. */
function nameOf(annotations: Annotations | null | undefined): string | undefined {
  return annotations?.[ANNOTATION.refName] ?? annotations?.[ANNOTATION.containerdName];
}

function attach(
  { subject, isStandIn }: { readonly subject: Digest; readonly isStandIn: boolean },
  digest: Digest,
  {
    attached,
    standIns,
  }: { readonly attached: Map<Digest, Attachment[]>; readonly standIns: Map<Digest, Digest> },
): void {
  if (isStandIn) standIns.set(subject, digest);
  else attached.set(subject, [...(attached.get(subject) ?? []), { digest, by: 'tag' }]);
}

async function readEntry(
  entry: Descriptor,
  { local, name, skipped }: LayoutTask,
): Promise<boolean> {
  const shown = nameOf(entry.annotations) ?? `@${entry.digest}`;
  const skip = (why: string): false => {
    skipped.push({ name: `${name}:${shown}`, why });
    return false;
  };
  try {
    const facts = await local.manifest(entry.digest, entry.mediaType);
    if (!facts) return skip(`its manifest ${entry.digest} is not there`);
    await local.follow(facts);
    return true;
  } catch (error) {
    if (!(error instanceof RechunkError)) throw error;
    await local.claim(entry.digest);
    return skip(error.message);
  }
}
