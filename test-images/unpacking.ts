/** Images unpacked for overlayfs by the product, and what the kernel shows of them. Needs root. */
import { rmSync } from 'node:fs';
import { mkdtemp, rmdir } from 'node:fs/promises';
import { join } from 'node:path';
import { withContext } from '../rechunk/context.ts';
import { loadTree } from '../rechunk/load.ts';
import type { Tree } from '../rechunk/tree.ts';
import { type UnpackedImage, type UnpackOptions, unpack } from '../rechunk/unpack/unpack.ts';
import { openImage } from '../registry/image.ts';
import { openLayout } from '../registry/layout.ts';
import { parsePlatform } from '../registry/oci.ts';
import { command } from './command.ts';
import { type Facts, listTree } from './oracle.ts';

/** Unpacks the image `latest` of the OCI layout at `layout` to `directory`, with notices in `notices` if given. */
export async function unpackTo(
  directory: string,
  layout: string,
  options: Partial<UnpackOptions> & { readonly notices?: string[] } = {},
): Promise<UnpackedImage> {
  const source = await openLayout(layout, 'latest');
  try {
    return await unpack(source, directory, {
      hostPlatform: parsePlatform('linux/amd64'),
      threads: 1,
      tempDir: '/var/tmp',
      onNotice: (notice) => void options.notices?.push(notice),
      ...options,
    });
  } finally {
    await source.close();
  }
}

/** Mounts overlayfs with `options`, relative to `directory`, runs `work` with the mount point, and unmounts it. */
export async function withOverlay<T>(
  directory: string,
  options: string,
  work: (root: string) => Promise<T>,
): Promise<T> {
  const root = await mkdtemp(join(directory, '..', 'mount-'));
  await command('mount', ['-t', 'overlay', 'overlay', '-o', options, root], { cwd: directory });
  try {
    return await work(root);
  } finally {
    await command('umount', [root]);
    await rmdir(root);
  }
}

/** What the kernel shows of the image `latest` at `layout`, unpacked to `directory` for a while. */
export async function shownOf(
  directory: string,
  layout: string,
  options: Partial<UnpackOptions> & { readonly notices?: string[] } = {},
): Promise<Map<string, Facts>> {
  const { mountOptions } = await unpackTo(directory, layout, options);
  try {
    return await withOverlay(directory, mountOptions, listTree);
  } finally {
    rmSync(directory, { recursive: true });
  }
}

/** What the image `latest` of the OCI layout at `layout` flattens to. */
export async function treeOf(layout: string): Promise<Tree> {
  const source = await openLayout(layout, 'latest');
  const run = { threads: 1, tempDir: '/var/tmp' };
  try {
    return await withContext(run, async (context) => {
      const image = await openImage(source, { hostPlatform: parsePlatform('linux/amd64') });
      return (await loadTree(image, context)).tree;
    });
  } finally {
    await source.close();
  }
}

const LETTERS = { file: 'f', dir: 'd', symlink: 'l', char: 'c', block: 'b', fifo: 'p' } as const;

/** What the oracle should list for `tree`. */
export function factsOfTree(tree: Tree): Map<string, Facts> {
  return new Map(
    tree.entries.map(({ path, inode }): [string, Facts] => {
      const names = tree.links.get(inode) ?? [];
      const isDevice = inode.type === 'char' || inode.type === 'block';
      const xattrs = [...inode.xattrs].map(
        ([name, value]) => `${name}=0x${Buffer.from(value).toString('hex')}`,
      );
      return [
        path,
        {
          type: LETTERS[inode.type],
          mode: inode.mode.toString(8),
          uid: inode.uid,
          gid: inode.gid,
          size: inode.size,
          mtime: inode.mtime,
          target: inode.target,
          device: isDevice
            ? [inode.devMajor, inode.devMinor].map((n) => n.toString(16)).join(':')
            : '',
          sha256: inode.sha256,
          links: names.filter((name) => name !== path).join('\0'),
          xattrs: xattrs.sort().join('\n'),
        },
      ];
    }),
  );
}
