/** What runtimes show of an image, for people: one line a runtime, then what differs. */
import type { ComparedView, Verdict, ViewDifference } from '../runtimes/compare.ts';
import { oneLine } from './values.ts';

const VERDICTS: Readonly<Record<Verdict, string>> = {
  right: 'right',
  time: 'different in times only',
  wrong: 'different',
  refused: 'refused',
};

/** How kinds of differences are counted. */
const KINDS: Readonly<Record<ViewDifference['what'], string>> = {
  missing: 'missing',
  extra: 'too many',
  type: 'of another type',
  mode: 'modes',
  owner: 'owners',
  xattrs: 'attributes',
  leaked: 'overlay.* attributes seen by containers',
  time: 'times',
  content: 'contents',
};

/** How many examples of a kind are shown. */
const EXAMPLES = 3;

/** Lines of text. */
export function formatRuntimes(views: readonly ComparedView[]): string[] {
  return [...views.map(formatView), ...views.flatMap(formatDetails)];
}

function formatView({ id, name, verdict, refused, differences, unfixable }: ComparedView): string {
  const reason = refused
    ? `${refused.at} of ${refused.layer}: ${refused.reason}`
    : [...Map.groupBy(differences, ({ what }) => what)].map(countKind).join(', ');
  const rest =
    unfixable.length > 0 ? `no image can fix: ${countReasons(unfixable).join(', ')}` : '';
  const text = [[VERDICTS[verdict], reason].filter(Boolean).join(': '), rest];
  return oneLine(`${id}${name === id ? '' : ` (${name})`}: ${text.filter(Boolean).join('; ')}`);
}

function countKind([what, { length }]: [ViewDifference['what'], readonly unknown[]]): string {
  return `${length} ${KINDS[what]}`;
}

function countReasons(differences: readonly ViewDifference[]): string[] {
  const root = differences.filter(({ at }) => at === '/');
  const others = differences.filter(({ at }) => at !== '/');
  const reasons = Map.groupBy(others, ({ what, unfixable }) => `${KINDS[what]} (${unfixable})`);
  return [
    ...(root.length > 0 ? ['the root directory'] : []),
    ...[...reasons].map(([reason, { length }]) => `${length} ${reason}`),
  ];
}

function formatDetails({ id, differences }: ComparedView): string[] {
  return [...Map.groupBy(differences, ({ what }) => what).values()].flatMap((group) => {
    const shown = group
      .slice(0, EXAMPLES)
      .map(({ at, what, want, got }) =>
        oneLine(`${id}: ${at}: ${what}: want ${want || 'nothing'}, got ${got || 'nothing'}`),
      );
    const left = group.length - shown.length;
    return left > 0 ? [...shown, `${id}: ${group[0]?.what}: ${left} more`] : shown;
  });
}
