/** What simulated hosts must have in common with real ones. */
import assert from 'node:assert/strict';
import { test } from 'uvu';
import { simulateHost } from './host.ts';
import type { ComponentFacts, Release } from './series.ts';

/** Ids of components that differ between two releases. */
function changed(before: Release, after: Release): string[] {
  return [...after.components]
    .filter(([id, state]) => before.components.get(id) !== state)
    .map(([id]) => id);
}

const transitions = (releases: readonly Release[]): string[][] =>
  releases.slice(1).map((release, i) => changed(releases[i] as Release, release));

test('a seed gives one series, and another seed another', () => {
  const options = { seed: 7, releases: 4 };
  assert.deepEqual(simulateHost(options), simulateHost(options));
  const other = simulateHost({ ...options, seed: 8 });
  assert.deepEqual(other[0], simulateHost(options)[0]);
  assert.notDeepEqual(other[1]?.components, simulateHost(options)[1]?.components);
});

test('sizes and components are those of the real image', () => {
  const [bySource] = simulateHost({ seed: 1, releases: 1 }) as [Release];
  const [byPackage] = simulateHost({ seed: 1, releases: 1, by: 'package' }) as [Release];
  const size = (release: Release): number =>
    [...release.components.values()].reduce((sum, state) => sum + state.size, 0);
  assert.equal(byPackage.components.size, 396);
  assert.equal(bySource.components.size, 269);
  // The files of a package are whole numbers of bytes: off by half a byte each.
  assert.ok(Math.abs(size(byPackage) - 1_351_235_724) < 20_000);
  assert.equal(size(bySource), size(byPackage));
  assert.equal(bySource.components.get('rpm:podman')?.changeTimes?.length, 389);
});

test('binary packages of one source are updated together', () => {
  const releases = simulateHost({ seed: 3, by: 'package' });
  const systemd = (ids: readonly string[]): number =>
    ids.filter((id) => /^rpm:systemd(-libs|-udev|-pam|-container|-resolved)?$/.test(id)).length;
  const counts = transitions(releases).map(systemd);
  assert.ok(counts.some((count) => count >= 4));
  assert.ok(counts.some((count) => count === 0));
});

test('the initramfs follows what is in it, and no update hits every package', () => {
  const all = Array.from({ length: 10 }, (_, seed) => transitions(simulateHost({ seed }))).flat();
  for (const ids of all) {
    assert.ok(ids.includes('rest'));
    assert.ok(ids.length < 200);
    if (ids.includes('rpm:kernel')) assert.ok(ids.includes('initramfs'));
  }
  assert.ok(all.some((ids) => !ids.includes('rpm:kernel')));
});

test('changed bytes are those of the files that differ', () => {
  const [before, after] = simulateHost({ seed: 5, releases: 2 }) as [Release, Release];
  for (const id of changed(before, after)) {
    const state = after.components.get(id) as ComponentFacts;
    const old = new Set(before.components.get(id)?.files);
    const fresh = state.files.filter((file) => !old.has(file));
    const bytes = fresh.reduce((sum, { compressedSize }) => sum + compressedSize + 48, 0);
    assert.equal(state.changedSize, bytes, id);
    assert.ok(fresh.every(({ mtime }) => mtime === after.date));
  }
});

test.run();
