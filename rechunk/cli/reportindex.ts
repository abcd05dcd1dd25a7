/** `rechunk report index`, and the index that `rechunk report --files` rests on. */
import { rm } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import type { Command } from 'commander';
import { RechunkError } from '../../registry/errors.ts';
import { makeTempDirectory } from '../../registry/ingest.ts';
import { Engine } from '../../registry/report/index/engine.ts';
import {
  type IndexSummary,
  indexLayers,
  parseShard,
  type Shard,
} from '../../registry/report/index/index.ts';
import { type IndexMemory, queryMemory, shareMemory } from '../../registry/report/index/memory.ts';
import { IndexReader } from '../../registry/report/index/reader.ts';
import { writeSnapshot } from '../../registry/report/index/snapshot.ts';
import { type StoredLayers, storedLayers } from '../../registry/report/index/stored.ts';
import type { Skipped } from '../../registry/report/report.ts';
import type { Survey } from '../../registry/report/survey.ts';
import { parseTarget } from '../../registry/report/target.ts';
import { remoteOf } from '../../registry/transport.ts';
import { KEPT } from '../documents.ts';
import { addCacheOptions, cacheOptions } from './cache.ts';
import { checkIndexDirectory, makeIndexDirectory, oldFolders } from './indexdirectory.ts';
import {
  addSurveyOptions,
  type Host,
  memoryLimit,
  option,
  tempDirectory,
  type Values,
} from './options.ts';
import { print, type Session, withSession } from './session.ts';
import { requestsOption, withSurvey } from './survey.ts';
import { oneLine } from './values.ts';

/** What follows the cache's directory in the name of the one that has the index. */
const BESIDE_CACHE = '-files';

/** Adds the command below `report`. */
export function addReportIndex(report: Command, host: Host): void {
  const command = report
    .command('index')
    .description(
      'read each unique layer once (or its table of contents only) and write its files as Parquet, for --files and for SQL; goes on where a killed run ended; takes up to 2 GiB of memory, unless --memory-limit says otherwise',
    )
    .argument('<target...>', 'as for report')
    .addOption(option('--index <dir>', 'where the index is written'))
    .addOption(
      option(
        '--shard <i/n>',
        'only the layers of share I of N, from 0; "auto": share $JOB_COMPLETION_INDEX of $COMPLETIONS',
      ),
    )
    .addOption(requestsOption());
  // Options that `report` has too are taken there, wherever they stand.
  addSurveyOptions(addCacheOptions(command)).action((targets: string[]) =>
    index(targets, command.optsWithGlobals(), host),
  );
}

async function index(targets: readonly string[], values: Values, host: Host): Promise<void> {
  for (const target of targets) parseTarget(target);
  const directory = values['index'] as string | undefined;
  if (directory === undefined) throw new RechunkError('usage', 'report index: want --index DIR');
  await checkIndexDirectory(resolve(directory));
  const shard = shardOf(values, host);
  shareMemory(memoryLimit(values));
  const summary = await withSession(values, host, async (session) => {
    const { reporter } = session;
    return withSurvey(targets, { values, host, session, referrers: false }, async (survey) => {
      for (const { name, why } of survey.skipped) reporter.notice(`${name} is left out: ${why}`);
      const work = await openIndex(resolve(directory), { values, host });
      try {
        return await fill(survey, { ...work, session, shard }, (done) => done);
      } finally {
        await work.close();
      }
    });
  });
  print(summary, values, formatSummary);
  if (summary.skipped.length > 0) process.exitCode = 1;
}

function shardOf(values: Values, { env }: Host): Shard | undefined {
  const text = values['shard'] as string | undefined;
  if (text === undefined) return undefined;
  if (text !== 'auto') return parseShard(text);
  const { JOB_COMPLETION_INDEX: number, COMPLETIONS: count } = env;
  if (number !== undefined && count !== undefined) return parseShard(`${number}/${count}`);
  const missing = number === undefined ? 'JOB_COMPLETION_INDEX' : 'COMPLETIONS';
  throw new RechunkError('usage', `--shard auto: ${missing} is not set; want it, or I/N`);
}

function formatSummary(summary: IndexSummary): string {
  const { layers, known, tables, entries, bytesRead, skipped } = summary;
  const lines = [
    `${layers} layers, ${known} of them indexed before`,
    `${entries} entries written, ${bytesRead} bytes read`,
  ];
  if (tables > 0) lines.push(`${tables} layers by their table of contents`);
  for (const { name, why } of skipped) lines.push(oneLine(`${name} is left out: ${why}`));
  return `${lines.join('\n')}\n`;
}

/** An engine, the directory of an index, and what to do at the end. */
interface OpenIndex extends Pick<IndexMemory, 'partEntries' | 'keptDigests'> {
  readonly engine: Engine;
  readonly directory: string;
  close(): Promise<void>;
}

async function openIndex(
  directory: string,
  {
    values,
    host,
    isTemporary = false,
  }: { readonly values: Values; readonly host: Host; readonly isTemporary?: boolean },
): Promise<OpenIndex> {
  const { engine: memory, partEntries, keptDigests } = shareMemory(memoryLimit(values));
  const spill = await makeTempDirectory(tempDirectory(values, host), 'rechunk-spill-');
  const remove = async (): Promise<void> => {
    await rm(spill, { recursive: true, force: true });
    if (isTemporary) await rm(directory, { recursive: true, force: true });
  };
  try {
    const engine = await Engine.start({ tempDirectory: spill, memory });
    const close = async (): Promise<void> => {
      engine.close();
      await remove();
    };
    await makeIndexDirectory(directory);
    return { engine, directory, partEntries, keptDigests, close };
  } catch (error) {
    await remove();
    throw error;
  }
}

/** A target that means the same wherever it is said. */
function resolved(text: string): string {
  const target = parseTarget(text);
  switch (target.kind) {
    case 'registry':
      return `docker://${target.host}`;
    case 'repository': {
      const tags = target.pattern === undefined ? '' : `:${target.pattern}`;
      return `docker://${target.host}/${target.repository}${tags}`;
    }
    default:
      return `${target.kind === 'layout' ? 'oci' : target.kind}:${resolve(target.path)}`;
  }
}

/** Says which folders of an index no version reads any more. */
async function tellOld(directory: string, { reporter }: Session): Promise<void> {
  const old = await oldFolders(directory);
  if (old.length === 0) return;
  const what = old.map((name) => join(directory, name)).join(', ');
  reporter.notice(`another version's index is not read, and may be removed: ${what}`);
}

/** What indexing works with. */
interface Filling extends Omit<OpenIndex, 'close'> {
  readonly session: Session;
  readonly shard?: Shard | undefined;
}

/** Indexes what `survey` found, then hands what it did and the stored layers to `work`. */
async function fill<T>(
  survey: Survey,
  { engine, directory, partEntries, keptDigests, session, shard }: Filling,
  work: (summary: IndexSummary, stored: StoredLayers) => Promise<T> | T,
): Promise<T> {
  const { transport, reporter } = session;
  await tellOld(directory, session);
  const stored = storedLayers(survey, remoteOf(transport));
  try {
    const summary = await indexLayers(engine, stored.layers, {
      ...{ directory, partEntries, keptDigests },
      signal: session.run.signal,
      ...(shard && { shard }),
      keep: KEPT,
      onProgress: ({ done, total, doneBytes, totalBytes }) =>
        reporter.count('layers', done, total, { done: doneBytes, total: totalBytes }),
    });
    await writeSnapshot(engine, directory, survey.targets.map(resolved), stored.tags);
    return await work(summary, stored);
  } finally {
    await stored.close();
  }
}

/** Where the index is kept that nobody named, if it can be. */
async function besideCache(
  values: Values,
  host: Host,
  { reporter }: Session,
): Promise<string | undefined> {
  const cache = cacheOptions(values, host);
  if (!cache) return undefined;
  const directory = `${cache.directory}${BESIDE_CACHE}`;
  try {
    await makeIndexDirectory(directory);
    return directory;
  } catch (error) {
    if (!(error instanceof RechunkError)) throw error;
    reporter.notice(`the index of files is not kept, --index DIR says where: ${error.message}`);
    return undefined;
  }
}

/**
 * Indexes what `survey` found and hands a reader of it, and the stored layers, to `work`. The index is that of `--index`, else it lies beside the cache, so that no
 * layer is read twice; without a cache it is gone afterwards. `work` is also told which layers could not be read.
 */
export async function withIndex<T>(
  survey: Survey,
  {
    values,
    host,
    session,
  }: { readonly values: Values; readonly host: Host; readonly session: Session },
  work: (reader: IndexReader, stored: StoredLayers, skipped: readonly Skipped[]) => Promise<T>,
): Promise<T> {
  const named = values['index'] as string | undefined;
  const kept = named === undefined ? await besideCache(values, host, session) : resolve(named);
  const directory =
    kept ?? (await makeTempDirectory(tempDirectory(values, host), 'rechunk-index-'));
  const open = await openIndex(directory, { values, host, isTemporary: kept === undefined });
  try {
    return await fill(survey, { ...open, session }, async ({ skipped }, stored) => {
      await open.engine.setMemory(queryMemory(memoryLimit(values)));
      return work(await IndexReader.open(open.engine, directory, stored.tags), stored, skipped);
    });
  } finally {
    await open.close();
  }
}
