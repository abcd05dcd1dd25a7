/** Tables that are sorted by a click on a column's head, and that leave out what the filter does. */
import type { State } from './state.ts';

/** Makes the heads of all tables buttons that sort. */
export function makeSortable(): void {
  for (const table of document.querySelectorAll<HTMLTableElement>('.scroll table:not(.heat)')) {
    const heads = [...(table.tHead?.rows[0]?.cells ?? [])];
    for (const [column, head] of heads.entries()) {
      if (!table.tBodies[0]?.rows[0]?.cells[column]?.dataset['sort']) continue;
      const button = document.createElement('button');
      button.type = 'button';
      button.textContent = head.textContent;
      button.addEventListener('click', () => sort(table, heads, column));
      head.replaceChildren(button);
    }
  }
}

function sort(table: HTMLTableElement, heads: readonly HTMLElement[], column: number): void {
  const head = heads[column];
  const body = table.tBodies[0];
  if (!head || !body) return;
  const isNumeric = head.hasAttribute('data-numeric');
  const was = head.ariaSort;
  const falls = was ? was === 'ascending' : isNumeric;
  for (const other of heads) other.ariaSort = null;
  head.ariaSort = falls ? 'descending' : 'ascending';
  const keyed = [...body.rows].map((row) => ({
    row,
    key: row.cells[column]?.dataset['sort'] ?? '',
  }));
  const compare = isNumeric
    ? (a: string, b: string) => Number(a) - Number(b)
    : new Intl.Collator('en', { numeric: true }).compare;
  keyed.sort((a, b) => (falls ? compare(b.key, a.key) : compare(a.key, b.key)));
  body.append(...keyed.map(({ row }) => row));
}

/** Hides rows, and whole tables, of what the filter leaves out. */
export function filterTables({ isShown, isRepositoryShown }: State): void {
  for (const row of document.querySelectorAll<HTMLElement>('[data-tag]'))
    row.hidden = !isShown(Number(row.dataset['tag']));
  for (const row of document.querySelectorAll<HTMLElement>('[data-repository]'))
    row.hidden = !isRepositoryShown(Number(row.dataset['repository']));
}
