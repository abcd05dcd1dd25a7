/** Series `alpine`: the two complete images of `../../test-images/packages/apk`, a real pair of releases. */
import { readFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { apk } from '../../rechunk/repos/apk.ts';
import { memoryTree, specsOfDockerArchive } from '../../test-images/trees.ts';
import { Recorder } from './record.ts';
import type { Release } from './series.ts';
import { type ContentSpool, withSpool } from './spool.ts';

const IMAGES = new URL('../../test-images/packages/apk/', import.meta.url);
/** The days on which the images were created, as their configs say. */
const RELEASES = [
  { name: '3.10.4', date: Date.UTC(2020, 0, 23) / 1000 },
  { name: '3.11.5', date: Date.UTC(2020, 2, 23) / 1000 },
] as const;

async function recordAlpine(spool: ContentSpool): Promise<Release[]> {
  const recorder = new Recorder([apk], (sha256) => spool.get(sha256));
  for (const { name, date } of RELEASES) {
    const file = new URL(`alpine-${name}-docker.tar.gz`, IMAGES);
    const specs = await specsOfDockerArchive(await readFile(fileURLToPath(file)));
    for (const { content } of specs) if (content !== undefined) spool.add(Buffer.from(content));
    await recorder.add(name, date, memoryTree(specs));
  }
  return recorder.releases;
}

/** Makes the series; `work` holds content meanwhile. */
export function makeAlpine(work: string): Promise<Release[]> {
  return withSpool(work, recordAlpine);
}
