/** The programs that are timed: the built command line, skopeo of Debian 13, umoci, chunkah where `CHUNKAH` names it. */
import { copyFileSync, existsSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { output } from '../../test-images/command.ts';
import { suiteRoot } from '../../test-images/runtimes/suite.ts';
import type { Scale } from './inputs.ts';

/** Programs as the first words of a command, and what they are able to do. */
export interface Tools {
  readonly rechunk: readonly string[];
  readonly skopeo: readonly string[];
  /** chunkah's binary; undefined where there is none. */
  readonly chunkah: string | undefined;
  readonly canChunked: boolean;
  readonly canCache: boolean;
  /** Names and versions, for the report. */
  readonly versions: string;
}

const root = fileURLToPath(new URL('../..', import.meta.url));

/** What a full run times; a quick one runs the sources. */
function commandLine(scale: Scale): Promise<string> {
  return scale === 'full' ? buildProgram() : Promise.resolve(join(root, 'rechunk/cli/entry.cjs'));
}

/** The command line as it is installed, built now; its entry. */
export async function buildProgram(): Promise<string> {
  await output(process.execPath, [join(root, '.ci/build.ts')]);
  return join(root, 'dist/cli/entry.cjs');
}

/** The same in a directory of its own, which is there and empty: `dist/` may be built anew at any time. */
export async function buildProgramIn(directory: string): Promise<string> {
  copyFileSync(join(root, 'package.json'), join(directory, 'package.json'));
  symlinkSync(join(root, 'node_modules'), join(directory, 'node_modules'));
  await output(process.execPath, [join(root, '.ci/build.ts'), directory]);
  return join(directory, 'dist/cli/entry.cjs');
}

/** skopeo of the root with Debian 13's runtimes by that root's own loader and libraries; for quick runs this machine's. */
async function findSkopeo(scale: Scale): Promise<string[]> {
  const suite = scale === 'full' ? await suiteRoot('trixie') : undefined;
  if (suite === undefined) return ['skopeo', '--insecure-policy'];
  const [loader] = ['lib64/ld-linux-x86-64.so.2', 'lib/ld-linux-aarch64.so.1']
    .map((name) => join(suite, name))
    .filter((path) => existsSync(path));
  if (loader === undefined) throw new Error(`${suite}: no dynamic loader`);
  const libraries = ['x86_64-linux-gnu', 'aarch64-linux-gnu'].flatMap((name) => [
    join(suite, 'lib', name),
    join(suite, 'usr/lib', name),
  ]);
  const program = join(suite, 'usr/bin/skopeo');
  return [loader, '--library-path', libraries.join(':'), program, '--insecure-policy'];
}

const run = ([program = '', ...words]: readonly string[], more: string): Promise<string> =>
  output(program, [...words, ...more.split(' ')]);

/** Finds the tools and builds the command line, unless `cli` names another's entry. */
export async function openTools(scale: Scale, cli?: string): Promise<Tools> {
  const rechunk = [process.execPath, cli ?? (await commandLine(scale))];
  const skopeo = await findSkopeo(scale);
  const chunkah = process.env['CHUNKAH'];
  const help = await run(rechunk, 'build --help');
  const versions = [
    await run(skopeo, '--version'),
    (await run(['umoci'], '--version')).split('\n')[0],
    (await run(['zstd'], '--version')).replace(/.*v(\d[\d.]*).*/s, 'zstd $1'),
    chunkah === undefined ? [] : 'chunkah',
  ];
  return {
    rechunk,
    skopeo,
    chunkah,
    canChunked: help.includes('zstd:chunked'),
    canCache: help.includes('--cache <') && help.includes('--no-cache'),
    versions: versions.flat().join(', '),
  };
}
