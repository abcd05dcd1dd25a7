// needs: java, spark-class, python3, tar
/** The same SQL files over the same Parquet: a Spark cluster (a master and two workers) says what the embedded engine says. */
import assert from 'node:assert/strict';
import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { existsSync, globSync, mkdirSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, dirname, join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { test } from 'uvu';
import { CASES } from '../../../test-images/cases.ts';
import { packLayer } from '../../../test-images/member.ts';
import { packTar } from '../../tarwriter.ts';
import type { Parameters, Row } from '../index/engine.ts';
import { indexLayers } from '../index/index.ts';
import { IndexReader } from '../index/reader.ts';
import { claimsOf, sourceOf, startEngine, tagOf } from '../index/samples.conformance.ts';
import { writeSnapshot } from '../index/snapshot.ts';
import { sqlTexts } from '../index/sql.ts';
import { PARTS } from '../index/writer.ts';

const work = mkdtempSync(join(tmpdir(), 'rechunk-spark-'));
const children: ChildProcess[] = [];
process.once('exit', () => {
  for (const child of children) child.kill('SIGKILL');
  rmSync(work, { recursive: true, force: true });
});
/** Five short-lived JVMs on two cores: what the second compiler would gain is never earned back. */
const JAVA = '-XX:TieredStopAtLevel=1 -XX:+UseSerialGC';

/** Where Spark is, and what Python needs of it: a distribution of its own, or PySpark's as it is unpacked. */
function sparkPlaces(): Readonly<Record<string, string>> {
  const directories = (process.env['PATH'] ?? '').split(delimiter);
  const bin = directories.find((directory) => existsSync(join(directory, 'spark-class'))) ?? '';
  const home = dirname(bin);
  const python = [join(home, 'python'), dirname(home)].filter((directory) =>
    existsSync(join(directory, 'pyspark')),
  );
  const libraries = python.flatMap((directory) => globSync(join(directory, 'lib/py4j-*.zip')));
  return { SPARK_HOME: home, PYTHONPATH: [...python, ...libraries].join(delimiter) };
}

const ENVIRONMENT = {
  ...process.env,
  ...sparkPlaces(),
  ...{ SPARK_LOCAL_IP: '127.0.0.1', SPARK_LOCAL_DIRS: work, JDK_JAVA_OPTIONS: JAVA },
};

/** Starts a daemon of the cluster; gives what `pattern` finds in what it says. */
async function startDaemon(pattern: RegExp, ...args: string[]): Promise<string> {
  const child = spawn('spark-class', args, {
    env: ENVIRONMENT,
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  children.push(child);
  const said: string[] = [];
  for await (const line of createInterface({ input: child.stderr as NodeJS.ReadableStream })) {
    said.push(line);
    const found = pattern.exec(line)?.[1];
    if (found === undefined) continue;
    // Whoever stops reading would let it block.
    child.stderr?.resume();
    return found;
  }
  throw new Error(said.join('\n'));
}

const WORKER = ['--host', '127.0.0.1', '--webui-port', '0', '--cores', '1', '--memory', '1g'];

async function startCluster(): Promise<string> {
  const master = await startDaemon(
    /Starting Spark master at (spark:\S+)/,
    ...['org.apache.spark.deploy.master.Master', '--host', '127.0.0.1'],
    ...['--port', '0', '--webui-port', '0'],
  );
  await Promise.all(
    [0, 1].map((number) => {
      const directory = join(work, `worker-${number}`);
      mkdirSync(directory);
      const main = 'org.apache.spark.deploy.worker.Worker';
      const place = ['--work-dir', directory];
      return startDaemon(
        /Successfully registered with master (\S+)/,
        main,
        ...WORKER,
        ...place,
        master,
      );
    }),
  );
  return master;
}

/** Rows of each query, as Spark gives them. */
async function askSpark(
  master: string,
  index: string,
  queries: readonly (readonly [string, Parameters])[],
): Promise<Map<string, Row[]>> {
  const script = fileURLToPath(new URL('run.py', import.meta.url));
  const words = queries.map(([name, parameters]) => {
    const given = Object.entries(parameters).map(([key, value]) => `${key}=${value}`);
    return `${name}:${given.join()}`;
  });
  const settings = {
    'spark.sql.shuffle.partitions': 2,
    'spark.executor.memory': '768m',
    'spark.driver.host': '127.0.0.1',
    'spark.ui.enabled': false,
    'spark.sql.codegen.wholeStage': false,
  };
  const confs = Object.entries(settings).flatMap(([key, value]) => ['--conf', `${key}=${value}`]);
  const args = [
    'org.apache.spark.deploy.SparkSubmit',
    ...['--master', master, '--total-executor-cores', '2', ...confs, script, index, ...words],
  ];
  const { stdout } = await promisify(execFile)('spark-class', args, {
    env: ENVIRONMENT,
    maxBuffer: 1 << 28,
  });
  const lines = stdout.split('\n').filter((line) => line.startsWith('{'));
  return new Map(
    lines.map((line) => {
      const { query, rows } = JSON.parse(line) as { query: string; rows: Row[] };
      return [query, rows];
    }),
  );
}

const { engine, directory, close } = await startEngine();
const cases = await Promise.all(
  CASES.map(async ({ name, layers }) => {
    const sources = await Promise.all(
      layers.map(async (layer) => sourceOf(await packLayer(layer))),
    );
    return { name, layers: sources };
  }),
);
/** Two versions of an image: some files change, one only its mode; the first layer lies there twice, compressed in two ways. */
const version = (n: number): Buffer =>
  packTar([
    { path: 'usr/' },
    { path: 'usr/same', content: 'x'.repeat(10_000) },
    { path: 'usr/mode', content: 'm'.repeat(5_000), mode: 0o600 + n },
    { path: 'usr/changed', content: `${n}`.repeat(3_000) },
  ]);
const base = packTar([{ path: 'etc/' }, { path: 'etc/conf', content: 'c'.repeat(100) }]);
const updates = [1, 2].map((n) =>
  tagOf('updates', `v${n}`, [sourceOf(base, n === 1 ? 'none' : 'gzip'), sourceOf(version(n))]),
);
/** A content of `base`, of another size: another content to both engines. */
const liar = claimsOf('c'.repeat(100), 1_000);
const everything = [
  ...cases.map(({ name, layers }) => tagOf('cases', name, layers)),
  ...updates,
  tagOf('claims', 'liar', [liar]),
];
const sources = [
  ...cases.flatMap(({ layers }) => layers),
  ...[base, version(1), version(2)].map((tar) => sourceOf(tar)),
  liar,
];
// Several parts, as several machines write them.
await indexLayers(engine, sources, { directory, partEntries: 40 });
await writeSnapshot(engine, directory, ['all'], everything);
const [from = '', to = ''] = updates.map(({ images: [{ digest }] }) => digest);
const image = everything[0]?.images[0].digest ?? '';
const PARAMETERS: Parameters = { limit: 20, places: 3, from, to, image };
const queries = Object.keys(sqlTexts().queries).map((name) => [name, PARAMETERS] as const);
const reader = await IndexReader.open(engine, directory);
const spark = await askSpark(await startCluster(), directory, queries);
for (const child of children) child.kill('SIGTERM');

test('the index has several parts', () => {
  assert.ok(readdirSync(join(directory, PARTS)).length > 2);
});

for (const [name] of queries) {
  test(`Spark and DuckDB agree row for row: ${name}`, async () => {
    const rows = await reader.query(name, PARAMETERS);
    assert.deepEqual(spark.get(name), rows);
    assert.equal(rows.length > 0, name !== 'missing', `${name} has ${rows.length} rows`);
  });
}

test.after(close);
test.run();
