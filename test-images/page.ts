/** Pages for users, whose commands tests run as they stand there. */
import { readFileSync } from 'node:fs';

const textOf = (file: string, registry: string): string =>
  readFileSync(file, 'utf8').replaceAll('registry.example', registry);

/** The shell scripts of a Markdown file, in order; `registry.example` is replaced by `registry`. */
export function scriptsOf(file: string, registry: string): string[] {
  const text = textOf(file, registry);
  return [...text.matchAll(/^```sh\n([\s\S]*?)^```$/gm)].map(([, script = '']) => script);
}

/** The blocks of code in `text` that are marked as `language`, in order. */
export function blocksOf(text: string, language: string): string[] {
  const fenced = new RegExp(`^\`\`\`${language}\\n([^]*?)^\`\`\`$`, 'gm');
  return [...text.matchAll(fenced)].map(([, block = '']) => block);
}

/** The programs of a Markdown file (```ts name=FILE) by their names, in order; `registry.example` is replaced by `registry`. */
export function programsOf(file: string, registry: string): ReadonlyMap<string, string> {
  const found = textOf(file, registry).matchAll(/^```ts(?: name=(\S+))?\n([\s\S]*?)^```$/gm);
  return new Map(
    [...found].map(([, name, program = '']) => {
      if (name === undefined) throw new Error(`${file}: a program has no name: ${program}`);
      return [name, program];
    }),
  );
}
