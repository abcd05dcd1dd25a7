/** How the page writes numbers, names and shares. */
import { formatSize } from '../../size.ts';
import type { Bytes, Report } from '../report.ts';
import { type Content, html, type Markup } from './markup.ts';
import { shortDigest } from './pagedata.ts';

const PERCENT = 100;

/** A share of a whole, such as `12 %`; below ten with one decimal. */
export function percent(part: number, whole: number): string {
  if (whole === 0) return '0 %';
  const value = (PERCENT * part) / whole;
  return `${value < 10 ? value.toFixed(1).replace(/\.0$/, '') : value.toFixed(0)} %`;
}

/** A count with its noun, such as `1 tag`, `1,200 tags`. */
export function counted(count: number, noun: string, plural = `${noun}s`): string {
  return `${grouped(count)} ${count === 1 ? noun : plural}`;
}

/** A number with commas between thousands. */
export function grouped(count: number): string {
  return String(count).replace(/\B(?=(\d{3})+$)/g, ',');
}

/** Seconds for people. */
export function duration(seconds: number): string {
  if (seconds < 60) return `${seconds.toFixed(seconds < 10 ? 1 : 0)} s`;
  return `${Math.floor(seconds / 60)} min ${Math.round(seconds % 60)} s`;
}

/** A size; the exact one where the pointer rests. */
export function size(bytes: number): Markup {
  return html`<span title="${grouped(bytes)} bytes">${formatSize(bytes)}</span>`;
}

/** A size with a bar of its part of `most`, and below it as unpacked where that is known. */
export function sizeBar(bytes: number | Bytes, most: number, kind = ''): Markup {
  const stored = typeof bytes === 'number' ? bytes : bytes.compressed;
  const unpacked = typeof bytes === 'number' ? undefined : bytes.uncompressed;
  const below = unpacked === undefined ? '' : html`<small>${formatSize(unpacked)} unpacked</small>`;
  return html`${size(stored)}${below}<i class="bar ${kind}" style="--v:${ratio(stored, most)}"></i>`;
}

/** Part of a whole for style sheets: 0 to 1, four decimals. */
export function ratio(part: number, whole: number): string {
  return whole === 0
    ? '0'
    : Math.min(1, part / whole)
        .toFixed(4)
        .replace(/\.?0+$/, '');
}

/** A digest as container tools show it; all of it where the pointer rests. */
export function digest(value: string): Markup {
  return html`<code title="${value}">${shortDigest(value)}</code>`;
}

/** A tag with its repository where the report has several. */
export function tagName(report: Report, tag: number): Content {
  const found = report.tags[tag];
  if (!found) return '';
  if (report.repositories.length < 2) return found.tag;
  return html`<span class="dim">${report.repositories[found.repository]?.name}:</span>${found.tag}`;
}

/** A date of RFC 3339, its day. */
export function day(date: string | undefined): Content {
  if (date === undefined) return '';
  return html`<time datetime="${date}">${date.slice(0, 10)}</time>`;
}

/** Most characters of a name at an axis: how many labels have room is counted by their whole text. */
const LABEL_LENGTH = 22;

/** A name as it stands at an axis: of long ones the beginning and the end, which tell versions apart. */
export function shortName(name: string): string {
  const chars = [...name];
  if (chars.length <= LABEL_LENGTH) return name;
  const half = Math.floor((LABEL_LENGTH - 1) / 2);
  return `${chars.slice(0, half).join('')}…${chars.slice(-half).join('')}`;
}
