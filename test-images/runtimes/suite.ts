/**
 * Roots with the runtimes of other Debian releases, made by mmdebstrap and kept, so that a second run is quick.
 * `node test-images/runtimes/suite.ts` builds what is missing.
 */
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { command } from '../command.ts';
import { cached } from '../debian.ts';

/** The Debian release that a runtime comes from; `bookworm` is this machine, as is `built`: programs that somebody built. */
export type Suite = 'bookworm' | 'trixie' | 'built';

/** Where roots are kept: not in the memory that `/tmp` may be. */
const CACHE = '/var/tmp/rechunk-runtimes';
/** Counts up with the packages. */
const VERSION = 6;

const PACKAGES = [
  'composefs',
  'buildah',
  'podman',
  'containerd',
  'docker.io',
  'docker-buildx',
  'docker-cli',
  'ostree',
  'mount',
  'python3-minimal',
  'skopeo',
  'uidmap',
];

/**
 * trixie has no composefs: that one package comes from the release after it, from the same mirror, which may be frozen and have
 * it as of long ago.
 */
const NEWER =
  'sed -n "s/^deb .*\\(http[^ ]*\\) trixie main.*/deb [check-valid-until=no] \\1 forky main/p" "$1/etc/apt/sources.list" | head -n 1 > "$1/etc/apt/sources.list.d/forky.list"; test -s "$1/etc/apt/sources.list.d/forky.list"';

/** The root that has the runtimes of `suite`, built if need be; undefined for this machine's own. */
export async function suiteRoot(suite: Suite): Promise<string | undefined> {
  if (suite !== 'trixie') return undefined;
  const root = await cached(join(CACHE, `${suite}-${VERSION}`), async (dir) => {
    const include = `--include=${PACKAGES.join(',')}`;
    const lean = ['--aptopt=Acquire::Languages "none"', '--dpkgopt=path-exclude=/usr/share/doc/*'];
    const newer = [`--setup-hook=${NEWER}`, `--aptopt=APT::Default-Release "${suite}"`];
    const options = ['--variant=apt', '--quiet', include, ...lean, ...newer];
    const parameters = [...options, suite, join(dir, 'root')];
    await command('mmdebstrap', parameters);
  });
  return join(root, 'root');
}

if (process.argv[1] === fileURLToPath(import.meta.url)) console.log(await suiteRoot('trixie'));
