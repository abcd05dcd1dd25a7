/** Reports made up from numbers, for tests of what shows a report: whole, consistent, the same for the same seed. */
import { createHash } from 'node:crypto';
import type { Digest } from '../registry/oci.ts';
import { MEDIA } from '../registry/oci.ts';
import type {
  Cause,
  Report,
  RepositoryReport,
  TagReport,
  UpdateReport,
} from '../registry/report/report.ts';

/** What a made-up report is to hold. */
export interface ReportOptions {
  /** Names of repositories; the layers of a common base are in all. */
  readonly repositories?: readonly string[];
  /** Tags of each. */
  readonly tags?: number;
  /** Layers of an image. */
  readonly layers?: number;
  readonly platform?: string;
  /** With what the index of files tells. */
  readonly files?: boolean;
  readonly tagName?: (index: number) => string;
  readonly createdBy?: string;
}

const digestOf = (text: string): Digest =>
  `sha256:${createHash('sha256').update(text).digest('hex')}` as Digest;

/** Numbers in [0, 1), always the same ones. */
function random(seed: number): () => number {
  let state = seed;
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 32;
  };
}

const COMPONENTS = [
  'rpm:glibc',
  'rpm:kernel-core',
  'rpm:openssl-libs',
  'rpm:firefox',
  'rpm:python3',
];
const PACKAGES = [...COMPONENTS, 'rpm:systemd', 'rpm:curl', 'rpm:mesa', 'rpm:vim', 'other files'];

const sum = (sizes: Iterable<number>): number => [...sizes].reduce((a, b) => a + b, 0);
const bytes = (compressed: number): { compressed: number; uncompressed: number } => ({
  compressed,
  uncompressed: Math.round(compressed * 2.4),
});

/** A report of some repositories whose images change a few layers from tag to tag, more where they are less stable. */
export function madeUpReport(options: ReportOptions = {}): Report {
  const names = options.repositories ?? ['registry.example/web', 'registry.example/worker'];
  const perRepository = options.tags ?? 20;
  const count = options.layers ?? 24;
  const platform = options.platform ?? 'linux/amd64';
  const next = random(7);
  const layerSizes: number[] = [];
  const newLayer = (scale: number): number =>
    layerSizes.push(Math.round(scale * (0.4 + 1.2 * next()) * 1e6)) - 1;
  const base = Array.from({ length: Math.ceil(count / 4) }, () => newLayer(30));

  const images: number[][] = [];
  const owners: number[] = [];
  for (const [repository] of names.entries()) {
    let own = Array.from({ length: count - base.length }, (_, i) => newLayer(40 / (i + 1)));
    for (let tag = 0; tag < perRepository; tag++) {
      const isLarge = tag % 9 === 8;
      if (tag > 0)
        own = own.map((layer, i) => {
          const changes = next() < (isLarge ? 0.7 : 0.03 + (0.3 * i) / own.length);
          return changes ? newLayer(40 / (i + 1)) : layer;
        });
      images.push([...base, ...own]);
      owners.push(repository);
    }
  }
  const sizeOf = (layers: Iterable<number>): number =>
    sum([...layers].map((layer) => layerSizes[layer] ?? 0));
  const usersOf = layerSizes.map(() => new Set<number>());
  for (const [tag, layers] of images.entries())
    for (const layer of layers) usersOf[layer]?.add(tag);
  const neededBy = (tags: readonly number[]): Set<number> =>
    new Set(tags.flatMap((tag) => images[tag] ?? []));

  const tags = images.map((layers, tag): TagReport => {
    const repository = owners[tag] ?? 0;
    const others = (layer: number): number[] =>
      [...(usersOf[layer] ?? [])].filter((o) => o !== tag);
    const alone = layers.filter((layer) => others(layer).length === 0);
    const across = layers.filter((layer) => others(layer).some((o) => owners[o] !== repository));
    const [total, unique, shared] = [sizeOf(layers), sizeOf(alone), sizeOf(across)];
    const position = tag % perRepository;
    return {
      repository,
      tag: options.tagName?.(position) ?? `1.${position}.0`,
      digest: digestOf(`image ${tag}`),
      created: new Date(Date.UTC(2026, 0, 1 + 7 * position)).toISOString().replace('.000', ''),
      platforms: [platform],
      images: [
        {
          digest: digestOf(`image ${tag}`),
          manifestSize: 5000,
          ...{ platform, layers, size: bytes(total) },
        },
      ],
      total: bytes(total),
      sharedInRepository: bytes(total - unique - shared),
      sharedAcross: bytes(shared),
      unique: bytes(unique),
    };
  });

  const indexesOf = (repository: number): number[] =>
    [...tags.keys()].filter((tag) => owners[tag] === repository);
  const repositories = names.map((name, repository): RepositoryReport => {
    const own = neededBy(indexesOf(repository));
    const isAlone = (layer: number): boolean =>
      [...(usersOf[layer] ?? [])].every((tag) => owners[tag] === repository);
    const unique = sizeOf([...own].filter(isAlone));
    const others = [...names.keys()].filter((other) => other !== repository);
    return {
      name,
      store: 0,
      tags: indexesOf(repository),
      logical: bytes(sum(indexesOf(repository).map((tag) => sizeOf(images[tag] ?? [])))),
      total: bytes(sizeOf(own)),
      unique: bytes(unique),
      shared: bytes(sizeOf(own) - unique),
      sharedWith: others.map((other) => ({ repository: other, bytes: sizeOf(base) })),
    };
  });

  const causesOf = (total: number): Cause[] => {
    const weights = PACKAGES.map(() => next() ** 3);
    return PACKAGES.map((component, i) => ({
      component,
      why: i === 9 ? ('metadata' as const) : ('changed' as const),
      bytes: Math.floor((total * (weights[i] ?? 0)) / sum(weights)),
      detail: `${i}.1-3 -> ${i}.1-4`,
    })).sort((a, b) => b.bytes - a.bytes);
  };
  const updates = tags.flatMap((tag, to): UpdateReport[] => {
    const from = to - 1;
    if (owners[from] !== tag.repository) return [];
    const held = new Set(images[from]);
    const own = images[to] ?? [];
    const added = own.filter((layer) => !held.has(layer));
    const first = own.findIndex((layer) => !held.has(layer));
    const pulled = sizeOf(added);
    return [
      {
        ...{ repository: tag.repository, platform, from, to },
        layers: { kept: own.length - added.length, new: added.length },
        bytes: pulled,
        chainBytes: first < 0 ? 0 : sizeOf(own.slice(first)),
        total: sizeOf(own),
        ...(options.files && { floor: Math.round(pulled * 0.35), causes: causesOf(pulled) }),
      },
    ];
  });
  const sets = images.map((layers) => new Set(layers));
  const matrices = names.map((_, repository) => {
    const own = indexesOf(repository);
    const pulls = own.map((from) =>
      own.map((to) => sizeOf((images[to] ?? []).filter((l) => !sets[from]?.has(l)))),
    );
    const floor = pulls.map((row) => row.map((size) => Math.round(size * 0.35)));
    return { repository, platform, tags: own, bytes: pulls, ...(options.files && { floor }) };
  });
  const stored = sum(layerSizes);
  const logical = sum(images.map(sizeOf));
  const thenOf = (size: number): number => Math.round(size * 0.45);
  const mean = updates.length === 0 ? 0 : sum(updates.map((u) => u.bytes)) / updates.length;
  return {
    version: 1,
    depth: options.files ? 'files' : 'manifests',
    targets: ['docker://registry.example'],
    generated: '2026-06-01T08:00:00Z',
    stores: ['registry.example'],
    headline: {
      repositories: names.length,
      tags: tags.length,
      images: tags.length,
      blobs: layerSizes.length + 2 * tags.length,
      logical: bytes(logical),
      stored: bytes(stored),
      layers: bytes(stored),
      ...(options.files && {
        uniqueFiles: bytes(Math.round(stored * 0.6)),
        rechunked: bytes(Math.round(stored * 0.55)),
      }),
    },
    repositories,
    tags,
    layers: layerSizes.map((size, layer) => ({
      digest: digestOf(`layer ${layer}`),
      diffId: digestOf(`diff ${layer}`),
      mediaType: MEDIA.layerGzip,
      size,
      uncompressed: bytes(size).uncompressed,
      tags: [...(usersOf[layer] ?? [])],
      stores: [0],
      createdBy: options.createdBy ?? `RUN install part ${layer % count}`,
    })),
    updates,
    matrices,
    recompressed: [
      {
        diffId: digestOf('diff 0'),
        store: 0,
        blobs: [
          { digest: digestOf('layer 0'), size: layerSizes[0] ?? 0, mediaType: MEDIA.layerGzip },
          { digest: digestOf('layer 0 z'), size: 21_000_000, mediaType: MEDIA.layerZstd },
        ],
        wasted: 21_000_000,
      },
    ],
    unreferenced: [
      {
        store: 0,
        unknown: 'the interface of registries lists no blobs',
        ...{ blobs: [], bytes: 0, untagged: [], untaggedBytes: 0, dangling: [] },
      },
    ],
    deletion: { patterns: ['1.1*'], tags: [1], freed: bytes(1_234_567), blobs: 3 },
    node: {
      holds: [0],
      platform,
      mbit: 100,
      pulls: updates.slice(0, 12).map(({ to, bytes: size, layers }) => ({
        ...{ tag: to, bytes: size, layers: layers.new, seconds: (size * 8) / 1e8 },
      })),
    },
    thresholds: [
      { name: 'max-update-bytes', limit: 5e7, found: 123_456_789, crossed: true, where: '1.8.0' },
      { name: 'min-shared', limit: 0.5, found: 0.81, crossed: false },
    ],
    ...(options.files && {
      files: {
        contents: 81_234,
        references: 240_111,
        bytes: stored * 2,
        uniqueBytes: stored,
        duplicates: COMPONENTS.map((name, i) => ({
          digest: digestOf(name),
          size: 9_000_000 - i * 1_000_000,
          copies: 12 - i,
          layers: [0, 1, 2],
          wasted: (9_000_000 - i * 1_000_000) * (11 - i),
          paths: [`usr/lib64/${name.slice(4)}.so`, `opt/${name.slice(4)}/lib.so`],
        })),
        lorenz: Array.from({ length: 51 }, (_, i) => ({
          contents: i / 50,
          wasted: 1 - (1 - i / 50) ** 5,
        })),
        byCopies: [1, 2, 3, 4, 8, 16].map((copies) => ({
          copies,
          contents: Math.round(60_000 / copies ** 2),
          bytes: Math.round(stored / copies ** 2),
        })),
        metadataOnly: updates.slice(0, 5).map(({ repository, from, to }) => ({
          ...{ repository, platform, from, to, files: 1234, bytes: 5_678_901 },
          unchanged: { files: 1000, bytes: 5_000_000 },
        })),
      },
      whatIf: {
        tags: perRepository,
        maxLayers: 60,
        storage: { now: stored, then: thenOf(stored) },
        updates: updates.map(({ repository, from, to, bytes: now }) => ({
          ...{ repository, platform, from, to, now, then: thenOf(now) },
        })),
        mean: { now: Math.round(mean), then: thenOf(mean) },
        p95: { now: Math.round(mean * 3), then: thenOf(mean * 3) },
        firstMigration: 812_000_000,
      },
    }),
  };
}
