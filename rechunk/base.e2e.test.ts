// needs: root, buildah, podman, skopeo, dpkg-deb, dpkg, mmdebstrap, bsdtar, getfattr, docker-registry
/** Images laid over untouched bases, made by a real buildah: which blobs are shared, and what a real podman shows of them. */
import assert from 'node:assert/strict';
import { mkdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { suite } from 'uvu';
import { writeLayout } from '../test-images/build.ts';
import { openBuildah } from '../test-images/buildah.ts';
import { jsonHere } from '../test-images/cli.ts';
import { command, output } from '../test-images/command.ts';
import { slimDebianImage } from '../test-images/debian.ts';
import { compareListings, listTree } from '../test-images/oracle.ts';
import { startRegistry } from '../test-images/registry.ts';
import { unpackWith } from '../test-images/runtime.ts';
import { noise } from '../test-images/sample.ts';
import type { Inspection } from './inspect.ts';
import type { BuildResult, Verification } from './library.ts';

const base = suite('base');
/** In lower case: buildah makes a name of it. */
const work = `/var/tmp/rechunk-base-${process.pid}`;
const alpine = fileURLToPath(
  new URL('../test-images/packages/apk/alpine-3.11.5-docker.tar.gz', import.meta.url),
);
const layout = `oci:${join(work, 'layout')}`;
const buildah = openBuildah(join(work, 'buildah'));

/** More than the noise of a compressor, and large enough to be a component of its own. */
const PAYLOAD_BYTES = 3_000_000;

base.before(async () => {
  mkdirSync(work, { recursive: true });
  const tar = await command('tar', ['-xzOf', alpine, '--wildcards', '*/layer.tar']);
  await writeLayout(join(work, 'layout'), [{ layers: [{ tar }], tag: 'alpine' }]);
  writeFileSync(join(work, 'payload'), noise(PAYLOAD_BYTES, 'payload'));
  const payload = `cp -p ${join(work, 'payload')} opt/model/payload`;
  for (const [name, mode] of [
    ['a', '0755'],
    ['b', '0750'],
  ]) {
    await buildah.commit(`${layout}:alpine`, `${layout}:base-${name}`, `chmod ${mode} opt`);
    const change = `mkdir opt/model; ${payload}`;
    await buildah.commit(`${layout}:base-${name}`, `${layout}:app-${name}`, change);
  }
});

base.after(async () => {
  await buildah.close();
  rmSync(work, { recursive: true, force: true });
});

/** Builds over the base of the same name; gives its layers as `inspect` tells them. */
async function buildOver(
  name: string,
  tag: string,
  options: readonly string[],
): Promise<Inspection> {
  const [from, to] = [`${layout}:app-${name}`, `${layout}:${tag}-${name}`];
  await jsonHere(['build', from, to, '--base', `${layout}:base-${name}`, ...options]);
  const { equal, differences } = await jsonHere<Verification>(['verify', from, to]);
  assert.ok(equal, JSON.stringify(differences));
  return jsonHere<Inspection>(['inspect', to]);
}

/** Each policy, whether the two images share the payload's blob, and whether podman shows the directories as they are. */
const policies: readonly (readonly [string, readonly string[], boolean])[] = [
  ['full', [], false],
  ['shared', [], true],
  ['delegate', ['--delegate-fallback', 'neutral'], true],
  ['delegate', ['--delegate-fallback', 'exact'], false],
];

for (const [policy, options, isShared] of policies) {
  const name = [policy, ...options].join(' ');
  base(
    `one payload over two bases is ${isShared ? 'one blob' : 'two blobs'}: ${name}`,
    async () => {
      const tag = name.replace(/\W+/g, '-');
      const how = ['--parents', policy, ...options];
      const [a, b] = [await buildOver('a', tag, how), await buildOver('b', tag, how)];
      const blobs = ({ layers }: Inspection, role: string | undefined): string[] =>
        layers.filter((one) => one.role === role).map(({ digest }) => digest);
      const payloads = [a, b].map(({ layers }) =>
        layers.find(({ components }) => components?.includes('large:/opt/model/payload')),
      );
      assert.ok(payloads.every((one) => one && one.size >= PAYLOAD_BYTES));
      assert.equal(payloads[0]?.digest === payloads[1]?.digest, isShared);
      if (isShared) {
        const [last, other] = [a.layers.at(-1), b.layers.at(-1)];
        assert.deepEqual([last?.role, other?.role], ['skeleton', 'skeleton']);
        assert.ok(last && other && last.size < 1000 && other.size < 1000);
        assert.notEqual(last.digest, other.digest);
      }
      for (const [image, before] of [
        [a, 'a'],
        [b, 'b'],
      ] as const) {
        const had = JSON.parse(
          await output('skopeo', ['inspect', '--raw', `${layout}:base-${before}`]),
        );
        const has = JSON.parse(
          await output('skopeo', ['inspect', '--raw', `${layout}:${tag}-${before}`]),
        );
        assert.equal(
          JSON.stringify(has.layers.slice(0, had.layers.length)),
          JSON.stringify(had.layers),
        );
        assert.equal(blobs(image, 'base').length, had.layers.length);
      }
      for (const [before, mode] of [
        ['a', 0o755],
        ['b', 0o750],
      ] as const) {
        const pulled = await unpackWith(
          'podman-overlay',
          `${layout}:${tag}-${before}`,
          join(work, 'pulled'),
        );
        try {
          assert.equal(statSync(join(pulled.root, 'opt')).mode & 0o7777, mode);
          assert.deepEqual(
            readFileSync(join(pulled.root, 'opt/model/payload')),
            readFileSync(join(work, 'payload')),
          );
        } finally {
          await pulled.close();
        }
      }
    },
  );
}

/** What a commit does to a Debian image, at its root: a package added, files deleted, directories and symlinks swapped, … */
const CHANGES = (deb: string): string => `
dpkg --root=. --force-all --install ${deb} >/dev/null 2>&1
rm -r etc/cron.daily etc/motd
rm -r media; ln -s srv media
rm bin; mkdir bin; ln -s ../usr/bin/dash bin/sh
chmod 0700 var/mail; chmod 0600 etc/shadow
ln usr/bin/perl usr/local/bin/perl-too
ln usr/share/doc/extra/extra srv/extra`;

/** Those of the policies that differ in what directories layers hold; `RECHUNK_TEST_LONG=1` takes all on Debian, which small images do above. */
const ON_DEBIAN = [
  ['full'],
  ['shared'],
  ['delegate', '--delegate-fallback', 'neutral'],
  ...(process.env['RECHUNK_TEST_LONG'] ? [['delegate'], ['implicit']] : []),
];

/** A small package, made by dpkg-deb. */
async function makePackage(): Promise<string> {
  const tree = join(work, 'package');
  mkdirSync(join(tree, 'DEBIAN'), { recursive: true });
  mkdirSync(join(tree, 'usr/share/doc/extra'), { recursive: true });
  const control = [
    'Package: extra',
    'Version: 1',
    'Architecture: all',
    'Maintainer: nobody <n@example.org>',
  ];
  writeFileSync(join(tree, 'DEBIAN/control'), `${control.join('\n')}\nDescription: extra\n`);
  writeFileSync(join(tree, 'usr/share/doc/extra/extra'), noise(50_000, 'extra'));
  const deb = join(work, 'extra.deb');
  await output('dpkg-deb', ['--root-owner-group', '--build', tree, deb]);
  return deb;
}

base('a commit on Debian over its base, under each policy', async () => {
  const debian = `oci:${await slimDebianImage()}:latest`;
  const source = `${layout}:debian`;
  await buildah.commit(debian, source, CHANGES(await makePackage()));
  const original = await unpackWith('podman-overlay', source, join(work, 'original'));
  try {
    const wanted = await listTree(original.root);
    for (const options of ON_DEBIAN) {
      const to = `${layout}:debian-${options.join('').replace(/\W+/g, '')}`;
      const built = await jsonHere<BuildResult>([
        ...['build', source, to, '--base', debian, '--fresh', '--parents', ...options],
      ]);
      const [image] = built.images;
      const own = image?.layers.filter(({ role }) => role !== 'base') ?? [];
      assert.deepEqual([image?.layers[0]?.role, own[0]?.role], ['base', 'whiteouts']);
      const components = own.flatMap((layer) => layer.components);
      assert.ok(components.includes('dpkg:extra'), components.join(' '));
      const { equal, differences } = await jsonHere<Verification>(['verify', source, to]);
      assert.ok(equal, JSON.stringify(differences));
      const [had, has] = [debian, to].map(async (one) =>
        JSON.parse(await output('skopeo', ['inspect', '--raw', one])),
      );
      assert.equal(JSON.stringify((await has).layers[0]), JSON.stringify((await had).layers[0]));
      // Without directories in layers podman shows what it invents; markers are for delegating kernels, and tell so here.
      if (options[0] !== 'full' && options[0] !== 'shared') continue;
      const pulled = await unpackWith('podman-overlay', to, join(work, 'pulled'));
      try {
        const compare = { dirMtimes: 'ignore', root: 'ignore' } as const;
        assert.deepEqual(compareListings(wanted, await listTree(pulled.root), compare), []);
      } finally {
        await pulled.close();
      }
    }
  } finally {
    await original.close();
  }
});

base(
  'a base that the registry has is read once for the comparison, mounted, and never sent',
  async () => {
    const registry = await startRegistry();
    try {
      const insecure = ['--insecure-policy', '--dest-tls-verify=false'];
      const remote = `docker://${registry.host}`;
      const send = async (from: string, to: string): Promise<string[]> => {
        await command('skopeo', [
          'copy',
          '-q',
          ...insecure,
          `${layout}:${from}`,
          `${remote}/${to}`,
        ]);
        // As they are there: skopeo compresses what it sends, the same each time.
        const inspect = ['inspect', '--tls-verify=false', '--raw', `${remote}/${to}`];
        const { layers } = JSON.parse(await output('skopeo', inspect));
        return layers.map(({ digest }: { digest: string }) => digest);
      };
      const digests = await send('base-a', 'base:1');
      const source = await send('app-a', 'source:1');
      assert.deepEqual(source.slice(0, digests.length), digests);
      const since = registry.accessLog().length;
      const over = ['--base', `${remote}/base:1`, '--insecure'];
      for (const tag of ['1', '2'])
        await jsonHere(['build', `${remote}/source:1`, `${remote}/app:${tag}`, ...over]);
      const log = registry.accessLog().slice(since);
      for (const digest of digests) {
        const about = log.filter(
          ({ path }) => path.includes(encodeURIComponent(digest)) || path.includes(digest),
        );
        const count = (method: string, pattern: RegExp): number =>
          about.filter((one) => one.method === method && pattern.test(one.path)).length;
        assert.equal(count('GET', /./), 2, 'read once by each build, for source and base');
        assert.equal(count('POST', /mount=/), 1, 'mounted by the first');
        assert.equal(count('PUT', /./), 0);
      }
    } finally {
      await registry.stop();
    }
  },
);

base.run();
