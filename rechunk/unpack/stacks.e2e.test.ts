// needs: root, getfattr, mount, umount
/**
 * Made-up stacks of layers, unpacked with marks and resolved: the kernel shows what the stack flattens to, and so would a kernel that
 * delegates, which is modelled here on what the directories hold.
 */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { test } from 'uvu';
import { packTar, type TarItem } from '../../registry/tarwriter.ts';
import { writeLayout } from '../../test-images/build.ts';
import { compareListings, type Facts, listTree } from '../../test-images/oracle.ts';
import { factsOfTree, treeOf, unpackTo, withOverlay } from '../../test-images/unpacking.ts';

const RUNS = 25;
const SEED = 4;
const KINDS = [
  'dir',
  'dir',
  'dir',
  'marked',
  'opaque',
  'file',
  'file',
  'file',
  'symlink',
  'link',
  'whiteout',
  'whiteout',
  'fifo',
  'device',
] as const;
type Kind = (typeof KINDS)[number];
const NAMES = ['a', 'b', 'c\xe9\n'];
const MARK = 'overlay.dirmeta_delegate';

interface Op {
  readonly path: readonly string[];
  readonly kind: Kind;
  readonly seed: number;
}

const op: fc.Arbitrary<Op> = fc.record({
  path: fc.array(fc.constantFrom(...NAMES), { minLength: 0, maxLength: 3 }),
  kind: fc.constantFrom(...KINDS),
  seed: fc.integer({ min: 1, max: 0x7fffffff }),
});
const stack = fc.array(fc.array(op, { maxLength: 12 }), { minLength: 1, maxLength: 5 });

/** Metadata that differs with every seed. */
function metadata(seed: number): Omit<TarItem, 'path'> {
  const xattrs = new Map([
    ['user.seed', Buffer.from([seed & 0xff, 0])],
    ['trusted.seed', Buffer.from(String(seed))],
  ]);
  return {
    mode: seed & 0o7777,
    uid: seed % 70000,
    gid: seed % 61,
    mtime: BigInt(seed) * 1_000_000_007n,
    ...(seed % 3 === 0 ? { xattrs: new Map([...xattrs].sort()) } : {}),
  };
}

/** The archive of one layer: what of `ops` can stand together, in their order. */
function itemsOf(ops: readonly Op[]): TarItem[] {
  const kinds = new Map<string, Kind>();
  const items: TarItem[] = [];
  const isBlocked = (parts: readonly string[]): boolean =>
    parts.some((_, i) => {
      const kind = kinds.get(parts.slice(0, i).join('/'));
      return kind !== undefined && kind !== 'dir' && kind !== 'marked' && kind !== 'opaque';
    });
  const isImplied = (path: string): boolean =>
    [...kinds.keys()].some((known) => known.startsWith(`${path}/`));
  for (const { path: parts, kind, seed } of ops) {
    const path = parts.join('/');
    const isDirectory = kind === 'dir' || kind === 'marked' || kind === 'opaque';
    if (kinds.has(path) || isBlocked(parts)) continue;
    if (!isDirectory && (path === '' || isImplied(path))) continue;
    const file = [...kinds].find(([, known]) => known === 'file')?.[0];
    if (kind === 'link' && file === undefined) continue;
    kinds.set(path, kind);
    items.push(...make(path, kind, seed, file));
  }
  return items;
}

function make(path: string, kind: Kind, seed: number, file: string | undefined): TarItem[] {
  const meta = metadata(seed);
  const at = path.lastIndexOf('/') + 1;
  const slash = path === '' ? './' : `${path}/`;
  switch (kind) {
    case 'dir':
      return [{ ...meta, path: slash }];
    case 'marked':
      return [
        {
          ...meta,
          path: slash,
          xattrs: new Map([
            ...(meta.xattrs ?? []),
            [`${seed & 1 ? 'trusted' : 'user'}.${MARK}`, Buffer.from('y')] as const,
          ]),
        },
      ];
    case 'opaque':
      return [{ ...meta, path: slash }, { path: `${slash}.wh..wh..opq` }];
    case 'file':
      return [{ ...meta, path, content: String(seed) }];
    case 'symlink':
      return [
        { path, type: 'symlink', link: seed & 1 ? '../a' : '/b/../../c', mtime: meta.mtime ?? 0n },
      ];
    case 'link':
      return [{ ...meta, path, type: 'link', link: file ?? '' }];
    case 'whiteout':
      return [{ path: `${path.slice(0, at)}.wh.${path.slice(at)}` }];
    case 'fifo':
      return [{ ...meta, path, type: 'fifo', xattrs: new Map() }];
    case 'device':
      return [
        {
          ...meta,
          path,
          type: 'block',
          devMajor: 1 + (seed % 4000),
          devMinor: seed % 9999,
          xattrs: new Map(),
        },
      ];
  }
}

/** The nearest unmarked directory, whose metadata a delegating kernel would show; undefined where all are marked. */
function delegated(path: string, layers: readonly Map<string, Facts>[]): Facts | undefined {
  const parts = path.split('/');
  for (const layer of layers) {
    // Whatever stops the search for an ancestor stops it here.
    const chain =
      path === '' ? [''] : ['', ...parts.map((_, i) => parts.slice(0, i + 1).join('/'))];
    const facts = layer.get(path);
    if (facts?.type === 'd' && !facts.xattrs.includes(MARK)) return facts;
    const isStopped = chain.some((at) => {
      const found = layer.get(at);
      return found && (found.type !== 'd' || found.xattrs.includes('overlay.opaque'));
    });
    if (isStopped) break;
  }
  return undefined;
}

/** A listing without overlayfs's own attributes. */
function plain(facts: Facts): Facts {
  return {
    ...facts,
    xattrs: facts.xattrs
      .split('\n')
      .filter((line) => !line.includes('.overlay.'))
      .join('\n'),
  };
}

test('made-up stacks are shown as they flatten, by this kernel and by one that delegates', async () => {
  const work = mkdtempSync('/var/tmp/rechunk-stacks-');
  let number = 0;
  let delegations = 0;
  const property = fc.asyncProperty(stack, async (all) => {
    const at = join(work, String(number++));
    const tars = all.map((ops) => ({ tar: packTar(itemsOf(ops)), compression: 'none' as const }));
    await writeLayout(at, [{ layers: tars }]);
    const expected = factsOfTree(await treeOf(at));
    const out = `${at}-out`;
    const { layers, mountOptions } = await unpackTo(out, at, {
      resolve: true,
      markImplied: 'trusted',
    });
    assert.deepEqual(compareListings(expected, await withOverlay(out, mountOptions, listTree)), []);
    const marked = await unpackTo(`${out}-marked`, at, { markImplied: 'trusted' });
    const listings = await Promise.all(
      layers.map(({ directory }) => listTree(join(`${out}-marked`, directory))),
    );
    const top = listings.toReversed();
    for (const [path, facts] of expected) {
      if (facts.type !== 'd') continue;
      const found = delegated(path, top);
      if (!found) continue;
      delegations++;
      assert.deepEqual(
        compareListings(new Map([[path, facts]]), new Map([[path, plain(found)]])),
        [],
      );
    }
    assert.equal(marked.layers.length, layers.length);
    for (const [i, listing] of listings.entries()) {
      const entries = itemsOf(all[i] ?? []);
      checkMarks(listing, entries);
    }
    rmSync(at, { recursive: true });
    rmSync(out, { recursive: true });
    rmSync(`${out}-marked`, { recursive: true });
  });
  try {
    const seed = Number(process.env['SEED'] ?? SEED);
    await fc.assert(property, { numRuns: RUNS, seed, interruptAfterTimeLimit: 120_000 });
    assert.ok(delegations > RUNS, `${delegations} directories were delegated`);
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
});

/** The directories of a layer that are marked must be those that it implies or marks. */
function checkMarks(listing: ReadonlyMap<string, Facts>, entries: readonly TarItem[]): void {
  const defined = new Set(
    entries
      .filter(
        ({ path, xattrs }) =>
          path.endsWith('/') && ![...(xattrs?.keys() ?? [])].some((name) => name.endsWith(MARK)),
      )
      .map(({ path }) => path.replace(/^\.\/|\/$/g, '')),
  );
  for (const [path, { type, xattrs }] of listing) {
    if (type === 'd')
      assert.equal(xattrs.includes(`trusted.${MARK}=0x79`), !defined.has(path), path);
  }
}

test.run();
