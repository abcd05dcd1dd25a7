/** Bundles the script of the page that `rechunk report --html` writes, and puts it where the page's maker finds it in a build. */
import { fileURLToPath } from 'node:url';
import { build, type Plugin } from 'esbuild';
import { bundledPackages, licenceComment } from './licences.ts';

const ROOT = fileURLToPath(new URL('..', import.meta.url));
/** Browsers of the last two years: what the page uses of JavaScript and CSS is there since. */
const TARGET = ['chrome117', 'firefox121', 'safari17.4'];

/** The page's script, with the licences of what it holds, and the files (below the root) that it is made of. */
export interface BundledPage {
  readonly script: string;
  readonly inputs: readonly string[];
}

/** Bundles the script of the sources below `root`; equal bytes wherever they lie. */
export async function bundlePage(root: string = ROOT): Promise<BundledPage> {
  const { outputFiles, metafile } = await build({
    absWorkingDir: root,
    preserveSymlinks: true,
    entryPoints: ['registry/report/html/page/main.ts'],
    outfile: 'page.js',
    write: false,
    metafile: true,
    bundle: true,
    minify: true,
    charset: 'utf8',
    format: 'iife',
    platform: 'browser',
    target: TARGET,
    legalComments: 'none',
  });
  const inputs = Object.keys(metafile.inputs);
  const licences = licenceComment(bundledPackages(root, inputs));
  return { script: `${licences}${outputFiles[0]?.text}`, inputs };
}

/** The module of a build that takes the place of `registry/report/html/script.ts`. */
export function pageModule({ script }: BundledPage): string {
  return `export async function pageScript() { return ${JSON.stringify(script)}; }\n`;
}

/** Puts `page` into a bundle. */
export function pagePlugin(page: BundledPage): Plugin {
  return {
    name: 'page',
    setup: ({ onLoad }) => {
      const filter = /report[\\/]html[\\/]script\.ts$/;
      onLoad({ filter }, () => ({ contents: pageModule(page), loader: 'js' }));
    },
  };
}
