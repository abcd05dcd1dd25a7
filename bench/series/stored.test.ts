/** What the stored series must hold, from what else is known of them. */
import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { gunzipSync } from 'node:zlib';
import { test } from 'uvu';
import { installedPackages, type LockedPackage, packageName, parseLockfile } from './lockfile.ts';
import {
  type ComponentFacts,
  isSameFile,
  loadSeries,
  type Release,
  SERIES,
  type SeriesName,
} from './series.ts';

const IMAGES = new URL('../../test-images/packages/', import.meta.url);
/** Compressed bytes of all files and of some may differ the wrong way by what a frame happens to share. */
const COMPRESSION_SLACK = 0.05;
const TABLE_SLACK = 0.1;
const FRAME_BYTES = 64;
const WEEK_SECONDS = 7 * 86_400;

/** Releases, and components in the last one. */
const COUNTS: Readonly<Record<SeriesName, readonly [releases: number, components: number]>> = {
  npm: [53, 657],
  alpine: [2, 14],
  debian: [53, 397],
  'debian-year': [53, 397],
};

/** Neighbouring releases. */
const steps = (releases: readonly Release[]): (readonly [Release, Release])[] =>
  releases.slice(1).map((after, i) => [releases[i] as Release, after]);

/** States that are new in the later release, with the state before. */
function updates([before, after]: readonly [Release, Release]): {
  readonly old: ComponentFacts | undefined;
  readonly now: ComponentFacts;
}[] {
  return [...after.components.values()]
    .map((now) => ({ old: before.components.get(now.id), now }))
    .filter(({ old, now }) => old !== now);
}

function checkUpdate(old: ComponentFacts, now: ComponentFacts): void {
  const before = new Map(old.files.map((file) => [file.path, file]));
  const changed = now.files.filter((file) => {
    const known = before.get(file.path);
    return !known || !isSameFile(known, file);
  });
  assert.equal(now.changedSize > 0, changed.length > 0, now.id);
  const most = now.compressedSize * (1 + COMPRESSION_SLACK) + FRAME_BYTES;
  assert.ok(now.changedSize <= most, now.id);
}

function checkRelease({ components }: Release): void {
  const owners = new Map<string, string>();
  for (const [id, state] of components) {
    assert.equal(id, state.id);
    for (const { path } of state.files) {
      assert.ok(!owners.has(path), `${path}: of ${owners.get(path)} and of ${id}`);
      owners.set(path, id);
    }
    const size = state.files.reduce((sum, file) => sum + file.size, 0);
    assert.equal(state.size, size, id);
    // A tar has headers; zstd fits its tables to small inputs, so that a small file alone can be the smaller one.
    const alone = state.files.reduce((sum, file) => sum + file.compressedSize, 0);
    const most = alone * (1 + TABLE_SLACK) + FRAME_BYTES * (state.files.length + 8);
    assert.ok(state.compressedSize < most, id);
  }
}

for (const name of SERIES) {
  test(`${name}: every figure fits the others`, async () => {
    const releases = await loadSeries(name);
    const last = releases.at(-1) as Release;
    assert.deepEqual([releases.length, last.components.size], COUNTS[name]);
    checkRelease(releases[0] as Release);
    checkRelease(last);
    for (const step of steps(releases)) {
      assert.ok(step[0].date < step[1].date);
      for (const { old, now } of updates(step)) if (old) checkUpdate(old, now);
    }
  });
}

test('npm: releases have the packages that lockfiles of their days name', async () => {
  const releases = await loadSeries('npm');
  for (const day of ['2026-09-13', '2026-09-20']) {
    const file = new URL(`npm/lock-series/package-lock-${day}.json.gz`, IMAGES);
    const lock = parseLockfile(gunzipSync(await readFile(fileURLToPath(file))));
    const wanted = [...installedPackages(lock)].map((path) => {
      const locked = lock.packages[path] as LockedPackage;
      return [`node:/app/${path}`, `${packageName(path, locked)}@${locked.version}`];
    });
    const release = releases.find(({ name }) => name === day) as Release;
    const found = [...release.components.values()].flatMap(({ id, packages }) =>
      packages ? [[id, packages.at(-1)]] : [],
    );
    assert.deepEqual(new Map(found as [string, string][]), new Map(wanted as [string, string][]));
  }
});

test('debian-year: a source changes in the weeks that its changelog names, and in no other', async () => {
  for (const [before, after] of steps(await loadSeries('debian-year'))) {
    for (const [id, { changeTimes = [] }] of after.components) {
      if (!id.startsWith('dpkg:')) continue;
      const isNamed = changeTimes.some((time) => time > before.date && time <= after.date);
      assert.equal(before.components.get(id) !== after.components.get(id), isNamed, id);
    }
    assert.equal(after.date - before.date, WEEK_SECONDS);
  }
});

test('debian-year ends in the newest system of debian', async () => {
  const last = (await loadSeries('debian-year')).at(-1) as Release;
  const newest = (await loadSeries('debian')).at(-1) as Release;
  const facts = ({ components }: Release): unknown =>
    [...components.values()].map(({ id, files }) => [id, files]);
  assert.deepEqual(facts(last), facts(newest));
});

test.run();
