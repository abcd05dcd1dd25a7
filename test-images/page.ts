/** Pages for users, whose commands tests run as they stand there. */
import { readFileSync } from 'node:fs';

/** The shell scripts of a Markdown file, in order; `registry.example` is replaced by `registry`. */
export function scriptsOf(file: string, registry: string): string[] {
  const text = readFileSync(file, 'utf8').replaceAll('registry.example', registry);
  return [...text.matchAll(/^```sh\n([\s\S]*?)^```$/gm)].map(([, script = '']) => script);
}

/** The blocks of code in `text` that are marked as `language`, in order. */
export function blocksOf(text: string, language: string): string[] {
  const fenced = new RegExp(`^\`\`\`${language}\\n([^]*?)^\`\`\`$`, 'gm');
  return [...text.matchAll(fenced)].map(([, block = '']) => block);
}
