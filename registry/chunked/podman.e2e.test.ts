// needs: root, mmdebstrap, docker-registry
/** Partial pulls of what is written here, by podman of Debian 13 from a real registry. */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { mkdtemp } from 'node:fs/promises';
import { test } from 'uvu';
import { openPartialPodman, type Pulled } from '../../test-images/runtimes/partial.ts';
import { openSandbox } from '../../test-images/runtimes/sandbox.ts';
import { suiteRoot } from '../../test-images/runtimes/suite.ts';
import { digestOf } from '../oci.ts';
import { packTar, type TarItem } from '../tarwriter.ts';
import { createChunkedCompressor } from './writer.ts';

const sandbox = await openSandbox(await mkdtemp('/var/tmp/rt-'), {
  root: await suiteRoot('trixie'),
});
const { podman, pull, registry } = await openPartialPodman(sandbox);

/** Pushes an image of one layer, and gives the sizes of its blob and its table of contents with the tar-split section. */
async function push(tag: string, tar: Uint8Array): Promise<{ size: number; index: number }> {
  const output: Buffer[] = [];
  const compressor = createChunkedCompressor(undefined, {
    inFlight: 2,
    write: (bytes) => {
      output.push(Buffer.from(bytes));
    },
  });
  await compressor.push(tar);
  await compressor.finish();
  const result = compressor.result();
  assert.ok('annotations' in result);
  const blob = Buffer.concat(output);
  const base = `http://${registry.host}/v2/image`;
  const upload = async (bytes: Buffer): Promise<object> => {
    const digest = digestOf(bytes);
    const begun = await fetch(`${base}/blobs/uploads/`, { method: 'POST' });
    const place = `${begun.headers.get('location')}&digest=${digest}`;
    const answer = await fetch(place, { method: 'PUT', body: new Uint8Array(bytes) });
    assert.equal(answer.status, 201);
    return { digest, size: bytes.length };
  };
  const config = {
    os: 'linux',
    architecture: 'amd64',
    config: {},
    rootfs: { type: 'layers', diff_ids: [digestOf(tar)] },
  };
  const layer = await upload(blob);
  const stored = await upload(Buffer.from(JSON.stringify(config)));
  const OCI = 'application/vnd.oci.image';
  const manifest = {
    schemaVersion: 2,
    mediaType: `${OCI}.manifest.v1+json`,
    config: { mediaType: `${OCI}.config.v1+json`, ...stored },
    layers: [
      {
        mediaType: `${OCI}.layer.v1.tar+zstd`,
        ...layer,
        annotations: result.annotations,
      },
    ],
  };
  const headers = { 'content-type': manifest.mediaType };
  const body = JSON.stringify(manifest);
  const answer = await fetch(`${base}/manifests/${tag}`, { method: 'PUT', headers, body });
  assert.equal(answer.status, 201);
  const index = Object.values(result.annotations)
    .filter((value) => /^\d/.test(value))
    .reduce((sum, value) => sum + Number(value.split(':')[1]), 0);
  return { size: blob.length, index };
}

/** Only the config was read as a whole. */
function checkPartial({ whole, parts }: Pulled): void {
  assert.ok(parts > 0);
  assert.equal(whole.length, 1, whole.join());
}

/** Bytes of digests, which do not compress. */
function noise(size: number, seed: string): Buffer {
  const parts = Array.from({ length: Math.ceil(size / 64) }, (_, i) =>
    createHash('sha512').update(`${seed} ${i}`).digest(),
  );
  return Buffer.concat(parts).subarray(0, size);
}

const MIB = 1 << 20;
/** Where releases differ in the large file. */
const CHANGED_AT = 10 * MIB;
const LARGE = noise(20 * MIB, 'large');
const FILES: readonly TarItem[] = [
  { path: './' },
  { path: 'd/', mode: 0o750, uid: 5, gid: 6 },
  { path: 'd/empty' },
  { path: 'd/text', content: 'some text\n', mode: 0o4755, uid: 5 },
  { path: 'd/link', type: 'link', link: 'd/text', mode: 0o4755, uid: 5 },
  { path: 'd/symlink', type: 'symlink', link: 'text' },
  { path: 'd/kept', content: noise(5 * MIB, 'kept') },
  // One chunk in several frames, and a hole of several.
  { path: 'd/repeated', content: Buffer.alloc(20 * MIB, 'abc') },
  {
    path: 'd/hole',
    content: Buffer.concat([Buffer.from('x'), Buffer.alloc(20 * MIB), Buffer.from('y')]),
  },
  {
    path: 'd/capable',
    content: 'capable',
    xattrs: new Map([
      ['security.capability', Buffer.from(`01000002${'20'.padEnd(32, '0')}`, 'hex')],
    ]),
  },
];

/** The release whose large file has other bytes in its midst. */
function release(change: Uint8Array): Buffer {
  const large = Buffer.from(LARGE);
  large.set(change, CHANGED_AT);
  return packTar([...FILES, { path: 'large', content: large }]);
}

/** Digests, modes and owners of what a container of the image sees. */
async function shown(tag: string): Promise<string> {
  const container = await podman('create', `${registry.host}/image:${tag}`, 'true');
  const root = await podman('mount', container);
  const script = `cd "$1"; sha256sum d/* large | cut -c1-64; stat -c '%n %F %a %u %g %h' d d/* large`;
  const text = await sandbox.run('sh', ['-c', script, 'sh', root]);
  await podman('rm', '-f', container);
  return text;
}

function digests(large: Uint8Array): string[] {
  const contents = new Map<string, Uint8Array>(
    FILES.map(({ path, content = '' }) => [path, Buffer.from(content)]),
  );
  for (const link of ['d/link', 'd/symlink']) {
    contents.set(link, contents.get('d/text') as Uint8Array);
  }
  const files = [...contents].filter(([name]) => !name.endsWith('/')).sort();
  const all = [...files.map(([, bytes]) => bytes), large];
  return all.map((bytes) => digestOf(bytes).slice('sha256:'.length));
}

const STATS = [
  'd directory 750 5 6 2',
  'd/capable regular file 644 0 0 1',
  'd/empty regular empty file 644 0 0 1',
  'd/hole regular file 644 0 0 1',
  'd/kept regular file 644 0 0 1',
  'd/link regular file 4755 5 0 2',
  'd/repeated regular file 644 0 0 1',
  'd/symlink symbolic link 777 0 0 1',
  'd/text regular file 4755 5 0 2',
  'large regular file 644 0 0 1',
];

test('podman pulls a layer in part, and of its next version only the chunks that changed', async () => {
  const change = Buffer.from('another release');
  const first = await push('1', release(Buffer.alloc(0)));
  const second = await push('2', release(change));
  const all = await pull('image:1');
  checkPartial(all);
  assert.ok(all.bytes <= first.size + first.index, `${all.bytes} of ${first.size} bytes`);
  assert.equal(await shown('1'), [...digests(LARGE), ...STATS].join('\n'));
  const some = await pull('image:2');
  checkPartial(some);
  // A chunk or two, of 64 KiB on the average.
  assert.ok(some.bytes - second.index < 500_000, `${some.bytes} of ${second.size} bytes`);
  const large = Buffer.from(LARGE);
  large.set(change, CHANGED_AT);
  assert.equal(await shown('2'), [...digests(large), ...STATS].join('\n'));
});

test.after(() => sandbox.close());
test.run();
