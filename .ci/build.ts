/**
 * Builds `dist/`: JavaScript and declarations of the library by tsc, and the command line as few files in `dist/cli/`.
 *
 * `node .ci/build.ts [DIR]`: `dist/` goes to DIR, by default the checkout. Whoever builds beside others has a place of their own.
 */
import { execFileSync } from 'node:child_process';
import { cpSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { bundleProgram } from './bundle.ts';
import { bundlePage, pageModule } from './page.ts';

const REPORT_FILES = ['queries', 'spark/run.py', 'kubernetes.yaml'];
const root = fileURLToPath(new URL('..', import.meta.url));
const dist = join(process.argv[2] ?? root, 'dist');
rmSync(dist, { recursive: true, force: true });
execFileSync(`${root}node_modules/.bin/tsc`, ['-p', 'tsconfig.build.json', '--outDir', dist], {
  cwd: root,
  stdio: 'inherit',
});
// What other programs read: SQL, the runner for Spark, the manifest for Kubernetes.
for (const name of REPORT_FILES)
  cpSync(`${root}registry/report/${name}`, join(dist, 'registry/report', name), {
    recursive: true,
  });
const page = await bundlePage();
writeFileSync(join(dist, 'registry/report/html/script.js'), pageModule(page));
await bundleProgram(join(dist, 'cli'), page);
