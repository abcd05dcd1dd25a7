// needs: python3
/**
 * The parents policies by what they write: generated images, rechunked under every policy, and the layers read by Python's tarfile
 * and held against the tree that each image stands for.
 */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { suite } from 'uvu';
import { openDestination, openSource } from '../registry/transport.ts';
import { writeLayout } from '../test-images/build.ts';
import { type ListedLayer, type ListedMember, listLayers } from '../test-images/layerlist.ts';
import {
  type Attributes,
  dir,
  file,
  link,
  type Member,
  packMembers,
  symlink,
} from '../test-images/member.ts';
import type { ParentsPolicy } from './parents.ts';
import { parseMap } from './repos/map.ts';
import { rechunkTogether } from './together.ts';

const SEED = 20261121;
const IMAGES = 24;
const MAX_LAYERS = 7;
const parents = suite('parents');
const work = mkdtempSync('/var/tmp/rechunk-parents-');
process.once('exit', () => rmSync(work, { recursive: true, force: true }));

/** What a layer does to one path. */
interface Step {
  readonly path: string;
  readonly kind: 'file' | 'dir' | 'symlink' | 'link';
  readonly attributes: Attributes;
}

const names = fc.constantFrom('a', 'b', 'usr', 'caf\xe9', 'n'.repeat(120), '.x');
const attributes = fc.record({
  mode: fc.constantFrom(0o755, 0o700, 0o1777, 0o2770, 0o000),
  uid: fc.constantFrom(0, 1000, 3_000_000),
  gid: fc.constantFrom(0, 50),
  mtime: fc.constantFrom('0', '1600000000', '1600000000.123456789'),
  xattrs: fc.constantFrom({}, { 'user.a': '1' }, { 'user.b': '\0\xff=\n', 'trusted.c': '' }),
});
const steps: fc.Arbitrary<readonly Step[]> = fc.array(
  fc.record({
    path: fc.array(names, { maxLength: 4 }).map((parts) => parts.join('/')),
    kind: fc.constantFrom('file', 'file', 'dir', 'dir', 'symlink', 'link'),
    attributes,
  }),
  { maxLength: 14 },
);

const above = (path: string): string[] =>
  path.split('/').flatMap((_, i, parts) => (i === 0 ? [] : [parts.slice(0, i).join('/')]));

/** An image of layers, and the tree that it stands for, by path. A directory that nobody defines is 0755 root:root of time 0. */
class Model {
  readonly layers: Member[][] = [];
  readonly tree = new Map<string, Member>();

  /** Adds a layer of the steps that make sense. */
  add(all: readonly Step[]): void {
    const own = new Map<string, Member>();
    for (const { path, kind, attributes: some } of all) {
      const isBelowFile = above(path).some((at) => (this.tree.get(at)?.type ?? 'dir') !== 'dir');
      const isUsed = [...own.keys()].some((at) => at === path || at.startsWith(`${path}/`));
      const target = [...own.values()].find(({ type }) => type === 'file');
      if (isBelowFile || own.has(path) || (path === '' && kind !== 'dir')) continue;
      if (kind !== 'dir' && isUsed) continue;
      if (kind === 'dir') this.#put(own, dir(path, some));
      else if (kind === 'symlink') this.#put(own, symlink(path, '../usr', some));
      else if (kind === 'file') this.#put(own, file(path, path, some));
      else if (target) {
        const { mode, uid, gid, mtime, xattrs = {} } = target;
        this.#put(own, link(path, target.path, { mode, uid, gid, mtime, xattrs }));
      }
    }
    this.layers.push([...own.values()]);
  }

  #put(own: Map<string, Member>, member: Member): void {
    const { path, type } = member;
    own.set(path, member);
    for (const at of above(path))
      if (!this.tree.has(at)) this.tree.set(at, dir(at, { mtime: '0' }));
    if (type !== 'dir')
      for (const at of this.tree.keys()) if (at.startsWith(`${path}/`)) this.tree.delete(at);
    this.tree.set(path, member);
  }
}

const models = fc
  .sample(fc.array(steps, { minLength: 1, maxLength: 3 }), { seed: SEED, numRuns: IMAGES })
  .map((all) => {
    const model = new Model();
    for (const one of all) model.add(one);
    return model;
  });
const images = join(work, 'images');
const paths = [...new Set(models.flatMap(({ tree }) => [...tree.keys()]))].filter(Boolean);
/** Components of any files: neighbours in different ones. */
const map = parseMap(paths.map((path, i) => `/${path} c${i % 5}\n`).join(''), 'map');

parents.before(async () => {
  const packed = models.map(async ({ layers }, number) => ({
    tag: String(number),
    layers: await Promise.all(layers.map(async (members) => ({ tar: await packMembers(members) }))),
  }));
  await writeLayout(images, await Promise.all(packed));
});

const shown = ({ mode, uid, gid, mtime, xattrs = {} }: Omit<Member, 'type' | 'path'>): unknown => ({
  mode,
  uid,
  gid,
  mtime,
  xattrs,
});

const NAMESPACE = {
  trusted: 'trusted.overlay.dirmeta_delegate',
  user: 'user.overlay.dirmeta_delegate',
};

/** What a content layer should say of a directory that it needs. */
function wantedAround(policy: ParentsPolicy, meant: Member): unknown {
  if (policy.kind !== 'delegate') return shown(meant);
  const mark = { [NAMESPACE[policy.xattr ?? 'trusted']]: 'y' };
  return policy.fallback === 'neutral'
    ? shown(dir('', { mtime: '0', xattrs: mark }))
    : shown({ ...meant, xattrs: { ...meant.xattrs, ...mark } });
}

/** Every path once, parents first, whole chains or none, and nothing below what is no directory in the end. */
function checkOrder({ members }: ListedLayer, { tree }: Model, chains: 'whole' | 'none'): void {
  const seen = new Set<string>();
  for (const { path } of members) {
    assert.ok(!seen.has(path), `/${path} is there twice`);
    seen.add(path);
    for (const at of above(path)) {
      assert.equal(tree.get(at)?.type, 'dir', `/${at} is no directory`);
      assert.equal(seen.has(at), chains === 'whole', `/${at}, above /${path}`);
    }
  }
}

const isDir = ({ type }: { readonly type: string }): boolean => type === 'dir';

/** Checks a content layer, and gives its members that are no directories. */
function checkContent(
  layer: ListedLayer,
  model: Model,
  policy: ParentsPolicy,
): readonly ListedMember[] {
  const { members } = layer;
  const isBare = policy.kind === 'shared' || policy.kind === 'implicit';
  checkOrder(layer, model, isBare ? 'none' : 'whole');
  const isRootDefined = model.tree.has('');
  assert.equal(members[0]?.path === '', policy.kind === 'full' && isRootDefined, 'the root');
  const directories = members.filter(isDir);
  if (isBare) assert.deepEqual(directories, []);
  for (const found of directories) {
    const meant = model.tree.get(found.path) as Member;
    assert.deepEqual(shown(found), wantedAround(policy, meant), `/${found.path}`);
  }
  const needed = new Set(members.flatMap(({ path }) => above(path)));
  if (policy.kind !== 'full') for (const { path } of directories) assert.ok(needed.has(path), path);
  return members.filter((one) => !isDir(one));
}

/** Checks a skeleton: every directory of the tree, as it is meant, and nothing else. */
function checkSkeleton(layer: ListedLayer, model: Model): void {
  checkOrder(layer, model, 'whole');
  const wanted = [...model.tree.values()].filter(isDir);
  const byPath = (all: readonly Member[]): Map<string, unknown> =>
    new Map(all.map((one) => [one.path, shown(one)]));
  assert.equal(layer.members.every(isDir), true);
  assert.deepEqual(byPath(layer.members), byPath(wanted));
}

type Place = 'first' | 'last' | 'both' | undefined;

function checkImage(
  layers: readonly ListedLayer[],
  model: Model,
  policy: ParentsPolicy,
  place: Place,
): void {
  assert.ok(layers.length <= MAX_LAYERS, `${layers.length} layers`);
  const roleOf = ({ annotations }: ListedLayer): string => annotations['dev.rechunk.role'] ?? '';
  const content = layers.filter((layer) => roleOf(layer) === '');
  const hasDirectories = [...model.tree.values()].some(isDir);
  const some = hasDirectories && place !== undefined ? ['skeleton'] : [];
  const [first, last] = [place === 'last' ? [] : some, place === 'first' ? [] : some];
  assert.deepEqual(layers.map(roleOf), [...first, ...content.map(() => ''), ...last]);
  for (const layer of layers) if (roleOf(layer) !== '') checkSkeleton(layer, model);
  const files = content.flatMap((layer) => checkContent(layer, model, policy));
  const wanted = [...model.tree.values()].filter((one) => !isDir(one));
  assert.deepEqual(files.map(({ path }) => path).sort(), wanted.map(({ path }) => path).sort());
  for (const found of files) {
    const meant = model.tree.get(found.path) as Member;
    assert.deepEqual(shown(found), shown(meant), found.path);
  }
  if (policy.kind !== 'full') return;
  const directories = new Set(
    content.flatMap(({ members }) => members.filter(isDir)).map(({ path }) => path),
  );
  for (const { path } of [...model.tree.values()].filter(isDir))
    assert.ok(directories.has(path), path);
}

const policies: readonly (readonly [ParentsPolicy, Place])[] = [
  [{ kind: 'full' }, undefined],
  [{ kind: 'shared' }, 'last'],
  [{ kind: 'shared', skeleton: 'both' }, 'both'],
  [{ kind: 'implicit' }, 'first'],
  [{ kind: 'delegate' }, 'first'],
  [{ kind: 'delegate', fallback: 'neutral' }, 'both'],
  [{ kind: 'delegate', xattr: 'user', skeleton: 'last' }, 'last'],
  [{ kind: 'delegate', xattr: 'user', fallback: 'neutral' }, 'both'],
];

for (const [i, [policy, place]] of policies.entries()) {
  parents(`${JSON.stringify(policy)}: each of ${IMAGES} images is what it was`, async () => {
    const out = join(work, `out-${i}`);
    const open = models.map(async (_, number) => ({
      source: await openSource(`oci:${images}:${number}`),
      destination: await openDestination(`oci:${out}:${number}`),
    }));
    const variants = await Promise.all(open);
    await rechunkTogether(variants, {
      hostPlatform: { os: 'linux', architecture: 'amd64' },
      threads: 2,
      tempDir: work,
      maxLayers: MAX_LAYERS,
      compression: 'none',
      policy: { dirMtime: 'keep' },
      repos: [map],
      parents: policy,
      // The tree as overlay semantics with delegation have it.
      verify: true,
    });
    for (const { source, destination } of variants) {
      await source.close();
      await destination.close();
    }
    const listed = await listLayers(out);
    for (const [number, model] of models.entries()) {
      try {
        checkImage(listed[number] ?? [], model, policy, place);
      } catch (error) {
        (error as Error).message = `image ${number}: ${(error as Error).message}`;
        throw error;
      }
    }
  });
}

parents.run();
