// needs: root, unshare, nsenter, buildah, podman, skopeo, docker-registry, faketime, npm, ldd, tar
/** The page's commands, with the Containerfile and the single file of this checkout, a real registry and a base made here. */
import assert from 'node:assert/strict';
import {
  chmodSync,
  cpSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { suite } from 'uvu';
import type { BuildResult } from '../../rechunk/rechunk.ts';
import { writeLayout } from '../../test-images/build.ts';
import { type Builder, openBuilder } from '../../test-images/builders.ts';
import { runJson } from '../../test-images/cli.ts';
import { command, output } from '../../test-images/command.ts';
import { scriptsOf } from '../../test-images/page.ts';
import { type Registry, startRegistry } from '../../test-images/registry.ts';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const ALPINE = `docker-archive:${ROOT}test-images/packages/apk/alpine-3.11.5-docker.tar.gz`;
const INDEX = 'application/vnd.oci.image.index.v1+json';
const PLATFORMS = ['amd64', 'arm64'] as const;
const MANIFEST = 'application/vnd.oci.image.manifest.v1+json';
/** What the image may add to its base, bytes of a compressed layer: 0.65 MB, and some room. */
const MOST_ADDED = 1_200_000;

interface Blob {
  readonly digest: string;
  readonly size: number;
}
interface Manifest {
  readonly config: Blob;
  readonly layers: readonly Blob[];
}
interface Entry extends Blob {
  readonly platform: { readonly architecture: string };
}
interface Named extends Manifest {
  readonly architecture: string;
  readonly digest: string;
}
interface Config {
  readonly created: string;
  readonly architecture: string;
  readonly config: Readonly<Record<string, unknown>>;
}

const image = suite('image');
const dir = mkdtempSync('/var/tmp/rechunk-image-');
const checkout = join(dir, 'checkout');
const file = (name: string): string => join(checkout, name);
let registry: Registry;
let builder: Builder;
let scripts: readonly string[];

/** What a script prints in the checkout, complaints too; `engine` is whose settings count. */
function run(script: string, engine: 'buildah' | 'podman' = 'podman'): Promise<string> {
  const settings = engine === 'podman' ? `export CONTAINERS_CONF=${builder.dir}/podman.conf; ` : '';
  writeFileSync(join(dir, 'script'), `${settings}${script}`);
  const log = '"$TMPDIR/log"';
  const loud = `sh -eu ../script >${log} 2>&1 || { tail -n 20 ${log} >&2; exit 1; }; cat ${log}`;
  return builder.run(loud, checkout);
}

async function get<T>(path: string): Promise<{ digest: string; value: T }> {
  const headers = { accept: `${INDEX}, ${MANIFEST}` };
  const response = await fetch(`http://${registry.host}/v2/${path}`, { headers });
  assert.equal(response.status, 200, path);
  const digest = response.headers.get('docker-content-digest') ?? '';
  return { digest, value: (await response.json()) as T };
}

/** The manifests of an index by architecture, sorted: engines list them as they come. */
async function manifestsOf(repository: string, tag: string): Promise<Named[]> {
  const path = `${repository}/manifests`;
  const { value } = await get<{ manifests: Entry[] }>(`${path}/${tag}`);
  const found = value.manifests.map(async ({ digest, platform: { architecture } }) => ({
    ...(await get<Manifest>(`${path}/${digest}`)).value,
    architecture,
    digest,
  }));
  return (await Promise.all(found)).sort((a, b) => (a.architecture < b.architecture ? -1 : 1));
}

/** The checkout, where `dist` is nobody else's. */
function writeCheckout(): void {
  mkdirSync(checkout);
  cpSync(join(ROOT, '.ci'), file('.ci'), { recursive: true });
  const names = ['package.json', 'tsconfig.json', 'LICENSE', 'node_modules'];
  for (const name of [...names, 'plugin', 'rechunk', 'registry'])
    symlinkSync(join(ROOT, name), file(name));
}

/** Pushes a base as distroless ones are: Node, its libraries and no shell, for two architectures by name. */
async function pushBase(): Promise<void> {
  const [root, layout] = [join(dir, 'base'), join(dir, 'layout')];
  mkdirSync(join(root, 'nodejs/bin'), { recursive: true });
  const libraries = (await output('ldd', [process.execPath])).match(/\/\S+(?= \()/g) ?? [];
  await command('cp', ['-L', '--parents', ...libraries, root]);
  await command('cp', [process.execPath, join(root, 'nodejs/bin/node')]);
  mkdirSync(join(root, 'tmp'));
  chmodSync(join(root, 'tmp'), 0o1777);
  const tar = join(dir, 'base.tar');
  await command('tar', ['-cf', tar, '--owner=0', '--group=0', '-C', root, '.']);
  const config = { Entrypoint: ['/nodejs/bin/node'], User: '65532' };
  mkdirSync(layout);
  const images = PLATFORMS.map((architecture) => ({
    tag: architecture,
    layers: [{ tar }],
    config,
    fields: { architecture, created: '1970-01-01T00:00:00Z' },
  }));
  const written = await writeLayout(layout, images);
  const base = `${registry.host}/node`;
  for (const tag of PLATFORMS) {
    const from = `oci:${layout}:${tag}`;
    await command('skopeo', [
      'copy',
      '-q',
      '--dest-tls-verify=false',
      from,
      `docker://${base}:${tag}`,
    ]);
  }
  const manifests = written.map(({ manifest }, i) => ({
    ...manifest,
    platform: { os: 'linux', architecture: PLATFORMS[i] },
  }));
  const body = JSON.stringify({ schemaVersion: 2, mediaType: INDEX, manifests });
  const request = { method: 'PUT', headers: { 'content-type': INDEX }, body };
  const answer = await fetch(`http://${registry.host}/v2/node/manifests/24-slim`, request);
  assert.equal(answer.status, 201);
}

image.before(async () => {
  registry = await startRegistry();
  builder = await openBuilder('bookworm', join(dir, 'b'), registry.host);
  // Containers see the registry on this machine's loopback.
  const settings = join(builder.dir, 'podman.conf');
  writeFileSync(settings, `${readFileSync(settings, 'utf8')}netns = "host"\n`);
  writeCheckout();
  await pushBase();
  // buildah 1.28 takes no notice here of what registries.conf says.
  scripts = scriptsOf(join(ROOT, 'plugin/image/README.md'), registry.host).map((text) =>
    text.replace('manifest push', 'manifest push --tls-verify=false'),
  );
});

image.after(async () => {
  await builder?.close();
  await registry?.stop();
  rmSync(dir, { recursive: true, force: true });
});

const script = (number: number): string => scripts[number] ?? assert.fail(`script ${number}`);
let first: readonly Named[];

image(
  'one small layer is added to the base, the same for each architecture, and nobody runs it',
  async () => {
    await run(script(0), 'buildah');
    const bases = await manifestsOf('node', '24-slim');
    const ours = await manifestsOf('rechunk', '1');
    first = ours;
    assert.equal(ours.length, 2);
    const added = ours.map(({ layers }) => layers.at(-1)?.digest);
    assert.equal(added[0], added[1]);
    for (const [i, { config, layers }] of ours.entries()) {
      assert.deepEqual(layers.slice(0, -1), bases[i]?.layers);
      const top = layers.at(-1)?.size ?? Number.NaN;
      assert.ok(top < MOST_ADDED, `${top} bytes`);
      const { value } = await get<Config>(`rechunk/blobs/${config.digest}`);
      assert.equal(value.architecture, PLATFORMS[i]);
      const { User, Entrypoint, Cmd } = value.config;
      assert.deepEqual(
        [User, Entrypoint, Cmd],
        ['65532:65532', ['node', '/usr/local/bin/rechunk'], ['--help']],
      );
    }
  },
);

image('nothing in it is of the day on which it was built', async () => {
  const [manifest] = await manifestsOf('rechunk', '1');
  const { value } = await get<Config>(`rechunk/blobs/${manifest?.config.digest}`);
  const days = JSON.stringify(value).match(/\d{4}-\d\d-\d\dT[\d:.]+Z/g) ?? [];
  assert.deepEqual([...new Set(days)], ['1970-01-01T00:00:00Z']);
  const blob = join(dir, 'layer.tar.gz');
  const url = `http://${registry.host}/v2/rechunk/blobs/${manifest?.layers.at(-1)?.digest}`;
  writeFileSync(blob, Buffer.from(await (await fetch(url)).arrayBuffer()));
  const list = await output('tar', ['--utc', '--full-time', '--numeric-owner', '-tvf', blob]);
  const size = readFileSync(file('dist/rechunk.cjs')).length;
  assert.deepEqual(
    list.split('\n').map((line) => line.split(/ +/)),
    ['usr/', 'usr/local/', 'usr/local/bin/', 'usr/local/bin/rechunk'].map((name) => {
      const mode = name.endsWith('/') ? 'drwxr-xr-x' : '-rwxr-xr-x';
      return [mode, '0/0', name.endsWith('/') ? '0' : String(size), '1970-01-01', '00:00:00', name];
    }),
  );
});

image('built again in another year, with another umask, it is the same', async () => {
  const again = script(0)
    .replace('npm run', 'umask 077; faketime 2031-05-05 npm run')
    .replace('buildah build', 'buildah build --no-cache')
    .replaceAll('rechunk:1', 'rechunk:2');
  await run(again, 'buildah');
  assert.deepEqual(await manifestsOf('rechunk', '2'), first);
});

image('it rechunks from registry to registry, and works where nothing is allowed', async () => {
  const plain = `oci:${file('plain')}`;
  await runJson(['build', ALPINE, plain, '--platform', 'linux/amd64', '--max-layers', '4']);
  const to = ['--dest-tls-verify=false', `docker://${registry.host}/app:1`];
  await command('skopeo', ['copy', '--quiet', plain, ...to]);
  const { digest } = await runJson<BuildResult>(['build', plain, `oci:${file('rechunked')}`]);
  const said = await run(script(1));
  assert.equal((await get('app/manifests/1-rechunked')).digest, digest);
  assert.match(said, /^equal: /m);
  // Of Node, where the base has no certificates.
  assert.doesNotMatch(said, /OpenSSL|[Ww]arning|cache/);
});

image('logins and a cache are handed to it', async () => {
  const closed = await startRegistry({ users: { user: 'secret' } });
  try {
    const auth = Buffer.from('user:secret').toString('base64');
    writeFileSync(file('auth.json'), JSON.stringify({ auths: { [closed.host]: { auth } } }));
    const logins = '-v "$PWD/auth.json:/auth.json:ro" -e REGISTRY_AUTH_FILE=/auth.json';
    const cache = '-v rechunk:/cache:U -e RECHUNK_CACHE=/cache';
    const name = `${registry.host}/rechunk:1`;
    const build = `build ${registry.host}/app:1 ${closed.host}/app:1`;
    await run(`chmod 644 auth.json; podman run --rm ${logins} ${cache} ${name} ${build}`);
    const volume = join(builder.dir, 'storage/volumes/rechunk/_data');
    assert.ok(readdirSync(volume).length > 0);
  } finally {
    await closed.stop();
  }
});

image('a mistake is told, with the status that it has elsewhere', async () => {
  const podman = `podman run --rm --network=none ${registry.host}/rechunk:1`;
  assert.match(await run(podman), /^Usage: rechunk /);
  const said = await run(`${podman} inspect oci:/nothing || echo "status $?"`);
  assert.match(said, /^rechunk: .*\/nothing[\s\S]*status 2$/);
});

image.run();
