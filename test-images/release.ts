/**
 * Releases of an application as its users build them: a base layer (Alpine), and over it a layer with the dependencies that
 * a lockfile names, installed by `npm ci` on the day of the release. Needs Node, npm 11 and GNU tar; no root.
 */
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { gunzipSync } from 'node:zlib';
import { type BuiltImage, writeLayout } from './build.ts';
import { command } from './command.ts';

/** The days of the lockfiles in `packages/npm/lock-series`, ascending. */
export const RELEASES = ['2026-09-13', '2026-09-20'] as const;

/** A day that has a lockfile. */
export type ReleaseDay = (typeof RELEASES)[number];

const PACKAGES = fileURLToPath(new URL('packages/', import.meta.url));
const ALPINE = join(PACKAGES, 'apk/alpine-3.11.5-docker.tar.gz');
/** Packages for other machines are left out, so that the tree does not depend on where it is made. */
const PLATFORM = ['--os=linux', '--cpu=x64', '--libc=musl'];
/** No scripts, and nothing but the packages; the hidden lockfile must not name the registry that was used. */
const QUIET = [
  '--ignore-scripts',
  '--no-audit',
  '--no-fund',
  '--omit-lockfile-registry-resolved',
  '--loglevel=error',
];
const SERVER = `import express from 'express';
express().get('/', (_, response) => response.send('hello')).listen(8080);
`;

interface DockerConfig {
  readonly config: Record<string, unknown>;
}

/** Alpine's one layer, and what its config sets. */
async function readAlpine(work: string): Promise<{ tar: string; config: Record<string, unknown> }> {
  const dir = join(work, 'alpine');
  await mkdir(dir);
  await command('tar', ['-xzf', ALPINE, '-C', dir, '--no-same-owner']);
  const [image] = JSON.parse(await readFile(join(dir, 'manifest.json'), 'utf8'));
  const config = JSON.parse(await readFile(join(dir, image.Config), 'utf8')) as DockerConfig;
  return { tar: join(dir, image.Layers[0]), config: config.config };
}

/** Installs what the lockfile of `day` names into `work/root/app`. */
async function install(work: string, day: ReleaseDay): Promise<void> {
  const app = join(work, 'root', 'app');
  await mkdir(app, { recursive: true });
  const lockfile = join(PACKAGES, 'npm/lock-series', `package-lock-${day}.json.gz`);
  const lock = gunzipSync(await readFile(lockfile));
  const { name, version, dependencies } = JSON.parse(lock.toString()).packages[''];
  const manifest = { name, version, private: true, type: 'module', dependencies };
  await writeFile(join(app, 'package-lock.json'), lock);
  await writeFile(join(app, 'package.json'), `${JSON.stringify(manifest, null, 2)}\n`);
  await writeFile(join(app, 'server.js'), SERVER);
  await command('npm', ['ci', ...PLATFORM, ...QUIET], { cwd: app });
}

/** The tar of `work/root` as a build of that day would have made it: every file has the time of the installation. */
async function packApp(work: string, seconds: number): Promise<string> {
  const tar = join(work, 'app.tar');
  const exact = ['--format=posix', '--pax-option=delete=atime,delete=ctime', '--sort=name'];
  const owner = ['--owner=0', '--group=0', '--numeric-owner', '--mode=u+rwX,go+rX,go-w'];
  const time = [`--mtime=@${seconds}`];
  await command('tar', [...exact, ...owner, ...time, '-C', join(work, 'root'), '-cf', tar, 'app']);
  return tar;
}

/**
 * Writes the release of `day` as an OCI layout to `directory`, tag the day; gives what was written. Two layers, gzip,
 * 130 MB and 26,000 files unpacked. The same lockfile and npm give the same bytes on any machine.
 */
export async function buildRelease(day: ReleaseDay, directory: string): Promise<BuiltImage> {
  const work = await mkdtemp(join(tmpdir(), 'rechunk-release-'));
  const created = `${day}T12:00:00Z`;
  try {
    const [alpine] = await Promise.all([readAlpine(work), install(work, day)]);
    const tar = await packApp(work, Date.parse(created) / 1000);
    const config = {
      ...alpine.config,
      Env: ['PATH=/usr/local/bin:/usr/bin:/bin', 'NODE_ENV=production'],
      Cmd: ['node', 'server.js'],
      WorkingDir: '/app',
      ExposedPorts: { '8080/tcp': {} },
      Labels: { 'org.opencontainers.image.version': day },
    };
    const [image] = await writeLayout(directory, [
      { tag: day, layers: [{ tar: alpine.tar }, { tar }], config, fields: { created } },
    ]);
    return image as BuiltImage;
  } finally {
    await rm(work, { recursive: true, force: true });
  }
}
