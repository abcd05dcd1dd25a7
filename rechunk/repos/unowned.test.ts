import assert from 'node:assert/strict';
import { test } from 'uvu';
import { type FileSpec, memoryTree } from '../../test-images/trees.ts';
import { assign } from '../assign.ts';
import type { Claim, ComponentKind } from '../components.ts';

const BIG = Buffer.alloc(1 << 20);

/** Where files go of which `owned` are claimed by the package `p`. */
async function place(
  specs: readonly FileSpec[],
  owned: readonly string[] = [],
): Promise<Record<string, string>> {
  const claims = owned.map((path): Claim => ({ path, component: 'p', strength: 'owner' }));
  const detection = {
    repo: 'rpm',
    components: [{ id: 'p', kind: 'package' as ComponentKind }],
    claims,
    warnings: [],
  };
  const { components } = await assign(memoryTree(specs), [detection]);
  return Object.fromEntries(
    components.flatMap(({ id, kind, entries }) =>
      entries.map(({ path }) => [path, id === 'p' ? 'p' : `${id} (${kind})`]),
    ),
  );
}

const PLACES: readonly (readonly [path: string, component: string])[] = [
  ['boot/initrd.img-6.1.0-18-amd64', 'initramfs (initramfs)'],
  ['usr/lib/modules/6.11.4-301.fc41.x86_64/initramfs.img', 'initramfs (initramfs)'],
  ['usr/lib/modules/6.11.4-301.fc41.x86_64/modules.dep.bin', 'kernel (kernel)'],
  ['lib/modules/6.1/kernel/fs/ext4.ko', 'kernel (kernel)'],
  ['boot/vmlinuz-6.1.0-18-amd64', 'kernel (kernel)'],
  ['var/lib/dpkg/info/bash.list', 'database:dpkg (database)'],
  ['var/lib/apt/extended_states', 'database:dpkg (database)'],
  ['usr/lib/sysimage/rpm/rpmdb.sqlite-wal', 'database:rpm (database)'],
  ['var/lib/rpm/Packages', 'database:rpm (database)'],
  ['var/log/dnf.log', 'database:rpm (database)'],
  ['lib/apk/db/scripts.tar', 'database:apk (database)'],
  ['var/lib/pacman/local/bash-5/desc', 'database:alpm (database)'],
  ['etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem', 'generated:ca-trust (generated)'],
  ['usr/lib/udev/hwdb.bin', 'generated:hwdb (generated)'],
  ['usr/lib/locale/locale-archive', 'generated:locale-archive (generated)'],
  ['etc/selinux/targeted/policy/policy.33', 'generated:selinux (generated)'],
  ['etc/shadow-', 'generated:volatile (generated)'],
  ['etc/ld.so.cache', 'generated:volatile (generated)'],
  ['var/cache/ldconfig/aux-cache', 'generated:volatile (generated)'],
  ['var/log/journal/x', 'generated:volatile (generated)'],
  ['usr/share/glib-2.0/schemas/gschemas.compiled', 'generated:volatile (generated)'],
  ['usr/share/icons/hicolor/icon-theme.cache', 'generated:volatile (generated)'],
  ['usr/share/info/dir', 'generated:volatile (generated)'],
  ['etc/nginx/nginx.conf', 'config (config)'],
  ['root/.bashrc', 'config (config)'],
  ['opt/vendor/bin/tool', 'application:/opt/vendor (application)'],
  ['srv/www', 'application:/srv (application)'],
  ['home/user/.profile', 'application:/home/user (application)'],
  ['usr/local/bin/tool', 'application:/usr/local (application)'],
  ['usr/src/app/index.js', 'application:/usr/src/app (application)'],
  ['app/main.py', 'application:/app (application)'],
  ['docker-entrypoint.sh', 'application:/ (application)'],
  ['usr/share/mime/text/plain.xml', 'generated:mime (generated)'],
  ['usr/lib/jvm/jdk-25/lib/a', 'rest:/usr/lib/jvm (rest)'],
  ['var/lib/postgresql/15/main/PG_VERSION', 'rest:/var/lib/postgresql (rest)'],
  ['usr/share/unknown', 'rest (rest)'],
  ['usr/bin/unknown', 'rest (rest)'],
];

test('places files by where they lie', async () => {
  const found = await place(PLACES.map(([path]) => ({ path })));
  assert.deepEqual(found, Object.fromEntries(PLACES));
});

test('places every file alone as it places it among others', async () => {
  for (const [path, component] of PLACES)
    assert.deepEqual(await place([{ path }]), { [path]: component });
});

test('gives compiled Python to the owner of its source', async () => {
  const compiled = [
    'usr/lib/py/__pycache__/m.cpython-312.pyc',
    'usr/lib/py/__pycache__/m.cpython-312.opt-1.pyc',
    'usr/lib/py/__pycache__/m.pypy39.pyc',
    'usr/lib/py/m.pyo',
  ];
  const all = ['usr/lib/py/m.py', 'usr/lib/py/__pycache__/gone.cpython-312.pyc', ...compiled];
  const found = await place(
    all.map((path) => ({ path })),
    ['usr/lib/py/m.py'],
  );
  for (const path of compiled) assert.equal(found[path], 'p', path);
  assert.equal(found['usr/lib/py/__pycache__/gone.cpython-312.pyc'], 'rest:/usr/lib/py (rest)');
  const app = await place([{ path: 'app/m.py' }, { path: 'app/__pycache__/m.cpython-312.pyc' }]);
  assert.equal(app['app/__pycache__/m.cpython-312.pyc'], 'application:/app (application)');
});

test('gives a symlink to the owner of the file at its end', async () => {
  const found = await place(
    [
      { path: 'bin/busybox' },
      { path: 'bin/ls', target: '/bin/busybox' },
      { path: 'usr/bin/x', target: '../../etc/alternatives/x' },
      { path: 'etc/alternatives/x', target: '/bin/ls' },
      { path: 'etc/systemd/system/multi-user.target.wants/u.service', target: '/bin/busybox' },
      { path: 'usr/lib/gone', target: 'nowhere' },
      { path: 'usr/lib/loop', target: 'loop' },
      { path: 'usr/lib/dir', target: '/bin' },
      { path: 'usr/lib/libbig.so', target: 'libbig.so.1' },
      { path: 'usr/lib/libbig.so.1', content: BIG },
    ],
    ['/bin/busybox'],
  );
  assert.deepEqual(found, {
    'bin/busybox': 'p',
    'bin/ls': 'p',
    'etc/alternatives/x': 'p',
    'etc/systemd/system/multi-user.target.wants/u.service': 'p',
    'usr/bin/x': 'p',
    'usr/lib/dir': 'rest (rest)',
    'usr/lib/gone': 'rest (rest)',
    'usr/lib/libbig.so': 'large:/usr/lib/libbig.so.1 (large)',
    'usr/lib/libbig.so.1': 'large:/usr/lib/libbig.so.1 (large)',
    'usr/lib/loop': 'rest (rest)',
  });
});

test('names a big file by its path without versions, whatever lies beside it', async () => {
  const big = (path: string): FileSpec => ({ path, content: BIG });
  const id = 'large:/opt/lib-*/libx-*.so (large)';
  assert.deepEqual(await place([big('opt/lib-1.2/libx-1.2.3.so')]), {
    'opt/lib-1.2/libx-1.2.3.so': id,
  });
  assert.deepEqual(
    await place([big('opt/lib-1.3/libx-1.3.so'), big('opt/a/libx.so'), big('srv/libx.so')]),
    {
      'opt/a/libx.so': 'large:/opt/a/libx.so (large)',
      'opt/lib-1.3/libx-1.3.so': id,
      'srv/libx.so': 'large:/srv/libx.so (large)',
    },
  );
  assert.deepEqual(await place([{ path: 'opt/a/b', content: BIG.subarray(1) }]), {
    'opt/a/b': 'application:/opt/a (application)',
  });
  assert.deepEqual(await place([big('var/cache/model')]), {
    'var/cache/model': 'large:/var/cache/model (large)',
  });
  assert.deepEqual(await place([big('var/lib/rpm/Packages')]), {
    'var/lib/rpm/Packages': 'database:rpm (database)',
  });
});

test('places a hard-link group by the earliest rule for any of its names', async () => {
  const found = await place([
    { path: 'app/a' },
    { path: 'etc/b', link: 'app/a' },
    { path: 'var/lib/dpkg/c', link: 'app/a' },
  ]);
  assert.deepEqual(new Set(Object.values(found)), new Set(['database:dpkg (database)']));
});

test('is not led in circles by hard links between sources and compiled files', async () => {
  const found = await place([
    { path: 'x/a.py' },
    { path: 'y/__pycache__/b.cpython-312.pyc', link: 'x/a.py' },
    { path: 'y/b.py' },
    { path: 'x/__pycache__/a.cpython-312.pyc', link: 'y/b.py' },
    { path: 'z/__pycache__/c.cpython-312.pyc' },
    { path: 'z/c.py', link: 'z/__pycache__/c.cpython-312.pyc' },
  ]);
  assert.equal(Object.keys(found).length, 6);
  assert.equal(found['z/c.py'], 'application:/z (application)');
});

test('shows bytes of names that are no text', async () => {
  assert.deepEqual(await place([{ path: 'opt/a\xff\n/b' }]), {
    'opt/a\xff\n/b': 'application:/opt/a\\xff\\x0a (application)',
  });
});

test.run();
