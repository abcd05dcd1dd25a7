/** Images built by a real buildah, without running anything in them: files are changed through a mount. Needs root. */
import assert from 'node:assert/strict';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { command, output } from './command.ts';

/** Builds images below a directory of its own. */
export interface Buildah {
  /**
   * Commits `from` to `to`, references as skopeo takes them, after `change` was run by a shell at the root of its file system; paths are
   * to be relative.
   */
  commit(from: string, to: string, change: string): Promise<void>;
  close(): Promise<void>;
}

/** Opens a storage below `dir`, which is lower-case: buildah makes names of paths. */
export function openBuildah(dir: string): Buildah {
  const [root, run] = [join(dir, 'root'), join(dir, 'run')];
  const storage = ['--root', root, '--runroot', run, '--storage-driver', 'vfs'];
  const buildah = (...args: readonly string[]): Promise<string> =>
    output('buildah', [...storage, ...args]);
  return {
    async commit(from, to, change) {
      const container = await buildah('from', from);
      const mounted = await buildah('mount', container);
      // What follows runs as root: never anywhere else.
      assert.ok(
        mounted.startsWith(`${root}/vfs/dir/`),
        `buildah mounted ${container} at '${mounted}'`,
      );
      await command('sh', ['-euc', change], { cwd: mounted });
      await buildah('umount', container);
      await buildah('commit', '--quiet', container, to);
      await buildah('rm', container);
    },
    async close() {
      await rm(dir, { recursive: true, force: true, maxRetries: 3 });
    },
  };
}
