/** `rechunk inspect`: what is in each layer, and why. */
import type { Command } from 'commander';
import { type Inspection, inspect as inspectImage } from '../inspect.ts';
import { addRunOptions, type Host, platformOptions, type Values } from './options.ts';
import { print, withSession } from './session.ts';
import { formatSize, oneLine } from './values.ts';

/** Adds the command to `program`. */
export function addInspect(program: Command, host: Host): void {
  const command = program
    .command('inspect')
    .description('show what is in each layer of an image; reads manifest and config only')
    .argument('<image>', 'the image to read');
  addRunOptions(command).action((image, values) => inspect(image, values, host));
}

async function inspect(image: string, values: Values, host: Host): Promise<void> {
  const result = await withSession(values, host, async (session) =>
    inspectImage(await session.source(image), platformOptions(values)),
  );
  print(result, values, format);
}

/** Characters of a layer's description that a line shows. */
const SHOWN_CHARS = 100;

function format(result: Inspection): string {
  const rows = result.layers.map((layer, i) => {
    const about = oneLine(layer.role ?? layer.components?.join(' ') ?? layer.createdBy ?? '');
    const text = about.length > SHOWN_CHARS ? `${about.slice(0, SHOWN_CHARS)}…` : about;
    return `${String(i + 1).padStart(4)} ${formatSize(layer.size).padStart(9)} ${layer.digest.slice(7, 19)} ${text}`;
  });
  return [
    `${result.reference} ${result.platform} ${result.digest}`,
    ...rows,
    `${result.layers.length} layers, ${formatSize(result.size)}${result.rechunked ? '' : '; not a rechunked image'}`,
    '',
  ].join('\n');
}
