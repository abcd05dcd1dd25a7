/** Keeps the import rules of the README: `plugin -> rechunk -> registry`, no cycles, pure planner, repos apart. */
import assert from 'node:assert/strict';
import { globSync, readFileSync } from 'node:fs';
import { dirname, join, normalize } from 'node:path';
import { fileURLToPath } from 'node:url';
import { test } from 'uvu';

const root = fileURLToPath(new URL('..', import.meta.url));

interface Import {
  readonly from: string;
  readonly to: string;
  readonly typeOnly: boolean;
}

function importsOf(file: string): Import[] {
  const text = readFileSync(join(root, file), 'utf8');
  const found = text.matchAll(/^(?:import|export)\s+(type\s)?[^;]*?\sfrom\s+'([^']+)';/gm);
  const dynamic = text.matchAll(/import\('([^']+)'\)/g);
  const resolve = (to: string): string =>
    to.startsWith('.') ? normalize(join(dirname(file), to)) : to;
  return [
    ...[...found].map(([, typeOnly, to = '']) => ({
      from: file,
      to: resolve(to),
      typeOnly: Boolean(typeOnly),
    })),
    ...[...dynamic].map(([, to = '']) => ({ from: file, to: resolve(to), typeOnly: false })),
  ];
}

const files = globSync('{plugin,rechunk,registry,test-images,bench}/**/*.ts', { cwd: root });
const product = files.filter((file) => !/\.(test|conformance)\.ts$/.test(file));
const imports = product.flatMap(importsOf);
const folder = (file: string): string => file.split('/')[0] as string;

/** Which folders a folder may import from, besides itself. */
const ALLOWED: Readonly<Record<string, readonly string[]>> = {
  registry: [],
  rechunk: ['registry'],
  plugin: ['rechunk', 'registry'],
  'test-images': ['registry', 'rechunk'],
  bench: ['registry', 'rechunk', 'test-images'],
};

test('there is something to check', () => {
  assert.ok(
    product.length > 40 && imports.length > 100,
    `${product.length} files, ${imports.length} imports`,
  );
});

test('folders import only what lies below them', () => {
  const wrong = imports.filter(({ from, to }) => {
    if (!(folder(to) in ALLOWED)) return false;
    return folder(from) !== folder(to) && !ALLOWED[folder(from)]?.includes(folder(to));
  });
  assert.deepEqual(wrong, []);
});

test('no import cycles but of types', () => {
  const graph = new Map<string, string[]>();
  for (const { from, to, typeOnly } of imports) {
    if (!typeOnly) graph.set(from, [...(graph.get(from) ?? []), to]);
  }
  const done = new Set<string>();
  const visit = (file: string, trail: readonly string[]): void => {
    assert.ok(!trail.includes(file), `cycle: ${[...trail, file].join(' -> ')}`);
    if (done.has(file)) return;
    for (const next of graph.get(file) ?? []) visit(next, [...trail, file]);
    done.add(file);
  };
  for (const file of product) visit(file, []);
});

test('the planner imports nothing but types and itself', () => {
  const planner = product.filter(
    (file) => file === 'rechunk/plan.ts' || file.startsWith('rechunk/planner/'),
  );
  const wrong = planner
    .flatMap(importsOf)
    .filter(({ to, typeOnly }) => !typeOnly && !to.startsWith('rechunk/planner/'));
  assert.deepEqual(wrong, []);
});

test('component repos never import each other', () => {
  const repos = new Set(
    ['alpm', 'apk', 'dpkg', 'map', 'node', 'python', 'rpm', 'xattr'].map(
      (name) => `rechunk/repos/${name}.ts`,
    ),
  );
  assert.deepEqual(
    imports.filter(({ from, to }) => repos.has(from) && repos.has(to)),
    [],
  );
});

test('only the command line and plugins open references, read the environment, print or exit', () => {
  const effects = /process\.(env|exit|stdout|stderr)|console\./;
  const clock = /Date\.now|new Date\(\)/;
  const wrong = product.filter((file) => {
    if (!/^(rechunk|registry)\//.test(file) || file.startsWith('rechunk/cli/')) return false;
    const code = readFileSync(join(root, file), 'utf8').replace(/\/\*[\s\S]*?\*\/|\/\/.*/g, '');
    // Tokens expire and servers say when to come back, so registry clients need a clock; the cache removes what was used least lately.
    const isTimeless = file.startsWith('rechunk/') && file !== 'rechunk/cache/cache.ts';
    return effects.test(code) || (isTimeless && clock.test(code));
  });
  assert.deepEqual(wrong, []);
  const opening = imports.filter(
    ({ from, to }) =>
      to === 'registry/transport.ts' && !/^(rechunk\/cli|plugin|registry|bench)\//.test(from),
  );
  assert.deepEqual(opening, []);
});

test('every export of the library is documented', () => {
  const library = product.filter((file) => /^(rechunk|registry|plugin)\//.test(file));
  const bare = library.flatMap((file) => {
    const lines = readFileSync(join(root, file), 'utf8').split('\n');
    return lines.flatMap((line, i) => {
      const named =
        /^export (?:abstract )?(?:async )?(?:function\*?|const|class|interface|type) \*?(\w+)/.exec(
          line,
        );
      const above = lines[i - 1] ?? '';
      return named && !above.trimEnd().endsWith('*/') ? [`${file}: ${named[1]}`] : [];
    });
  });
  assert.deepEqual(bare, []);
});

test.run();
