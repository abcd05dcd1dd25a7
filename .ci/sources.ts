/** What the built command line is made of, as one digest: it tells apart builds that have the same version number. */
import { createHash } from 'node:crypto';
import { globSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

/** Hex digest of paths and contents of all sources below `root` that are no tests, and of what they depend on. */
export function digestSources(root: string): string {
  const found = globSync('{plugin,rechunk,registry}/**/*.ts', { cwd: root });
  const sources = found.filter((path) => !/\.(test|conformance)\.ts$/.test(path)).sort();
  const hash = createHash('sha256');
  for (const path of ['package.json', ...sources]) {
    const content = readFileSync(join(root, path));
    hash.update(`${path}\0${content.length}\0`).update(content);
  }
  return hash.digest('hex');
}
