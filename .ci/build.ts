/**
 * Builds `dist/`: JavaScript and declarations of the library by tsc, and the command line as few files in `dist/cli/`, since
 * loading 130 modules one by one takes longer than all else that happens before an image is opened (145 ms against 60).
 *
 * `node .ci/build.ts [DIR]`: `dist/` goes to DIR, by default the checkout. Whoever builds beside others has a place of their own.
 */
import { execFileSync } from 'node:child_process';
import { chmodSync, copyFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';
import { digestSources } from './sources.ts';

const root = fileURLToPath(new URL('..', import.meta.url));
const dist = join(process.argv[2] ?? root, 'dist');
rmSync(dist, { recursive: true, force: true });
execFileSync(`${root}node_modules/.bin/tsc`, ['-p', 'tsconfig.build.json', '--outDir', dist], {
  cwd: root,
  stdio: 'inherit',
});
await build({
  absWorkingDir: root,
  entryPoints: ['rechunk/cli/main.ts', 'rechunk/worker.ts'],
  outdir: join(dist, 'cli'),
  entryNames: '[name]',
  bundle: true,
  splitting: true,
  format: 'esm',
  platform: 'node',
  target: 'node22.19',
  packages: 'external',
  define: { SOURCES_DIGEST: JSON.stringify(digestSources(root)) },
});
for (const name of ['startup.cjs', 'entry.cjs'])
  copyFileSync(`${root}rechunk/cli/${name}`, join(dist, 'cli', name));
chmodSync(join(dist, 'cli/entry.cjs'), 0o755);
