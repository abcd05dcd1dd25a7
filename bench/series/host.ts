/**
 * Series of a simulated image-mode host: the components of a real Fedora CoreOS with their sizes and changelog frequencies
 * (`fedora-coreos-contentmeta.json.gz`), updated at random over a year.
 *
 * What changes is drawn from a model that planners do not share: packages of one source change together; how often a
 * source changes differs from what its changelog says by a factor that is drawn once a run; rebuilds of many packages at
 * once (a compiler, a library's new interface) hit sources whatever their changelogs say; the initramfs follows the packages
 * that are in it. Every number below is a choice, not a measurement, unless it says so.
 */
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { gunzipSync } from 'node:zlib';
import type { ComponentKind } from '../../rechunk/components.ts';
import { Random } from './random.ts';
import type { ComponentFacts, FileFacts, Release } from './series.ts';

/** A year of a simulated host. */
export interface HostOptions {
  /** Equal seeds give equal series. */
  readonly seed: number;
  /** Releases, the first included; default 27: a year of one every second week, as Fedora CoreOS has them. */
  readonly releases?: number;
  /** Days between releases; default 14. */
  readonly intervalDays?: number;
  /** One component for each source package, as `rechunk` has them (default), or for each binary package. */
  readonly by?: 'source' | 'package';
}

/** A component as the real image's metadata states it. */
interface Meta {
  readonly identifier: string;
  readonly name: string;
  readonly srcid: string;
  /** Changelog entries in the year before; {@link NO_FREQUENCY}: it has no changelog. */
  readonly change_frequency: number;
  /** Bytes, uncompressed. */
  readonly size: number;
}

const FIXTURE = new URL('fedora-coreos-contentmeta.json.gz', import.meta.url);
const NO_FREQUENCY = 0xffffffff;
const DAY_SECONDS = 86_400;
const YEAR_DAYS = 365;
/** The image's own day: 2022-11-15, about when its newest packages were built. */
const FIRST_DATE = 1_668_470_400;

/** Bytes of a mean file, and most files that a package is modelled with: a bench should stay quick. */
const FILE_SIZE = 64 << 10;
const FILES_LIMIT = 200;
/** Compressed share of content: packed already (firmware, modules), else as measured on Debian for `estimate.ts`. */
const PACKED = /^(linux-firmware|microcode_ctl|kernel-modules|kernel-core|initramfs)/;
const PACKED_SHARE = 0.98;
const PLAIN_SHARE = 0.352;
/** Compressed bytes of a tar header. */
const HEADER_BYTES = 48;

/** Updates a year for each changelog entry: one build has several entries, and not every build is released. */
const UPDATES_PER_ENTRY = 0.2;
/** Most updates a year. */
const UPDATES_LIMIT = 26;
/** How far true rates stray from changelogs: deviation of the logarithm. */
const RATE_DEVIATION = 0.8;
/** Rebuilds of many sources at once: how many a year, and the largest share of sources that one hits. */
const REBUILDS_PER_YEAR = 6;
const REBUILD_SHARE_LIMIT = 0.15;
/** A file that an update of its package may change is cold bulk or hot rest, half of each; how often each kind changes. */
const COLD_CHANGE = 0.15;
const HOT_CHANGE = 0.9;
/** A rebuild changes what the compiler made, and leaves data alone. */
const REBUILD_CHANGE = 0.35;
/** What is in an initramfs; it is made anew when one of them changes. */
const IN_INITRAMFS =
  /^(kernel|systemd|dracut|util-linux|ignition|glibc|lvm2|coreutils|cryptsetup|NetworkManager|clevis|afterburn|device-mapper|bash)/;
/** Of what no package owns, this share of files is written by every build (databases, caches). */
const UNPACKAGED_CHANGE = 0.2;

let fixture: readonly Meta[] | undefined;
/** The image before the first update, by what its components are: the same in every run. */
const images = new Map<HostOptions['by'], readonly Model[]>();

/** The 396 components of the real image. */
function readFixture(): readonly Meta[] {
  fixture ??= JSON.parse(gunzipSync(readFileSync(fileURLToPath(FIXTURE))).toString()) as Meta[];
  return fixture;
}

/** A source package, or a binary one, while it is simulated. */
interface Model {
  readonly facts: ComponentFacts;
  /** For each file, whether it is of the hot rest. */
  readonly hot: readonly boolean[];
  readonly names: readonly string[];
  /** What draws the changes: all models of one source share it. */
  readonly source: string;
}

/** What happens to a source from one release to the next. */
type Event = 'update' | 'rebuild' | 'none';

function idOf(meta: Meta, by: HostOptions['by']): { id: string; kind: ComponentKind } {
  if (meta.name === 'initramfs') return { id: 'initramfs', kind: 'initramfs' };
  if (meta.change_frequency === NO_FREQUENCY) return { id: 'rest', kind: 'rest' };
  return { id: `rpm:${by === 'package' ? meta.name : sourceName(meta)}`, kind: 'package' };
}

/** `NAME-VERSION-RELEASE.src.rpm` without all but the name. */
const sourceName = ({ srcid }: Meta): string => srcid.replace(/-[^-]+-[^-]+\.src\.rpm$/, '');

/** Sizes of a package's files: many small, few large (weights 1/k), the same in every run. */
function splitSize(size: number): number[] {
  const count = Math.max(1, Math.min(FILES_LIMIT, Math.round(size / FILE_SIZE)));
  const weights = Array.from({ length: count }, (_, k) => 1 / (k + 1));
  const total = weights.reduce((sum, weight) => sum + weight, 0);
  return weights.map((weight) => Math.round((size * weight) / total));
}

function filesOf({ name, size }: Meta, random: Random): FileFacts[] {
  const share = PACKED.test(name) ? PACKED_SHARE : PLAIN_SHARE;
  return splitSize(size).map((bytes, i) => ({
    path: `usr/share/model/${name}/${String(i).padStart(4, '0')}`,
    content: random.digest(),
    size: bytes,
    compressedSize: Math.ceil(bytes * share),
    metadata: 'file 644 0:0',
    mtime: FIRST_DATE,
  }));
}

const compressedSizeOf = (files: readonly FileFacts[]): number =>
  files.reduce((sum, { compressedSize }) => sum + compressedSize + HEADER_BYTES, 0);

function modelOf(metas: readonly Meta[], by: HostOptions['by']): Model {
  const [first] = metas as [Meta];
  const { id, kind } = idOf(first, by);
  // Of the thing itself, not of the run: the same image in every run.
  const random = new Random(id);
  const files = metas
    .flatMap((meta) => filesOf(meta, random))
    .sort((a, b) => (a.path < b.path ? -1 : 1));
  const compressedSize = compressedSizeOf(files);
  const times = changelogOf(first, random);
  return {
    facts: {
      id,
      kind,
      packages: metas.map(({ identifier }) => identifier).sort(),
      ...(times.length > 0 && { changeTimes: times }),
      files,
      size: files.reduce((sum, { size }) => sum + size, 0),
      compressedSize,
      changedSize: compressedSize,
    },
    hot: files.map(() => random.happens(0.5)),
    names: metas.map(({ name }) => name),
    source: first.srcid,
  };
}

function readImage(by: HostOptions['by']): readonly Model[] {
  const known = images.get(by);
  if (known) return known;
  const grouped = Map.groupBy(readFixture(), (meta) => idOf(meta, by).id);
  const models = [...grouped.values()].map((metas) => modelOf(metas, by));
  images.set(by, models);
  return models;
}

/** As many changelog entries in the year before the image as the real package had. */
function changelogOf({ change_frequency }: Meta, random: Random): number[] {
  if (change_frequency === NO_FREQUENCY) return [];
  const times = Array.from(
    { length: change_frequency },
    () => FIRST_DATE - random.below(YEAR_DAYS) * DAY_SECONDS,
  );
  return times.sort((a, b) => a - b);
}

/** Updates a year of each source in this run. */
function drawRates(random: Random): Map<string, number> {
  const rates = new Map<string, number>();
  for (const { srcid, change_frequency } of readFixture()) {
    if (rates.has(srcid) || change_frequency === NO_FREQUENCY) continue;
    const stated = change_frequency * UPDATES_PER_ENTRY;
    rates.set(srcid, Math.min(UPDATES_LIMIT, stated * Math.exp(RATE_DEVIATION * random.normal())));
  }
  return rates;
}

function drawEvents(
  rates: ReadonlyMap<string, number>,
  intervalDays: number,
  random: Random,
): Map<string, Event> {
  const years = intervalDays / YEAR_DAYS;
  const rebuilds = random.happens(1 - Math.exp(-REBUILDS_PER_YEAR * years));
  const share = rebuilds ? random.next() * REBUILD_SHARE_LIMIT : 0;
  const events = new Map<string, Event>();
  for (const [source, rate] of rates) {
    const updated = random.happens(1 - Math.exp(-rate * years));
    const rebuilt = random.happens(share);
    events.set(source, updated ? 'update' : rebuilt ? 'rebuild' : 'none');
  }
  return events;
}

/** The next state of a component; the same object where nothing of it changed. */
function advance(
  facts: ComponentFacts,
  date: number,
  random: Random,
  changeOf: (index: number) => number,
  logged: boolean,
): ComponentFacts {
  const changed: FileFacts[] = [];
  const files = facts.files.map((file, i) => {
    if (!random.happens(changeOf(i))) return file;
    const next = { ...file, content: random.digest(), mtime: date };
    changed.push(next);
    return next;
  });
  if (changed.length === 0) return facts;
  const changeTimes = logged ? [...(facts.changeTimes ?? []), date] : facts.changeTimes;
  return {
    ...facts,
    ...(changeTimes && { changeTimes }),
    files,
    changedSize: compressedSizeOf(changed),
  };
}

/** How likely a change of each file of a component is, given what happened. */
function changesOf(
  { facts, hot, source }: Model,
  events: ReadonlyMap<string, Event>,
  initramfs: boolean,
): (index: number) => number {
  if (facts.kind === 'initramfs') return () => Number(initramfs);
  if (facts.kind === 'rest') return () => UNPACKAGED_CHANGE;
  const event = events.get(source);
  if (event === 'update') return (i) => (i === 0 || hot[i] ? HOT_CHANGE : COLD_CHANGE);
  return () => (event === 'rebuild' ? REBUILD_CHANGE : 0);
}

/** A year of releases of a simulated host, oldest first. */
export function simulateHost(options: HostOptions): Release[] {
  const { seed, releases = 27, intervalDays = 14, by = 'source' } = options;
  const random = new Random(seed);
  const models = readImage(by);
  const rates = drawRates(random);
  let states = models.map(({ facts }) => facts);
  return Array.from({ length: releases }, (_, number): Release => {
    const date = FIRST_DATE + number * intervalDays * DAY_SECONDS;
    if (number > 0) {
      const events = drawEvents(rates, intervalDays, random);
      const initramfs = models.some(
        ({ names, source }) =>
          events.get(source) !== 'none' &&
          events.has(source) &&
          names.some((n) => IN_INITRAMFS.test(n)),
      );
      states = models.map((model, i) => {
        const facts = states[i] as ComponentFacts;
        const changes = changesOf(model, events, initramfs);
        return advance(facts, date, random, changes, model.facts.kind === 'package');
      });
    }
    const sorted = [...states].sort((a, b) => (a.id < b.id ? -1 : 1));
    const name = `${number + 1}`.padStart(2, '0');
    return { name, date, components: new Map(sorted.map((state) => [state.id, state])) };
  });
}
