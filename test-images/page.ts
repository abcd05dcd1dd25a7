/** Pages for users, whose commands tests run as they stand there. */
import { readFileSync } from 'node:fs';

/** The shell scripts of a Markdown file, in order; `registry.example` is replaced by `registry`. */
export function scriptsOf(file: string, registry: string): string[] {
  const text = readFileSync(file, 'utf8').replaceAll('registry.example', registry);
  return [...text.matchAll(/^```sh\n([\s\S]*?)^```$/gm)].map(([, script = '']) => script);
}
