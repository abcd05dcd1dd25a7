// needs: root, unshare, nsenter, skopeo, docker-registry, setpriv
/**
 * The task as Tekton runs it: parameters, workspaces and paths of results put into its text, then its step as a user without any privilege. The
 * TaskRun is the page's.
 */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import {
  chmodSync,
  chownSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { test } from 'uvu';
import { parse } from 'yaml';
import { type CliResult, runJson } from '../../test-images/cli.ts';
import { command } from '../../test-images/command.ts';
import { type Host, openHost } from '../../test-images/host.ts';
import { blocksOf } from '../../test-images/page.ts';

const read = (name: string): string =>
  readFileSync(fileURLToPath(new URL(name, import.meta.url)), 'utf8');
const NOBODY = 65534;
const dir = mkdtempSync('/var/tmp/rechunk-tekton-');
let host: Host;

type Texts = Readonly<Record<string, string>>;
interface Named {
  readonly name: string;
  readonly value?: string;
  readonly default?: string;
}
interface Task {
  readonly spec: {
    readonly params: readonly Named[];
    readonly workspaces: readonly Named[];
    readonly results: readonly Named[];
    readonly steps: readonly {
      readonly workingDir: string;
      readonly env: readonly Named[];
      readonly script: string;
    }[];
  };
}
interface Ended extends CliResult {
  readonly results: Texts;
}

test.before(async () => {
  host = await openHost();
  chmodSync(dir, 0o755);
  const login = ['login', '--username', host.user, '--password', host.password, host.registry.host];
  const env = host.env;
  await command(join(env['PATH']?.split(':')[0] ?? '', 'buildah'), login, { env });
  await build('hello\n');
});

test.after(async () => {
  await host?.close();
  rmSync(dir, { recursive: true, force: true });
});

/** What the task before leaves: an OCI layout of root's in the workspace, which the step's user may write to. */
async function build(text: string): Promise<void> {
  host.write(text);
  const { env, context: cwd } = host;
  const buildah = join(env['PATH']?.split(':')[0] ?? '', 'buildah');
  await command(buildah, ['build', '--quiet', '--tag', 'oci:built:app', '.'], { env, cwd });
  chownSync(cwd, NOBODY, NOBODY);
}

/** Runs the task with `params` and the workspaces that have a place; other words of the script stay as they are. */
async function runTask(params: Texts, workspaces: Texts): Promise<Ended> {
  const { spec }: Task = parse(read('rechunk.yaml'));
  const results = mkdtempSync(join(dir, 'results-'));
  chownSync(results, NOBODY, NOBODY);
  const known = new Set(spec.params.map(({ name }) => name));
  for (const name of Object.keys(params)) assert.ok(known.has(name), name);
  const values: Record<string, string> = {};
  for (const param of spec.params) {
    const value = params[param.name] ?? param.default;
    assert.notEqual(value, undefined, `${param.name} is wanted`);
    values[`params.${param.name}`] = value ?? '';
  }
  for (const { name } of spec.workspaces)
    values[`workspaces.${name}.path`] = workspaces[name] ?? '';
  for (const { name } of spec.results) values[`results.${name}.path`] = join(results, name);
  const fill = (text: string): string =>
    text.replace(/\$\(([\w.-]+)\)/g, (whole, name: string) => values[name] ?? whole);
  const [step] = spec.steps;
  if (!step) throw new Error('no step');
  const env = Object.fromEntries(step.env.map(({ name, value }) => [name, fill(value ?? '')]));
  const ended = await runStep(
    fill(step.script),
    { ...env, HOME: '/nonexistent' },
    fill(step.workingDir),
  );
  const found = spec.results.flatMap(({ name }) => {
    try {
      return [[name, readFileSync(join(results, name), 'utf8')]];
    } catch {
      return [];
    }
  });
  return { ...ended, results: Object.fromEntries(found) };
}

/** Nothing can be written but below /var/tmp, where a volume is mounted; `$0` is where it starts. */
const READ_ONLY =
  'mount --bind /var/tmp /var/tmp && mount -o remount,bind,ro / && cd "$0" && exec "$@"';

/** Runs a script as its first line says, as a user of no name, without capabilities, which it cannot get again. */
async function runStep(script: string, env: Texts, cwd: string): Promise<CliResult> {
  const file = join(dir, 'script');
  writeFileSync(file, script, { mode: 0o755 });
  const user = ['--reuid', String(NOBODY), '--regid', String(NOBODY), '--clear-groups'];
  const none = ['--bounding-set=-all', '--inh-caps=-all', '--no-new-privs'];
  const readOnly = ['--mount', 'sh', '-c', READ_ONLY, cwd];
  const child = spawn('unshare', [...readOnly, 'setpriv', ...user, ...none, file], {
    env: { PATH: host.env['PATH'], ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let [stdout, stderr] = ['', ''];
  child.stdout.on('data', (bytes) => (stdout += bytes));
  child.stderr.on('data', (bytes) => (stderr += bytes));
  return new Promise((resolve) => {
    child.on('close', (status) => resolve({ status, stdout, stderr }));
  });
}

/** Parameters of the page's TaskRun. */
function pageParams(): Texts {
  const [text = ''] = blocksOf(
    read('README.md').replaceAll('registry.example', host.registry.host),
    'yaml',
  );
  const { spec } = parse(text);
  assert.deepEqual(
    spec.workspaces.map(({ name }: Named) => name),
    ['source', 'dockerconfig'],
  );
  return Object.fromEntries(spec.params.map(({ name, value }: Required<Named>) => [name, value]));
}

/** A directory as a secret of type kubernetes.io/dockerconfigjson is mounted. */
function secret(): string {
  const path = join(dir, 'secret');
  mkdirSync(path, { recursive: true });
  const auth = Buffer.from(`${host.user}:${host.password}`).toString('base64');
  const auths = { [host.registry.host]: { auth } };
  writeFileSync(join(path, '.dockerconfigjson'), JSON.stringify({ auths }));
  return path;
}

test('the page’s TaskRun pushes a layout of the workspace, and tells Chains what it is', async () => {
  const ended = await runTask(pageParams(), { source: host.context, dockerconfig: secret() });
  assert.equal(ended.status, 0, ended.stderr);
  const { IMAGE_DIGEST: digest = '', ...others } = ended.results;
  assert.match(digest, /^sha256:[0-9a-f]{64}$/);
  assert.ok(Number(others['LAYERS']) > 5);
  const image = `${host.registry.host}/app`;
  assert.deepEqual(others, {
    IMAGE_URL: `${image}:1`,
    IMAGE_REF: `${image}@${digest}`,
    LAYERS: others['LAYERS'],
    UPDATE_BYTES: '',
  });
});

test('the next run tells what nodes pull', async () => {
  await build('hello again\n');
  const ended = await runTask(pageParams(), { source: host.context, dockerconfig: secret() });
  const bytes = Number(ended.results['UPDATE_BYTES']);
  assert.ok(bytes > 0 && bytes < 100_000, ended.stderr);
});

test('layout in, layout out: no registry, and the result is the source', async () => {
  const params = { ...pageParams(), IMAGE: 'oci:rechunked:1', LABEL: 'a=1\nb=2', PROFILE: '' };
  const ended = await runTask(params, { source: host.context });
  assert.equal(ended.status, 0, ended.stderr);
  assert.deepEqual([ended.results['IMAGE_URL'], ended.results['IMAGE_REF']], ['', '']);
  const [built, result] = ['built:app', 'rechunked:1'].map((name) => `oci:${host.context}/${name}`);
  const labels = ['--label', 'a=1', '--label', 'b=2'];
  const verified = await runJson<{ equal: boolean }>([
    'verify',
    built ?? '',
    result ?? '',
    ...labels,
  ]);
  assert.equal(verified.equal, true);
});

test('bad input ends the step with status 2, says why, and leaves no result', async () => {
  const params = { ...pageParams(), IMAGE: 'oci:never:1', MAX_LAYERS: '$(touch never)' };
  const ended = await runTask(params, { source: host.context });
  assert.equal(ended.status, 2);
  assert.match(ended.stderr, /rechunk: --max-layers: got '\$\(touch never\)', want a whole number/);
  assert.deepEqual(ended.results, {});
});

test.run();
