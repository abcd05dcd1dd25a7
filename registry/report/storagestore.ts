/**
 * A survey of a registry's own directory: CNCF distribution's filesystem driver (`docker/registry/v2`), or zot's (an OCI layout for
 * each repository). Here every blob shows, also those that nothing needs. The registry may run meanwhile; what is pushed during
 * the survey may look as if nothing needed it.
 */
import type { Stats } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { during, RechunkError, systemCode } from '../errors.ts';
import { type Digest, parseDigest } from '../oci.ts';
import { blobPath, surveyIndex } from './layoutstore.ts';
import {
  attachedBySubject,
  fileAt,
  HEX_LENGTH,
  LocalDocuments,
  layoutBlobs,
  namesIn,
  statsOf,
} from './localstore.ts';
import type { Skipped } from './report.ts';
import { attachedTo, type SurveyedRepository, type SurveyedStore } from './survey.ts';

/** Parts of a repository's name. */
const DEPTH_LIMIT = 32;
/** Directories that are looked into before one is found that holds what is looked for: no registry keeps so many before its first. */
const SEARCH_LIMIT = 10_000;

/** Surveys the directory of a registry, of whichever kind it is. Throws `not-found` for neither. */
export async function surveyStorage(directory: string, skipped: Skipped[]): Promise<SurveyedStore> {
  const name = `storage:${directory}`;
  return during(`reading ${name}`, async () => {
    const names = await namesIn(directory);
    const below = join(directory, 'docker', 'registry', 'v2');
    if (names.includes('repositories') && names.includes('blobs'))
      return surveyDistribution(directory, name, skipped);
    if (await directoryAt(join(below, 'repositories')))
      return surveyDistribution(below, name, skipped);
    const layouts = await findBelow(directory, 'oci-layout');
    if (layouts.length > 0) return surveyZot(directory, layouts, { name, skipped });
    const found = names.slice(0, 5).join(', ') || 'nothing';
    throw new RechunkError(
      'not-found',
      `it holds ${found}; want docker/registry/v2 (distribution) or directories with oci-layout (zot)`,
    );
  });
}

/** The directory at `path`, also by a link; undefined where there is none. */
async function directoryAt(path: string): Promise<Stats | undefined> {
  const found = await statsOf(path);
  return found?.isDirectory() ? found : undefined;
}

/** Names, below `directory`, of directories that hold `mark`, sorted; each directory once, however many links lead to it. */
async function findBelow(directory: string, mark: string): Promise<string[]> {
  const found: string[] = [];
  const seen = new Set<string>();
  const visit = async (name: string, depth: number): Promise<void> => {
    const { dev, ino } = (await directoryAt(join(directory, name))) ?? {};
    if (ino === undefined || seen.has(`${dev} ${ino}`)) return;
    if (found.length === 0 && seen.size === SEARCH_LIMIT) return;
    seen.add(`${dev} ${ino}`);
    const names = await namesIn(join(directory, name));
    const isFound = name !== '' && names.includes(mark);
    if (isFound) found.push(name);
    if (depth === DEPTH_LIMIT) return;
    for (const next of names) {
      // A layout's own; elsewhere a repository may be named so.
      if (!/^[a-z0-9][a-z0-9._-]*$/.test(next) || (isFound && next === 'blobs')) continue;
      await visit(name === '' ? next : `${name}/${next}`, depth + 1);
    }
  };
  await visit('', 0);
  return found.sort();
}

/** The digest in a link file of distribution; undefined where it is cut or empty, as after a crash. */
async function readLink(path: string): Promise<Digest | undefined> {
  try {
    return parseDigest((await readFile(path, 'utf8')).trim());
  } catch (error) {
    if (error instanceof RechunkError || systemCode(error) === 'ENOENT') return undefined;
    throw error;
  }
}

async function linked(directory: string): Promise<Set<Digest>> {
  const found = new Set<Digest>();
  for (const algorithm of ['sha256', 'sha512'] as const) {
    for (const hex of await namesIn(join(directory, algorithm))) {
      const digest = await readLink(join(directory, algorithm, hex, 'link'));
      if (digest === `${algorithm}:${hex}`) found.add(digest);
    }
  }
  return found;
}

async function surveyDistribution(
  root: string,
  name: string,
  skipped: Skipped[],
): Promise<SurveyedStore> {
  const blobs = join(root, 'blobs');
  const locate = (digest: Digest): string => {
    const [algorithm = '', hex = ''] = parseDigest(digest).split(':');
    return join(blobs, algorithm, hex.slice(0, 2), hex, 'data');
  };
  const local = new LocalDocuments(locate);
  const repositories: SurveyedRepository[] = [];
  for (const one of await findBelow(join(root, 'repositories'), '_manifests')) {
    const directory = join(root, 'repositories', one);
    repositories.push(await surveyLinks(directory, `${name}/${one}`, { local, skipped }));
  }
  const held = await distributionBlobs(blobs);
  const begun = await findBelow(join(root, 'repositories'), '_uploads');
  const uploads = await uploadsIn(begun.map((one) => join(root, 'repositories', one, '_uploads')));
  return { name, repositories, documents: local.documents, held, uploads, ...local.doubts, locate };
}

/** What lies in directories of unfinished uploads: an entry for each, a file (zot) or a directory with one (distribution). */
async function uploadsIn(
  directories: readonly string[],
): Promise<NonNullable<SurveyedStore['uploads']>> {
  let [count, bytes] = [0, 0];
  for (const directory of directories) {
    for (const name of await namesIn(directory)) {
      const path = join(directory, name);
      const found = (await fileAt(path)) ?? (await fileAt(join(path, 'data')));
      // Distribution leaves what it began with of uploads that ended.
      if (!found || found.size === 0) continue;
      count++;
      bytes += found.size;
    }
  }
  return { count, bytes };
}

async function distributionBlobs(directory: string): Promise<Map<Digest, number>> {
  const held = new Map<Digest, number>();
  for (const algorithm of ['sha256', 'sha512'] as const) {
    for (const prefix of await namesIn(join(directory, algorithm))) {
      for (const hex of await namesIn(join(directory, algorithm, prefix))) {
        const file = await fileAt(join(directory, algorithm, prefix, hex, 'data'));
        if (file && hex.length === HEX_LENGTH[algorithm])
          held.set(`${algorithm}:${hex}`, file.size);
      }
    }
  }
  return held;
}

/** What is read with, and where trouble goes. */
interface Reading {
  readonly local: LocalDocuments;
  readonly skipped: Skipped[];
}

async function surveyLinks(
  directory: string,
  name: string,
  { local, skipped }: Reading,
): Promise<SurveyedRepository> {
  const manifests = join(directory, '_manifests');
  const revisions = await linked(join(manifests, 'revisions'));
  const unread = new Map<Digest, string>();
  for (const digest of revisions) {
    const why = await readRevision(digest, local);
    if (why !== undefined) unread.set(digest, why);
  }
  for (const digest of unread.keys()) revisions.delete(digest);
  const attached = attachedBySubject(revisions, local.documents);
  const tags = new Map<string, Digest>();
  const standIns = new Map<Digest, Digest>();
  const named = new Set<Digest>();
  for (const tag of await namesIn(join(manifests, 'tags'))) {
    const digest = await readLink(join(manifests, 'tags', tag, 'current', 'link'));
    // A tag whose manifest was deleted stays as a directory without a link.
    if (digest === undefined) continue;
    const to = attachedTo(tag);
    if (!revisions.has(digest)) {
      named.add(digest);
      const why = unread.get(digest) ?? `its manifest ${digest} is not there`;
      skipped.push({ name: `${name}:${tag}`, why });
    } else if (!to || !revisions.has(to.subject)) tags.set(tag, digest);
    else if (to.isStandIn) standIns.set(to.subject, digest);
    else attached.set(to.subject, [...(attached.get(to.subject) ?? []), { digest, by: 'tag' }]);
  }
  for (const [digest, why] of unread)
    if (!named.has(digest)) skipped.push({ name: `${name}@${digest}`, why });
  const links = await linked(join(directory, '_layers'));
  return { name, tags, attached, standIns, revisions, links };
}

/** Reads what a repository links to; why it cannot be read, if so. */
async function readRevision(digest: Digest, local: LocalDocuments): Promise<string | undefined> {
  try {
    const facts = await local.manifest(digest);
    if (!facts) return 'the repository links to it, and it is not there';
    await local.follow(facts);
    return undefined;
  } catch (error) {
    if (!(error instanceof RechunkError)) throw error;
    await local.claim(digest);
    return error.message;
  }
}

async function surveyZot(
  directory: string,
  layouts: readonly string[],
  { name, skipped }: { readonly name: string; readonly skipped: Skipped[] },
): Promise<SurveyedStore> {
  const places = new Map<Digest, string>();
  const held = new Map<Digest, number>();
  const inodes = new Map<string, number>();
  for (const layout of layouts) {
    for (const { digest, size, inode } of await layoutBlobs(join(directory, layout, 'blobs'))) {
      places.set(digest, join(directory, layout));
      held.set(digest, size);
      inodes.set(inode, size);
    }
  }
  const locate = (digest: Digest): string => blobPath(places.get(digest) ?? directory, digest);
  const local = new LocalDocuments(locate);
  const repositories: SurveyedRepository[] = [];
  for (const layout of layouts) {
    const own = { directory: join(directory, layout), name: `${name}/${layout}` };
    repositories.push(await surveyIndex({ ...own, local, unnamed: 'untagged', skipped }));
  }
  // What zot did not link to one file lies there several times.
  const sum = (sizes: Iterable<number>): number => [...sizes].reduce((all, one) => all + one, 0);
  const once = sum(held.values());
  const copies = sum(inodes.values()) - once;
  const { documents, doubts } = local;
  const uploads = await uploadsIn(layouts.map((layout) => join(directory, layout, '.uploads')));
  return { name, repositories, documents, held, copies, uploads, ...doubts, locate };
}
