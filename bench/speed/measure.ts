/**
 * Runs of whole process trees: wall time, CPU and peak memory by GNU time, bytes by the kernel's count of what system calls read and wrote
 * (`/proc/PID/io`: a process has that of the children that it waited for; the page cache, pipes and sockets count, `mmap` does not).
 */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { command } from '../../test-images/command.ts';

/** One timed run of a whole process tree. */
export interface Run {
  readonly wallSeconds: number;
  /** User and system, of all processes. */
  readonly cpuSeconds: number;
  /** Of the largest process. */
  readonly peakMiB: number;
  /** Bytes that system calls read and wrote. */
  readonly readBytes: number;
  readonly writtenBytes: number;
  /** Bytes that came from the disk, and that are to go to it. */
  readonly diskReadBytes: number;
  readonly diskWrittenBytes: number;
}

/** `$1`: where GNU time writes; `$2`: where the counts go; the rest: the command. */
const WRAPPER =
  'times=$1 counts=$2; shift 2; /usr/bin/time -o "$times" -f "%e %U %S %M" "$@"; status=$?; cat "/proc/$$/io" >"$counts"; exit $status';

/** Variables that would change what is measured. */
const isForeign = (name: string): boolean => /^(RECHUNK_|NODE_|npm_|SOURCE_DATE_EPOCH)/.test(name);

function parseCounts(text: string): (name: string) => number {
  const counts = new Map(
    text
      .trim()
      .split('\n')
      .map((line) => line.split(': ') as [string, string]),
  );
  return (name) => Number(counts.get(name));
}

/** Runs a command, after what earlier runs wrote has reached the disk; throws when it fails. Its output goes nowhere. */
export async function measure(parameters: readonly string[]): Promise<Run> {
  const directory = mkdtempSync(join(tmpdir(), 'speed-'));
  try {
    await command('sync', []);
    const files = [join(directory, 'time'), join(directory, 'io')] as const;
    const unset = Object.keys(process.env)
      .filter(isForeign)
      .flatMap((name) => ['-u', name]);
    const whole = [...unset, 'sh', '-c', WRAPPER, 'sh', ...files, ...parameters];
    await command('env', whole, { env: { XDG_CACHE_HOME: directory } });
    const [times, counts] = files.map((file) => readFileSync(file, 'utf8')) as [string, string];
    const [wall = 0, user = 0, system = 0, peak = 0] = times.trim().split(' ').map(Number);
    const count = parseCounts(counts);
    return {
      wallSeconds: wall,
      cpuSeconds: Number((user + system).toFixed(2)),
      peakMiB: Math.round(peak / 1024),
      readBytes: count('rchar'),
      writtenBytes: count('wchar'),
      diskReadBytes: count('read_bytes'),
      diskWrittenBytes: count('write_bytes'),
    };
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}
