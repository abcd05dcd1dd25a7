/** What the layers of an OCI layout hold, as Python's tarfile reads them. */
import { fileURLToPath } from 'node:url';
import { command } from './command.ts';
import type { Member } from './member.ts';

/** A member as it was read; a directory's path has no slash at its end, the root's is ''. */
export type ListedMember = Required<Omit<Member, 'content' | 'device'>> & {
  /** Bytes of content. */
  readonly size: number;
};

/** A layer as it was read. */
export interface ListedLayer {
  readonly digest: string;
  readonly annotations: Readonly<Record<string, string>>;
  /** In the order of the archive. */
  readonly members: readonly ListedMember[];
}

/** The layers of every image in the layout, plain or gzipped, lowest first, by tag. */
export async function listLayers(
  layout: string,
): Promise<Readonly<Record<string, readonly ListedLayer[]>>> {
  const script = fileURLToPath(new URL('layerlist.py', import.meta.url));
  return JSON.parse((await command('python3', [script, layout])).toString());
}
