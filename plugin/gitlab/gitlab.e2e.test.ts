// needs: root, unshare, nsenter, bash, git, skopeo, docker-registry, base64, rsync
/** The page's pipeline, run by gitlab-ci-local: it has GitLab's schema, fills in inputs, and runs jobs in a shell, with artifacts and variables. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { test } from 'uvu';
import { command } from '../../test-images/command.ts';
import { type Host, openHost } from '../../test-images/host.ts';
import { blocksOf } from '../../test-images/page.ts';

const read = (name: string): string =>
  readFileSync(fileURLToPath(new URL(name, import.meta.url)), 'utf8');
const RUNNER = createRequire(import.meta.url).resolve('gitlab-ci-local');
let host: Host;

interface Ended {
  readonly status: number | null;
  readonly log: string;
}

test.before(async () => {
  host = await openHost();
  const git = (...words: string[]): Promise<Buffer> =>
    command('git', ['-c', 'user.name=a', '-c', 'user.email=a@example.org', ...words], {
      cwd: host.context,
      env: host.env,
    });
  await git('init', '--quiet', '--initial-branch=main');
  writeFileSync(join(host.context, '.gitignore'), '/built/\n/.rechunk/\n/.gitlab-ci-local/\n');
  mkdirSync(join(host.context, 'plugin/gitlab/templates'), { recursive: true });
  writeFileSync(
    join(host.context, 'plugin/gitlab/templates/rechunk.yml'),
    read('templates/rechunk.yml'),
  );
  writePipeline((text) => text);
  await git('add', '.');
  await git('commit', '--quiet', '--message=x');
  await git('remote', 'add', 'origin', 'git@gitlab.example:group/project.git');
});

test.after(() => host?.close());

/** The page's pipeline, of which nothing is changed but where the template comes from; `edit` makes a bad one of it. */
function writePipeline(edit: (text: string) => string): void {
  const [page = ''] = blocksOf(
    read('README.md').replaceAll('registry.example', host.registry.host),
    'yaml',
  );
  const local = page.replace(/- project: .*\n +file: /, '- local: ');
  assert.notEqual(local, page);
  writeFileSync(join(host.context, '.gitlab-ci.yml'), edit(local));
}

function runPipeline(...jobs: string[]): Promise<Ended> {
  const { user, password, registry } = host;
  const given = {
    CI_REGISTRY: registry.host,
    CI_REGISTRY_USER: user,
    CI_REGISTRY_PASSWORD: password,
  };
  const variables = Object.entries(given).flatMap(([name, value]) => [
    '--variable',
    `${name}=${value}`,
  ]);
  const options = [
    '--force-shell-executor',
    '--no-color',
    '--ignore-predefined-vars',
    'CI_REGISTRY',
  ];
  const { REGISTRY_AUTH_FILE: _, ...env } = host.env;
  const child = spawn(process.execPath, [RUNNER, ...options, ...variables, ...jobs], {
    cwd: host.context,
    env,
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let log = '';
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (bytes) => (log += bytes));
  return new Promise((resolve) => {
    child.on('close', (status) => resolve({ status, log }));
  });
}

/** What the job after `rechunk` said. */
function pulled({ log, status }: Ended): string {
  assert.equal(status, 0, log);
  return /nodes pull (.*)$/m.exec(log.replaceAll(/^.*echo.*$/gm, ''))?.[1] ?? assert.fail(log);
}

test('the page’s pipeline pushes, with the job’s own rights, and tells later jobs', async () => {
  const said = pulled(await runPipeline());
  assert.match(said, new RegExp(`^ bytes of ${host.registry.host}/app@sha256:[0-9a-f]{64}$`));
});

test('the next run tells what nodes pull, in variables and as Markdown', async () => {
  // As the artifact of an earlier job, which GitLab unpacks before the script runs.
  writePipeline((text) =>
    text
      .replace(
        '    - buildah build --tag',
        "    - mkdir -p .rechunk && echo '### earlier' >.rechunk/summary.md\n$&",
      )
      .replace('paths: [built]', 'paths: [built, .rechunk/summary.md]'),
  );
  host.write('hello again\n');
  rmSync(join(host.context, 'built'), { recursive: true, force: true });
  const [, bytes] = /^(\d+) bytes of /.exec(pulled(await runPipeline())) ?? [];
  assert.ok(Number(bytes) > 0 && Number(bytes) < 100_000, bytes);
  const summary = readFileSync(join(host.context, '.rechunk/summary.md'), 'utf8');
  assert.match(summary, /\| layer \| size \| {2}\| why \|\n/);
  assert.doesNotMatch(summary, /earlier/);
});

test('bad input ends the job with status 2, and says why', async () => {
  writePipeline((text) => text.replace("history: '10'", "max-layers: 'many $(touch never)'"));
  const { status, log } = await runPipeline();
  assert.notEqual(status, 0);
  assert.match(log, /rechunk: --max-layers: got 'many /);
  assert.match(log, /^rechunk finished in .* FAIL 2 *$/m);
  assert.equal(existsSync(join(host.context, 'never')), false);
});

test.run();
