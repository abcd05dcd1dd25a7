/** What runtimes make of the paths that lint has found something about. */
import type { ComparedView, ViewDifference } from '../runtimes/compare.ts';

/** What some runtimes make of a path. */
export interface Effect {
  /** Ids of the runtimes that show the same. */
  readonly runtimes: readonly string[];
  /** What they show, or why they refuse the image. */
  readonly text: string;
  readonly refuses: boolean;
}

/** Gives what the runtimes make of a path, those that show the same together; for any number of paths. */
export function effectsOf(
  views: readonly Pick<ComparedView, 'id' | 'refused' | 'differences'>[],
): (at: string) => Effect[] {
  const shown = views.map(({ id, refused, differences }) => ({
    id,
    refused,
    differences: Map.groupBy(differences, (one) => one.at),
  }));
  return (at) => {
    const effects = new Map<string, { runtimes: string[]; text: string; refuses: boolean }>();
    for (const { id, refused, differences } of shown) {
      const refuses = refused?.at === at;
      const text = refuses ? refused.reason : describeAll(differences.get(at) ?? []);
      if (text === '') continue;
      const known = effects.get(`${refuses} ${text}`);
      if (known) known.runtimes.push(id);
      else effects.set(`${refuses} ${text}`, { runtimes: [id], text, refuses });
    }
    return [...effects.values()];
  };
}

function describeAll(differences: readonly ViewDifference[]): string {
  return differences
    .map(({ what, want, got }) => `${what} ${got} for ${want || 'none'}`)
    .join(', ');
}
