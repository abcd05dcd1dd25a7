/**
 * A machine as hosts of CI give it to a job: a registry that wants a login, with Alpine in it, buildah of Debian 12, rechunk, and a directory
 * with a Dockerfile. What is installed is what `PATH` of its environment names. Needs root and what `openBuilder` needs.
 */
import { chmodSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { mkdtemp } from 'node:fs/promises';
import { homedir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { gunzipSync } from 'node:zlib';
import { type Builder, openBuilder } from './builders.ts';
import { command } from './command.ts';
import { type Registry, startRegistry } from './registry.ts';

/** Such a machine. */
export interface Host {
  /** Where the job runs; it is the build context too. */
  readonly context: string;
  readonly registry: Registry;
  /** Who may log in, and a password. */
  readonly user: string;
  readonly password: string;
  /** All that the job's environment needs to have of it. */
  readonly env: Readonly<Record<string, string>>;
  /** Writes what the image shall hold in `/etc/motd`. */
  write(text: string): void;
  close(): Promise<void>;
}

const ROOT = fileURLToPath(new URL('..', import.meta.url));
const [USER, PASSWORD] = ['someone', 'pass%word'];

function writeProgram(file: string, script: string): void {
  writeFileSync(file, `#!/bin/sh\n${script}\n`);
  chmodSync(file, 0o755);
}

/** Copies Alpine to `registry`, as an image to build on. */
async function pushAlpine(registry: Registry, dir: string): Promise<void> {
  const packed = readFileSync(`${ROOT}test-images/packages/apk/alpine-3.11.5-docker.tar.gz`);
  const file = join(dir, 'alpine.tar');
  writeFileSync(file, gunzipSync(packed));
  const login = ['--dest-tls-verify=false', `--dest-creds=${USER}:${PASSWORD}`];
  const to = `docker://${registry.host}/alpine:latest`;
  await command('skopeo', ['copy', '--quiet', ...login, `docker-archive:${file}`, to]);
}

/** Words for a shell. */
const quoted = (words: readonly string[]): string =>
  words.map((word) => `'${word.replaceAll("'", "'\\''")}'`).join(' ');

/** Opens a machine; `close` removes all of it. */
export async function openHost(): Promise<Host> {
  const dir = await mkdtemp('/var/tmp/rechunk-host-');
  // Steps may run as another user.
  chmodSync(dir, 0o755);
  const registry = await startRegistry({ users: { [USER]: PASSWORD } });
  const own = join(dir, 'b');
  const builder: Builder = await openBuilder('bookworm', own, registry.host);
  await pushAlpine(registry, dir);
  const [context, bin] = [join(own, 'context'), join(own, 'bin')];
  mkdirSync(context);
  mkdirSync(bin);
  const inside = [...builder.words, 'REGISTRY_AUTH_FILE=AUTH', 'sh', '-c'];
  const enter = quoted(inside).replace(
    "'REGISTRY_AUTH_FILE=AUTH'",
    '"REGISTRY_AUTH_FILE=$REGISTRY_AUTH_FILE"',
  );
  // Of plain http its `login` is to be told, unlike all else. An engine of that name comes first in PATH, so its place is given.
  const plain = 'case $1 in login) shift; set -- login --tls-verify=false "$@" ;; esac';
  const run = `exec ${enter} 'cd "$0" && exec /usr/bin/buildah "$@"' "$PWD" "$@"`;
  writeProgram(join(bin, 'buildah'), `${plain}\n${run}`);
  const node = `${process.execPath} --disable-warning=ExperimentalWarning`;
  writeProgram(join(bin, 'rechunk'), `exec ${node} ${ROOT}rechunk/cli/entry.cjs "$@"`);
  const lines = [`FROM ${registry.host}/alpine`, 'COPY motd /etc/motd', 'LABEL a=b', ''];
  writeFileSync(join(context, 'Dockerfile'), lines.join('\n'));
  const write = (text: string): void => writeFileSync(join(context, 'motd'), text);
  write('hello\n');
  return {
    context,
    registry,
    user: USER,
    password: PASSWORD,
    env: {
      // How packages are reached is this machine's own affair.
      ...(process.env as Record<string, string>),
      NPM_CONFIG_USERCONFIG: join(homedir(), '.npmrc'),
      PATH: `${bin}:${dirname(process.execPath)}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin`,
      HOME: own,
      REGISTRY_AUTH_FILE: join(own, 'auth.json'),
      TMPDIR: join(own, 'tmp'),
      LC_ALL: 'C',
    },
    write,
    close: async () => {
      await builder.close();
      await registry.stop();
      rmSync(dir, { recursive: true, force: true });
    },
  };
}
