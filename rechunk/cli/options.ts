/** Options that several commands share, declared once and turned into library options once. */
import { readFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { type Command, Option } from 'commander';
import { RechunkError } from '../../registry/errors.ts';
import type { PlatformChoice } from '../../registry/image.ts';
import { LARGE_TEMP_DIR } from '../../registry/ingest.ts';
import { parsePlatform } from '../../registry/oci.ts';
import type { TransportOptions } from '../../registry/transport.ts';
import { checkLimit } from '../budget.ts';
import type { RunOptions } from '../context.ts';
import type { ComponentOptions, GroupOptions } from '../grouping.ts';
import { PROFILES, type ProfileChoice, parseProfile } from '../limits.ts';
import type { MetadataOptions } from '../metadata.ts';
import type { Policy } from '../policy.ts';
import { parseMap } from '../repos/map.ts';
import { VERSION } from '../version.ts';
import type { Reporter } from './reporter.ts';
import { collectGarbage, expectLargeImage, LARGE_IMAGE } from './v8.ts';
import {
  formatMoment,
  parseCount,
  parseMoment,
  parseMtime,
  parseSize,
  parseSwitch,
} from './values.ts';

/** Values as commander gives them. */
export type Values = Readonly<Record<string, unknown>>;

/** The machine as the CLI sees it: the only place where environment and clock enter. */
export interface Host {
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly signal: AbortSignal;
}

/** An option that can also be given as `RECHUNK_NAME` in the environment, its name as after the dashes. */
export function option(flags: string, description: string): Option {
  const made = new Option(flags, description);
  return made.env(`RECHUNK_${made.long?.slice(2).replaceAll('-', '_').toUpperCase()}`);
}

/**
 * Makes `command` read its options from the environment as people mean them: an empty variable is not given (CI hosts pass on
 * unset ones so), and a switch is on for `true` and off for `false`; commander itself takes any text for on.
 */
export function readEnvironment(command: Command, env: Host['env']): void {
  for (const made of command.options) {
    const name = made.envVar;
    const value = name === undefined ? undefined : env[name];
    if (name === undefined || value === undefined) continue;
    const isSwitch = !made.required && !made.optional;
    if (value === '' || (isSwitch && !parseSwitch(value, name))) delete made.envVar;
  }
}

/** The same, for an option that may be repeated; the environment holds one value a line. */
export function listOption(flags: string, description: string): Option {
  return option(flags, `${description} (repeatable)`).argParser(
    (value: string, previous: unknown) => [
      ...((previous as string[] | undefined) ?? []),
      ...(value.includes('\n') ? value.split('\n').filter(Boolean) : [value]),
    ],
  );
}

/** Options of every command that reads images. */
export function addRunOptions(command: Command): Command {
  return addSurveyOptions(command)
    .addOption(option('--platform <os/arch>', 'which image of an index (default: this machine’s)'))
    .addOption(
      option('--config <file>', 'rootfs: only: image config, or output of `podman inspect`'),
    )
    .addOption(option('--no-xattrs', 'rootfs: only: do not read extended attributes'));
}

/** Options of every command. */
export function addSurveyOptions(command: Command): Command {
  return command
    .addOption(option('--json', 'print the result as JSON'))
    .addOption(option('-q, --quiet', 'print no progress and no notes'))
    .addOption(option('--threads <n>', 'worker threads (default: one a core)'))
    .addOption(
      option(
        '--memory-limit <size>',
        'what the process may take of memory, such as 300MiB (default: no limit); uses fewer threads where there is too little',
      ),
    )
    .addOption(
      option('--temp-dir <dir>', 'where temporary files go (default: TMPDIR, else /var/tmp)'),
    )
    .addOption(
      option('--authfile <file>', 'credentials, as `podman login` and `docker login` write them'),
    )
    .addOption(
      option(
        '--cert-file <file>',
        'certificates of authorities to trust besides the system’s, PEM',
      ),
    )
    .addOption(option('--insecure', 'allow plain http and unverified TLS'))
    .addOption(option('--retries <n>', 'how often a failed request is tried again (default: 4)'));
}

/** Options that say what may differ between the files of source and result. */
export function addContentOptions(command: Command): Command {
  return command
    .addOption(
      option(
        '--mtime <when>',
        'file times: inherit (what is as in the previous image keeps the time there; default), keep, clamp (to SOURCE_DATE_EPOCH), or a date',
      ),
    )
    .addOption(
      option(
        '--no-inherit-pyc',
        'inherit no compiled Python files, nor the times of sources that they record',
      ),
    )
    .addOption(
      option('--dir-mtime <how>', 'directory times').choices(['zero', 'keep']).default('zero'),
    )
    .addOption(
      listOption('--prune <path>', 'leave out a path; a trailing slash keeps the directory itself'),
    )
    .addOption(listOption('--drop-xattr <glob>', 'leave out extended attributes by name'));
}

/** Options that say what may differ between source and result. */
export function addPolicyOptions(command: Command): Command {
  return addContentOptions(command)
    .addOption(listOption('--label <k=v>', 'set a label, or remove it: KEY-'))
    .addOption(listOption('--annotation <k=v>', 'set a manifest annotation, or remove it: KEY-'))
    .addOption(option('--created <date>', 'creation time of the image (default: as it was)'));
}

/** Options that decide what components there are. */
export function addComponentOptions(
  command: Command,
  strict = 'a damaged package database is an error',
): Command {
  return command
    .addOption(listOption('--map <file>', 'lines of GLOB COMPONENT that name components'))
    .addOption(option('--strict', strict));
}

/** Options that decide how files are grouped. */
export function addGroupOptions(command: Command): Command {
  return addComponentOptions(
    command
      .addOption(
        option(
          '--profile <name>',
          `whom the result is for, which decides compression and bounds that no option names, and what is an error: ${PROFILES.map(({ name, about }) => `${name} (${about})`).join(', ')}`,
        ),
      )
      .addOption(option('--max-layers <n>', 'most layers (default: 100; Docker stops at 125)'))
      .addOption(
        option('--max-layer-size <size>', 'most uncompressed bytes in a layer, such as 512MiB'),
      ),
    'a damaged package database is an error, and so are overlay.* attributes in the image',
  );
}

function text(values: Values, name: string): string | undefined {
  const value = values[name];
  return typeof value === 'string' ? value : undefined;
}

function list(values: Values, name: string): readonly string[] | undefined {
  return values[name] as readonly string[] | undefined;
}

/** `SOURCE_DATE_EPOCH` in nanoseconds; undefined where it is not set. */
function sourceDateEpoch(host: Host): bigint | undefined {
  const value = host.env['SOURCE_DATE_EPOCH'];
  return value === undefined || value === '' ? undefined : parseMoment(value, 'SOURCE_DATE_EPOCH');
}

/** Most layers that can be asked for: what containers-storage holds. */
const MOST_LAYERS = 500;
/** Most tries after the first that can be asked for. */
const MOST_RETRIES = 100;
/** Most threads that can be asked for. */
const MOST_THREADS = 1024;

/** Settings of the run. */
export function runOptions(values: Values, host: Host, reporter: Reporter): RunOptions {
  const threads = text(values, 'threads');
  return {
    threads:
      threads === undefined
        ? availableParallelism()
        : parseCount(threads, '--threads', 1, MOST_THREADS),
    memoryLimit: memoryLimit(values),
    tempDir: tempDirectory(values, host),
    onProgress: (progress) => {
      // What is to be read is the first that is told of a large image.
      if (progress.total >= LARGE_IMAGE) expectLargeImage();
      reporter.progress(progress);
    },
    onNotice: (notice) => reporter.notice(notice),
    onGarbage: collectGarbage,
    signal: host.signal,
  };
}

/** What the process may take of memory, bytes; told before anything is opened where that is too little. */
export function memoryLimit(values: Values): number | undefined {
  const given = text(values, 'memoryLimit');
  if (given === undefined) return undefined;
  const limit = parseSize(given, '--memory-limit');
  checkLimit(limit);
  return limit;
}

/** Where large temporary files go. */
export function tempDirectory(values: Values, host: Host): string {
  return text(values, 'tempDir') ?? (host.env['TMPDIR'] || LARGE_TEMP_DIR);
}

/** How references are opened. */
export function transportOptions(values: Values, host: Host, reporter: Reporter): TransportOptions {
  const authFile = text(values, 'authfile');
  const caFile = text(values, 'certFile');
  const configFile = text(values, 'config');
  const retries = text(values, 'retries');
  const { env, signal } = host;
  return {
    env,
    signal,
    tempDir: tempDirectory(values, host),
    stdin: process.stdin,
    onNotice: (notice) => reporter.notice(notice),
    remote: {
      insecure: values['insecure'] === true,
      userAgent: `rechunk/${VERSION}`,
      ...(authFile === undefined ? {} : { authFile }),
      ...(caFile === undefined ? {} : { caFile }),
      ...(retries === undefined
        ? {}
        : { retries: parseCount(retries, '--retries', 0, MOST_RETRIES) }),
    },
    rootfs: {
      xattrs: values['xattrs'] === false ? 'none' : 'auto',
      ...(configFile === undefined ? {} : { configFile }),
    },
  };
}

/** The platform asked for. */
export function platformOptions(values: Values): PlatformChoice {
  const platform = text(values, 'platform');
  return { platform: platform === undefined ? undefined : parsePlatform(platform) };
}

/** What may differ. */
export function policyOptions(values: Values, host: Host): Policy {
  const mtime = text(values, 'mtime') ?? 'inherit';
  const some = values['inheritPyc'] === false ? 'times' : 'pyc';
  return {
    inherit: mtime === 'inherit' ? some : 'none',
    mtime: parseMtime(mtime, sourceDateEpoch(host)),
    dirMtime: values['dirMtime'] === 'keep' ? 'keep' : 'zero',
    prune: list(values, 'prune'),
    dropXattrs: list(values, 'dropXattr'),
  };
}

function checkEdits(
  edits: readonly string[] | undefined,
  name: string,
): readonly string[] | undefined {
  const bad = edits?.find((edit) => !/^[^=]+=/s.test(edit) && !/^[^=]+-$/.test(edit));
  if (bad === undefined) return edits;
  throw new RechunkError('usage', `${name}: got '${bad}', want KEY=VALUE, or KEY- to remove it`);
}

/** Labels, annotations and the creation time; `SOURCE_DATE_EPOCH` sets the time where `--created` does not. */
export function metadataOptions(values: Values, host: Host): MetadataOptions {
  const created = text(values, 'created');
  const moment = created === undefined ? sourceDateEpoch(host) : parseMoment(created, '--created');
  return {
    labels: checkEdits(list(values, 'label'), '--label'),
    annotations: checkEdits(list(values, 'annotation'), '--annotation'),
    created: moment === undefined ? undefined : formatMoment(moment),
  };
}

/** How components are found. */
export function componentOptions(values: Values): ComponentOptions {
  return {
    strict: values['strict'] === true,
    repos: (list(values, 'map') ?? []).map((file) => parseMap(readMap(file), file)),
  };
}

/** The profile that is asked for, and which other options overrule it. */
export function profileOption(values: Values): ProfileChoice | undefined {
  const name = text(values, 'profile');
  if (name === undefined) return undefined;
  const overruled = [
    ...(values['compression'] === undefined ? [] : (['compression'] as const)),
    ...(values['maxLayers'] === undefined ? [] : (['layers'] as const)),
  ];
  return { profile: parseProfile(name), overruled };
}

/** How files are grouped. */
export function groupOptions(values: Values): GroupOptions {
  const profile = profileOption(values)?.profile;
  const maxLayers = text(values, 'maxLayers');
  const maxLayerSize = text(values, 'maxLayerSize');
  return {
    maxLayers:
      maxLayers === undefined
        ? profile?.maxLayers
        : parseCount(maxLayers, '--max-layers', 1, MOST_LAYERS),
    maxLayerSize:
      maxLayerSize === undefined
        ? profile?.maxLayerSize
        : parseSize(maxLayerSize, '--max-layer-size'),
    ...componentOptions(values),
  };
}

function readMap(file: string): string {
  try {
    return readFileSync(file, 'latin1');
  } catch (error) {
    throw new RechunkError('io', `reading the map ${file}: ${(error as Error).message}`, {
      cause: error,
    });
  }
}
