/** Content of files: read, and digested on the pool. What is remembered of a layer's content is not asked of the layer. */
import { readBody } from './digests.ts';
import type { Pool } from './pool.ts';
import type { Spool } from './spool.ts';
import type { Body, Contents, FileDigest, Inode } from './tree.ts';

/** Bytes read at a time. */
const READ_BYTES = 1 << 20;
/** Bytes of content that one digest task takes, so that all threads share the work. */
const DIGEST_SHARE_BYTES = 16 << 20;

/** Lower-case hex digests of content that is there, in order, on the pool. */
export async function digestAll(
  pool: Pool,
  algorithm: FileDigest | 'sha256',
  inodes: readonly { body?: Body | undefined; size: number }[],
): Promise<string[]> {
  const shares: { body: Body | undefined; size: number }[][] = [];
  let bytes = DIGEST_SHARE_BYTES;
  for (const { body, size } of inodes) {
    if (bytes >= DIGEST_SHARE_BYTES) {
      shares.push([]);
      bytes = 0;
    }
    shares.at(-1)?.push({ body, size });
    // A file costs as much as a few kilobytes more.
    bytes += size + 4096;
  }
  const digests = await Promise.all(
    shares.map((items) => pool.run('digests', { algorithm, items })),
  );
  return digests.flat();
}

/** Content of inodes whose bodies lie in files of `spool`, or on this machine. */
export function contentsOf(pool: Pool, spool: Spool): Contents {
  return {
    read: (inode, limit = inode.size) => read(spool, inode, Math.min(inode.size, limit)),
    digests: (algorithm, inodes) => digest(pool, spool, algorithm, inodes),
  };
}

async function read(spool: Spool, inode: Inode, size: number): Promise<Buffer> {
  const { body, sha256 } = inode;
  const holding = body && spool.holdings.get(body.file);
  const known = holding?.isFilled === false ? await holding.memo.find(sha256, size) : undefined;
  if (known) return known;
  if (body) await spool.holdings.ready([body.file]);
  const content = readContent(inode, size);
  if (holding?.isSound()) await holding.memo.add(sha256, content);
  return content;
}

function readContent(inode: Inode, size: number): Buffer {
  const content = Buffer.allocUnsafe(size);
  const buffer = Buffer.allocUnsafe(Math.max(1, Math.min(size, READ_BYTES)));
  let at = 0;
  for (const chunk of inode.body ? readBody(inode.body, inode.size, buffer) : []) {
    if (at >= size) break;
    at += chunk.copy(content, at);
  }
  return content;
}

async function digest(
  pool: Pool,
  spool: Spool,
  algorithm: FileDigest,
  inodes: readonly Inode[],
): Promise<string[]> {
  const memos = new Set(
    inodes.flatMap(({ body }) => (body && spool.holdings.get(body.file)?.memo) ?? []),
  );
  const known = new Map<string, string>();
  for (const memo of memos)
    for (const [from, to] of await memo.digests(algorithm)) known.set(from, to);
  const missing = inodes.filter(({ sha256 }) => !known.has(sha256));
  await spool.holdings.ready(missing.flatMap(({ body }) => (body ? [body.file] : [])));
  const digests = await digestAll(pool, algorithm, missing);
  for (const [i, { sha256 }] of missing.entries()) known.set(sha256, digests[i] as string);
  await remember(spool, algorithm, missing, known);
  return inodes.map(({ sha256 }) => known.get(sha256) as string);
}

/** Remembers new digests with the layers that the content lies in. */
async function remember(
  spool: Spool,
  algorithm: FileDigest,
  inodes: readonly Inode[],
  known: ReadonlyMap<string, string>,
): Promise<void> {
  const found = Map.groupBy(inodes, ({ body }) => {
    const holding = body && spool.holdings.get(body.file);
    return holding?.isSound() ? holding.memo : undefined;
  });
  for (const [memo, some] of found) {
    const pairs = some.map(({ sha256 }) => [sha256, known.get(sha256) as string] as const);
    await memo?.addDigests(algorithm, new Map(pairs));
  }
}
