/**
 * Makes the archives of this folder anew: `node test-images/buildkit/make.ts`, as root, with mmdebstrap. Docker and buildx of Debian
 * sid run in a sandbox, with images kept in containerd's store, which alone can export OCI archives.
 */
import { cp, mkdtemp, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { command } from '../command.ts';
import { cached } from '../debian.ts';
import { startDockerd } from '../runtimes/docker.ts';
import { openSandbox } from '../runtimes/sandbox.ts';

const here = fileURLToPath(new URL('.', import.meta.url));
const ROOT = '/var/tmp/rechunk-runtimes/sid-buildkit-1';
const PACKAGES = 'docker.io,docker-cli,docker-buildx,mount,ca-certificates';
/** 2026-01-01T00:00:00Z, seconds. */
const EPOCH = 1767225600;

const PLATFORMS = ['--platform', 'linux/amd64,linux/arm64'];
const NAMED = ['--tag', 'example.com/app:1'];

/** Archives, and the options of the build that gives each. */
const ARCHIVES: Readonly<Record<string, readonly string[]>> = {
  index: [...PLATFORMS, '--provenance=mode=max', '-o', 'type=oci,dest=-'],
  single: [
    ...NAMED,
    '--annotation',
    'org.opencontainers.image.description=described',
    '-o',
    'type=oci,dest=-',
  ],
  zstd: [
    ...NAMED,
    '--provenance=false',
    '-o',
    'type=oci,dest=-,compression=zstd,force-compression=true',
  ],
  docker: [...NAMED, '-o', 'type=docker,dest=-'],
};

const sid = await cached(ROOT, async (dir) => {
  // A frozen mirror's lists may have run out.
  const late = '--aptopt=Acquire::Check-Valid-Until "false"';
  const options = ['--variant=apt', '--quiet', late, `--include=${PACKAGES}`];
  await command('mmdebstrap', [...options, 'sid', join(dir, 'root')]);
});
const sandbox = await openSandbox(await mkdtemp('/var/tmp/bk-'), { root: join(sid, 'root') });
try {
  await startDockerd(sandbox, 'containerd');
  const { dir, outside } = sandbox;
  await cp(join(here, 'context'), outside(`${dir}/context`), { recursive: true });
  // COPY takes the times of files as they are, and a checkout has that of its making.
  await sandbox.run('find', [`${dir}/context`, '-exec', 'touch', '-hd', `@${EPOCH}`, '{}', '+']);
  const env = {
    DOCKER_HOST: `unix://${dir}/d.sock`,
    HOME: dir,
    SOURCE_DATE_EPOCH: String(EPOCH),
  };
  const docker = (archive: string, ...parameters: readonly string[]): Promise<string> =>
    sandbox
      .run('sh', ['-c', `cd ${dir}/context && exec "$@" >${dir}/out`, 'sh', ...parameters], {
        env,
      })
      .then(async () => {
        await cp(outside(`${dir}/out`), join(here, `${archive}.tar`));
        return archive;
      });
  for (const [archive, options] of Object.entries(ARCHIVES))
    console.log(await docker(archive, 'docker', 'buildx', 'build', '-q', ...options, '.'));
  const load = ['--tag', 'example.com/app:2', ...PLATFORMS, '--load', '.'];
  await docker('saved', 'docker', 'buildx', 'build', '-q', ...load);
  console.log(await docker('saved', 'docker', 'save', 'example.com/app:2'));
  const versions = await sandbox.run('docker', ['version', '--format', '{{.Server.Version}}'], {
    env,
  });
  await writeFile(
    join(here, 'version.txt'),
    `docker ${versions}\n${await sandbox.run('docker', ['buildx', 'version'], { env })}\n`,
  );
} finally {
  await sandbox.close();
}
