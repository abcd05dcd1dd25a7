/** `umoci unpack`: layers put over each other in one directory. */
import { rm } from 'node:fs/promises';
import { gzipLayout } from './image.ts';
import type { Sandbox } from './sandbox.ts';
import { asked, type Look, readView } from './view.ts';

/** umoci in `sandbox`. */
export async function openUmoci(sandbox: Sandbox): Promise<Look> {
  const { dir } = sandbox;
  return async (layout) => {
    const [staged, bundle] = [`${dir}/layout`, `${dir}/bundle`];
    const image = await gzipLayout(layout, staged);
    try {
      await asked(sandbox.run('umoci', ['unpack', '--image', image, bundle]));
      return await readView(sandbox, `${bundle}/rootfs`);
    } finally {
      await rm(staged, { recursive: true, force: true });
      await rm(bundle, { recursive: true, force: true });
    }
  };
}
