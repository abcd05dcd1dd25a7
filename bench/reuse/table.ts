/** The results as Markdown, for `bench/README.md`. */
import type { Claim } from './claims.ts';
import { NOISES } from './noise.ts';
import { ONE_LAYER, ORIGINAL, PACKAGE_FLOOR, PACKINGS } from './packings.ts';
import { COUNTS, Figures, REPORTED, type Results } from './results.ts';
import type { Row } from './rows.ts';

/** The number of layers of the detailed tables. */
const DETAILED = 64;

const line = (cells: readonly string[]): string => `| ${cells.join(' | ')} |`;

/** A table in Markdown; the first row is the head. */
export function markdownTable(rows: readonly (readonly string[])[]): string {
  const [head = [], ...body] = rows;
  return [line(head), line(head.map(() => '---')), ...body.map(line)].join('\n');
}

const megabytes = (bytes: number | undefined): string => {
  if (bytes === undefined) return '';
  return (bytes / 1e6).toFixed(bytes < 100e6 ? 2 : 1);
};

/** Of many seeds the spread, and how many seeds where they are not as many as those of the floor. */
function summaryCell(row: Row | undefined, all: Row | undefined): string {
  if (!row) return '';
  const seeds = row.runs === all?.runs ? '' : ` (${row.runs} seeds)`;
  const spread = row.deviation > 0 ? ` ± ${(row.deviation / 1e6).toFixed(0)}${seeds}` : '';
  return `${megabytes(row.every[1].bytes)}${spread}`;
}

/** Bytes of an update for each number of layers, one table with a column for each series. */
function summary(figures: Figures, maxLayers: number): string {
  const rows = PACKINGS.map(({ name }) => [
    name,
    ...REPORTED.map((series) =>
      summaryCell(
        figures.find(series, name, maxLayers),
        figures.find(series, PACKAGE_FLOOR, maxLayers),
      ),
    ),
  ]);
  return `N = ${maxLayers}:\n\n${markdownTable([['MB an update', ...REPORTED], ...rows])}`;
}

const DETAILS = [
  'after ten updates',
  'every 2nd release',
  'every 4th',
  'by chain',
  'reused',
  'layers pulled',
  'in the registry',
];

function detailCells({ every, storage, maxLayers, packing }: Row): string[] {
  const hasLayers = maxLayers !== undefined || packing === ORIGINAL || packing === ONE_LAYER;
  return [
    megabytes(every[1].laterBytes),
    megabytes(every[2].bytes),
    megabytes(every[4].bytes),
    hasLayers ? megabytes(every[1].chainBytes) : '',
    `${(every[1].reused * 100).toFixed(1)} %`,
    hasLayers ? every[1].layers.toFixed(1) : '',
    megabytes(storage),
  ];
}

function details(figures: Figures, series: string): string {
  const rows = PACKINGS.flatMap(({ name }) => {
    const row = figures.find(series, name, DETAILED);
    return row ? [[name, megabytes(row.every[1].bytes), ...detailCells(row)]] : [];
  });
  return markdownTable([[`${series}, MB`, 'an update', ...DETAILS], ...rows]);
}

/** Series whose last release is built twice; the last of the others is the same. */
const REBUILT = ['npm', 'debian', 'host', 'alpine'];

function noiseTable({ noise }: Results): string {
  const cell = (series: string, packing: string): string => {
    const row = noise.find(
      (one) => one.series === series && one.packing === packing && one.maxLayers === DETAILED,
    );
    return row ? NOISES.map((sort) => megabytes(row.bytes[sort])).join(' · ') : '';
  };
  const rows = PACKINGS.filter(({ name }) => noise.some(({ packing }) => packing === name)).map(
    ({ name }) => [name, ...REBUILT.map((series) => cell(series, name))],
  );
  const legend =
    'new times where the installer stamps them · and `.pyc` compiled again · and databases in another order · and every file with a new time';
  return `${legend}\n\n${markdownTable([['MB pulled', ...REBUILT], ...rows])}`;
}

/** The claims with what was measured. */
export function claimsTable(claims: readonly Claim[]): string {
  const rows = claims.map(({ text, measured, holds }) => [
    text,
    measured,
    holds === undefined ? '' : holds ? 'holds' : 'does not hold',
  ]);
  return markdownTable([['claim', 'measured', ''], ...rows]);
}

/** Everything for the README, `about` first. */
export function report(about: string, results: Results, claims: readonly Claim[]): string {
  const figures = new Figures(results);
  const shown = REPORTED.filter(
    (series) => series !== 'alpine' && figures.floor(series) !== undefined,
  );
  return [
    about,
    '![Bytes of an update by packing, series and number of layers](results/reuse.svg)',
    '### What is claimed',
    claimsTable(claims),
    '### Bytes that an update pulls',
    ...COUNTS.map((count) => summary(figures, count)),
    `### Clients that skip releases, chains, registries: N = ${DETAILED}`,
    ...shown.map((series) => details(figures, series)),
    `### Noise: a second build of the same content, N = ${DETAILED}`,
    noiseTable(results),
  ].join('\n\n');
}
