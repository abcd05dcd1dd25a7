// needs: root, getfattr, python3, mount, umount
/** Hostile images unpacked and mounted by the kernel: the very tree that each stands for. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'uvu';
import { CASES, writeCase } from '../../test-images/cases.ts';
import { factsOf } from '../../test-images/member.ts';
import { compareListings } from '../../test-images/oracle.ts';
import { shownOf } from '../../test-images/unpacking.ts';

const work = mkdtempSync('/var/tmp/rechunk-unpack-');
process.once('exit', () => rmSync(work, { recursive: true, force: true }));

/** Where the kernel cannot show it: directories of no layer, whose time the cases leave open, and links between layers. */
const EXPECTED: Readonly<Record<string, readonly RegExp[]>> = {
  'hard link to a lower file': [/"f": links "h" became ""/, /"h": links "f" became ""/],
  'entry below a lower symlink': [/"ln": mtime .* became "0"/],
  'whiteout below a lower symlink': [/"ln": mtime .* became "0"/],
  'directories that no layer defines': [/"x": mtime .* became "0"/, /"x\/y": mtime .* became "0"/],
};

for (const [number, hostile] of CASES.entries()) {
  test(`mounted, nothing is lost: ${hostile.name}`, async () => {
    const layout = join(work, String(number));
    await writeCase(layout, hostile);
    const shown = await shownOf(`${layout}-out`, layout, { resolve: true });
    const found = compareListings(factsOf(hostile.tree), shown, { root: 'ignore' });
    const expected = EXPECTED[hostile.name] ?? [];
    assert.equal(found.length, expected.length, found.join('\n'));
    for (const [i, pattern] of expected.entries()) assert.match(found[i] ?? '', pattern);
  });
}

test.run();
