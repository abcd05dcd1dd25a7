/** What the package's declarations offer: which exported things name types that are exported nowhere. */
import { readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';

interface Exported {
  /** As it is called where it is declared. */
  readonly name: string;
  readonly file: string;
}

/** What the declaration file `file` takes from others to export it. */
function exportedBy(file: string): Exported[] {
  const text = readFileSync(file, 'utf8');
  const clauses = text.matchAll(/^export (?:type )?\{([^}]*)\} from '([^']+)';/gms);
  return [...clauses].flatMap(([, names = '', from = '']) =>
    namesOf(names).map(([name]) => ({
      name,
      file: join(dirname(file), from).replace(/\.(ts|js)$/, '.d.ts'),
    })),
  );
}

/** Pairs of what a clause names, and what it calls them. */
function namesOf(clause: string): (readonly [string, string])[] {
  const parts = clause.split(',').map((part) => part.trim().replace(/^type /, ''));
  return parts.filter(Boolean).map((part) => {
    const [name = '', alias = name] = part.split(' as ');
    return [name, alias];
  });
}

const DECLARATION =
  /^(?:export )?(?:declare )?(?:abstract )?(?:function|const|class|interface|type) (\w+)/;

/** The declarations of a file by name, without comments and texts. */
function declarationsOf(text: string): ReadonlyMap<string, string> {
  const code = text.replace(/\/\*[\s\S]*?\*\//g, '').replace(/'[^'\n]*'/g, "''");
  const statements = code.split(/^(?=export |declare |import |type |interface )/m);
  return new Map(
    statements.flatMap((statement) => {
      const name = DECLARATION.exec(statement)?.[1];
      return name === undefined ? [] : [[name, statement] as const];
    }),
  );
}

/**
 * Names that the declarations of what `entries` export use and that none of them exports: a program could be given such a thing and
 * could not write its type. Sorted.
 */
export function forgottenExports(entries: readonly string[]): string[] {
  const exported = entries.flatMap(exportedBy);
  const known = new Set(exported.map(({ name }) => name));
  const forgotten = new Set<string>();
  for (const { name, file } of exported) {
    const text = readFileSync(file, 'utf8');
    const declared = declarationsOf(text);
    const imported = [...text.matchAll(/^import (?:type )?\{([^}]*)\}/gms)].flatMap(
      ([, names = '']) => namesOf(names).map(([, alias]) => alias),
    );
    const code = declared.get(name) ?? '';
    for (const other of [...imported, ...declared.keys()])
      if (!known.has(other) && new RegExp(`(?<![.\\w#])${other}\\b(?!\\??:)`).test(code))
        forgotten.add(other);
  }
  return [...forgotten].sort();
}
