/** Components cut into parts that fit a layer size limit. */
import type { Component } from './components.ts';
import { tarSizeOf } from './estimate.ts';
import { contentSize, type Entry, type Inode, type Tree } from './tree.ts';

/** The entries of a component in units that must stay together: hard-link groups whole, everything else alone. */
function unitsOf(tree: Tree, entries: readonly Entry[]): Entry[][] {
  const units = new Map<Inode | Entry, Entry[]>();
  for (const entry of entries) {
    const key = tree.links.has(entry.inode) ? entry.inode : entry;
    const unit = units.get(key);
    if (unit) unit.push(entry);
    else units.set(key, [entry]);
  }
  return [...units.values()];
}

/** Bytes of tar that entries which stay together take: the content once, a header for each name. */
function unitSize(unit: readonly Entry[]): number {
  const [first, ...rest] = unit;
  return (first ? tarSizeOf(first) : 0) + rest.length * 512;
}

/**
 * Cuts every component whose tar is larger than `limit` bytes into parts `ID#1`, `ID#2`, … in canonical order, each as large
 * as fits. A file that is larger alone is a part of its own.
 */
export function splitLarge(
  tree: Tree,
  components: readonly Component[],
  limit: number,
): Component[] {
  return components.flatMap((component) => {
    // More than its tar has, where there are hard links.
    const most = component.entries.reduce((sum, entry) => sum + tarSizeOf(entry), 0);
    if (most <= limit) return [component];
    const units = unitsOf(tree, component.entries);
    if (units.reduce((sum, unit) => sum + unitSize(unit), 0) <= limit) return [component];
    const parts: Entry[][] = [];
    let size = Number.POSITIVE_INFINITY;
    for (const unit of units) {
      size += unitSize(unit);
      if (size > limit) {
        parts.push([]);
        size = unitSize(unit);
      }
      parts.at(-1)?.push(...unit);
    }
    return parts.map(
      (entries, i): Component => ({
        ...component,
        id: `${component.id}#${i + 1}`,
        entries,
        size: contentSize(entries),
      }),
    );
  });
}
