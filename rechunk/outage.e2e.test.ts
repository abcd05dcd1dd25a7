// needs: docker-registry, skopeo, python3
/** Registries that are slow, busy, broken or lying: a run recovers with the same digest, or fails and leaves no tag. */
import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { suite } from 'uvu';
import { writeLayout } from '../test-images/build.ts';
import { runCli, runJson } from '../test-images/cli.ts';
import { command } from '../test-images/command.ts';
import { flipBit } from '../test-images/damage.ts';
import { file, packMembers } from '../test-images/member.ts';
import { type Exchange, type Fault, type FaultProxy, startProxy } from '../test-images/proxy.ts';
import { type Registry, startRegistry } from '../test-images/registry.ts';
import { noise } from '../test-images/sample.ts';
import { expectTrouble } from '../test-images/trouble.ts';
import type { BuildResult } from './rechunk.ts';

/** Bytes of each of the two files: each becomes a layer, larger than what sockets hold back. */
const FILE_SIZE = 2_000_000;

const outage = suite('outage');
let work: string;
let registry: Registry;
let proxy: FaultProxy;
let source: string;
let digest: string;
let count = 0;

outage.before(async () => {
  work = await mkdtemp('/var/tmp/rechunk-outage-');
  registry = await startRegistry();
  proxy = await startProxy(registry.host);
  const files = ['a', 'b'].map((name) => file(name, noise(FILE_SIZE, name).toString('latin1')));
  const layers = await Promise.all(files.map(async (each) => ({ tar: await packMembers([each]) })));
  const layout = join(work, 'layout');
  await writeLayout(layout, [{ layers }]);
  const copy = ['copy', '-q', '--insecure-policy', '--dest-tls-verify=false'];
  await command('skopeo', [
    ...copy,
    `oci:${layout}:latest`,
    `docker://${registry.host}/source:latest`,
  ]);
  source = `docker://${proxy.host}/source:latest`;
  const to = `oci:${layout}-out:latest`;
  ({ digest } = await runJson<BuildResult>(['build', `oci:${layout}:latest`, to]));
});

outage.before.each(() => {
  proxy.fault = () => false;
  proxy.seen.length = 0;
});

outage.after(async () => {
  await proxy?.stop();
  await registry?.stop();
  await rm(work, { recursive: true, force: true });
});

/** A new repository behind the proxy, and its name. */
function newTarget(): { repository: string; reference: string } {
  const repository = `target-${count++}`;
  return { repository, reference: `docker://${proxy.host}/${repository}:latest` };
}

/** The tags that the registry itself has in a repository. */
async function tagsOf(repository: string): Promise<string[]> {
  const response = await fetch(`http://${registry.host}/v2/${repository}/tags/list`);
  return ((await response.json()) as { tags?: string[] }).tags ?? [];
}

/** What a request is for: every try of an upload is a session of its own. */
function purposeOf({ method, path }: Exchange): string {
  const digest = /[?&]digest=([^&]*)/.exec(path)?.[1] ?? '';
  return `${method} ${path.replace(/[?].*/, '').replace(/(\/uploads\/).+/, '$1')} ${digest}`;
}

/** Fails the first request for each purpose. */
function onceEach(fail: Fault, applies: (exchange: Exchange) => boolean = () => true): Fault {
  const seen = new Set<string>();
  return (exchange) => {
    const key = purposeOf(exchange);
    if (!applies(exchange) || seen.has(key)) return false;
    seen.add(key);
    return fail(exchange);
  };
}

/** Answers a download with its first half, then breaks the connection. */
async function dropDownload(exchange: Exchange): Promise<void> {
  const { status, headers, body } = await exchange.fetch();
  exchange.response.writeHead(status, headers);
  exchange.response.write(body.subarray(0, body.length / 2));
  await sleep(50);
  exchange.drop();
}

/** Takes a part of an upload, then breaks the connection. */
function dropUpload(exchange: Exchange): Promise<void> {
  return new Promise((resolve) => {
    exchange.request.once('data', () => {
      exchange.drop();
      resolve();
    });
    exchange.request.once('end', resolve);
  });
}

const isBlobGet = ({ method, path }: Exchange): boolean =>
  method === 'GET' && path.includes('/blobs/sha256:');
const isUpload = ({ method, path }: Exchange): boolean =>
  /^(PUT|PATCH)$/.test(method) && path.includes('/blobs/uploads/');
const answer =
  (status: number, headers: Record<string, string> = {}): Fault =>
  ({ reply, request }) => {
    request.resume();
    reply({ status, headers, body: '{"errors":[{"code":"TOOMANYREQUESTS","message":"busy"}]}' });
  };

const RECOVERED: readonly (readonly [string, () => Fault])[] = [
  ['answers 429 and how long to wait', () => onceEach(answer(429, { 'retry-after': '1' }))],
  ['answers 500 now and then', () => onceEach(answer(500))],
  ['answers 502 to uploads', () => onceEach(answer(502), isUpload)],
  ['drops connections during downloads', () => onceEach(dropDownload, isBlobGet)],
  ['drops connections during uploads', () => onceEach(dropUpload, isUpload)],
  ['drops connections before it answers', () => onceEach(({ drop }) => drop())],
];

/** Runs `work` with a proxy of its own that has `fault`; gives how often that applied. */
async function throughProxy(
  fault: Fault,
  work: (host: string) => Promise<unknown>,
): Promise<number> {
  const own = await startProxy(registry.host);
  let faults = 0;
  own.fault = (exchange) => {
    const result = fault(exchange);
    if (result !== false) faults++;
    return result;
  };
  try {
    await work(own.host);
    return faults;
  } finally {
    await own.stop();
  }
}

async function recovers(fault: Fault, repository: string): Promise<void> {
  const faults = await throughProxy(fault, async (host) => {
    const references = [`docker://${host}/source:latest`, `docker://${host}/${repository}:latest`];
    const { status, stdout, stderr } = await runCli(['build', ...references, '--verify']);
    assert.equal(status, 0, stderr);
    assert.equal(stdout.trim().split('\n').at(-1), digest);
    assert.match(stderr, /^note: /m);
  });
  assert.ok(faults > 0, 'nothing was broken');
  assert.deepEqual(await tagsOf(repository), ['latest']);
}

/** A registry that keeps failing, and what the error must say. */
const FAILED: readonly (readonly [string, 'registry' | 'network', RegExp, Fault])[] = [
  [
    'answers 500 to every download',
    'registry',
    /GET .*\/source\/blobs\/.*got 500 .*busy.*, want 200, 2 times in a row/,
    (exchange) => (isBlobGet(exchange) ? answer(500)(exchange) : false),
  ],
  [
    'answers 503 to every upload',
    'registry',
    /target-\d+.* 503 .*busy.*2 times in a row/,
    (exchange) => (isUpload(exchange) ? answer(503)(exchange) : false),
  ],
  [
    'refuses the manifest',
    'registry',
    /PUT .*\/target-\d+\/manifests\/.* 500 /,
    (exchange) =>
      exchange.method === 'PUT' && exchange.path.includes('/manifests/')
        ? answer(500)(exchange)
        : false,
  ],
  [
    'drops every download',
    'network',
    /GET .*\/source\/blobs\/.*2 times in a row/,
    (exchange) => (isBlobGet(exchange) ? exchange.drop() : false),
  ],
  [
    'drops every upload',
    'network',
    /target-\d+.*2 times in a row/,
    (exchange) => (isUpload(exchange) ? dropUpload(exchange) : false),
  ],
];

async function fails(
  [, code, says, fault]: (typeof FAILED)[number],
  repository: string,
): Promise<void> {
  await throughProxy(fault, (host) => {
    const references = [`docker://${host}/source:latest`, `docker://${host}/${repository}:latest`];
    return expectTrouble(['build', ...references, '--retries', '1'], { code, says });
  });
  assert.deepEqual(await tagsOf(repository), []);
}

/** Runs that mostly wait, by the name of their test: started together, looked at one by one. */
const runs = new Map<string, () => Promise<void>>([
  ...RECOVERED.map(([name, makeFault], i): [string, () => Promise<void>] => [
    `a run recovers from a registry that ${name}`,
    () => recovers(makeFault(), `recovered-${i}`),
  ]),
  ...FAILED.map((row, i): [string, () => Promise<void>] => [
    `a run fails clearly on a registry that ${row[0]}`,
    () => fails(row, `target-${i + 100}`),
  ]),
]);
let started: Map<string, Promise<PromiseSettledResult<void>[]>>;

outage.before(() => {
  started = new Map([...runs].map(([name, run]) => [name, Promise.allSettled([run()])]));
});

for (const name of runs.keys()) {
  outage(name, async () => {
    const [outcome] = (await started.get(name)) ?? [];
    if (outcome?.status !== 'fulfilled') throw outcome?.reason;
  });
}

/** Answers downloads of the blobs of `repository` with one bit turned in their midst. */
function corrupting(repository: string): Fault {
  return async (exchange) => {
    if (!isBlobGet(exchange) || !exchange.path.includes(`/${repository}/`)) return false;
    const { status, headers, body } = await exchange.fetch({ range: undefined });
    exchange.reply({ status, headers, body: flipBit(body, Math.floor(body.length / 2)) });
    return true;
  };
}

outage('what a source changes on the way is found out', async () => {
  proxy.fault = corrupting('source');
  const { repository, reference } = newTarget();
  const says = /got digest sha256:[0-9a-f]{64}, want sha256:|decompressing: /;
  const { stdout } = await runCli(['build', source, reference, '--json', '--quiet']);
  assert.match(stdout, says);
  assert.match(stdout, /^\{"error":\{"code":"(digest-mismatch|compression)"/);
  assert.deepEqual(await tagsOf(repository), []);
});

outage('--verify finds what a destination changes, and sets no tag', async () => {
  const { repository, reference } = newTarget();
  proxy.fault = corrupting(repository);
  const { status, stdout } = await runCli(['build', source, reference, '--verify', '--json']);
  assert.equal(status, 2);
  assert.match(stdout, /^\{"error":\{"code":"(digest-mismatch|compression)"/);
  assert.match(stdout, new RegExp(`layer \\d .* of docker://${proxy.host}/${repository}`));
  assert.deepEqual(await tagsOf(repository), []);
});

outage('names that are not there are told apart', async () => {
  const { reference } = newTarget();
  const host = proxy.host;
  for (const [from, says] of [
    [`docker://${host}/source:absent`, /source.*absent.*not found|404/],
    [`docker://${host}/absent:latest`, /absent.*latest/],
    [`docker://${host}/source@sha256:${'0'.repeat(64)}`, /sha256:0{64}/],
  ] as const) {
    await expectTrouble(['build', from, reference], { code: 'not-found', says });
  }
  const gone = ['build', 'docker://127.0.0.1:1/source:latest', reference, '--retries', '0'];
  await expectTrouble(gone, { code: 'network', says: /127\.0\.0\.1:1.*refused/i });
});

outage('missing and wrong credentials are told as such, on either side', async () => {
  const closed = await startRegistry({ users: { user: 'secret' } });
  const env = { REGISTRY_AUTH_FILE: join(work, 'no-auth.json'), DOCKER_CONFIG: work };
  try {
    const reference = `docker://${closed.host}/private:latest`;
    const says = new RegExp(`${closed.host}.*(401|credentials|log in|unauthorized)`, 'i');
    const { reference: open } = newTarget();
    await expectTrouble(['build', reference, open], { code: 'auth', says }, { env });
    await expectTrouble(['build', source, reference], { code: 'auth', says }, { env });
  } finally {
    await closed.stop();
  }
});

outage.run();
