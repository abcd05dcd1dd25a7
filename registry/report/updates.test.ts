/** Which tag is the update of which. */
import assert from 'node:assert/strict';
import { test } from 'uvu';
import { Fixture } from '../../test-images/surveys.ts';
import { makeReport, type Questions } from './figures.ts';
import type { Report } from './report.ts';

/** A repository of images named as its tags say; each has a layer of its own. */
function reportOn(tags: Readonly<Record<string, string>>, questions: Questions = {}): Report {
  const fixture = new Fixture();
  for (const [i, name] of [...new Set(Object.values(tags))].entries())
    fixture.image(name, [
      ['base', 1000],
      [`own ${name}`, 10 + i],
    ]);
  return makeReport(fixture.survey(fixture.repository('host/a', tags)), questions);
}

function updatesOf({ updates, tags }: Report): string[] {
  return updates.map(({ from, to }) => `${tags[from]?.tag} -> ${tags[to]?.tag}`);
}

test('a name that stands for the newest version does not hide the update to it', () => {
  for (const alias of ['stable', 'LTS', '-latest', 'zz']) {
    const made = reportOn({ '1.0': 'a', '1.1': 'b', [alias]: 'b' }, { maxUpdateBytes: 10 });
    assert.deepEqual(updatesOf(made), ['1.0 -> 1.1'], alias);
    assert.equal(made.thresholds?.[0]?.crossed, true, alias);
    const names = made.matrices[0]?.tags.map((at) => made.tags[at]?.tag);
    assert.deepEqual(names, ['1.0', '1.1'], alias);
  }
});

test('a version that two streams share is an update of both', () => {
  const made = reportOn({ '1.0': 'a', '1.1': 'c', '1.0-slim': 'b', '1.1-slim': 'c' });
  assert.deepEqual(updatesOf(made), ['1.0 -> 1.1', '1.0-slim -> 1.1-slim']);
});

test('of the names of one version the one that tells most counts, and names that stand for nothing else are updates', () => {
  const made = reportOn({ '1': 'b', '1.0': 'a', '1.1': 'b', edge: 'c', stable: 'b' });
  assert.deepEqual(updatesOf(made), ['1.0 -> 1.1']);
  assert.deepEqual(updatesOf(reportOn({ bookworm: 'a', trixie: 'b' })), ['bookworm -> trixie']);
});

test.run();
