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
  const isAsked = command.verb[0] === 'buildx';
  const isBuildx =
    isAsked ||
    (!/^(0|f|false)$/i.test(host.env['DOCKER_BUILDKIT'] ?? '') &&
      Number.parseInt(await ask('version', '--format', '{{.Client.Version}}'), 10) >=
        BUILDX_VERSION);
  if (!isBuildx) return false;
  // `docker build` goes to the builder of Docker's context, whichever `docker buildx use` selected.
  const isContexts = !isAsked && !host.env['BUILDX_BUILDER'];
  const [builder = isContexts ? (await ask('context', 'show')).trim() : ''] = builderOf(command);
  const driver = /^Driver:\s*(\S+)/m.exec(
    await ask('buildx', 'inspect', ...[builder].filter(Boolean)),
  )?.[1];
  if (driver !== 'docker') return driver !== undefined;
  const status = await ask('info', '--format', '{{json .DriverStatus}}');
  return status.includes('io.containerd.snapshotter.v1');
}

/** The builder that the command names. */
function builderOf({ globals, verb, rest }: BuildCommand): string[] {
  const words = [...globals, ...verb, ...rest];
  const at = words.findIndex((word) => word === '--builder' || word.startsWith('--builder='));
  if (at < 0) return [];
  const [, joined] = (words[at] as string).split('=', 2);
  return [joined ?? words[at + 1] ?? ''].filter(Boolean);
}
