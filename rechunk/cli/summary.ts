/**
 * `--summary-file` and `--outputs-file`: what a build did, for people and for later steps, as CI hosts take it. That they can be written is
 * seen before the build; what cannot be compared afterwards is left out, with a note.
 */
import { accessSync, appendFileSync, constants, existsSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import { during } from '../../registry/errors.ts';
import type { Source } from '../../registry/image.ts';
import { parsePlatform } from '../../registry/oci.ts';
import { parseReference } from '../../registry/reference.ts';
import type { RunOptions } from '../context.ts';
import {
  type BuildOptions,
  type BuildResult,
  type BuiltImage,
  diff as diffImages,
} from '../library.ts';
import type { VariantInput } from '../together.ts';
import type { Job } from './build.ts';
import { capitalize, formatChanges, SHORT } from './diffmarkdown.ts';
import { countOf } from './difftext.ts';
import { code } from './markdown.ts';
import type { Values } from './options.ts';
import type { Session } from './session.ts';
import { formatSize } from './values.ts';

/** A build that is done. */
export interface Done {
  readonly jobs: readonly Job[];
  /** What was open for each job. */
  readonly open: readonly VariantInput[];
  readonly values: Values;
  readonly options: BuildOptions & Pick<RunOptions, 'cache'>;
  readonly session: Session;
}

/** Appends `text` to the file that an option names. */
async function append(values: Values, name: 'summaryFile' | 'outputsFile', text: string) {
  const file = values[name] as string | undefined;
  if (file === undefined) return;
  const doing = `writing the ${name === 'summaryFile' ? 'summary' : 'outputs'} to ${file}`;
  await during(doing, () => appendFileSync(file, text));
}

/** Makes sure that the files can be written, before an hour's work; that of the digest, which is written whole, is not made yet. */
export async function openReports(values: Values): Promise<void> {
  await append(values, 'summaryFile', '');
  await append(values, 'outputsFile', '');
  const file = values['digestFile'] as string | undefined;
  if (file === undefined) return;
  const place = existsSync(file) ? file : dirname(resolve(file));
  await during(`writing the digest to ${file}`, () => accessSync(place, constants.W_OK));
}

/** Appends what `results` are to the files that options name. */
export async function writeReports(results: readonly BuildResult[], done: Done): Promise<void> {
  const { values } = done;
  await append(values, 'outputsFile', formatOutputs(results, done.jobs));
  if (values['summaryFile'] === undefined) return;
  const parts: string[] = [];
  for (const [i, result] of results.entries())
    for (const image of result.images) parts.push(await summarize(result, image, i, done));
  await append(values, 'summaryFile', parts.join('\n'));
}

/** What nodes pull that have the previous image. */
export function describePull({ update, layers }: BuiltImage): string {
  if (!update) return 'no earlier image: nodes pull every layer once';
  const { byBlob, reference, digest } = update;
  const who = `a node that has ${reference} (${digest.slice(7, 19)})`;
  return `${who} pulls ${formatSize(byBlob.bytes)} in ${byBlob.layers} of ${countOf(layers.length, 'layer')}`;
}

/** `host/repo@digest` of an image in a registry. */
function pinned(destination: string, digest: string): string | undefined {
  const reference = parseReference(destination);
  if (reference.transport !== 'docker') return undefined;
  return `${reference.host}/${reference.repository}@${digest}`;
}

/**
 * Lines `RECHUNK_NAME=VALUE`, which a shell can read too. Of several platforms the figures are those of the largest; digests of several
 * images are joined by commas. There is no name where nothing is in a registry, and no update where there was no earlier image.
 */
function formatOutputs(results: readonly BuildResult[], jobs: readonly Job[]): string {
  const images = results.flatMap((result) => result.images);
  const most = (sizes: readonly number[]): number => Math.max(...sizes);
  const updates = images.flatMap(({ update }) => update ?? []);
  const names = results.flatMap(({ digest }, i) => pinned(jobs[i]?.to ?? '', digest) ?? []);
  const lines = [
    ['DIGEST', results.map(({ digest }) => digest).join(',')],
    ...(names.length > 0 ? [['IMAGE', names.join(',')]] : []),
    ['LAYERS', most(images.map(({ layers }) => layers.length))],
    ['BYTES', most(images.map(({ size }) => size))],
    ...(updates.length > 0
      ? [
          ['UPDATE_LAYERS', most(updates.map(({ byBlob }) => byBlob.layers))],
          ['UPDATE_BYTES', most(updates.map(({ byBlob }) => byBlob.bytes))],
        ]
      : []),
  ];
  return lines.map(([name, value]) => `RECHUNK_${name}=${value}\n`).join('');
}

async function summarize(
  result: BuildResult,
  image: BuiltImage,
  job: number,
  done: Done,
): Promise<string> {
  const source = image.sourceSize > 0 ? ` (source ${formatSize(image.sourceSize)})` : '';
  const size = `${formatSize(image.size)} ${image.compression}${source}`;
  return [
    `### ${code(done.jobs[job]?.to ?? '')} (${code(image.platform)})`,
    '',
    `${countOf(image.layers.length, 'layer')}, ${size}, digest ${code(image.digest)}${result.dryRun ? '; a dry run, nothing was stored' : ''}.`,
    '',
    await describeChanges(result, image, job, done),
  ].join('\n');
}

/** What an update changes, by the files of both images where they can be read. */
async function describeChanges(
  result: BuildResult,
  image: BuiltImage,
  job: number,
  done: Done,
): Promise<string> {
  const { update } = image;
  const plain = `${capitalize(describePull(image))}.\n`;
  if (!update || update.digest === image.digest || result.dryRun) return plain;
  const { previous = [], history = [] } = done.open[job]?.memory ?? {};
  const old = [...previous, ...history].find(({ reference }) => reference === update.reference);
  const { to = '' } = done.jobs[job] ?? {};
  try {
    const next = await done.session.source(pinned(to, result.digest) ?? to);
    return await compare(old as Source, next, image, done);
  } catch (error) {
    if (done.session.run.signal?.aborted) throw error;
    done.session.reporter.notice(`no summary of what changed: ${(error as Error).message}`);
    return plain;
  }
}

async function compare(
  old: Source,
  next: Source,
  image: BuiltImage,
  { session, options }: Done,
): Promise<string> {
  const { hostPlatform, cache, strict, repos } = options;
  const platform = parsePlatform(image.platform);
  // What is to be said of the images was said by the build.
  const run = { ...session.run, onNotice: () => {}, cache };
  const how = { platform, hostPlatform, ...(strict && { strict }), ...(repos && { repos }) };
  return formatChanges(await diffImages(old, next, { ...run, ...how }), SHORT);
}
