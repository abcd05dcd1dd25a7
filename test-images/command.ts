/** Runs the real tools that make and read test images. */
import { spawn } from 'node:child_process';
import type { Readable } from 'node:stream';

/** How a tool is run. */
export interface CommandOptions {
  readonly cwd?: string;
  /** Added to this process's environment. */
  readonly env?: Readonly<Record<string, string>>;
  readonly input?: Uint8Array | Readable;
}

/**
 * Runs `program` and gives its standard output. Throws with the command, its exit status and what it wrote to standard
 * error where it fails. Locale C, time zone UTC.
 */
export function command(
  program: string,
  parameters: readonly string[],
  options: CommandOptions = {},
): Promise<Buffer> {
  const { input } = options;
  return new Promise((resolve, reject) => {
    const child = spawn(program, parameters, {
      cwd: options.cwd,
      env: { ...process.env, LC_ALL: 'C', TZ: 'UTC', ...options.env },
      stdio: ['pipe', 'pipe', 'pipe'],
    });
    const out: Buffer[] = [];
    const complaints: Buffer[] = [];
    child.stdout.on('data', (data: Buffer) => out.push(data));
    child.stderr.on('data', (data: Buffer) => complaints.push(data));
    child.on('error', reject);
    child.on('close', (code, signal) => {
      if (code === 0) return resolve(Buffer.concat(out));
      const said = Buffer.concat(complaints).toString().trim().slice(-2000);
      reject(new Error(`${program} ${parameters.join(' ')} ended with ${code ?? signal}: ${said}`));
    });
    // A tool that needs no more input closes its end; its exit status tells whether that was right.
    child.stdin.on('error', () => {});
    if (input && 'pipe' in input) input.pipe(child.stdin);
    else child.stdin.end(input);
  });
}

/** What `program` prints, as text without the last newline. */
export async function output(
  program: string,
  parameters: readonly string[],
  options: CommandOptions = {},
): Promise<string> {
  return (await command(program, parameters, options)).toString().trimEnd();
}
