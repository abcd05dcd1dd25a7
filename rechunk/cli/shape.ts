/** What decides which layers come of an image: options of `build`, which `report --what-if` takes too. */
import type { Command } from 'commander';
import type { LayerFormat } from '../../registry/compress.ts';
import type { BuildOptions } from '../rechunk.ts';
import {
  addContentOptions,
  addGroupOptions,
  groupOptions,
  type Host,
  option,
  policyOptions,
  profileOption,
  type Values,
} from './options.ts';
import { addParentsOptions, parentsOptions } from './parents.ts';
import { parseCount } from './values.ts';

/** Options that decide how layers are stored. */
export function addCompressionOptions(command: Command): Command {
  return command
    .addOption(
      option(
        '--compression <kind>',
        'of layers (default: zstd); of zstd:chunked podman can pull only the parts that it lacks',
      ).choices(['zstd', 'zstd:chunked', 'gzip', 'none']),
    )
    .addOption(
      option(
        '--compression-level <n>',
        'of layers that are made, not of those that earlier images have (default: 3 for zstd, 6 for gzip)',
      ),
    );
}

/** All options that {@link shapeOptions} reads. */
export function addShapeOptions(command: Command): Command {
  return addContentOptions(addParentsOptions(addGroupOptions(addCompressionOptions(command))));
}

/** Bounds of compression levels, by kind. */
const LEVELS: Readonly<Record<LayerFormat, readonly [number, number]>> = {
  zstd: [1, 22],
  'zstd:chunked': [1, 22],
  gzip: [1, 9],
  none: [0, 0],
};

function parseLevel(values: Values): number | undefined {
  const level = values['compressionLevel'] as string | undefined;
  if (level === undefined) return undefined;
  const asked = values['compression'] as LayerFormat | undefined;
  const kind = asked ?? profileOption(values)?.profile.compression ?? 'zstd';
  const [least, most] = LEVELS[kind];
  return parseCount(level, '--compression-level', least, most);
}

/** What decides which layers come of an image. */
export type ShapeOptions = Pick<
  BuildOptions,
  | 'maxLayers'
  | 'maxLayerSize'
  | 'repos'
  | 'strict'
  | 'parents'
  | 'policy'
  | 'profile'
  | 'compression'
  | 'compressionLevel'
>;

/** What {@link addShapeOptions} say; throws `usage` for what makes no sense. */
export function shapeOptions(values: Values, host: Host): ShapeOptions {
  return {
    ...groupOptions(values),
    parents: parentsOptions(values),
    policy: policyOptions(values, host),
    profile: profileOption(values),
    compression: values['compression'] as LayerFormat | undefined,
    compressionLevel: parseLevel(values),
  };
}
