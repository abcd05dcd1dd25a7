/**
 * A plan as a picture: an SVG treemap of layers and the components in them. Area is compressed bytes, colour the chance that
 * an update changes a component. Self-contained, light or dark as the reader has it; the same report gives the same bytes.
 */
import { type HierarchyRectangularNode, hierarchy, treemap } from 'd3-hierarchy';
import { showPath } from '../registry/path.ts';
import type { RateSource } from './evidence.ts';
import type { PlannedComponent, PlanReport, ReportedLayer } from './preview.ts';
import { formatSize } from './size.ts';
import type { LayerRole } from './stack.ts';

/** Pixels. */
const WIDTH = 1280;
const HEIGHT = 860;
const MARGIN = 16;
/** Above the map: title and summary. */
const HEAD = 64;
/** Below the map: the legend. */
const FOOT = 52;
/** A layer's own line of text, where it is large enough to have one. */
const STRIP = 17;
const STRIP_LEAST = { width: 44, height: 34 } as const;
/** Of the text in boxes: height of a line, and width of a character of a monospaced font of 11 px. */
const LINE = 13;
const CHAR = 6.7;

/** Chances from which on a colour is used, in millionths, and the words of the legend. */
const STEPS: readonly (readonly [number, string])[] = [
  [0, 'below 1 %'],
  [10_000, '1–2 %'],
  [20_000, '2–5 %'],
  [50_000, '5–10 %'],
  [100_000, '10–25 %'],
  [250_000, '25–50 %'],
  [500_000, '50 % and more'],
];

/** Colours and inks of the steps. */
const LIGHT = ['#3f6fb0', '#7fb1d6', '#c9e3ee', '#fbf3b4', '#fdcf7f', '#f58a53', '#cf3026'];
const DARK = ['#2f558a', '#44779d', '#7fa9b8', '#b9b07a', '#c4924a', '#b0552c', '#a82a22'];
const INK_LIGHT = ['#fff', '#10202e', '#10202e', '#2b2600', '#2b1d00', '#2b1000', '#fff'];
const INK_DARK = ['#fff', '#fff', '#081016', '#151200', '#140d00', '#fff', '#fff'];

const SOURCES: Readonly<Record<RateSource, string>> = {
  stated: 'as stated',
  changelog: 'by its changelog',
  build: 'by its build date',
  prior: 'as is usual for its kind',
};

/** A node of the map: the image, a layer or a component. */
interface Node {
  readonly layer?: ReportedLayer;
  readonly component?: PlannedComponent;
  readonly children?: readonly Node[];
}

type Box = HierarchyRectangularNode<Node>;

/** The picture of a plan as an SVG document. */
export function drawPlan(report: PlanReport): string {
  const title = `Plan of ${showText(report.reference)}`;
  const layers = (layOut(report).children ?? []).map((box) => drawLayer(box, report));
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${HEIGHT}" width="${WIDTH}" height="${HEIGHT}" role="graphics-document document" aria-labelledby="title summary">`,
    `<title id="title">${escapeXml(title)}</title>`,
    `<desc id="summary">${escapeXml(`${summarize(report)}. Area is compressed bytes, colour the chance that an update changes a component.`)}</desc>`,
    `<style>${style()}</style>`,
    `<rect class="page" width="${WIDTH}" height="${HEIGHT}"/>`,
    `<text class="title" x="${MARGIN}" y="30">${escapeXml(fit(title, WIDTH - 2 * MARGIN, 10))}</text>`,
    `<text class="note" x="${MARGIN}" y="51">${escapeXml(summarize(report))}</text>`,
    ...layers,
    ...drawLegend(report),
    '</svg>',
    '',
  ].join('\n');
}

function summarize({ layers, components, size, updateBytes, now }: PlanReport): string {
  const update = `an update pulls about ${formatSize(updateBytes)} of ${formatSize(size)}`;
  const kept = now
    ? `; now ${now.keptLayers} layers are kept and ${formatSize(now.pullBytes)} are pulled`
    : '';
  return `${layers.length} layers, ${components.length} components; ${update}${kept}`;
}

/** Boxes for all layers and components, the largest first. */
function layOut({ layers, components }: PlanReport): Box {
  const members = Map.groupBy(components, ({ layer }) => layer);
  const children = layers.map(
    (layer): Node => ({
      layer,
      children: (members.get(layer.layer) ?? []).map((component): Node => ({ component })),
    }),
  );
  const root = hierarchy<Node>({ children })
    .sum(({ component, layer }) => component?.size ?? (isWhole(layer) ? (layer?.size ?? 0) : 0))
    .sort((a, b) => (b.value ?? 0) - (a.value ?? 0) || (nameOf(a.data) < nameOf(b.data) ? -1 : 1));
  const isLayer = (box: Box): boolean => box.depth === 1;
  return treemap<Node>()
    .size([WIDTH - 2 * MARGIN, HEIGHT - HEAD - FOOT])
    .paddingInner((box) => (box.depth === 0 ? 3 : 0))
    .paddingTop((box) => (isLayer(box) && hasStrip(box) ? STRIP : 0))(root);
}

/** What layers hold that hold no components, in words. */
const HELD: Readonly<Partial<Record<LayerRole, string>>> = {
  skeleton: 'directories',
  whiteouts: 'whiteouts',
  base: 'of the base',
};

/** Whether a layer is drawn as one box: it holds no components. */
function isWhole(layer: ReportedLayer | undefined): boolean {
  return layer !== undefined && layer.role !== 'content';
}

function nameOf({ layer, component }: Node): string {
  return component?.id ?? layer?.components[0] ?? '';
}

function hasStrip(box: Box): boolean {
  return box.x1 - box.x0 >= STRIP_LEAST.width && box.y1 - box.y0 >= STRIP_LEAST.height;
}

/** Where a box lies, as attributes; rounded, so that every machine writes the same. */
function place({ x0, x1, y0, y1 }: Box): string {
  const [x, y] = [MARGIN + x0, HEAD + y0];
  return `x="${round(x)}" y="${round(y)}" width="${round(x1 - x0)}" height="${round(y1 - y0)}"`;
}

function round(pixels: number): string {
  return String(Math.round(pixels * 10) / 10);
}

function drawLayer(box: Box, report: PlanReport): string {
  const { layer } = box.data;
  if (!layer) return '';
  const kept = layer.previousLayer === undefined ? '' : ', kept';
  const facts = `${formatSize(layer.size)} · ${showChance(layer.changes)}${kept}`;
  const held = HELD[layer.role] ?? `${layer.components.length} components`;
  const name = `Layer ${layer.layer}: ${facts}, ${held}`;
  const strip = longestOf(
    [`layer ${layer.layer} · ${facts}`, `${layer.layer} · ${facts}`, `${layer.layer}`],
    box.x1 - box.x0 - 8,
  );
  return [
    `<g role="graphics-object group"><title>${escapeXml(name)}</title>`,
    ...(isWhole(layer) ? [`<rect class="box c${stepOf(layer.changes)}" ${place(box)}/>`] : []),
    ...(hasStrip(box)
      ? [
          `<rect class="strip" ${place({ ...box, y1: box.y0 + STRIP } as Box)}/>`,
          `<text class="label head" x="${round(MARGIN + box.x0 + 4)}" y="${round(HEAD + box.y0 + LINE)}">${escapeXml(strip)}</text>`,
        ]
      : []),
    ...(box.children ?? []).map((child) => drawComponent(child, report)),
    `<rect class="layer${kept && ' kept'}" ${place(box)}/>`,
    '</g>',
  ].join('\n');
}

function drawComponent(box: Box, report: PlanReport): string {
  const { component } = box.data;
  if (!component) return '';
  const step = stepOf(component.changes);
  const tooltip = describeComponent(component, report);
  const lines = labelOf(component, box).map(
    (text, i) =>
      `<text class="label i${step}" x="${round(MARGIN + box.x0 + 4)}" y="${round(HEAD + box.y0 + LINE * (i + 1))}">${escapeXml(text)}</text>`,
  );
  return `<g role="graphics-symbol img"><title>${escapeXml(tooltip)}</title><rect class="box c${step}" ${place(box)}/>${lines.join('')}</g>`;
}

/** What fits into a component's box: its name, then size and chance. */
function labelOf(component: PlannedComponent, box: Box): string[] {
  const [width, height] = [box.x1 - box.x0 - 7, box.y1 - box.y0];
  const name = shortName(component);
  const shown = fit(name, width, CHAR);
  // Less than a few characters say nothing.
  if (height < LINE + 3 || (shown !== name && shown.length < 5)) return [];
  const facts = `${formatSize(component.size)} ${showChance(component.changes)}`;
  const hasRoom = height >= 2 * LINE + 4 && facts.length * CHAR <= width;
  return hasRoom ? [shown, facts] : [shown];
}

/** The package `dpkg:perl` as `perl`, `node:/app/node_modules/@babel/core` as `@babel/core`; what is no package by its id. */
function shortName({ id, kind }: PlannedComponent): string {
  if (kind !== 'package' && kind !== 'language') return showText(id);
  const name = showText(id.slice(id.indexOf(':') + 1));
  return name.startsWith('/') ? (/(?:@[^/]+\/)?[^/]+$/.exec(name)?.[0] ?? name) : name;
}

function describeComponent(component: PlannedComponent, { observed }: PlanReport): string {
  const { id, size, changes, source, packages = [], layer, entries } = component;
  const seen = observed > 0 ? `, changed in ${component.observed} of ${observed} updates` : '';
  return [
    showText(id),
    ...packages.map(showText),
    `${formatSize(size)} in ${entries} entries, layer ${layer}`,
    `${showChance(changes)} of updates change it (${SOURCES[source]}${seen})`,
  ].join('\n');
}

/** A chance in millionths as text. */
function showChance(changes: number): string {
  return `${(changes / 10_000).toFixed(1)} %`;
}

function stepOf(changes: number): number {
  return STEPS.findLastIndex(([least]) => changes >= least);
}

/** The first of `texts`, the longest first, that has room in `width` pixels; the last one where none has. */
function longestOf(texts: readonly string[], width: number): string {
  return texts.find((text) => text.length * CHAR <= width) ?? texts.at(-1) ?? '';
}

/** As much of `text` as has room in `width` pixels. */
function fit(text: string, width: number, char: number): string {
  const room = Math.floor(width / char);
  if (text.length <= room) return text;
  return room < 2 ? '' : `${text.slice(0, room - 1)}…`;
}

function drawLegend({ now }: PlanReport): string[] {
  const y = HEIGHT - FOOT + 22;
  const step = 122;
  const start = MARGIN + 204;
  const boxes = STEPS.map(
    ([, words], i) =>
      `<rect class="box c${i}" x="${start + i * step}" y="${y}" width="18" height="14"/><text class="note" x="${start + i * step + 24}" y="${y + 12}">${words}</text>`,
  );
  const end = start + STEPS.length * step + 24;
  const kept = now
    ? [
        `<rect class="layer kept" x="${end}" y="${y}" width="18" height="14"/><text class="note" x="${end + 24}" y="${y + 12}">kept layer</text>`,
      ]
    : [];
  return [
    '<g aria-hidden="true">',
    `<text class="note" x="${MARGIN}" y="${y + 12}">chance of change an update</text>`,
    ...boxes,
    ...kept,
    '</g>',
  ];
}

function style(): string {
  const rules = (boxes: readonly string[], inks: readonly string[]): string =>
    boxes.map((box, i) => `.c${i}{fill:${box}}.i${i}{fill:${inks[i]}}`).join('');
  const light = `.page{fill:#fff}.title,.note{fill:#1c232b}.strip{fill:#e7ebef}.head{fill:#1c232b}.box{stroke:#fff}.layer{stroke:#1c232b}.kept{stroke:#0a7d3c}${rules(LIGHT, INK_LIGHT)}`;
  const dark = `.page{fill:#15191e}.title,.note{fill:#e3e8ee}.strip{fill:#2b323a}.head{fill:#e3e8ee}.box{stroke:#15191e}.layer{stroke:#aab4bf}.kept{stroke:#4ccf85}${rules(DARK, INK_DARK)}`;
  return [
    'text{font:13px system-ui,sans-serif}',
    '.title{font-size:19px;font-weight:600}',
    '.label{font:11px ui-monospace,Menlo,Consolas,"DejaVu Sans Mono",monospace}',
    '.head{font-weight:600}',
    '.box{stroke-width:.6}',
    '.layer{fill:none;stroke-width:1}',
    '.kept{stroke-width:2}',
    light,
    `@media(prefers-color-scheme:dark){${dark}}`,
  ].join('');
}

/** An id, reference or version as text: its bytes read as UTF-8, control characters escaped. */
function showText(text: string): string {
  return showPath(text);
}

function escapeXml(text: string): string {
  return text
    .replaceAll('&', '&amp;')
    .replaceAll('<', '&lt;')
    .replaceAll('>', '&gt;')
    .replaceAll('"', '&quot;');
}
