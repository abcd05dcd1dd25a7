/** The page and its Containerfiles, run with the buildah and podman of a Debian release, a real registry, and a real Debian image. */
import assert from 'node:assert/strict';
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { suite as tests } from 'uvu';
import type { Verification } from '../../rechunk/verify.ts';
import { parseConfigFile } from '../../registry/inspect.ts';
import { type Builder, buildTool, openBuilder } from '../../test-images/builders.ts';
import { runCli } from '../../test-images/cli.ts';
import { command } from '../../test-images/command.ts';
import { debianImage } from '../../test-images/debian.ts';
import { scriptsOf } from '../../test-images/page.ts';
import { type Registry, startRegistry } from '../../test-images/registry.ts';
import type { Suite } from '../../test-images/runtimes/suite.ts';

const HERE = fileURLToPath(new URL('.', import.meta.url));
const LAYOUT = 'out-needs-skip-unused-stages-false';
const NAMED = '--build-arg BUILD="$(date +%s%N)"';
const FLAGS = `--skip-unused-stages=false -v "$PWD:/run/src" --security-opt=label=disable ${NAMED}`;
const PLAN = 'dev.rechunk.plan';
const LITTLE = 'FROM scratch AS builder\nCOPY greeting.deb /\n';

interface Blob {
  readonly digest: string;
  readonly size: number;
}
interface Manifest {
  readonly config: Blob;
  readonly layers: readonly Blob[];
  readonly annotations: Readonly<Record<string, string>>;
}
interface Config {
  readonly config: { readonly Labels: Record<string, string> };
  readonly rootfs: { readonly diff_ids: readonly string[] };
  readonly history: readonly unknown[];
}

/** What a runtime gets of a config: all but how the image is cut, and the plan. */
function meant(config: Config): Record<string, unknown> {
  const { rootfs: _, history: __, ...rest } = config;
  const { [PLAN]: ___, ...Labels } = config.config.Labels;
  return { ...rest, config: { ...rest.config, Labels } };
}

/** The layers of one image that another does not have. */
function freshOf({ layers }: Manifest, other: Manifest): Blob[] {
  const known = new Set(other.layers.map(({ digest }) => digest));
  return layers.filter(({ digest }) => !known.has(digest));
}

const bytesOf = (layers: readonly Blob[]): number =>
  layers.reduce((sum, { size }) => sum + size, 0);

/** Nothing differs but the root directory, which this Debian image leaves undefined and containers-storage shows with mode 0555. */
async function assertEqual(plain: string, result: string): Promise<void> {
  const { stdout } = await runCli(['verify', plain, result, '--json', '--quiet']);
  const { differences } = JSON.parse(stdout) as Verification;
  assert.deepEqual(
    differences.map(({ at, what }) => [at, what]),
    [['/', 'mode']],
    stdout,
  );
}

/** Writes a package of Debian's with one file that says `words`. */
async function writePackage(context: string, version: string, words: string): Promise<void> {
  const root = mkdtempSync(join(context, '../package-'));
  mkdirSync(join(root, 'DEBIAN'));
  mkdirSync(join(root, 'usr/share'), { recursive: true });
  const control = `Package: greeting\nVersion: ${version}\nArchitecture: all\nMaintainer: nobody\nDescription: greets\n`;
  writeFileSync(join(root, 'DEBIAN/control'), control);
  writeFileSync(join(root, 'usr/share/greeting'), words);
  await command('dpkg-deb', ['--build', '--root-owner-group', root, join(context, 'greeting.deb')]);
  rmSync(root, { recursive: true });
}

/** Declares the tests of the page with the engines of `suite`. */
export function testContainerfile(suite: Suite): ReturnType<typeof tests> {
  const test = tests(suite);
  /** Declares what the newer engines show, since it takes minutes; both do with `RECHUNK_TEST_LONG=1`. */
  const once = suite !== 'bookworm' || process.env['RECHUNK_TEST_LONG'] ? test : (): void => {};
  const dir = mkdtempSync('/var/tmp/rechunk-cf-');
  const context = join(dir, 'b', 'context');
  let registry: Registry;
  let builder: Builder;
  let scripts: readonly string[];
  const run = (script: string): Promise<string> => builder.run(script, context);
  const file = (name: string): string => join(context, name);
  /** All that a script prints, its complaints too. */
  const loud = (script: string): Promise<string> => {
    writeFileSync(join(dir, 'b/script'), script);
    const log = '"$TMPDIR/log"';
    return run(`sh -eu ../script >${log} 2>&1 || { tail -n 30 ${log} >&2; exit 1; }; cat ${log}`);
  };

  const get = async <T>(path: string): Promise<T> => {
    const accept = 'application/vnd.oci.image.manifest.v1+json';
    const response = await fetch(`http://${registry.host}/v2/app/${path}`, { headers: { accept } });
    assert.equal(response.status, 200, path);
    return (await response.json()) as T;
  };
  const configOf = async ({ config }: Manifest): Promise<Config> => get(`blobs/${config.digest}`);
  const plainConfig = (): Config =>
    JSON.parse(JSON.parse(readFileSync(file('config.json'), 'utf8')).Config);

  test.before(async () => {
    registry = await startRegistry();
    builder = await openBuilder(suite, join(dir, 'b'), registry.host);
    const to = `docker://${registry.host}/debian:latest`;
    await command('skopeo', [
      'copy',
      '--quiet',
      '--dest-tls-verify=false',
      `oci:${await debianImage()}`,
      to,
    ]);
    await buildTool(builder);
    mkdirSync(context);
    cpSync(join(HERE, 'Containerfile.splitter'), file('Containerfile.splitter'));
    const text = readFileSync(join(HERE, 'Containerfile'), 'utf8');
    writeFileSync(file('Containerfile'), text.replaceAll('registry.example', registry.host));
    await writePackage(context, '1', 'hello\n');
    writeFileSync(file('.dockerignore'), 'secret\n');
    scripts = scriptsOf(join(HERE, 'README.md'), registry.host);
  });

  test.after(async () => {
    await builder?.close();
    await registry?.stop();
    rmSync(dir, { recursive: true, force: true });
  });

  /** Blobs that the registry was sent after so many requests. */
  const uploadsSince = (count: number): number =>
    registry
      .accessLog()
      .slice(count)
      .filter(
        ({ method, path, status }) =>
          method === 'PUT' && /\/blobs\/uploads\//.test(path) && status === 201,
      ).length;

  const script = (number: number): string => scripts[number] ?? assert.fail(`script ${number}`);
  let first: Manifest;

  test('the image is built, pushed, and has config, labels and annotations of the plain one', async () => {
    const said = await loud(script(0));
    first = await get<Manifest>('manifests/1');
    assert.ok(first.layers.length > 20, said);
    const config = await configOf(first);
    assert.deepEqual(meant(config), meant(plainConfig()));
    assert.ok(config.config.Labels[PLAN]);
    const { ImageAnnotations: plain } = JSON.parse(readFileSync(file('config.json'), 'utf8'));
    for (const [name, value] of Object.entries(plain)) {
      const kept = name.replace('org.opencontainers.image.base', 'dev.rechunk.original.base');
      assert.equal(first.annotations[kept], value, name);
    }
    assert.ok(Object.keys(plain).length > 0);
    const podman = Buffer.from(await run('podman inspect --type image localhost/plain'));
    assert.deepEqual(parseConfigFile(podman, 'podman').config['config'], plainConfig().config);
    assert.deepEqual(parseConfigFile(podman, 'podman').annotations, plain);
  });

  test('what the layout holds is the image, to the byte of its config', async () => {
    const index = JSON.parse(readFileSync(file(`${LAYOUT}/index.json`), 'utf8'));
    const blob = (digest: string): string => file(`${LAYOUT}/blobs/${digest.replace(':', '/')}`);
    const written = JSON.parse(readFileSync(blob(index.manifests[0].digest), 'utf8')) as Manifest;
    assert.equal(written.config.digest, first.config.digest);
    assert.deepEqual(first.annotations, written.annotations);
  });

  test('it is pulled into an empty store and started', async () => {
    const store = `buildah --root ${builder.dir}/other --runroot ${builder.dir}/otherrun`;
    const image = `${registry.host}/app:1`;
    const said = await run(
      `c=$(${store} from ${image}); ${store} run "$c" -- sh -c 'cat $GREETING; dpkg --verify'; ${store} rm "$c" >/dev/null`,
    );
    assert.equal(said.trim(), 'hello');
  });

  test('after a change of one package only what changed is pushed', async () => {
    await writePackage(context, '2', 'hello again\n');
    const before = registry.accessLog().length;
    await loud(script(0));
    const second = await get<Manifest>('manifests/1');
    const fresh = freshOf(second, first);
    assert.ok(fresh.length > 0 && bytesOf(fresh) < bytesOf(second.layers) / 50);
    assert.equal(uploadsSince(before), fresh.length + 1, 'layers and config');
    assert.equal(readFileSync(file('.dockerignore'), 'utf8'), `secret\n${LAYOUT}\n`);
    assert.ok(!existsSync(file('.containerignore')));
  });

  once('an image that is there already is split, and nothing but its layers differs', async () => {
    rmSync(file(LAYOUT), { recursive: true }); // or times would come from there
    await loud(script(1));
    const plain = `docker://${registry.host}/app:plain`;
    await run(
      `buildah push --quiet localhost/plain ${plain}; buildah push --quiet ${registry.host}/app:split`,
    );
    await assertEqual(plain, `docker://${registry.host}/app:split`);
  });

  once('podman builds it too', async () => {
    const args = "--build-arg RECHUNK_ARGS='--config config.json'";
    const splitter = '--from localhost/plain -f Containerfile.splitter';
    await loud(`podman build ${FLAGS} ${args} ${splitter} -t localhost/podman .`);
    const [image] = JSON.parse(await run('podman inspect --type image localhost/podman'));
    assert.equal(image.Labels['org.opencontainers.image.title'], 'greeting');
    assert.ok(image.RootFS.Layers.length > 20);
  });

  once('in a container without privileges and without network it works as well', async () => {
    const inPodman = `export CONTAINERS_CONF=${builder.dir}/podman.conf\n${script(2)}`;
    await loud(inPodman);
    await assertEqual(`docker://${registry.host}/app:plain`, `oci:${file('rechunked')}`);
    const bare = inPodman
      .replace('--cap-add=dac_override', '')
      .replace('oci:rechunked', 'oci:bare');
    const failed = await run(`sh -euc '${bare}' 2>&1 && echo it did not fail || :`);
    assert.match(
      failed,
      /EACCES: .*; want a container that runs as root and has the capability DAC_/,
    );
  });

  test('rechunk wrap does all of it in one command', async () => {
    // What is written for the build must be where the engine sees it.
    const temp = ['--temp-dir', join(builder.dir, 'temp'), '--quiet'];
    const wrapped = `docker://${registry.host}/app:wrapped`;
    const build = ['buildah', 'build', '--target', 'builder', context];
    const wrap = async (): Promise<Manifest> => {
      const result = await runCli(['wrap', wrapped, ...temp, '--', ...builder.words, ...build]);
      assert.equal(result.status, 0, result.stderr);
      assert.match(result.stdout + result.stderr, /STEP 3\/6: RUN dpkg --install/);
      assert.deepEqual(readdirSync(join(builder.dir, 'temp')), []);
      return get('manifests/wrapped');
    };
    const one = await wrap();
    const [{ created: _, ...config }, { created: __, ...plain }] = [
      meant(await configOf(one)),
      meant(plainConfig()),
    ];
    assert.deepEqual(config, plain);
    await writePackage(context, '3', 'hello for the third time\n');
    const before = registry.accessLog().length;
    const two = await wrap();
    assert.equal(uploadsSince(before), freshOf(two, one).length + 1, 'layers and config');
    assert.ok(bytesOf(freshOf(two, one)) < bytesOf(two.layers) / 50);
  });

  /** The page's Containerfile, where what is to be split is one file. */
  const little = (): string => {
    const whole = readFileSync(file('Containerfile'), 'utf8');
    const text = whole.replace(/^FROM .* AS builder\n(?:.+\n)+/m, LITTLE);
    assert.notEqual(text, whole);
    return text;
  };

  /** What a build says that must fail; `edit` changes its Containerfile, which is the little one but where the final stage is not to wait for it. */
  const complaint = async (flags: string, edit: (text: string) => string): Promise<string> => {
    const whole = readFileSync(file('Containerfile'), 'utf8');
    writeFileSync(file('Containerfile.bad'), edit(flags.includes('--jobs') ? whole : little()));
    const failed = await run(
      `if buildah build -f Containerfile.bad ${flags} . >log 2>&1; then echo it did not fail; fi; cat log`,
    );
    assert.doesNotMatch(failed, /it did not fail/);
    return failed;
  };
  const same = (text: string): string => text;
  const without = (flag: string): string => FLAGS.replace(flag, '');

  test('what an earlier build left is never taken for the image', async () => {
    assert.ok(existsSync(file(LAYOUT)));
    for (const flags of [without('--skip-unused-stages=false'), `${FLAGS} --jobs 4`])
      assert.match(await complaint(flags, same), /no descriptor found for reference "build-\d+"/);
    assert.match(await complaint(without(NAMED), same), /want --build-arg BUILD=TEXT/);
    const neither = without(NAMED).replace('--skip-unused-stages=false', '');
    assert.match(await complaint(neither, same), /Invalid image build-/);
  });

  test('what is missing among the options is said', async () => {
    rmSync(file(LAYOUT), { recursive: true, force: true });
    const skipped = await complaint(without('--skip-unused-stages=false'), same);
    assert.match(skipped, /open out-needs-skip-unused-stages-false\/index.json: no such file/);
    if (suite !== 'bookworm') {
      const discarded = await complaint(without('-v "$PWD:/run/src"'), same);
      assert.match(
        discarded,
        /rechunk: buildah [\d.]+ throws away what this step writes to \/run\/src: want -v "\$PWD:\/run\/src" --security-opt=label=disable among the options/,
      );
    }
    const [volume] = ['-v "$PWD:/run/src"'];
    const unmounted = await complaint(without(volume), (text) =>
      text.replace('--mount=type=bind,target=/run/src,rw', '--mount=type=tmpfs,target=/nothing'),
    );
    assert.match(
      unmounted,
      /\/run\/src is not mounted, .*: want --mount=type=bind,target=\/run\/src,rw in the RUN/,
    );
    const readOnly = await complaint(without(volume), (text) =>
      text.replace('/run/src,rw', '/run/src'),
    );
    assert.match(
      readOnly,
      /\/run\/src cannot be written to: want --mount=type=bind,target=\/run\/src,rw|throws away/,
    );
    const nothing = await complaint(FLAGS, (text) =>
      text.replace('from=builder,target=/run/image', 'from=builder,target=/run/else'),
    );
    assert.match(
      nothing,
      /no directory \/run\/image: want --mount=type=bind,from=STAGE,target=\/run\/image/,
    );
  });

  once('what the final stage will lose is said, and is what it loses', async () => {
    const rich = { ...plainConfig(), 'org.example.unknown': { a: 1 } };
    const settings = {
      ...rich.config,
      Healthcheck: { Test: ['CMD', 'true'] },
      Shell: ['/bin/bash'],
    };
    writeFileSync(file('rich.json'), JSON.stringify({ ...rich, config: settings }));
    writeFileSync(file('Containerfile.little'), little());
    writeFileSync(file('Containerfile.more'), `${little()}LABEL more=1\n`);
    const build = `buildah build ${FLAGS} --build-arg RECHUNK_ARGS='--config rich.json'`;
    const said = await loud(`${build} -f Containerfile.more -t localhost/more .`);
    assert.match(
      said,
      /note: instructions after FROM oci: drop org.example.unknown, Healthcheck, Shell; /,
    );
    const inspect = async (name: string): Promise<Record<string, unknown>> =>
      JSON.parse(JSON.parse(await run(`buildah inspect --type image ${name}`)).Config);
    const more = (await inspect('localhost/more')) as unknown as Config & Record<string, unknown>;
    assert.deepEqual(
      ['org.example.unknown', 'Healthcheck', 'Shell'].filter(
        (name) => name in more || name in more.config,
      ),
      [],
    );
    assert.equal(more.config.Labels['org.opencontainers.image.title'], 'greeting');
    await loud(`${build} -f Containerfile.little -t localhost/same .`);
    const same = await inspect('localhost/same');
    assert.deepEqual(same['org.example.unknown'], { a: 1 });
    assert.deepEqual((same['config'] as Record<string, unknown>)['Shell'], ['/bin/bash']);
  });

  once('annotations become labels where that is asked for', async () => {
    const args = '--config config.json --annotations-to-labels --label own=1';
    writeFileSync(file('Containerfile.little'), little());
    const build = `buildah build ${FLAGS} -f Containerfile.little --build-arg RECHUNK_ARGS='${args}'`;
    await run(`${build} -t localhost/labels .`);
    const { ImageAnnotations: plain } = JSON.parse(readFileSync(file('config.json'), 'utf8'));
    const { Config: text } = JSON.parse(await run('buildah inspect --type image localhost/labels'));
    const { Labels } = (JSON.parse(text) as Config).config;
    for (const [name, value] of Object.entries(plain)) assert.equal(Labels[name], value);
    assert.equal(Labels['own'], '1');
  });

  return test;
}
