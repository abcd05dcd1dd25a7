/** The files of CI hosts: lists of inputs are the command line's options, and the hosts' own parsers and schemas take the rest. */
import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { buildSync } from 'esbuild';
import { test } from 'uvu';
import { parse, parseAllDocuments } from 'yaml';
import { blocksOf } from '../test-images/page.ts';
import { fillIn, HOST_FILES, type HostName, stepInputs } from './plugin.ts';

const read = (path: string): string =>
  readFileSync(fileURLToPath(new URL(path, import.meta.url)), 'utf8');
const fileOf = (host: HostName): string => read(HOST_FILES[host]);

/** GitHub's parsers of what users write. The package imports JSON as bundlers have it, so it is bundled. */
interface Parsers {
  parseAction(file: File, trace: object): Parsed;
  parseWorkflow(file: File, trace: object): Parsed;
}
interface File {
  readonly name: string;
  readonly content: string;
}
interface Parsed {
  readonly context: { readonly errors: { getErrors(): readonly Error[] } };
}

async function loadParsers(): Promise<Parsers> {
  const directory = mkdtempSync(join(tmpdir(), 'rechunk-parsers-'));
  const outfile = join(directory, 'parsers.mjs');
  const contents = `
    export { parseAction } from '@actions/workflow-parser/actions/action-parser';
    export { parseWorkflow } from '@actions/workflow-parser';`;
  const stdin = { contents, resolveDir: fileURLToPath(new URL('.', import.meta.url)) };
  buildSync({
    stdin,
    outfile,
    bundle: true,
    format: 'esm',
    platform: 'neutral',
    mainFields: ['module', 'main'],
  });
  try {
    return await import(pathToFileURL(outfile).href);
  } finally {
    rmSync(directory, { recursive: true });
  }
}

const { parseAction, parseWorkflow } = await loadParsers();
const trace = { error: () => {}, info: () => {}, verbose: () => {} };

test('every option of a build that the host does not set is an input', () => {
  const names = new Set(stepInputs().map(({ name }) => name));
  for (const name of ['max-layers', 'no-cache', 'tag', 'authfile', 'together', 'no-xattrs'])
    assert.ok(names.has(name), name);
  for (const name of ['json', 'quiet', 'digest-file', 'cache', 'help'])
    assert.ok(!names.has(name), name);
  assert.ok(names.size > 40);
});

test('what a build tells later steps is no option of theirs', () => {
  const variables = new Set(stepInputs().map(({ variable }) => variable));
  const action = fileOf('github').matchAll(/outputs\.(RECHUNK_\w+)/g);
  const names = [...action].map(([, name = '']) => name);
  assert.equal(names.length, 6);
  for (const name of names) assert.ok(!variables.has(name), name);
});

for (const host of Object.keys(HOST_FILES) as HostName[]) {
  test(`${HOST_FILES[host]} has the inputs of the command line (npm run inputs)`, () => {
    assert.equal(fileOf(host), fillIn(host, fileOf(host)));
  });

  test(`${HOST_FILES[host]} is YAML without complaints`, () => {
    for (const document of parseAllDocuments(fileOf(host)))
      assert.deepEqual([...document.errors, ...document.warnings], []);
  });
}

test('GitHub’s parser takes the action, and refuses what it does not know', () => {
  const errorsOf = (content: string): string[] =>
    parseAction({ name: 'action.yml', content }, trace)
      .context.errors.getErrors()
      .map(({ message }) => message);
  assert.deepEqual(errorsOf(fileOf('github')), []);
  const [error = ''] = errorsOf(fileOf('github').replace('shell: bash', 'shel: bash'));
  assert.match(error, /Unexpected value 'shel'/);
});

test('GitHub’s parser takes the page’s workflow, whose inputs the action has', () => {
  const [content = ''] = blocksOf(read('github/README.md'), 'yaml');
  const { context } = parseWorkflow({ name: 'image.yml', content }, trace);
  assert.deepEqual(context.errors.getErrors(), []);
  const [workflow] = parseAllDocuments(content).map((document) => document.toJS());
  const step = workflow.jobs.image.steps.find(({ id }: { id?: string }) => id === 'rechunk');
  const [action] = parseAllDocuments(fileOf('github')).map((document) => document.toJS());
  for (const name of Object.keys(step.with)) assert.ok(name in action.inputs, name);
  const used = [...content.matchAll(/steps\.rechunk\.outputs\.([\w-]+)/g)];
  for (const [, name = ''] of used) assert.ok(name in action.outputs, name);
});

test('the component uses every input that it declares, and the page names no others', () => {
  const [header, jobs] = parseAllDocuments(fileOf('gitlab')).map((document) => document.toJS());
  const declared = Object.keys(header.spec.inputs).sort();
  const used = [...JSON.stringify(jobs).matchAll(/\$\[\[ inputs\.([\w-]+) \]\]/g)];
  assert.deepEqual([...new Set(used.map(([, name]) => name))].sort(), declared);
  const [page] = blocksOf(read('gitlab/README.md'), 'yaml');
  const [include] = parse(page ?? '').include;
  assert.equal(include.file, `/plugin/${HOST_FILES.gitlab}`);
  for (const name of Object.keys(include.inputs)) assert.ok(declared.includes(name), name);
  // GitLab takes nothing but a text for a text.
  for (const value of Object.values(include.inputs)) assert.equal(typeof value, 'string');
});

/** The fields that Tekton Pipelines v1 has, of what the task uses (pkg/apis/pipeline/v1/task_types.go, container_types.go). */
const TASK: Readonly<Record<string, readonly string[]>> = {
  spec: ['description', 'params', 'workspaces', 'results', 'volumes', 'steps'],
  step: [
    ...['name', 'image', 'workingDir', 'computeResources', 'securityContext', 'volumeMounts'],
    ...['env', 'script'],
  ],
};

test('the task has the fields of Tekton’s API, and names nothing that it does not declare', () => {
  const text = fileOf('tekton');
  const [task] = parseAllDocuments(text).map((document) => document.toJS());
  assert.deepEqual([task.apiVersion, task.kind], ['tekton.dev/v1', 'Task']);
  assert.deepEqual(Object.keys(task.spec), TASK['spec']);
  for (const step of task.spec.steps) assert.deepEqual(Object.keys(step), TASK['step']);
  for (const kind of ['params', 'workspaces', 'results']) {
    const named = task.spec[kind].map(({ name }: { name: string }) => name);
    assert.equal(new Set(named).size, named.length);
    const used = [...text.matchAll(new RegExp(`\\$\\(${kind}\\.([\\w-]+)`, 'g'))];
    assert.deepEqual([...new Set(used.map(([, name]) => name))].sort(), named.sort(), kind);
  }
  const { securityContext } = task.spec.steps[0];
  assert.deepEqual(securityContext, {
    runAsNonRoot: true,
    allowPrivilegeEscalation: false,
    readOnlyRootFilesystem: true,
    capabilities: { drop: ['ALL'] },
    seccompProfile: { type: 'RuntimeDefault' },
  });
  assert.doesNotMatch(task.spec.steps[0].script, /\$\(params/, 'a parameter would be run');
});

test.run();
