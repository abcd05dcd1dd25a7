/** What Docker's builder can write: an OCI layout, or images of the daemon only. */
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { type BuildCommand, besideBuild } from './buildcommand.ts';
import type { Host } from './options.ts';

const run = promisify(execFile);

/** The first Docker whose `docker build` is that of buildx. */
const BUILDX_VERSION = 23;

/**
 * Whether the builder of this command takes `--output type=oci`: one of buildx that is not the daemon's own, or the daemon's own where
 * it keeps images in containerd's store. What cannot be asked is taken for no, since all daemons can save images.
 */
export async function takesLayouts(command: BuildCommand, host: Host): Promise<boolean> {
  const ask = async (...words: string[]): Promise<string> => {
    const [program = '', ...parameters] = besideBuild(command, words);
    try {
      return (await run(program, parameters, { env: host.env, signal: host.signal })).stdout;
    } catch {
      host.signal.throwIfAborted();
      return '';
    }
  };
  const isBuildx =
    command.verb[0] === 'buildx' ||
    Number.parseInt(await ask('version', '--format', '{{.Client.Version}}'), 10) >= BUILDX_VERSION;
  if (!isBuildx) return false;
  const driver = /^Driver:\s*(\S+)/m.exec(
    await ask('buildx', 'inspect', ...builderOf(command)),
  )?.[1];
  if (driver !== 'docker') return driver !== undefined;
  const status = await ask('info', '--format', '{{json .DriverStatus}}');
  return status.includes('io.containerd.snapshotter.v1');
}

/** The builder that the command names. */
function builderOf({ globals, rest }: BuildCommand): string[] {
  const words = [...globals, ...rest];
  const at = words.findIndex((word) => word === '--builder' || word.startsWith('--builder='));
  if (at < 0) return [];
  const [, joined] = (words[at] as string).split('=', 2);
  return [joined ?? words[at + 1] ?? ''].filter(Boolean);
}
