/** Debian's alternatives (update-alternatives(1)): links whose target is chosen among packages when they are installed. */
import { joinPath, nameOf, type Path } from '../../registry/path.ts';
import type { Tree } from '../tree.ts';

/** One group of alternatives as its administrative file states it. */
export interface Alternative {
  readonly name: string;
  /** The link that users see, and those that follow its choice, by name. */
  readonly links: ReadonlyMap<string, string>;
  /** What the master link can point at. */
  readonly candidates: readonly string[];
}

const LINKS = 'etc/alternatives' as Path;

/** Parses a file of `/var/lib/dpkg/alternatives`: mode, link, name and link of each slave, then the candidates. */
export function parseAlternative(name: string, text: string): Alternative | undefined {
  const lines = text.split('\n');
  const master = lines[1];
  if (!master?.startsWith('/')) return undefined;
  const links = new Map([[name, master]]);
  let at = 2;
  for (; lines[at]; at += 2) links.set(lines[at] as string, lines[at + 1] ?? '');
  const candidates: string[] = [];
  const size = links.size + 1;
  for (at += 1; lines[at]; at += size) candidates.push(lines[at] as string);
  return { name, links, candidates };
}

/** The links of an alternative that the tree has chosen a target for, and that target as listed by its package. */
export interface ChosenLinks {
  readonly target: string;
  readonly links: readonly Path[];
}

/** Every alternative in the administrative directory `directory` whose chosen target is one of its candidates. */
export async function chosenLinks(tree: Tree, directory: Path): Promise<ChosenLinks[]> {
  const chosen: ChosenLinks[] = [];
  for (const path of tree.list(directory)) {
    const text = (await tree.read(path))?.toString('latin1') ?? '';
    const alternative = parseAlternative(nameOf(path), text);
    const target = tree.get(joinPath(LINKS, nameOf(path)))?.target;
    if (!alternative || !target || !alternative.candidates.includes(target)) continue;
    const links = [...alternative.links].flatMap(([name, link]) => [joinPath(LINKS, name), link]);
    chosen.push({ target, links: links as Path[] });
  }
  return chosen;
}
