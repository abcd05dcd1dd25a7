/** The directory that `--index` names: that it is one, that it is an index's, and what other versions left there. */
import { access, constants, mkdir, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { during, RechunkError, systemCode } from '../../registry/errors.ts';
import { TARGETS } from '../../registry/report/index/snapshot.ts';
import { PARTS } from '../../registry/report/index/writer.ts';

/** What this version has in an index. */
const FOLDERS: ReadonlySet<string> = new Set([PARTS, TARGETS]);
/** What any version has there, and what lies in each of its folders. */
const VERSIONED = /^(parts|targets)(-\d+)?$/;
const CONTENT: Readonly<Record<string, string>> = { parts: 'layers', targets: 'tags.parquet' };
/** What file systems have at their top. */
const LOST = 'lost+found';
/** Names that a message tells. */
const TOLD = 3;

/** Throws `usage` where `directory` is a file, or holds other things than an index: it need not be there. */
export async function checkIndexDirectory(directory: string): Promise<void> {
  const names = await namesIn(directory);
  if (names.some((name) => FOLDERS.has(name)) || (await oldFolders(directory)).length > 0) return;
  const others = names.filter((name) => !name.startsWith('.') && name !== LOST);
  if (others.length === 0) return;
  const told = others.slice(0, TOLD).join(', ') + (others.length > TOLD ? ', …' : '');
  throw wrong(directory, `it holds ${told}`);
}

/** Makes the directory of an index, where it is not there; throws what the system says where nothing can be written into it. */
export function makeIndexDirectory(directory: string): Promise<void> {
  return during(`writing the index ${directory}`, async () => {
    await mkdir(directory, { recursive: true });
    await access(directory, constants.W_OK);
  });
}

/** Folders in `directory` that another version of the program wrote, and none reads any more. */
export async function oldFolders(directory: string): Promise<string[]> {
  const old = (await namesIn(directory)).filter((name) => !FOLDERS.has(name));
  const are = await Promise.all(old.map((name) => isWritten(directory, name)));
  return old.filter((_, i) => are[i]);
}

/** Whether some version wrote the folder `name`, by its name and by what lies in it. */
async function isWritten(directory: string, name: string): Promise<boolean> {
  const [, kind = '', version] = VERSIONED.exec(name) ?? [];
  const content = CONTENT[kind];
  if (content === undefined) return false;
  const list = (path: string): Promise<string[]> => readdir(path).catch(() => []);
  const inside = await list(join(directory, name));
  // A run that was killed before it had a part.
  if (inside.length === 0) return version !== undefined;
  const contents = await Promise.all(inside.map((one) => list(join(directory, name, one))));
  return contents.some((names) => names.includes(content));
}

async function namesIn(directory: string): Promise<string[]> {
  try {
    return (await readdir(directory)).sort();
  } catch (error) {
    if (systemCode(error) === 'ENOENT') return [];
    if (systemCode(error) === 'ENOTDIR') throw wrong(directory, 'it is a file, or lies in one');
    return during(`reading the index ${directory}`, () => Promise.reject(error));
  }
}

function wrong(directory: string, found: string): RechunkError {
  const wanted = 'want the directory of an index, or one that is empty or not there';
  return new RechunkError('usage', `--index ${directory}: ${found}; ${wanted}`);
}
