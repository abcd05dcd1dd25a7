/** What is run on each input from disk to disk: ours, and what stands beside. */
import { blobFile, type Input, type InputName, layersOf } from './inputs.ts';
import type { Tools } from './tools.ts';

/** A command that is timed. */
export interface Command {
  /** As the report names it; one input has a name once. */
  readonly name: string;
  /** `once`: only in the first round, since no goal depends on it and it takes long. */
  readonly rounds: 'all' | 'once';
  /** The name of our command that it is compared with; itself for what is ours. */
  readonly beside: string;
  /** The command that reads `input` and writes the new path `to`. */
  readonly make: (input: Input, to: string) => readonly string[];
}

/** Names that goals look for. */
export const OURS = 'rechunk zstd';
export const OURS_CHUNKED = 'rechunk zstd:chunked';
export const OURS_VERIFY = 'rechunk zstd --verify';
export const SKOPEO = 'skopeo zstd';
export const SKOPEO_CHUNKED = 'skopeo zstd:chunked, level 3';
export const FLOOR = 'floor';

const quote = (text: string): string => `'${text.replaceAll("'", "'\\''")}'`;

const shell = (script: string): string[] => ['sh', '-c', script];

/** `build` from a layout or tree to a layout, without a cache. */
function ours(tools: Tools, name: string, options: readonly string[]): Command {
  const cold = tools.canCache ? ['--no-cache'] : [];
  const make = ({ path, isTree }: Input, to: string): string[] => [
    ...tools.rechunk,
    'build',
    '--quiet',
    ...cold,
    ...options,
    isTree ? `rootfs:${path}` : `oci:${path}:latest`,
    `oci:${to}:x`,
  ];
  return { name, rounds: 'all', beside: name, make };
}

function skopeo(tools: Tools, name: string, beside: string, options: string): Command {
  const make = ({ path }: Input, to: string): string[] => [
    ...tools.skopeo,
    'copy',
    '--quiet',
    ...options.split(' '),
    `oci:${path}:latest`,
    `oci:${to}:x`,
  ];
  return { name, rounds: 'all', beside, make };
}

function floorScript({ path, isTree }: Input): string {
  const blobs = (): string =>
    layersOf(path)
      .map(({ digest }) => quote(blobFile(path, digest)))
      .join(' ');
  const tar = isTree ? `tar -C ${quote(path)} --xattrs -cf - .` : `gzip -dc ${blobs()}`;
  return `${tar} | zstd -q -T0 | sha256sum`;
}

const floor: Command = {
  name: FLOOR,
  rounds: 'all',
  beside: OURS,
  make: (input) => shell(floorScript(input)),
};

const umoci: Command = {
  name: 'umoci unpack',
  rounds: 'all',
  beside: OURS,
  make: ({ path }, to) => ['umoci', 'unpack', '--image', `${path}:latest`, to],
};

function chunkah(
  binary: string,
  name: string,
  beside: string,
  options: readonly string[],
): Command {
  const make = ({ path }: Input, to: string): string[] => [
    binary,
    'build',
    '--skip-special-files',
    '--rootfs',
    path,
    '--output',
    `oci:${to}`,
    ...options,
  ];
  return { name, rounds: 'all', beside, make };
}

const once = (command: Command): Command => ({ ...command, rounds: 'once' });

/** All that is run on the input `name`, in the order of a round. What a tool cannot do yet, or is not there, is left out. */
export function commandsOf(name: InputName, tools: Tools): Command[] {
  const zstd = ours(tools, OURS, []);
  const chunked = tools.canChunked
    ? [ours(tools, OURS_CHUNKED, ['--compression', 'zstd:chunked'])]
    : [];
  const gzip = ours(tools, 'rechunk gzip', ['--compression', 'gzip']);
  const verify = ours(tools, OURS_VERIFY, ['--verify']);
  const theirs = skopeo(tools, SKOPEO, OURS, '--dest-compress-format zstd');
  const level = '--dest-compress-format zstd:chunked --dest-compress-level 3';
  const theirsChunked = skopeo(tools, SKOPEO_CHUNKED, OURS_CHUNKED, level);
  switch (name) {
    case 'debian':
      return [zstd, theirs, floor, ...chunked, theirsChunked, verify, gzip, umoci];
    case 'small-files':
      return [zstd, floor, ...[...chunked, theirs, theirsChunked, verify, umoci].map(once)];
    case 'large-files':
      return [zstd, floor, ...[...chunked, theirs, theirsChunked, umoci].map(once)];
    case 'entries-20k':
      return [zstd];
    case 'entries-200k':
      return [zstd, ...chunked.map(once)];
    case 'rootfs':
      return [zstd, floor, ...chunked.map(once), ...besideChunkah(tools, gzip)];
  }
}

/** chunkah without compression, as it is by default, and with gzip; ours in the same forms. */
function besideChunkah(tools: Tools, gzip: Command): Command[] {
  const { chunkah: binary } = tools;
  if (binary === undefined) return [];
  const none = ours(tools, 'rechunk uncompressed', ['--compression', 'none']);
  return [
    none,
    chunkah(binary, 'chunkah uncompressed', none.name, []),
    once(gzip),
    once(chunkah(binary, 'chunkah gzip', gzip.name, ['--compressed'])),
  ];
}
