/**
 * ostree as ostree-ext (bootc, rpm-ostree) drives it: each layer becomes a commit of a bare repository, and the commits
 * are checked out over each other, lowest first, by union, with whiteouts; what that gives is committed, and checked out for
 * use. What ostree-ext does besides (moving `/etc`, leaving out what is not below `/usr`) is left out.
 */
import { rm, writeFile } from 'node:fs/promises';
import { layerTars } from './image.ts';
import type { Sandbox } from './sandbox.ts';
import { asked, type Look, readView } from './view.ts';

/** ostree in `sandbox`. */
export async function openOstree(sandbox: Sandbox): Promise<Look> {
  const { dir } = sandbox;
  const [repo, tar] = [`${dir}/repo`, `${dir}/layer.tar`];
  const [union, root] = [`${dir}/union`, `${dir}/checkout`];
  const ostree = (verb: string, ...parameters: string[]): Promise<string> =>
    sandbox.run('ostree', [verb, `--repo=${repo}`, ...parameters]);
  const commit = (tree: string): Promise<string> =>
    ostree('commit', '--branch=any', `--tree=${tree}`, '--tar-autocreate-parents');
  return async (layout) => {
    await ostree('init', '--mode=bare');
    try {
      for (const bytes of await layerTars(layout)) {
        await writeFile(tar, bytes);
        const layer = await asked(commit(`tar=${tar}`));
        await asked(ostree('checkout', '--union', '--whiteouts', layer, union));
      }
      await ostree('checkout', await commit(`dir=${union}`), root);
      return await readView(sandbox, root);
    } finally {
      for (const path of [repo, union, root]) await rm(path, { recursive: true, force: true });
    }
  };
}
