/**
 * Builds the command line as one file that needs nothing but Node: all packages inside, worker threads too, with their licences at its
 * end.
 *
 * `node .ci/single.ts [FILE]`, by default `dist/rechunk.cjs`. CommonJS, since a file of that kind may have any name, and tells an old Node what is
 * missing, where one of ES modules fails on the first import. Not minified: what people fetch into their builds can be read, and
 * traces name functions; a tenth of a megabyte after compression, and no time (bench: README of plugin/image).
 */
import { readFileSync } from 'node:fs';
import { chmod, mkdir, writeFile } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';
import { reportSql } from './bundle.ts';
import { bundledPackages, licenceComment } from './licences.ts';
import { bundlePage, pagePlugin } from './page.ts';
import { digestSources } from './sources.ts';

const ROOT = fileURLToPath(new URL('..', import.meta.url));
/** Older than what is needed, so that these versions get as far as to say so. */
const PARSED_BY = 'node18';

/** Writes the single file of the sources below `root` to `file`, which is replaced; equal bytes wherever they lie. */
export async function buildSingle(file: string, root: string = ROOT): Promise<void> {
  const page = await bundlePage(root);
  const { outputFiles, metafile } = await build({
    absWorkingDir: root,
    // A root of symbolic links names what is in it as any other.
    preserveSymlinks: true,
    entryPoints: ['rechunk/cli/single.cjs'],
    outfile: 'rechunk.cjs',
    write: false,
    metafile: true,
    bundle: true,
    format: 'cjs',
    platform: 'node',
    target: PARSED_BY,
    legalComments: 'inline',
    plugins: [pagePlugin(page)],
    // Compiled for each system, and 68 MB: whoever counts files installs it beside.
    external: ['@duckdb/node-api'],
    define: {
      SINGLE_FILE: '__filename',
      // Of ES modules only; what reads it is not reached.
      'import.meta.url': '__filename',
      SOURCES_DIGEST: JSON.stringify(digestSources(root)),
      REPORT_SQL: reportSql(root),
    },
  });
  const packages = bundledPackages(root, [...Object.keys(metafile.inputs), ...page.inputs]);
  const { name, version, license } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));
  const own = {
    name: `${name} ${version}`,
    licence: license,
    texts: [readFileSync(join(root, 'LICENSE'), 'utf8').trim()],
  };
  await mkdir(dirname(file), { recursive: true });
  await writeFile(file, `${outputFiles[0]?.text}${licenceComment([own, ...packages])}`);
  await chmod(file, 0o755);
}

if (process.argv[1] === fileURLToPath(import.meta.url))
  await buildSingle(resolve(process.argv[2] ?? join(ROOT, 'dist/rechunk.cjs')));
