/** `rechunk build`: the main job. */
import { writeFileSync } from 'node:fs';
import type { Command } from 'commander';
import { during, RechunkError } from '../../registry/errors.ts';
import type { Compression } from '../../registry/image.ts';
import { parseDigest } from '../../registry/oci.ts';
import { type BuildResult, type BuiltImage, rechunk } from '../rechunk.ts';
import { addMemoryOptions, openMemorySources } from './memory.ts';
import {
  addGroupOptions,
  addPolicyOptions,
  addRunOptions,
  groupOptions,
  type Host,
  listOption,
  metadataOptions,
  option,
  platformOptions,
  policyOptions,
  type Values,
} from './options.ts';
import { print, withSession } from './session.ts';
import { formatSize, parseCount } from './values.ts';

/** Adds the command to `program`. */
export function addBuild(program: Command, host: Host): void {
  const command = program
    .command('build')
    .description('rechunk an image')
    .argument('<source>', 'the image to read')
    .argument('<destination>', 'where the result goes')
    .addOption(
      option('--compression <kind>', 'of layers (default: zstd)').choices(['zstd', 'gzip', 'none']),
    )
    .addOption(option('--compression-level <n>', 'default: 3 for zstd, 6 for gzip'))
    .addOption(option('--all-platforms', 'rechunk every image of an index'))
    .addOption(listOption('--tag <tag>', 'a further tag with the same digest'))
    .addOption(option('--digest-file <file>', 'write the digest to a file'))
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
  addRunOptions(addPolicyOptions(addMemoryOptions(addGroupOptions(command)))).action(
    (source, destination, values) => build(source, destination, values, host),
  );
}

/** Bounds of compression levels, by kind. */
const LEVELS: Readonly<Record<Compression, readonly [number, number]>> = {
  zstd: [1, 22],
  gzip: [1, 9],
  none: [0, 0],
};

function parseLevel(values: Values): number | undefined {
  const level = values['compressionLevel'] as string | undefined;
  if (level === undefined) return undefined;
  const [least, most] = LEVELS[(values['compression'] as Compression | undefined) ?? 'zstd'];
  return parseCount(level, '--compression-level', least, most);
}

/** The digests that the user vouches for. */
function parseTrusted(values: Values): readonly string[] {
  const digests = (values['trustPrevious'] as readonly string[] | undefined) ?? [];
  return digests.map((text) => parseDigest(text));
}

const TAG = /^[\w][\w.-]{0,127}$/;

async function build(
  source: string,
  destination: string,
  values: Values,
  host: Host,
): Promise<void> {
  const tags = (values['tag'] as readonly string[] | undefined) ?? [];
  const bad = tags.find((tag) => !TAG.test(tag));
  if (bad !== undefined)
    throw new RechunkError('usage', `--tag: got '${bad}', want letters, digits, '_', '.' and '-'`);
  if (values['allPlatforms'] === true && values['platform'] !== undefined)
    throw new RechunkError('usage', '--all-platforms and --platform: want one of them');
  const options = {
    ...groupOptions(values),
    ...metadataOptions(values, host),
    ...platformOptions(values),
    policy: policyOptions(values, host),
    compression: values['compression'] as Compression | undefined,
    compressionLevel: parseLevel(values),
    allPlatforms: values['allPlatforms'] === true,
    tags,
    verify: values['verify'] === true,
    dryRun: values['dryRun'] === true,
    recompress: values['recompress'] === true,
    trusted: parseTrusted(values),
  };
  const result = await withSession(values, host, async (session) => {
    const from = await session.source(source);
    const memory = await openMemorySources(destination, values, session);
    const to = await session.destination(destination);
    return rechunk(from, to, { ...session.run, ...options, memory });
  });
  const file = values['digestFile'] as string | undefined;
  if (file !== undefined && !result.dryRun)
    await during(`writing the digest to ${file}`, () => writeFileSync(file, result.digest));
  print(result, values, format);
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
  const known = image.layers.filter((layer) => layer.known && !layer.reused).length;
  const taken = known > 0 ? `, ${known} taken from earlier images` : '';
  return [
    `${image.platform}: ${image.entries} entries in ${image.components} components, ${image.layers.length} layers${there}${taken}`,
    `${image.compression} ${formatSize(image.size)}${source}, ${formatSize(image.sentBytes)} to store`,
    ...(image.verified ? ['read again and equal to the source'] : []),
    '',
  ].join('\n');
}
