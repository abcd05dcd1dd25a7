/** `rechunk unpack`: each layer as a directory that overlayfs can mount. */
import type { Command } from 'commander';
import type { Namespace } from '../unpack/overlay.ts';
import { type UnpackedImage, unpack as unpackImage } from '../unpack/unpack.ts';
import { addRunOptions, type Host, option, platformOptions, type Values } from './options.ts';
import { print, withSession } from './session.ts';

/** Adds the command to `program`. */
export function addUnpack(program: Command, host: Host): void {
  const command = program
    .command('unpack')
    .description(
      'unpack each layer into a directory of its own that overlayfs can mount; prints how to mount them',
    )
    .argument('<image>', 'the image to read')
    .argument('<dir>', 'where to; absent or an empty directory')
    .addOption(
      option(
        '--mark-implied <namespace>',
        'mark directories that a layer implies, or marks itself, to delegate their metadata to lower layers (xattr overlay.dirmeta_delegate)',
      ).choices(['trusted', 'user']),
    )
    .addOption(option('--no-mark-implied', 'mark none (default)'))
    .addOption(
      option(
        '--resolve',
        'give those directories the metadata that lower layers define, for kernels that know no delegation',
      ),
    );
  addRunOptions(command).action((image, dir, values) => unpack(image, dir, values, host));
}

async function unpack(image: string, dir: string, values: Values, host: Host): Promise<void> {
  const mark = values['markImplied'];
  const options = {
    ...platformOptions(values),
    markImplied: typeof mark === 'string' ? (mark as Namespace) : undefined,
    resolve: values['resolve'] === true,
    env: host.env,
  };
  const result = await withSession(values, host, async (session) =>
    unpackImage(await session.source(image), dir, { ...session.run, ...options }),
  );
  print({ ...result, mount: mountCommand(result) }, values, format);
}

/** A word as a shell reads it. */
function quote(word: string): string {
  return /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`;
}

function mountCommand({ directory, mountOptions }: UnpackedImage): string {
  return `cd ${quote(directory)} && mount -t overlay overlay -o ${mountOptions} MOUNTPOINT`;
}

function format({ layers, mount }: UnpackedImage & { readonly mount: string }): string {
  const rows = layers.map(({ directory, digest, entries, implied, marked, resolved }) => {
    const facts = [
      `${entries} entries`,
      ...(implied > 0 ? [`${implied} directories implied`] : []),
      ...(marked > 0 ? [`${marked} marked`] : []),
      ...(resolved > 0 ? [`${resolved} resolved`] : []),
    ];
    return `${directory} ${digest.slice(7, 19)} ${facts.join(', ')}`;
  });
  return [...rows, mount, ''].join('\n');
}
