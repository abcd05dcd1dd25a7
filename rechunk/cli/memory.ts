/** Which earlier images a command looks at: options, and the references behind them opened. */
import type { Command } from 'commander';
import { RechunkError } from '../../registry/errors.ts';
import type { Source } from '../../registry/image.ts';
import { parseReference } from '../../registry/reference.ts';
import type { MemorySources } from '../memory.ts';
import { listOption, option, type Values } from './options.ts';
import type { Session } from './session.ts';
import { parseCount } from './values.ts';

/** Options that name earlier images. */
export function addMemoryOptions(command: Command): Command {
  return command
    .addOption(
      listOption(
        '--previous <image>',
        'what clients have; the plan of the first is continued (default: what the destination holds)',
      ),
    )
    .addOption(option('--fresh', 'plan anew, whatever the destination holds'))
    .addOption(
      listOption(
        '--history <n|image>',
        'learn what changes from the last N tags beside the destination, else beside --previous; or from these images',
      ),
    );
}

/** Most tags that `--history` can ask for. */
const MOST_TAGS = 1000;
/** Tags that are looked at for each that is wanted: names do not say when an image was made. */
const CANDIDATES = 4;
/** References that are opened at a time. */
const AT_ONCE = 8;
/** What is meant as a number of tags, and no name of an image. */
const NUMBER = /^-?\d+(\.\d+)?$/;
/** Tags that name what is attached to an image (cosign, referrers) and no image. */
const ATTACHED = /^sha(256|512)-[0-9a-f]{32,}/;

function list(values: Values, name: string): readonly string[] {
  return (values[name] as readonly string[] | undefined) ?? [];
}

/**
 * Opens the earlier images that `values` name. Without `--previous` it is the image that `destination` holds now under its
 * name (an archive is written anew); only that there is nothing counts as none, any other failure is an error.
 */
export async function openMemorySources(
  destination: string | undefined,
  values: Values,
  session: Session,
): Promise<MemorySources> {
  const named = list(values, 'previous');
  const fresh = values['fresh'] === true;
  if (named.length > 0 && fresh) {
    throw new RechunkError('usage', '--previous and --fresh: want one of them');
  }
  const beside = [destination, named[0]].filter((one) => one !== undefined);
  const learnt = await openHistory(list(values, 'history'), beside, session);
  const previous = await openAll(named, session);
  const isAlone = (learnt.history ?? []).length === 0;
  if (named.length === 0 && !fresh && destination !== undefined)
    previous.push(...(await openDefault(destination, isAlone, session)));
  const reuseFrom = await openAll(list(values, 'reuseFrom'), session);
  return { previous, fresh, reuseFrom, ...learnt };
}

async function openAll(references: readonly string[], session: Session): Promise<Source[]> {
  const sources: Source[] = [];
  for (let i = 0; i < references.length; i += AT_ONCE) {
    const some = references.slice(i, i + AT_ONCE).map((reference) => session.source(reference));
    sources.push(...(await Promise.all(some)));
  }
  return sources;
}

/** What the destination holds; that there is nothing is told where nothing else (`isAlone`) takes its place. */
async function openDefault(
  destination: string,
  isAlone: boolean,
  session: Session,
): Promise<Source[]> {
  const reference = parseReference(destination);
  const isNamed =
    ['docker', 'containers-storage', 'docker-daemon'].includes(reference.transport) ||
    (reference.transport === 'oci' && reference.ref !== undefined);
  if (!isNamed) return [];
  const found = await session.existing(destination);
  if (found.length === 0 && isAlone)
    session.reporter.notice(
      `no previous image at ${destination}: clients pull every layer once; --previous names what they have under another tag`,
    );
  return found;
}

/** The references beside the first of `images` that has any. */
async function firstReferences(images: readonly string[], session: Session): Promise<string[]> {
  for (const image of images) {
    const references = await session.beside(image);
    if (references.length > 0) return references;
  }
  return [];
}

async function openHistory(
  wanted: readonly string[],
  beside: readonly string[],
  session: Session,
): Promise<Pick<MemorySources, 'history' | 'historyLimit'>> {
  const count = wanted.find((one) => NUMBER.test(one));
  if (count === undefined) return { history: await openAll(wanted, session) };
  if (wanted.length > 1) {
    const all = wanted.map((one) => `'${one}'`).join(', ');
    throw new RechunkError('usage', `--history: got ${all}, want one number of tags, or images`);
  }
  const historyLimit = parseCount(count, '--history', 1, MOST_TAGS);
  if (beside.length === 0)
    throw new RechunkError('usage', '--history N: want --previous too, whose tags are read');
  const tags = (await firstReferences(beside, session)).filter(
    (one) => !ATTACHED.test(one.slice(one.lastIndexOf(':') + 1)),
  );
  const { compare } = new Intl.Collator('en', { numeric: true });
  const candidates = tags.sort(compare).slice(-historyLimit * CANDIDATES);
  return { history: await openAll(candidates, session), historyLimit };
}
