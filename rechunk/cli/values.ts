/** What option values mean: text from the command line or the environment to typed values, or a `usage` error. */
import { RechunkError } from '../../registry/errors.ts';
import { visible } from '../../registry/visible.ts';
import type { MtimePolicy } from '../policy.ts';

const UNITS: Readonly<Record<string, number>> = {
  '': 1,
  k: 1e3,
  m: 1e6,
  g: 1e9,
  t: 1e12,
  ki: 1 << 10,
  mi: 1 << 20,
  gi: 1 << 30,
  ti: 2 ** 40,
};

/** Parses a number of bytes: `1048576`, `512MiB`, `10G`. */
export function parseSize(text: string, option: string): number {
  const match = /^(\d+(?:\.\d+)?)\s*([kmgt]i?)?b?$/i.exec(text.trim());
  const unit = UNITS[(match?.[2] ?? '').toLowerCase()];
  const size = Math.floor(Number(match?.[1]) * (unit ?? Number.NaN));
  if (Number.isSafeInteger(size) && size > 0) return size;
  throw new RechunkError('usage', `${option}: got '${text}', want a size such as 512MiB or 10GB`);
}

/** Parses a whole number within bounds. */
export function parseCount(text: string, option: string, least: number, most: number): number {
  const count = Number(text);
  if (/^\d+$/.test(text.trim()) && count >= least && count <= most) return count;
  throw new RechunkError(
    'usage',
    `${option}: got '${text}', want a whole number from ${least} to ${most}`,
  );
}

/** Parses a switch of the environment: `true`, `1`, `yes` or `on`, and their opposites. */
export function parseSwitch(text: string, name: string): boolean {
  if (/^(true|1|yes|on)$/i.test(text)) return true;
  if (/^(false|0|no|off|)$/i.test(text)) return false;
  throw new RechunkError('usage', `${name}: got '${text}', want true or false`);
}

/** A date, or a date and time with or without a zone. */
const DATE = /^(\d{4}-\d\d-\d\d)(?:[Tt ](\d\d:\d\d(?::\d\d(?:\.\d+)?)?)([Zz]|[+-]\d\d:\d\d)?)?$/;
/** Latest moment that RFC 3339 can write, 9999-12-31T23:59:59Z, and the earliest, seconds. */
const LATEST = 253_402_300_799n;
const EARLIEST = -62_167_219_200n;

/**
 * Parses a moment: seconds since the epoch, or an RFC 3339 date or date and time; nanoseconds. A time without a zone is in
 * UTC, so that it means the same on every machine.
 */
export function parseMoment(text: string, option: string): bigint {
  const moment = /^-?\d+$/.test(text) ? BigInt(text) * 1_000_000_000n : parseDate(text);
  const seconds = (moment ?? 0n) / 1_000_000_000n;
  if (moment !== undefined && seconds >= EARLIEST && seconds <= LATEST) return moment;
  throw new RechunkError(
    'usage',
    `${option}: got '${text}', want seconds since 1970 or a date such as 2026-11-21T00:00:00Z`,
  );
}

function parseDate(text: string): bigint | undefined {
  const [, day, time = '00:00', zone = 'Z'] = DATE.exec(text) ?? [];
  const milliseconds = Date.parse(`${day}T${time}${zone.toUpperCase()}`);
  return Number.isNaN(milliseconds) ? undefined : BigInt(milliseconds) * 1_000_000n;
}

/** A moment as RFC 3339, in UTC, whole seconds. */
export function formatMoment(time: bigint): string {
  return new Date(Number(time / 1_000_000n)).toISOString().replace(/\.\d+Z$/, 'Z');
}

/**
 * Parses `--mtime inherit|keep|clamp|DATE`. `clamp` takes its moment from `SOURCE_DATE_EPOCH`; with `inherit`, files that inherit
 * nothing are clamped where that is set and kept where it is not.
 */
export function parseMtime(text: string, epoch: bigint | undefined): MtimePolicy {
  if (text === 'keep') return { kind: 'keep' };
  if (text === 'inherit')
    return epoch === undefined ? { kind: 'keep' } : { kind: 'clamp', time: epoch };
  if (text !== 'clamp') return { kind: 'set', time: parseMoment(text, '--mtime') };
  if (epoch === undefined) {
    throw new RechunkError(
      'usage',
      '--mtime clamp: SOURCE_DATE_EPOCH is not set, and it says to which moment',
    );
  }
  return { kind: 'clamp', time: epoch };
}

/** Text that an image brings, on one line and without what is not seen: a terminal would obey it. */
export function oneLine(text: string): string {
  return visible(text.replace(/[\s\x00-\x1f\x7f-\x9f]+/g, ' ').trim());
}

export { formatSize } from '../size.ts';
