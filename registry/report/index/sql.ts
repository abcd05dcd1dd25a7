/** The text of the queries: files beside the program, or within it where it was bundled. */
import { readdirSync, readFileSync } from 'node:fs';
import { RechunkError } from '../../errors.ts';

/** Text of SQL by name: queries, and the views that they rest on, in the order in which they are made: `tables`, then `views`. */
export interface SqlTexts {
  readonly tables: Readonly<Record<string, string>>;
  readonly queries: Readonly<Record<string, string>>;
  readonly views: Readonly<Record<string, string>>;
}

/** What `.ci/bundle.ts` puts in its place. */
declare const REPORT_SQL: SqlTexts | undefined;

const ORDER = /^\d+-/;
const END = '.sql';

function textsIn(directory: URL): Record<string, string> {
  const files = readdirSync(directory).filter((file) => file.endsWith(END));
  return Object.fromEntries(
    files.sort().map((file) => {
      const name = file.slice(0, -END.length).replace(ORDER, '');
      return [name, readFileSync(new URL(file, directory), 'utf8')];
    }),
  );
}

let texts: SqlTexts | undefined;

/** All queries and views. */
export function sqlTexts(): SqlTexts {
  if (typeof REPORT_SQL !== 'undefined') return REPORT_SQL;
  texts ??= readSql(new URL('../queries/', import.meta.url));
  return texts;
}

/** What lies in the folder `queries`. */
export function readSql(folder: URL): SqlTexts {
  const [tables, views] = ['tables/', 'views/'].map((name) => textsIn(new URL(name, folder)));
  return { queries: textsIn(folder), tables: tables ?? {}, views: views ?? {} };
}

/** A query's text; throws `usage` for one that there is not. */
export function queryText(name: string): string {
  const { queries } = sqlTexts();
  const text = Object.hasOwn(queries, name) ? queries[name] : undefined;
  if (text !== undefined) return text;
  const known = Object.keys(queries).join(', ');
  throw new RechunkError('usage', `got query "${name}", want one of ${known}`);
}
