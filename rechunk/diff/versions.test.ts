/** Versions in the order of their package managers: rows ascend, by the managers' own documentation and tests. */
import assert from 'node:assert/strict';
import { test } from 'uvu';
import { compareVersions, parseTitle, repoOf } from './versions.ts';

const ASCENDING: Readonly<Record<string, readonly string[]>> = {
  dpkg: [
    '1.0~rc1-1',
    '1.0~rc1-1+b1',
    '1.0-1',
    '1.0-1+b1',
    '1.0-1+deb12u1',
    '1.0-1+deb12u10',
    '1.0-2',
    '1.0a-1',
    '1.0+git-1',
    '1.0.1-1',
    '1.10-1',
    '1:0.1-1',
  ],
  rpm: [
    '1.0~rc1-1',
    '1.0-1.fc42',
    '1.0-1.fc43',
    '1.0-2.fc42',
    '1.0^git1-1',
    '1.0.a-1',
    '1.0.1-1',
    '1.0.1a-1',
    '1.9-1',
    '1.10-1',
    '2:0.5-1',
  ],
  alpm: ['1.0-1', '1.0-2', '1.0.1-1', '1.10-1', '1:0.9-1'],
  apk: [
    '1.0_alpha1-r0',
    '1.0_alpha2-r0',
    '1.0_beta-r0',
    '1.0_rc1-r3',
    '1.0-r0',
    '1.0-r1',
    '1.0-r10',
    '1.0_git20200101-r0',
    '1.0_p1-r0',
    '1.0a-r0',
    '1.0b-r0',
    '1.01-r0',
    '1.1-r0',
    '1.1.1-r0',
    '1.31.1-r9',
  ],
  node: [
    '1.0.0-alpha',
    '1.0.0-alpha.1',
    '1.0.0-alpha.beta',
    '1.0.0-beta',
    '1.0.0-beta.2',
    '1.0.0-beta.11',
    '1.0.0-rc.1',
    '1.0.0',
    '1.0.9',
    '1.0.10',
    '2.0.0',
  ],
  python: [
    '1.0.dev456',
    '1.0a1',
    '1.0a2.dev456',
    '1.0a12.dev456',
    '1.0a12',
    '1.0b1.dev456',
    '1.0b2',
    '1.0b2.post345.dev456',
    '1.0b2.post345',
    '1.0rc1.dev456',
    '1.0rc1',
    '1.0',
    '1.0+abc.5',
    '1.0+abc.7',
    '1.0+5',
    '1.0.post456.dev34',
    '1.0.post456',
    '1.1.dev1',
    '1!0.1',
  ],
};

for (const [repo, versions] of Object.entries(ASCENDING)) {
  test(`${repo}: every version comes before all that follow it`, () => {
    const wrong = versions.flatMap((a, i) =>
      versions.flatMap((b, j) =>
        Math.sign(compareVersions(repo, a, b)) === Math.sign(i - j) ? [] : [`${a} ${b}`],
      ),
    );
    assert.deepEqual(wrong, []);
  });
}

const EQUAL = [
  ['dpkg', '0:1.0-1', '1.0-1'],
  ['dpkg', '1.00-1', '1.0-1'],
  ['rpm', '1.0-1', '1_0-1'],
  ['node', '1.0.0+a', '1.0.0+b'],
  ['python', '1.0', '1.0.0'],
  ['python', '1.0-1', '1.0.post1'],
  ['python', '1.0c1', 'v1.0-RC1'],
  ['python', 'not a version', '1.0'],
  ['elsewhere', '1', '2'],
] as const;

for (const [repo, a, b] of EQUAL) {
  test(`${repo}: neither of ${a} and ${b} comes first`, () => {
    assert.deepEqual([compareVersions(repo, a, b), compareVersions(repo, b, a)], [0, 0]);
  });
}

const WRITTEN = [
  ['dpkg:glibc', 'libc6 2.36-9+deb12u13', 'libc6', '2.36-9+deb12u13'],
  ['apk:busybox', 'ssl_client 1.31.1-r9', 'ssl_client', '1.31.1-r9'],
  ['rpm:bash', 'bash-5.3.0-2.fc43.x86_64', 'bash', '5.3.0-2.fc43'],
  ['rpm:gcc', 'libstdc++-15.2.1-1.fc43.i686', 'libstdc++', '15.2.1-1.fc43'],
  ['alpm:gcc', 'gcc-libs-15.2.1+r22+gc4e96a094636-1', 'gcc-libs', '15.2.1+r22+gc4e96a094636-1'],
  ['node:/app/node_modules/@babel/core', '@babel/core@7.28.4', '@babel/core', '7.28.4'],
  ['node:/app/node_modules/@mine/none', '@mine/none', '@mine/none', ''],
  ['python:/venv/lib/requests', 'requests==2.32.5', 'requests', '2.32.5'],
  ['user:mine', 'as it is', 'as it is', ''],
] as const;

for (const [component, title, name, version] of WRITTEN) {
  test(`${component}: "${title}" is ${name} in version ${version || 'unknown'}`, () => {
    assert.deepEqual(parseTitle(repoOf(component), title), { name, version });
  });
}

test.run();
