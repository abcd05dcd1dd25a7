/** The licences of what a bundle is made of: whoever passes the bundle on must pass their texts on. */
import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';

/** A package of which a bundle has files. */
export interface Bundled {
  /** `NAME VERSION`. */
  readonly name: string;
  /** As its package.json names it, in SPDX's words. */
  readonly licence: string;
  /** What its licence files say, in the order of their paths. */
  readonly texts: readonly string[];
}

/** Licences whose terms are kept by passing on notice and text. */
const PERMISSIVE: ReadonlySet<string> = new Set([
  '0BSD',
  'Apache-2.0',
  'BSD-2-Clause',
  'BSD-3-Clause',
  'ISC',
  'MIT',
]);
const LICENCE_FILE = /^(licen[cs]e|copying|notice)/i;

/** What packages hold compiled and without its text: undici's parser of HTTP is llhttp's WebAssembly. */
const EMBEDDED: Readonly<Record<string, string>> = {
  undici: `llhttp (https://github.com/nodejs/llhttp): MIT. Copyright Fedor Indutny, 2018. The text is that of undici's licence, with this notice.`,
};

/** The directory of the package that `file` belongs to; undefined for files of our own. */
function packageOf(file: string): string | undefined {
  return /^(?:.*\/)?node_modules\/(?:@[^/]+\/)?[^/]+(?=\/)/.exec(file)?.[0];
}

/** The directories from `from` up to `top`, both included. */
function upwards(from: string, top: string): string[] {
  return from === top ? [top] : [...upwards(dirname(from), top), from];
}

/** Texts of the licence files beside and above `files` in the package `directory`. */
function textsOf(root: string, directory: string, files: readonly string[]): string[] {
  const directories = new Set(files.flatMap((file) => upwards(dirname(file), directory)));
  const found = [...directories].flatMap((at) =>
    readdirSync(join(root, at), { withFileTypes: true })
      .filter((entry) => entry.isFile() && LICENCE_FILE.test(entry.name))
      .map((entry) => join(at, entry.name)),
  );
  return found.sort().map((path) => readFileSync(join(root, path), 'utf8').trim());
}

/**
 * The packages that `files` (paths below `root`) belong to, sorted by name. Throws where one has no licence file, or a licence that asks for more
 * than its text.
 */
export function bundledPackages(root: string, files: readonly string[]): Bundled[] {
  const byPackage = Map.groupBy(files, packageOf);
  const packages = [...byPackage].filter(([directory]) => directory !== undefined);
  const bundled = packages.map(([directory = '', own]) => {
    const { name, version, license } = JSON.parse(
      readFileSync(join(root, directory, 'package.json'), 'utf8'),
    );
    if (!PERMISSIVE.has(license)) {
      const wanted = [...PERMISSIVE].join(', ');
      throw new Error(`licence of ${name} ${version}: got '${license}', want one of ${wanted}`);
    }
    const texts = textsOf(root, directory, own);
    if (texts.length === 0) throw new Error(`licence of ${name} ${version}: there is no text`);
    const embedded = EMBEDDED[name];
    return {
      name: `${name} ${version}`,
      licence: license,
      texts: embedded === undefined ? texts : [...texts, embedded],
    };
  });
  return bundled.sort((a, b) => (a.name < b.name ? -1 : 1));
}

/** A comment of JavaScript that names `packages` and gives their texts, each once. */
export function licenceComment(packages: readonly Bundled[]): string {
  const names = new Map<string, string[]>();
  for (const { name, texts } of packages)
    for (const text of texts) names.set(text, [...(names.get(text) ?? []), name]);
  const list = packages.map(({ name, licence }) => `${name}: ${licence}`).join('\n');
  const texts = [...names].map(([text, of]) => `==== ${of.join(', ')}\n\n${text}`).join('\n\n');
  return `/*\n${`${list}\n\n${texts}`.replaceAll('*/', '* /')}\n*/\n`;
}
