import assert from 'node:assert/strict';
import { test } from 'uvu';
import type { Document, Image } from '../registry/image.ts';
import { digestOf, type ImageConfig, MEDIA, parseConfig, parseManifest } from '../registry/oci.ts';
import { formatJson, parseJson } from './json.ts';
import {
  layerDescriptor,
  listComponents,
  rolesOf,
  type WrittenLayer,
  writeConfig,
  writeManifest,
} from './metadata.ts';
import { compareConfigs } from './verify.ts';

const CONFIG = `{
  "architecture": "arm64", "variant": "v8", "os": "linux", "created": "2026-01-02T03:04:05.678Z", "author": "me",
  "os.version": "1.0", "unknown": {"deep": [1, 2.50, 12345678901234567890]}, "__proto__": {"kept": true},
  "container": "abc", "container_config": {"Cmd": ["x"]}, "moby.buildkit.cache.v0": "stale",
  "config": {"Env": ["A=1"], "Healthcheck": {"Test": ["CMD", "true"], "Interval": 30000000000}, "Shell": ["/bin/sh"],
    "OnBuild": ["RUN x"], "ArgsEscaped": true, "StopTimeout": 10, "Labels": {"a": "1", "b": "2"}},
  "rootfs": {"type": "layers", "diff_ids": ["sha256:${'1'.repeat(64)}"]},
  "history": [
    {"created": "2026-01-01T00:00:00Z", "created_by": "ADD base"},
    {"created": "2026-01-01T00:00:01Z", "created_by": "ENV A=1", "empty_layer": true}]
}`;

function imageOf(configText: string, annotations?: Record<string, string>): Image {
  const configBytes = Buffer.from(configText);
  const descriptor = {
    mediaType: MEDIA.config,
    digest: digestOf(configBytes),
    size: configBytes.length,
  };
  const layer = { mediaType: MEDIA.dockerLayerGzip, digest: digestOf('layer'), size: 5 };
  const manifestBytes = formatJson({
    schemaVersion: 2,
    mediaType: MEDIA.dockerManifest,
    config: { ...descriptor, mediaType: MEDIA.dockerConfig, annotations: { of: 'config' } },
    layers: [layer],
    future: 'field',
    ...(annotations ? { annotations } : {}),
  });
  const parsed = parseManifest(manifestBytes, MEDIA.dockerManifest);
  assert.ok(parsed.kind === 'manifest');
  const config: ImageConfig = parseConfig(configBytes);
  return {
    source: { reference: 'test' } as Image['source'],
    manifestDocument: {
      descriptor: { ...layer, digest: digestOf(manifestBytes) },
      bytes: manifestBytes,
    },
    configDocument: { descriptor, bytes: configBytes },
    manifest: parsed.manifest,
    config,
    platform: { os: config.os, architecture: config.architecture },
    layers: [{ descriptor: layer, diffId: config.rootfs.diff_ids?.[0] as never }],
  };
}

const layers: WrittenLayer[] = ['x', 'y'].map((name) => ({
  diffId: digestOf(`diff ${name}`),
  tarSize: 1024,
  digest: digestOf(name),
  size: 100,
  components: [`dpkg:${name}`, 'rest'],
}));

function textOf(document: Document): string {
  return Buffer.from(document.bytes).toString();
}

test('the config keeps every field that does not describe layers, unknown ones and odd numbers too', () => {
  const image = imageOf(CONFIG);
  const document = writeConfig(image, layers, undefined, {});
  const text = textOf(document);
  assert.match(text, /"deep":\[1,2\.50,12345678901234567890\]/);
  assert.match(text, /"__proto__":\{"kept":true\}/);
  for (const kept of [
    'Healthcheck',
    'Interval":30000000000',
    'Shell',
    'OnBuild',
    'ArgsEscaped',
    'StopTimeout',
    'variant":"v8"',
    'os.version',
    'author',
  ]) {
    assert.ok(text.includes(kept), kept);
  }
  for (const stale of ['container_config', '"container"', 'moby.buildkit.cache.v0'])
    assert.ok(!text.includes(stale), stale);
  assert.equal(document.descriptor.digest, digestOf(document.bytes));
});

test('history keeps its empty entries and has one entry for each layer', () => {
  const config = parseConfig(writeConfig(imageOf(CONFIG), layers, undefined, {}).bytes);
  assert.deepEqual(
    config.rootfs.diff_ids,
    layers.map(({ diffId }) => diffId),
  );
  assert.deepEqual(
    config.history?.map((entry) => [entry.empty_layer ?? false, entry.created_by, entry.comment]),
    [
      [true, 'ENV A=1', undefined],
      [false, 'rechunk', 'dpkg:x rest'],
      [false, 'rechunk', 'dpkg:y rest'],
    ],
  );
  assert.ok(config.history?.slice(1).every((entry) => entry.created === config.created));
});

const BASE = `{"os": "linux", "architecture": "arm64", "rootfs": {"type": "layers", "diff_ids": ["sha256:${'2'.repeat(64)}"]},
  "history": HISTORY}`;
const below: WrittenLayer = { ...(layers[0] as WrittenLayer), role: 'base', components: [] };

const histories: readonly (readonly [string, string, readonly string[]])[] = [
  [
    'as it is there, where the image’s starts with it',
    '[{"created": "2026-01-01T00:00:00Z", "created_by": "ADD base"}]',
    ['ADD base', 'ENV A=1 (empty)', 'rechunk'],
  ],
  [
    'with its empty entries',
    '[{"created": "2026-01-01T00:00:00Z", "created_by": "ADD base"}, {"created": "2026-01-01T00:00:01Z", "created_by": "ENV A=1", "empty_layer": true}]',
    ['ADD base', 'ENV A=1 (empty)', 'rechunk'],
  ],
  [
    'without its empty entries, where the image’s does not start with it',
    '[{"created_by": "ADD other"}, {"created_by": "CMD", "empty_layer": true}]',
    ['ADD other', 'ENV A=1 (empty)', 'rechunk'],
  ],
  [
    'an entry for each layer, where it does not tell of all',
    '[{"created_by": "CMD", "empty_layer": true}]',
    ['rechunk', 'ENV A=1 (empty)', 'rechunk'],
  ],
];
for (const [name, history, want] of histories) {
  test(`a base’s history comes first: ${name}`, () => {
    const base = imageOf(BASE.replace('HISTORY', history));
    const written = [below, ...layers.slice(1)];
    const config = parseConfig(writeConfig(imageOf(CONFIG), written, undefined, { base }).bytes);
    assert.deepEqual(
      config.history?.map((entry) => `${entry.created_by}${entry.empty_layer ? ' (empty)' : ''}`),
      want,
    );
  });
}

/** `image` as one that was chosen from the index `digest`. */
function chosenFrom(digest: string, image: Image): Image {
  return { ...image, source: { ...image.source, root: { descriptor: { digest } } } as never };
}

test('annotations that name a base stay where its layers do, with its digest', () => {
  const named = {
    'org.opencontainers.image.base.name': 'example.org/base:1',
    'org.opencontainers.image.base.digest': digestOf('an index'),
  };
  const image = imageOf(CONFIG, named);
  const base = chosenFrom(digestOf('an index'), imageOf(BASE.replace('HISTORY', '[]')));
  const annotationsOf = (options: { base?: Image }): Record<string, string> => {
    const config = image.configDocument.descriptor;
    const { bytes } = writeManifest(image, [below, ...layers], config, 'zstd', options);
    const { annotations } = parseJson(bytes) as { annotations: Record<string, string> };
    return Object.fromEntries(Object.entries(annotations).filter(([key]) => /base/.test(key)));
  };
  assert.deepEqual(annotationsOf({ base }), {
    ...named,
    'org.opencontainers.image.base.digest': base.manifestDocument.descriptor.digest,
  });
  assert.deepEqual(annotationsOf({}), {
    'dev.rechunk.original.base.name': 'example.org/base:1',
    'dev.rechunk.original.base.digest': digestOf('an index'),
  });
});

test('what layers are for is known from their annotations; what says nothing below ours is of a base', () => {
  const roles = (...said: readonly (Record<string, string> | undefined)[]): unknown[] => {
    const [layer] = imageOf(CONFIG).layers;
    assert.ok(layer);
    const described = said.map((annotations) => ({
      ...layer,
      descriptor: { ...layer.descriptor, ...(annotations ? { annotations } : {}) },
    }));
    return rolesOf({ ...imageOf(CONFIG), layers: described });
  };
  const content = { 'dev.rechunk.components': 'rest' };
  const whiteouts = { 'dev.rechunk.role': 'whiteouts' };
  assert.deepEqual(roles({ other: '1' }, whiteouts, content, undefined), [
    ...['base', 'whiteouts', 'content', undefined],
  ]);
  assert.deepEqual(roles(undefined, undefined), [undefined, undefined]);
});

test('labels and the creation time are edited on demand only', () => {
  const image = imageOf(CONFIG);
  const edited = parseConfig(
    writeConfig(image, layers, undefined, {
      labels: ['b-', 'c=x=y', 'a=new'],
      created: '2026-05-05T00:00:00Z',
    }).bytes,
  );
  assert.deepEqual(edited.config?.Labels, { a: 'new', c: 'x=y' });
  assert.equal(edited.created, '2026-05-05T00:00:00Z');
  const plain = parseConfig(writeConfig(image, layers, undefined, {}).bytes);
  assert.deepEqual(
    [plain.config?.Labels, plain.created],
    [{ a: '1', b: '2' }, '2026-01-02T03:04:05.678Z'],
  );
});

test('a config without labels, history or creation time gets none invented', () => {
  const bare = `{"os":"linux","architecture":"amd64","rootfs":{"type":"layers","diff_ids":["sha256:${'1'.repeat(64)}"]}}`;
  const config = parseJson(writeConfig(imageOf(bare), layers, undefined, {}).bytes);
  assert.deepEqual(Object.keys(config).sort(), ['architecture', 'history', 'os', 'rootfs']);
});

test('a skeleton has a role and no components, also where its blob was something else before', () => {
  const [content] = layers as [WrittenLayer];
  const had = { 'dev.rechunk.components': 'directories', kept: 'me' };
  const skeleton = { ...content, role: 'skeleton', components: [], annotations: had } as const;
  assert.deepEqual(layerDescriptor(skeleton, 'zstd', 64).annotations, {
    kept: 'me',
    'dev.rechunk.role': 'skeleton',
  });
  const was = { ...content, annotations: { 'dev.rechunk.role': 'skeleton' } };
  assert.deepEqual(layerDescriptor(was, 'zstd', 64).annotations, {
    'dev.rechunk.components': 'dpkg:x rest',
  });
  const config = parseConfig(
    writeConfig(imageOf(CONFIG), [content, skeleton], undefined, {}).bytes,
  );
  assert.equal(config.history?.at(-1)?.comment, 'directories');
});

test('a base that is kept has the name that the annotations give it, unless they mean another', () => {
  const index = digestOf('index');
  const base = chosenFrom(index, imageOf(CONFIG));
  const { digest } = base.manifestDocument.descriptor;
  const named = (said?: string): Record<string, string> => {
    const annotations = {
      'org.opencontainers.image.base.name': 'debian:12',
      ...(said ? { 'org.opencontainers.image.base.digest': said } : {}),
    };
    const image = imageOf(CONFIG, annotations);
    const config = image.configDocument.descriptor;
    const document = writeManifest(image, layers, config, 'zstd', { base });
    const { 'dev.rechunk.source.digest': _, ...rest } = (
      parseJson(document.bytes) as { annotations: Record<string, string> }
    ).annotations;
    return rest;
  };
  const same = {
    'org.opencontainers.image.base.name': 'debian:12',
    'org.opencontainers.image.base.digest': digest,
  };
  for (const said of [undefined, digest, index]) assert.deepEqual(named(said), same);
  const other = digestOf('other');
  assert.deepEqual(named(other), {
    'dev.rechunk.original.base.name': 'debian:12',
    'dev.rechunk.original.base.digest': other,
    'org.opencontainers.image.base.digest': digest,
  });
});

test('the manifest is OCI, keeps annotations and unknown fields, and moves what was said of the base', () => {
  const annotations = {
    keep: 'me',
    'org.opencontainers.image.base.name': 'debian:12',
    'org.opencontainers.image.base.digest': 'sha256:0',
  };
  const image = imageOf(CONFIG, annotations);
  const config = writeConfig(image, layers, undefined, {});
  const document = writeManifest(image, layers, config.descriptor, 'zstd', {
    annotations: ['added=1'],
  });
  const manifest = parseJson(document.bytes) as Record<string, never>;
  assert.equal(manifest['mediaType'], MEDIA.manifest);
  assert.equal(manifest['future'], 'field');
  assert.deepEqual(manifest['config'], { ...config.descriptor, annotations: { of: 'config' } });
  assert.deepEqual(manifest['annotations'], {
    keep: 'me',
    'dev.rechunk.original.base.name': 'debian:12',
    'dev.rechunk.original.base.digest': 'sha256:0',
    'dev.rechunk.source.digest': image.manifestDocument.descriptor.digest,
    added: '1',
  });
  assert.deepEqual(manifest['layers'], [
    {
      mediaType: MEDIA.layerZstd,
      digest: digestOf('x'),
      size: 100,
      annotations: { 'dev.rechunk.components': 'dpkg:x rest' },
    },
    {
      mediaType: MEDIA.layerZstd,
      digest: digestOf('y'),
      size: 100,
      annotations: { 'dev.rechunk.components': 'dpkg:y rest' },
    },
  ]);
});

test('a manifest of three thousand components stays below the size that registries take', () => {
  const many = Array.from(
    { length: 100 },
    (_, i): WrittenLayer => ({
      ...(layers[0] as WrittenLayer),
      components: Array.from(
        { length: 300 },
        (_, k) => `node:/a/long/path/to/node_modules/@scope/package-${i}-${k}`,
      ),
    }),
  );
  const image = imageOf(CONFIG);
  const { size } = writeManifest(
    image,
    many,
    image.configDocument.descriptor,
    'zstd',
    {},
  ).descriptor;
  assert.ok(size < 400_000, `${size} bytes`);
});

test('a cut list of components says how many are left out', () => {
  const names = Array.from({ length: 10 }, (_, i) => `component-${i}`);
  assert.equal(listComponents(names, 1000), names.join(' '));
  const cut = listComponents(names, 40);
  assert.ok(cut.length <= 40);
  assert.match(cut, / \+\d+$/);
  const shown = cut.split(' ').length - 1;
  assert.equal(shown + Number(/\+(\d+)$/.exec(cut)?.[1]), 10);
});

test('a written config equals its original, and each lost field is noticed', () => {
  const image = imageOf(CONFIG);
  const options = { labels: ['n=1'], created: '2026-05-05T00:00:00Z' };
  const written = writeConfig(image, layers, '1 plan', options);
  const as = (bytes: Uint8Array): Image => ({ ...image, configDocument: { ...written, bytes } });
  assert.deepEqual(compareConfigs(image, as(written.bytes), options), []);
  const without = (pattern: RegExp): string[] =>
    compareConfigs(image, as(Buffer.from(textOf(written).replace(pattern, ''))), options).map(
      ({ at }) => at,
    );
  assert.deepEqual(without(/"StopTimeout":10,/), ['config.config.StopTimeout']);
  assert.deepEqual(without(/"author":"me",/), ['config.author']);
  assert.deepEqual(without(/,12345678901234567890/), ['config.unknown.deep']);
  assert.deepEqual(without(/\{[^{}]*"empty_layer":true\},/), ['config.history (empty layers)']);
  assert.notDeepEqual(compareConfigs(image, as(written.bytes), {}), []);
});

test.run();
