/** Builds `dist/`: tsc to JavaScript and declarations, plus the CLI entry that checks the Node version. */
import { execFileSync } from 'node:child_process';
import { chmodSync, copyFileSync, rmSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));
rmSync(`${root}dist`, { recursive: true, force: true });
execFileSync(`${root}node_modules/.bin/tsc`, ['-p', 'tsconfig.build.json'], {
  cwd: root,
  stdio: 'inherit',
});
copyFileSync(`${root}rechunk/cli/entry.cjs`, `${root}dist/rechunk/cli/entry.cjs`);
chmodSync(`${root}dist/rechunk/cli/entry.cjs`, 0o755);
