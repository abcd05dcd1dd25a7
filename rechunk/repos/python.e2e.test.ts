// needs: python3
/**
 * Compares what is read with what Python itself says: pip, importlib.metadata and csv, on an environment that venv makes here
 * and a wheel with awkward names. Wants python3 with venv and its bundled pip; no network.
 */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { suite } from 'uvu';
import { command } from '../../test-images/command.ts';
import { memoryTree, specsOfTar } from '../../test-images/trees.ts';
import { assign } from '../assign.ts';
import type { ComponentInfo } from '../components.ts';
import { python } from './python.ts';
import { parseRows } from './record.ts';

const SEED = 20261121;
const test = suite<{ directory: string; venv: string }>('python of the system');

/** Writes a wheel: names that need quotes, scripts, data, a header, an entry point. */
const WHEEL = String.raw`
import base64, hashlib, sys, zipfile
files = {
  'odd/__init__.py': 'def main(): pass\n',
  'odd/a,b.txt': 'comma', 'odd/"q".txt': 'quote', 'odd/caf\u00e9.txt': 'accent', 'odd/ x .txt': 'spaces',
  'odd/broken.py': 'def :\n', 'odd_native.cpython-311-x86_64-linux-gnu.so': 'elf', 'odd/nested/deep/m.py': 'x = 1\n',
  'odd_dist-1.5.post1.data/scripts/odd-script': '#!python\nprint(1)\n',
  'odd_dist-1.5.post1.data/data/share/man/man1/odd.1': 'man',
  'odd_dist-1.5.post1.data/headers/odd.h': 'header',
  'odd_dist-1.5.post1.dist-info/METADATA': 'Metadata-Version: 2.1\nName: Odd.Dist\nVersion: 1.5.post1\nDescription: x\n  Name: no\n\nName: no\n',
  'odd_dist-1.5.post1.dist-info/WHEEL': 'Wheel-Version: 1.0\nGenerator: t\nRoot-Is-Purelib: true\nTag: py3-none-any\n',
  'odd_dist-1.5.post1.dist-info/entry_points.txt': '[console_scripts]\nodd = odd:main\n',
}
import csv, io
rows = io.StringIO()
writer = csv.writer(rows, lineterminator='\n')
with zipfile.ZipFile(sys.argv[1] + '/odd_dist-1.5.post1-py3-none-any.whl', 'w') as wheel:
  for name, text in files.items():
    data = text.encode()
    wheel.writestr(name, data)
    digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).decode().rstrip('=')
    writer.writerow([name, 'sha256=' + digest, len(data)])
  writer.writerow(['odd_dist-1.5.post1.dist-info/RECORD', '', ''])
  wheel.writestr('odd_dist-1.5.post1.dist-info/RECORD', rows.getvalue())
`;

/** Names, versions and the files that are there, as Python's own reader finds them. */
const ORACLE = `
import importlib.metadata, json, os, sys
root, site = sys.argv[1:]
found = []
for d in importlib.metadata.distributions(path=[site]):
  paths = {os.path.relpath(os.path.normpath(d.locate_file(f)), root) for f in d.files or []}
  found.append([d.metadata['Name'], d.version, sorted(p for p in paths if os.path.lexists(os.path.join(root, p)))])
print(json.dumps(sorted(found)))
`;

/** The rows of each text of a list, those of more than nothing. */
const ROWS = `
import csv, io, json, sys
csv.field_size_limit(1 << 30)
for text in json.load(sys.stdin):
  rows = csv.reader(io.StringIO(text, newline=''))
  print(json.dumps([row[:4] for row in rows if row and row != ['']]))
`;

const py = (script: string, parameters: readonly string[] = [], input?: string): Promise<string> =>
  command('python3', ['-c', script, ...parameters], {
    env: { PYTHONUTF8: '1' },
    ...(input !== undefined && { input: Buffer.from(input) }),
  }).then(String);

async function hasVenv(): Promise<boolean> {
  try {
    await py('import ensurepip, venv');
    return true;
  } catch {
    return false;
  }
}

interface Found {
  readonly components: ReadonlyMap<string, string[]>;
  readonly infos: readonly ComponentInfo[];
  readonly warnings: readonly string[];
}

async function read(directory: string): Promise<Found> {
  const tree = memoryTree(await specsOfTar(await command('tar', ['-C', directory, '-c', 'opt'])));
  const detection = await python.detect(tree);
  assert.ok(detection);
  const { components, warnings } = await assign(tree, [detection]);
  const pathsOf = components.map(({ id, entries }): [string, string[]] => [
    id,
    entries.map(({ path }) => Buffer.from(path, 'latin1').toString()).sort(),
  ]);
  return { components: new Map(pathsOf), infos: detection.components, warnings };
}

async function siteOf(venv: string): Promise<string> {
  const script = 'import sysconfig; print(sysconfig.get_path("purelib"))';
  return String(await command(join(venv, 'bin/python'), ['-c', script])).trim();
}

const pip = (venv: string, ...parameters: string[]): Promise<Buffer> =>
  command(join(venv, 'bin/python'), [
    '-m',
    'pip',
    '--disable-pip-version-check',
    '-q',
    ...parameters,
  ]);

test.before(async (context) => {
  context.directory = mkdtempSync(join(tmpdir(), 'rechunk-python-'));
  context.venv = join(context.directory, 'opt/venv');
});

test.after(({ directory }) => rmSync(directory, { recursive: true, force: true }));

const check = (await hasVenv()) ? test : test.skip;

check('agrees with importlib.metadata and with what pip removes', async ({ directory, venv }) => {
  await py('import sys, venv; venv.create(sys.argv[1], symlinks=True, with_pip=True)', [venv]);
  await py(WHEEL, [directory]);
  const wheel = join(directory, 'odd_dist-1.5.post1-py3-none-any.whl');
  await pip(venv, 'install', '--no-index', '--no-deps', wheel);
  const site = await siteOf(venv);
  const base = `python:/${site.slice(directory.length + 1)}`;

  const found = await read(directory);
  assert.deepEqual(found.warnings, []);
  const said = JSON.parse(await py(ORACLE, [directory, site])) as [string, string, string[]][];
  assert.ok(said.length >= 2, 'pip and the wheel');
  for (const [name, version, paths] of said) {
    const id = `${base}/${name.toLowerCase().replace(/[-_.]+/g, '-')}`;
    assert.deepEqual(found.components.get(id), paths.sort(), name);
    assert.deepEqual(found.infos.find((info) => info.id === id)?.packages, [`${name}==${version}`]);
  }
  const environment = found.components.get('python:/opt/venv') ?? [];
  const names = environment.map((path) => path.slice('opt/venv/'.length));
  for (const name of [
    'pyvenv.cfg',
    'bin/python',
    'bin/python3',
    'bin/activate',
    'bin/activate.fish',
  ])
    assert.ok(names.includes(name), name);
  const others = [...found.components.keys()].filter((id) => !id.startsWith('python:'));
  assert.deepEqual(
    others.filter((id) => id !== 'directories'),
    [],
  );

  writeFileSync(join(site, 'odd/nested/deep/later.py'), 'unlisted');
  await pip(venv, 'uninstall', '-y', 'odd.dist');
  const after = await read(directory);
  const all = ({ components }: Found): string[] =>
    [...components].flatMap(([id, paths]) => (id === 'directories' ? [] : paths)).sort();
  const left = new Set(all(after));
  assert.deepEqual(
    all(found).filter((path) => !left.has(path)),
    found.components.get(`${base}/odd-dist`),
    'pip removed what was claimed',
  );
});

check('rows are those of csv', async () => {
  const part = fc.constantFrom(
    'a',
    'b',
    '"',
    '""',
    ',',
    '\n',
    '\r',
    '\r\n',
    ' ',
    "'",
    '\\',
    '\t',
    '\u00e9',
  );
  const texts = fc.sample(
    fc.array(part, { maxLength: 14 }).map((parts) => parts.join('')),
    {
      seed: SEED,
      numRuns: 5_000,
    },
  );
  const lines = (await py(ROWS, [], JSON.stringify(texts))).trim().split('\n');
  assert.equal(lines.length, texts.length);
  texts.forEach((text, i) => {
    assert.deepEqual([...parseRows(text)], JSON.parse(lines[i] as string), JSON.stringify(text));
  });
});

test.run();
