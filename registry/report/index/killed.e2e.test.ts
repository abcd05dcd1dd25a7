/** An index whose writers are killed at random moments, or run at once: each layer's rows are complete and there once, or absent. */
import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { test } from 'uvu';
import { randomNumbers } from '../../../test-images/synthetic.ts';
import { packTar } from '../../tarwriter.ts';
import { Engine, literal } from './engine.ts';
import { indexLayers } from './index.ts';
import { IndexReader } from './reader.ts';
import { sourceOf, startEngine, tagOf } from './samples.conformance.ts';
import { writeSnapshot } from './snapshot.ts';
import { listParts, PARTS } from './writer.ts';

const LAYERS = 45;
const FILES = 12;
/** Three layers a part, so that there is something to be killed in. */
const PART_ENTRIES = 36;
/** At most; two that fall between parts are enough. */
const KILLS = 12;
const BETWEEN = 2;
const SEED = Number(process.env['RECHUNK_TEST_SEED'] ?? Date.now() % 100_000);

const layers = Array.from({ length: LAYERS }, (_, layer) =>
  sourceOf(
    packTar([
      { path: 'd/' },
      ...Array.from({ length: FILES - 1 }, (_, file) => {
        return { path: `d/${file}`, content: `${layer % 7}/${file}/${file % 3 ? '' : layer}` };
      }),
    ]),
  ),
);

async function index(directory: string): Promise<void> {
  const engine = await Engine.start({ tempDirectory: directory, threads: 1 });
  await indexLayers(engine, layers, { directory, partEntries: PART_ENTRIES });
  engine.close();
}

/** Writes the index in a process of its own. */
function start(directory: string): { child: ChildProcess; ended: Promise<number | null> } {
  const args = ['--disable-warning=ExperimentalWarning', import.meta.filename, directory];
  const child = spawn(process.execPath, args, { stdio: 'inherit' });
  const ended = new Promise<number | null>((resolve) => child.once('close', resolve));
  return { child, ended };
}

async function tests(): Promise<void> {
  const { engine, directory, close } = await startEngine();
  console.log(`seed ${SEED}`);
  const random = randomNumbers(SEED);

  /** Layers that are in the index; throws unless each is whole and there once. */
  async function check(at: string): Promise<number> {
    if ((await listParts(at)).length === 0) return 0;
    await writeSnapshot(engine, at, ['all'], [tagOf('all', 'x', layers)]);
    const reader = await IndexReader.open(engine, at);
    const rows = await reader.sql(
      `SELECT l.layer_id, max(l.entries) AS wanted, count(e.path_id) AS entries, count(DISTINCT e.path_id) AS paths
       FROM layers l LEFT JOIN entries e ON e.layer_id = l.layer_id GROUP BY l.layer_id`,
    );
    for (const row of rows)
      assert.deepEqual([row['entries'], row['paths']], [row['wanted'], row['wanted']]);
    assert.deepEqual(await reader.query('collisions'), []);
    const [strays] = await reader.sql(
      'SELECT count(*) AS n FROM entries e LEFT JOIN layers l ON l.layer_id = e.layer_id WHERE l.layer_id IS NULL',
    );
    assert.equal(strays?.['n'], 0);
    assert.equal((await reader.query('missing')).length, LAYERS - rows.length);
    return rows.length;
  }

  async function entriesOf(at: string): Promise<unknown> {
    const reader = await IndexReader.open(engine, at);
    return reader.sql('SELECT * FROM entries ORDER BY ALL');
  }

  test('writers that are killed at random moments leave whole layers, and the next goes on', async () => {
    const started = performance.now();
    assert.equal(await start(join(directory, 'whole')).ended, 0);
    const usual = performance.now() - started;
    assert.equal(await check(join(directory, 'whole')), LAYERS);
    let killed = join(directory, 'killed');
    let [before, between] = [0, 0];
    for (let kill = 0; kill < KILLS && between < BETWEEN; kill++) {
      const { child, ended } = start(killed);
      // Rows are written in the later half.
      await Promise.race([sleep(usual * (0.3 + (0.6 * random()) / 2 ** 32)), ended]);
      child.kill('SIGKILL');
      await ended;
      const there = await check(killed);
      assert.ok(there >= before, `${there} layers, ${before} before`);
      if (there > before && there < LAYERS) between++;
      before = there;
      // What is complete has nothing more to be killed in.
      if (there < LAYERS) continue;
      killed = join(directory, `killed-${kill}`);
      before = 0;
    }
    assert.equal(await start(killed).ended, 0);
    assert.equal(await check(killed), LAYERS);
    assert.deepEqual(await entriesOf(killed), await entriesOf(join(directory, 'whole')));
    assert.deepEqual(readdirSync(join(killed, '.ingest')), []);
    console.log(`${between} kills fell between two parts`);
  });

  test('writers of the same layers at once write each layer once', async () => {
    const shared = join(directory, 'shared');
    const runs = [start(shared), start(shared), start(shared)];
    for (const { ended } of runs) assert.equal(await ended, 0);
    assert.equal(await check(shared), LAYERS);
    assert.deepEqual(await entriesOf(shared), await entriesOf(join(directory, 'whole')));
    const [rows] = await engine.query(
      `SELECT count(*) AS n FROM read_parquet(${literal(join(shared, PARTS, '*/layers/part.parquet'))})`,
    );
    assert.equal(rows?.['n'], LAYERS);
  });

  test.after(close);
  test.run();
}

const [, , own] = process.argv;
if (own === undefined) await tests();
else await index(own);
