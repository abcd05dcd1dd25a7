/**
 * Runs uvu test files and keeps uvu honest: each file runs in a process of its own, and the run fails when a
 * file prints no totals (it crashed, never settled, or forgot `test.run()`), ran no test, failed or skipped one.
 *
 * A file may name the tools that it needs in a line `// needs: skopeo, umoci`, or `// needs: root`. Where one is missing the
 * file is skipped, and the run says so; in CI (`CI` is set) that is a failure.
 *
 * The command line is built once for all tests that run it: as modules it takes 0.6 s of processor time more to start, and again in each
 * of its threads. `RECHUNK_TEST_ENTRY` names it to them. Where coverage is measured they run the sources. What modules compile to is kept
 * for the next process, too: half of the time of a small file is that, and an eighth of that of a build with its threads.
 *
 * `node .ci/test.ts [--unit] [--jobs N] [PATTERN…]`: PATTERN is a part of a file's path; `--unit` leaves out
 * `*.e2e.test.ts`, the tests that need container tools. The last line is `N passed, N failed`.
 */
import { spawn } from 'node:child_process';
import {
  accessSync,
  chmodSync,
  constants,
  globSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
} from 'node:fs';
import { availableParallelism } from 'node:os';
import { delimiter, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { bundleProgram } from './bundle.ts';

const TIMEOUT_MS = 1_200_000;
const PRELOAD = new URL('uvu.ts', import.meta.url).href;
const root = fileURLToPath(new URL('..', import.meta.url));

interface Outcome {
  readonly file: string;
  readonly passed: number;
  readonly failed: number;
  readonly skipped: number;
  readonly trouble?: string;
  readonly output: string;
  readonly ms: number;
}

/** Totals as uvu prints them at the end; undefined when the run never got there. */
function parseTotals(
  output: string,
): { total: number; passed: number; skipped: number } | undefined {
  const number = (label: string): number | undefined => {
    const found = [...output.matchAll(new RegExp(`^\\s*${label}:\\s+(\\d+)`, 'gm'))].at(-1);
    return found && Number(found[1]);
  };
  const [total, passed, skipped] = [number('Total'), number('Passed'), number('Skipped')];
  if (total === undefined || passed === undefined || skipped === undefined) return undefined;
  return { total, passed, skipped };
}

function isThere(tool: string): boolean {
  if (tool === 'root') return process.getuid?.() === 0;
  const directories = [...(process.env['PATH'] ?? '').split(delimiter), '/usr/sbin', '/sbin'];
  return directories.some((directory) => {
    try {
      accessSync(join(directory, tool), constants.X_OK);
      return true;
    } catch {
      return false;
    }
  });
}

/** The tools that a test file names and this machine lacks. */
function missingTools(file: string): string[] {
  const line = /^\/\/ needs: (.+)$/m.exec(readFileSync(join(root, file), 'utf8'));
  const tools = line?.[1]?.split(/[\s,]+/).filter(Boolean) ?? [];
  return tools.filter((tool) => !isThere(tool));
}

function runFile(file: string): Promise<Outcome> {
  const started = performance.now();
  const missing = missingTools(file);
  if (missing.length > 0) {
    const trouble = `skipped, since this machine lacks ${missing.join(', ')}`;
    return Promise.resolve({ file, passed: 0, failed: 0, skipped: 1, trouble, output: '', ms: 0 });
  }
  return new Promise((resolve) => {
    const child = spawn(
      process.execPath,
      ['--disable-warning=ExperimentalWarning', '--import', PRELOAD, file],
      {
        cwd: root,
        env: { ...process.env, ...settings },
        stdio: ['ignore', 'pipe', 'pipe'],
        timeout: TIMEOUT_MS,
        killSignal: 'SIGKILL',
      },
    );
    let output = '';
    child.stdout.on('data', (data) => (output += data));
    child.stderr.on('data', (data) => (output += data));
    child.on('close', (code, signal) => {
      const ms = performance.now() - started;
      const totals = parseTotals(output);
      const base = { file, output, ms };
      if (!totals) {
        const trouble = `ended without totals (exit ${code ?? signal})`;
        return resolve({ ...base, passed: 0, failed: 1, skipped: 0, trouble });
      }
      const failed = totals.total - totals.passed;
      const { passed, skipped } = totals;
      if (totals.total === 0) {
        return resolve({ ...base, passed, failed: 1, skipped, trouble: 'ran no test' });
      }
      if (failed === 0 && code !== 0) {
        return resolve({ ...base, passed, failed: 1, skipped, trouble: `exit ${code ?? signal}` });
      }
      resolve({ ...base, passed, failed, skipped });
    });
  });
}

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { unit: { type: 'boolean' }, jobs: { type: 'string' }, verbose: { type: 'boolean' } },
});
const files = globSync('{plugin,rechunk,registry,test-images,bench,.ci}/**/*.test.ts', {
  cwd: root,
})
  .filter((file) => !values.unit || !file.endsWith('.e2e.test.ts'))
  .filter((file) => positionals.length === 0 || positionals.some((part) => file.includes(part)))
  .sort((a, b) => Number(b.includes('.e2e.')) - Number(a.includes('.e2e.')) || (a < b ? -1 : 1));

/** Builds the command line where it finds its packages; gone when this process ends. */
async function buildEntry(): Promise<string> {
  const cache = join(root, 'node_modules/.cache');
  mkdirSync(cache, { recursive: true });
  const directory = mkdtempSync(join(cache, 'rechunk-'));
  // Some tests run it as another user.
  chmodSync(directory, 0o755);
  process.once('exit', () => rmSync(directory, { recursive: true, force: true }));
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const)
    process.once(signal, () => process.exit(1));
  return bundleProgram(directory);
}

// What this user's runs learnt is nothing to rely on.
const settings: Record<string, string> = {
  FORCE_COLOR: '0',
  NO_COLOR: '1',
  RECHUNK_NO_CACHE: 'true',
};
if (!process.env['NODE_V8_COVERAGE']) {
  const entry = await buildEntry();
  settings['RECHUNK_TEST_ENTRY'] = entry;
  settings['NODE_COMPILE_CACHE'] = join(dirname(entry), 'compiled');
}

const outcomes: Outcome[] = [];
const queue = [...files];
async function worker(): Promise<void> {
  for (let file = queue.shift(); file; file = queue.shift()) {
    const outcome = await runFile(file);
    outcomes.push(outcome);
    const bad = outcome.failed > 0 || outcome.skipped > 0;
    const state = outcome.failed > 0 ? 'FAIL' : outcome.skipped > 0 ? 'skip' : 'ok';
    const why = outcome.trouble ? ` — ${outcome.trouble}` : '';
    const skips = outcome.skipped ? `, ${outcome.skipped} skipped` : '';
    console.log(
      `${state.padEnd(4)} ${file}: ${outcome.passed} passed, ${outcome.failed} failed${skips} (${(outcome.ms / 1000).toFixed(1)} s)${why}`,
    );
    if (outcome.output && (bad || values.verbose))
      console.log(outcome.output.replace(/^/gm, '     '));
  }
}
const jobs = Number(values.jobs ?? availableParallelism());
await Promise.all(Array.from({ length: jobs }, worker));

const sum = (pick: (outcome: Outcome) => number): number =>
  outcomes.reduce((total, outcome) => total + pick(outcome), 0);
const skipped = sum((outcome) => outcome.skipped);
const skipsFail = Boolean(process.env['CI']) && skipped > 0;
const failed = sum((outcome) => outcome.failed) + (skipsFail ? skipped : 0);
if (files.length === 0) console.log('no test file matches');
console.log(
  `${sum((o) => o.passed)} passed, ${failed} failed${skipped && !skipsFail ? `, ${skipped} skipped` : ''}`,
);
process.exitCode = failed > 0 || files.length === 0 ? 1 : 0;
