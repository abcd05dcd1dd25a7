/** Runs of the command line that must fail, and what must hold of every one of them. */
import assert from 'node:assert/strict';
import { existsSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { ADVICE, type ErrorCode } from '../registry/errors.ts';
import { type CliOptions, type CliResult, type HereOptions, runCli, runHere } from './cli.ts';

/** How a run must fail. */
export interface Trouble {
  readonly code: ErrorCode;
  /** What its message must say: the thing, what was found, what was wanted. */
  readonly says: RegExp;
  /** A path that must not be there afterwards. */
  readonly absent?: string;
  /** Where the run's temporary files go; default a new directory. */
  readonly tempDir?: string;
}

/**
 * Runs `rechunk ARGS --json` with a temporary directory of its own, as a process only where `options` need one. It must end with exit status 2, one JSON object that
 * tells of the error, the same error on stderr without a stack trace, and an empty temporary directory.
 */
export async function expectTrouble(
  args: readonly string[],
  trouble: Trouble,
  options: CliOptions = {},
): Promise<CliResult> {
  const own = trouble.tempDir === undefined ? mkdtempSync('/var/tmp/rechunk-trouble-') : undefined;
  const temp = own ?? (trouble.tempDir as string);
  try {
    const all = [...args, '--json', '--temp-dir', temp];
    const result = await (isForHere(options) ? runHere(all, options) : runCli(all, options));
    checkReport(result, trouble);
    assert.deepEqual(readdirSync(temp), [], 'temporary files were left behind');
    if (trouble.absent) assert.ok(!existsSync(trouble.absent), `${trouble.absent} is there`);
    return result;
  } finally {
    if (own) rmSync(own, { recursive: true, force: true });
  }
}

function isForHere(options: CliOptions): options is HereOptions {
  return Object.keys(options).every((name) => name === 'env');
}

function checkReport({ status, stdout, stderr }: CliResult, { code, says }: Trouble): void {
  assert.equal(status, 2, `exit status ${status}: ${stdout}${stderr}`);
  assert.doesNotMatch(stderr, /a bug|^\s+at /m);
  assert.match(stdout, /^\{"error":.*\}\n$/, stderr);
  const { error } = JSON.parse(stdout) as { error: Record<string, unknown> };
  assert.deepEqual(Object.keys(error), ['code', 'message', 'details', 'advice']);
  assert.match(String(error['message']), says);
  assert.equal(error['code'], code, String(error['message']));
  assert.equal(error['advice'], ADVICE[code]);
  assert.equal(typeof error['details'], 'object');
  // What follows the first line of a message is indented.
  const told = String(error['message']).replace(/\n(?!\s)/g, '\n  ');
  assert.ok(stderr.endsWith(`rechunk: ${told}\n  ${ADVICE[code]}\n`), stderr);
}
