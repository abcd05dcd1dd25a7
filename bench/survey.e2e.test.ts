// needs: docker-registry
/** The bench of surveys on a few tags: what is asked for, which does not depend on the machine. */
import assert from 'node:assert/strict';
import { test } from 'uvu';
import { benchSurvey } from './survey.ts';

test('a tag costs one request; the second survey reads no document, and one after a tag moved reads that', async () => {
  const TAGS = 30;
  const [first, second, moved] = await benchSurvey(TAGS, 6);
  const read = (requests: Readonly<Record<string, number>> = {}): (number | undefined)[] => [
    requests['HEAD 304 manifests'],
    requests['HEAD 200 manifests'],
    requests['GET 200 manifests'],
    requests['GET 200 blobs'],
  ];
  assert.deepEqual(read(first?.requests), [undefined, undefined, TAGS, TAGS]);
  assert.deepEqual(read(second?.requests), [TAGS, undefined, undefined, undefined]);
  assert.deepEqual(read(moved?.requests), [TAGS - 1, 1, 1, 1]);
  // Beside tags: whether it speaks https, the catalog, the list of tags, whether it lists referrers.
  const all = Object.values(second?.requests ?? {}).reduce((sum, count) => sum + count, 0);
  assert.ok(all <= TAGS + 6, JSON.stringify(second?.requests));
});

test.run();
