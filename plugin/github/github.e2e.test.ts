// needs: root, unshare, nsenter, bash, sed, skopeo, docker-registry, npm, tar
/**
 * The page's workflow, step by step as the runner takes it: expressions by GitHub's own evaluator, composite steps in a shell with the runner's
 * files. Of the two actions that the action uses, what they are used for is done here.
 */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { data, Evaluator, Lexer, Parser } from '@actions/expressions';
import { test } from 'uvu';
import { parse } from 'yaml';
import { buildSingle } from '../../.ci/single.ts';
import { type Host, openHost } from '../../test-images/host.ts';
import { blocksOf } from '../../test-images/page.ts';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const PAGE = readFileSync(`${ROOT}plugin/github/README.md`, 'utf8');

type Texts = Readonly<Record<string, string>>;
/** What expressions name. */
type Contexts = Readonly<Record<string, unknown>>;
interface Step {
  readonly id?: string;
  readonly if?: string;
  readonly uses?: string;
  readonly with?: Texts;
  readonly run?: string;
  readonly env?: Texts;
}
interface Action {
  readonly inputs: Readonly<Record<string, { readonly default?: string } | null>>;
  readonly outputs: Readonly<Record<string, { readonly value: string }>>;
  readonly runs: { readonly steps: readonly Step[] };
}
/** What became of a step. */
interface Ended {
  readonly status: number;
  readonly log: string;
  readonly outputs: Texts;
  readonly summary: string;
}

/** The value of an expression, as text. */
function evaluate(expression: string, contexts: Contexts): string {
  const { tokens } = new Lexer(expression).lex();
  const tree = new Parser(tokens, Object.keys(contexts), []).parse();
  const values = JSON.parse(JSON.stringify(contexts), data.reviver) as data.Dictionary;
  return new Evaluator(tree, values).evaluate().coerceString();
}

const fill = (text: string, contexts: Contexts): string =>
  String(text).replace(/\$\{\{(.*?)\}\}/g, (_, inner: string) => evaluate(inner.trim(), contexts));
const fillAll = (texts: Texts | undefined, contexts: Contexts): Texts =>
  Object.fromEntries(
    Object.entries(texts ?? {}).map(([name, text]) => [name, fill(text, contexts)]),
  );

const dir = mkdtempSync('/var/tmp/rechunk-action-');
/** The repository as the runner downloads it: no packages, nothing built. */
const checkout = join(dir, 'action');
let host: Host;
let runs = 0;

test.before(async () => {
  host = await openHost();
  for (const name of ['package.json', 'package-lock.json', 'rechunk', 'registry', 'plugin'])
    cpSync(join(ROOT, name), join(checkout, name), { recursive: true });
});

test.after(async () => {
  await host?.close();
  rmSync(dir, { recursive: true, force: true });
});

/** Runs a script as the runner does `shell: bash`, with files for what it tells. */
function runScript(script: string, env: Texts): Promise<Ended> {
  const files = join(dir, `step-${++runs}`);
  mkdirSync(files);
  const [output, summary, file] = ['output', 'summary', 'script.sh'].map((name) =>
    join(files, name),
  );
  for (const path of [output, summary]) writeFileSync(path as string, '');
  writeFileSync(file as string, script);
  const own = { GITHUB_OUTPUT: output, GITHUB_STEP_SUMMARY: summary, GITHUB_ACTIONS: 'true' };
  const child = spawn('bash', ['--noprofile', '--norc', '-eo', 'pipefail', file as string], {
    cwd: host.context,
    env: { ...host.env, ...own, ...env } as NodeJS.ProcessEnv,
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let log = '';
  for (const stream of [child.stdout, child.stderr])
    stream.on('data', (bytes) => {
      log += bytes;
    });
  return new Promise((resolve) => {
    child.on('close', (status) => {
      const lines = readFileSync(output as string, 'utf8')
        .split('\n')
        .filter(Boolean);
      const outputs = lines.map((line) => line.split(/=(.*)/s).slice(0, 2) as [string, string]);
      const text = readFileSync(summary as string, 'utf8');
      resolve({ status: status ?? -1, log, outputs: Object.fromEntries(outputs), summary: text });
    });
  });
}

/** What actions/cache keeps, by key. */
const kept = new Map<string, string>();

/** Restores as actions/cache does; gives what saves at the end of the job. */
function restore(given: Texts): () => void {
  const path = (given['path'] ?? '').replace('~', host.env['HOME'] ?? '');
  const wanted = [given['key'] ?? '', ...(given['restore-keys'] ?? '').split('\n').filter(Boolean)];
  const keys = [...kept.keys()].reverse();
  const [found] = wanted.flatMap((key) => keys.find((one) => one.startsWith(key)) ?? []);
  rmSync(path, { recursive: true, force: true });
  if (found !== undefined) cpSync(kept.get(found) ?? '', path, { recursive: true });
  return () => {
    const copy = join(dir, `cache-${kept.size}`);
    cpSync(path, copy, { recursive: true });
    kept.set(given['key'] ?? '', copy);
  };
}

/** Runs the composite action with `given`; `usedActions` are told of in order. */
async function runAction(given: Texts, runId = '1'): Promise<Ended & { usedActions: string[] }> {
  const action: Action = parse(readFileSync(join(checkout, 'plugin/github/action.yml'), 'utf8'));
  const defaults = Object.entries(action.inputs).map(([name, input]) => [
    name,
    input?.default ?? '',
  ]);
  for (const name of Object.keys(given)) assert.ok(name in action.inputs, name);
  const steps: Record<string, { outputs: Texts }> = {};
  const contexts = {
    inputs: { ...Object.fromEntries(defaults), ...given },
    github: { job: 'image', run_id: runId, run_attempt: '1' },
    runner: { os: 'Linux' },
    strategy: { 'job-index': 0 },
    steps,
  };
  const usedActions: string[] = [];
  let save = (): void => {};
  let last: Ended = { status: 0, log: '', outputs: {}, summary: '' };
  for (const step of action.runs.steps) {
    if (step.if !== undefined && evaluate(step.if, contexts) !== 'true') continue;
    const own = fillAll(step.with, contexts);
    if (step.uses !== undefined) usedActions.push(step.uses);
    if (step.uses?.startsWith('actions/cache@')) save = restore(own);
    if (step.uses?.startsWith('actions/github-script@'))
      steps[step.id ?? ''] = { outputs: { result: new Function(own['script'] ?? '')() } };
    if (step.run === undefined) continue;
    const env = {
      ...fillAll(step.env, contexts),
      GITHUB_ACTION_PATH: join(checkout, 'plugin/github'),
    };
    last = await runScript(fill(step.run, contexts), env);
    steps[step.id ?? ''] = { outputs: last.outputs };
    if (last.status !== 0) break;
  }
  if (last.status === 0) save();
  const values = Object.entries(action.outputs).map(([name, { value }]) => [name, value]);
  return { ...last, outputs: fillAll(Object.fromEntries(values), contexts), usedActions };
}

/** Runs the job of the page; gives the end of each step. */
async function runPage(runId: string): Promise<Record<string, Ended>> {
  const [text = ''] = blocksOf(PAGE.replaceAll('registry.example', host.registry.host), 'yaml');
  const ends: Record<string, Ended> = {};
  const steps: Record<string, { outputs: Texts }> = {};
  const contexts = { github: { token: host.password, sha: 'abc', actor: host.user }, steps };
  for (const step of parse(text).jobs.image.steps as Step[]) {
    const name = step.id ?? step.run ?? step.uses ?? '';
    if (step.uses?.startsWith('actions/checkout@')) continue;
    const env = { ...fillAll(step.env, contexts), GITHUB_ACTOR: host.user };
    const ended = step.run
      ? await runScript(fill(step.run, contexts), env)
      : await runAction(fillAll(step.with, contexts), runId);
    ends[name] = ended;
    assert.equal(ended.status, 0, ended.log);
    if (step.id) steps[step.id] = { outputs: ended.outputs };
  }
  return ends;
}

const size = (outputs: Texts, name: string): number => Number(outputs[name]);

test('the page’s workflow: the first run installs what the lockfile pins, pushes and tells', async () => {
  assert.equal(existsSync(join(checkout, 'node_modules')), false);
  const { rechunk } = await runPage('1');
  const { outputs = {}, summary = '' } = rechunk ?? {};
  assert.match(outputs['digest'] ?? '', /^sha256:[0-9a-f]{64}$/);
  assert.equal(outputs['image'], `${host.registry.host}/app@${outputs['digest']}`);
  assert.ok(size(outputs, 'layers') > 5 && size(outputs, 'bytes') > 2_000_000);
  assert.deepEqual([outputs['update-layers'], outputs['update-bytes']], ['', '']);
  assert.match(summary, /No earlier image: nodes pull every layer once\./);
  assert.ok(existsSync(join(checkout, 'node_modules/undici')));
  assert.ok(!existsSync(join(checkout, 'node_modules/esbuild')), 'for development only');
});

test('the next run pushes what changed, and the summary has the table of the update', async () => {
  host.write('hello again\n');
  const ends = await runPage('2');
  const { outputs = {}, summary = '' } = ends['rechunk'] ?? {};
  assert.equal(outputs['update-layers'], '1');
  assert.ok(size(outputs, 'update-bytes') > 0 && size(outputs, 'update-bytes') < 100_000);
  assert.match(summary, /\| layer \| size \| {2}\| why \|\n/);
  assert.match(summary, /apk:alpine-baselayout.* 1 with other content|1 file with other content/);
  const said = Object.entries(ends).find(([name]) => name.startsWith('echo'))?.[1].log;
  assert.equal(said, `nodes pull ${outputs['update-bytes']} bytes of ${outputs['image']}\n`);
  assert.deepEqual([...kept.keys()], ['rechunk-Linux-image-0-1-1', 'rechunk-Linux-image-0-2-1']);
});

test('a ref that has the command line as one file needs no packages', async () => {
  rmSync(join(checkout, 'node_modules'), { recursive: true });
  mkdirSync(join(checkout, 'dist'));
  await buildSingle(join(checkout, 'dist/rechunk.cjs'));
  const given = { source: 'oci:built:app', destination: 'oci:single:x', summary: 'false' };
  const ended = await runAction({ ...given, 'no-cache': 'true', label: 'a=1\nb=2' });
  assert.equal(ended.status, 0, ended.log);
  assert.equal(ended.summary, '');
  assert.deepEqual(ended.usedActions, ['actions/github-script@v8'], 'no cache');
  assert.equal(ended.outputs['image'], '', 'in no registry');
  assert.equal(existsSync(join(checkout, 'node_modules')), false);
  const blob = (digest: string): string =>
    readFileSync(join(host.context, 'single/blobs', digest.replace(':', '/')), 'utf8');
  const manifest = JSON.parse(blob(ended.outputs['digest'] ?? ''));
  const { Labels } = JSON.parse(blob(manifest.config.digest)).config;
  assert.deepEqual([Labels.a, Labels.b], ['1', '2']);
});

test('bad input ends the step with status 2 and an annotation, and stores nothing', async () => {
  const given = {
    source: 'oci:built:app',
    destination: 'oci:never:x',
    'max-layers': '5%0A::warning::x',
  };
  const ended = await runAction(given);
  assert.equal(ended.status, 2);
  assert.match(
    ended.log,
    /^::error title=rechunk::--max-layers: got '5%250A::warning::x', want a whole number from 1 to 500$/m,
  );
  assert.equal(existsSync(join(host.context, 'never')), false);
  assert.deepEqual(ended.outputs['digest'], '');
  const lines = 'x\n \u00a0::set-output name=digest::y\r::add-mask::z\n##[error]w';
  const { log } = await runAction({ ...given, 'max-layers': lines });
  assert.match(log, /^::error title=rechunk::--max-layers: got 'x$/m);
  const commands = log.split(/[\r\n]/).filter((line) => /^\s*::|##\[/.test(line));
  assert.equal(commands.length, 1, 'what a message holds is no command to the runner');
  const none = await runAction({ source: 'oci:built:app' });
  assert.deepEqual([none.status, /^::error .*argument 'destination'$/m.test(none.log)], [2, true]);
});

test.run();
