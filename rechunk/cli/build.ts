/** `rechunk build`: the main job. */
import { writeFileSync } from 'node:fs';
import type { Command } from 'commander';
import { during, RechunkError } from '../../registry/errors.ts';
import { parseDigest } from '../../registry/oci.ts';
import { parseReference, parseRepository, type Reference } from '../../registry/reference.ts';
import type { RunOptions } from '../context.ts';
import {
  type BuildOptions,
  type BuildResult,
  type BuiltImage,
  rechunk,
  rechunkTogether,
  type VariantInput,
} from '../library.ts';
import { addBaseOption, baseOption } from './base.ts';
import { addCacheOptions, cacheOptions, describeRequest } from './cache.ts';
import { countOf } from './difftext.ts';
import { addMemoryOptions, openMemorySources } from './memory.ts';
import {
  addGroupOptions,
  addPolicyOptions,
  addRunOptions,
  type Host,
  listOption,
  metadataOptions,
  option,
  platformOptions,
  type Values,
} from './options.ts';
import { addParentsOptions } from './parents.ts';
import { print, withSession } from './session.ts';
import { addCompressionOptions, shapeOptions } from './shape.ts';
import { describePull, openReports, writeReports } from './summary.ts';
import { formatSize } from './values.ts';

/** Adds the command to `program`. */
export function addBuild(program: Command, host: Host): void {
  const command = program
    .command('build')
    .description('rechunk an image')
    .usage(
      '[options] <source> <destination>\n       rechunk build [options] --together <image...> --to <prefix>',
    )
    .argument('[images...]', 'the image to read, and where the result goes')
    .addOption(
      option(
        '--together <image...>',
        'plan variants of one product together, so that they share layers; each image’s tag names its result',
      ),
    )
    .addOption(option('--to <prefix>', 'where they go: each tag is put after it'));
  addBuildOptions(command).action((images, values) => build(images, values, host));
}

/** Options of every command that rechunks an image. */
export function addBuildOptions(command: Command): Command {
  addCompressionOptions(command)
    .addOption(option('--all-platforms', 'rechunk every image of an index'))
    .addOption(listOption('--tag <tag>', 'a further tag with the same digest'))
    .addOption(option('--digest-file <file>', 'write the digest to a file'))
    .addOption(
      option(
        '--summary-file <file>',
        'append to a file, as Markdown, what was built, what an update pulls and why',
      ),
    )
    .addOption(
      option('--outputs-file <file>', 'append RECHUNK_DIGEST=… and other figures to a file'),
    )
    .addOption(
      option('--verify', 'read the result again and prove that it is equal before it is tagged'),
    )
    .addOption(
      listOption('--reuse-from <image>', 'use layers of this image where they are the same'),
    )
    .addOption(option('--recompress', 'compress every layer anew'))
    .addOption(
      listOption(
        '--trust-previous <digest>',
        'believe what the earlier image of this digest records of its layers, without reading them',
      ),
    )
    .addOption(option('--dry-run', 'do everything but store the result'));
  const grouped = addBaseOption(addParentsOptions(addGroupOptions(command)));
  return addRunOptions(addCacheOptions(addPolicyOptions(addMemoryOptions(grouped))));
}

/** The digests that the user vouches for. */
function parseTrusted(values: Values): readonly string[] {
  const digests = (values['trustPrevious'] as readonly string[] | undefined) ?? [];
  return digests.map((text) => {
    try {
      return parseDigest(text);
    } catch (cause) {
      const want = 'want the sha256 or sha512 digest of a manifest';
      throw new RechunkError('usage', `--trust-previous: got '${text}', ${want}`, { cause });
    }
  });
}

const TAG = /^[\w][\w.-]{0,127}$/;

async function build(images: readonly string[], values: Values, host: Host): Promise<void> {
  const options = buildOptions(values, host);
  await runBuild(jobsOf(images, values), values, options, host);
}

/** What the options of {@link addBuildOptions} say of the result; throws `usage` for what makes no sense. */
export function buildOptions(values: Values, host: Host): BuildOptions & Pick<RunOptions, 'cache'> {
  const tags = (values['tag'] as readonly string[] | undefined) ?? [];
  const bad = tags.find((tag) => !TAG.test(tag));
  if (bad !== undefined)
    throw new RechunkError('usage', `--tag: got '${bad}', want letters, digits, '_', '.' and '-'`);
  if (values['allPlatforms'] === true && values['platform'] !== undefined)
    throw new RechunkError('usage', '--all-platforms and --platform: want one of them');
  return {
    ...shapeOptions(values, host),
    ...metadataOptions(values, host),
    ...platformOptions(values),
    allPlatforms: values['allPlatforms'] === true,
    tags,
    verify: values['verify'] === true,
    dryRun: values['dryRun'] === true,
    recompress: values['recompress'] === true,
    trusted: parseTrusted(values),
    cache: cacheOptions(values, host),
    request: describeRequest(values, host),
  };
}

/** Rechunks the images of `jobs` and prints what became of them. */
export async function runBuild(
  jobs: readonly Job[],
  values: Values,
  options: BuildOptions & Pick<RunOptions, 'cache'>,
  host: Host,
): Promise<void> {
  await openReports(values);
  const results = await withSession(values, host, async (session) => {
    const open: VariantInput[] = [];
    for (const { from, to } of jobs) {
      const source = await session.source(from);
      const memory = await openMemorySources(to, values, session);
      open.push({ source, memory, destination: await session.destination(to) });
    }
    const how = { ...session.run, ...options };
    const [only] = open as [VariantInput];
    const base = baseOption(values, session);
    const built =
      values['together'] === undefined
        ? [await rechunk(only.source, only.destination, { ...how, base, memory: only.memory })]
        : await rechunkTogether(open, how);
    await writeReports(built, { jobs, open, values, options, session });
    return built;
  });
  const [first] = results as [BuildResult];
  const file = values['digestFile'] as string | undefined;
  if (file !== undefined && !first.dryRun) {
    const text = results.map(({ digest }) => digest).join('\n');
    await during(`writing the digest to ${file}`, () => writeFileSync(file, text));
  }
  if (values['together'] === undefined) print(first, values, format);
  else print({ results }, values, (all) => all.results.map(format).join(''));
}

/** An image to read, and where the result goes. */
export interface Job {
  readonly from: string;
  readonly to: string;
}

/** What is to be built. */
function jobsOf(images: readonly string[], values: Values): readonly Job[] {
  const together = values['together'] as readonly string[] | string | undefined;
  const prefix = values['to'] as string | undefined;
  if (together !== undefined)
    return togetherJobs([...[together].flat().flatMap(splitLines), ...images], prefix, values);
  if (prefix !== undefined) throw new RechunkError('usage', '--to: want --together too');
  const [from, to] = images;
  if (from === undefined || to === undefined)
    throw new RechunkError(
      'usage',
      `missing required argument '${from === undefined ? 'source' : 'destination'}'`,
    );
  if (images.length > 2)
    throw new RechunkError(
      'usage',
      `too many arguments for 'build'. Expected 2 arguments but got ${images.length}`,
    );
  return [{ from, to }];
}

/** From the environment several come as lines. */
const splitLines = (text: string): string[] => text.split('\n').filter(Boolean);

function togetherJobs(
  sources: readonly string[],
  prefix: string | undefined,
  values: Values,
): readonly Job[] {
  const refuse = (text: string): never => {
    throw new RechunkError('usage', text);
  };
  if (prefix === undefined) return refuse('--together: want --to PREFIX too');
  if (sources.length < 2)
    return refuse(`--together: got ${sources.length} image, want two or more`);
  if (values['allPlatforms'] === true)
    return refuse('--together and --all-platforms: want one of them');
  if (values['base'] !== undefined)
    return refuse(
      '--together and --base: want one of them; built one by one, images over several bases share what is equal where they have the same layers',
    );
  const tags = (values['tag'] as readonly string[] | undefined) ?? [];
  if (tags.length > 0) return refuse('--together and --tag: one tag cannot name several images');
  const names = sources.map((source) => {
    const name = tagOf(parseReference(source));
    return name ?? refuse(`--together ${source}: it has no tag to name the result by`);
  });
  const twice = names.find((name, i) => names.indexOf(name) !== i);
  if (twice !== undefined) return refuse(`--together: two images have the tag '${twice}'`);
  return sources.map((from, i) => ({ from, to: `${prefix}${names[i]}` }));
}

/** The tag or name of the image that a reference names. */
function tagOf(reference: Reference): string | undefined {
  if (reference.transport === 'docker') return reference.tag ?? 'latest';
  if ('name' in reference) return parseRepository(reference.name).tag ?? 'latest';
  return 'ref' in reference ? reference.ref : undefined;
}

function format(result: BuildResult): string {
  const head = result.dryRun ? 'dry run, nothing was stored' : `written to ${result.destination}`;
  const tags = result.tags.length > 0 ? `also tagged ${result.tags.join(', ')}\n` : '';
  return `${result.images.map(formatImage).join('')}${head}\n${tags}${result.digest}\n`;
}

function formatImage(image: BuiltImage): string {
  const reused = image.layers.filter((layer) => layer.reused).length;
  // A directory tree has no compressed size.
  const source = image.sourceSize > 0 ? ` (source ${formatSize(image.sourceSize)})` : '';
  const there = reused > 0 ? `, ${reused} of them there already` : '';
  const below = image.layers.filter(({ role }) => role === 'base').length;
  const kept = below > 0 ? `, ${below} of them the base’s` : '';
  const known = image.layers.filter(
    ({ known, reused, role }) => known && !reused && role !== 'base',
  ).length;
  const taken = known > 0 ? `, ${known} taken from earlier images` : '';
  return [
    `${image.platform}: ${countOf(image.entries, 'entry')} in ${countOf(image.components, 'component')}, ${countOf(image.layers.length, 'layer')}${kept}${there}${taken}`,
    `${image.compression} ${formatSize(image.size)}${source}, ${formatSize(image.sentBytes)} to store`,
    ...(image.update ? [describePull(image)] : []),
    ...(image.verified ? ['read again and equal to the source'] : []),
    '',
  ].join('\n');
}
