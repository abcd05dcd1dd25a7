/** The command line as few files, since loading 130 modules one by one takes longer than all else that happens before an image is opened. */
import { chmodSync, copyFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { build } from 'esbuild';
import { readSql } from '../registry/report/index/sql.ts';
import { type BundledPage, bundlePage, pagePlugin } from './page.ts';
import { digestSources } from './sources.ts';

const root = fileURLToPath(new URL('..', import.meta.url));

/** The SQL of reports as a constant of the program. */
export function reportSql(root: string): string {
  return JSON.stringify(readSql(pathToFileURL(join(root, 'registry/report/queries/'))));
}

/** Writes the command line to `directory` (145 ms to load from modules, 60 so) with the script of its reports' `page`; gives its entry. Packages are not in it. */
export async function bundleProgram(directory: string, page?: BundledPage): Promise<string> {
  await build({
    absWorkingDir: root,
    entryPoints: ['rechunk/cli/main.ts', 'rechunk/worker.ts'],
    outdir: directory,
    entryNames: '[name]',
    bundle: true,
    splitting: true,
    format: 'esm',
    platform: 'node',
    target: 'node22.19',
    packages: 'external',
    plugins: [pagePlugin(page ?? (await bundlePage()))],
    define: {
      SOURCES_DIGEST: JSON.stringify(digestSources(root)),
      REPORT_SQL: reportSql(root),
    },
  });
  for (const name of ['startup.cjs', 'entry.cjs'])
    copyFileSync(`${root}rechunk/cli/${name}`, join(directory, name));
  const entry = join(directory, 'entry.cjs');
  chmodSync(entry, 0o755);
  return entry;
}
