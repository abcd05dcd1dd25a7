/** The results as a picture: a panel an input, a bar a command, as long as its median wall time; the line in it goes from the quickest run to the slowest. */
import { BASE_STYLE, DARK_BASE_STYLE, escapeText, round, rule, svg, text } from '../svg.ts';
import { figure, type Row, type Section } from './results.ts';

const WIDTH = 860;
const LABELS = 270;
const BARS = 480;
const ROW = 20;
const BAR = 12;
const TOP = 50;
/** Above each panel's first bar. */
const HEAD = 34;
const GAP = 16;

const STYLE = `${BASE_STYLE} .range { stroke: #24292f }
  .floor { fill: #8c959f } .rival { fill: #d4883a } .ours { fill: #0969da }
  @media (prefers-color-scheme: dark) {${DARK_BASE_STYLE} .range { stroke: #e6edf3 }
    .floor { fill: #6e7681 } .rival { fill: #bd6f1f } .ours { fill: #4493f8 }
  }
`;

/** Whose a command is. */
function groupOf({ command, beside }: Row): 'floor' | 'rival' | 'ours' {
  if (command.startsWith('floor')) return 'floor';
  return /^(skopeo|umoci|chunkah)/.test(command) && command !== beside ? 'rival' : 'ours';
}

const wallOf = (row: Row): number => figure(row, ({ wallSeconds }) => wallSeconds);

function bar(section: Section, row: Row, longest: number, top: number): string {
  const at = (seconds: number): number => LABELS + (BARS * seconds) / longest;
  const walls = row.runs.map(({ wallSeconds }) => wallSeconds);
  const [wall, least, most] = [wallOf(row), Math.min(...walls), Math.max(...walls)];
  const middle = top + ROW / 2;
  const title = `${section.name}, ${row.command}: ${wall.toFixed(2)} s, ${walls.length} runs from ${least.toFixed(2)} to ${most.toFixed(2)} s`;
  return [
    text(LABELS - 10, middle + 4, row.command, 'text-anchor="end"'),
    `<rect class="${groupOf(row)}" x="${LABELS}" y="${round(middle - BAR / 2)}" width="${round(Math.max(1, at(wall) - LABELS))}" height="${BAR}"><title>${escapeText(title)}</title></rect>`,
    rule(at(least), middle, at(most), middle, 'range'),
    text(at(Math.max(wall, most)) + 6, middle + 4, `${wall.toFixed(2)} s`, 'class="small"'),
  ].join('\n');
}

function panel(section: Section, top: number): string {
  const slowest = section.rows.flatMap(({ runs }) => runs.map(({ wallSeconds }) => wallSeconds));
  const longest = Math.max(...slowest);
  return [
    text(LABELS, top + 12, section.name, 'class="head"'),
    text(LABELS, top + 27, section.about, 'class="small"'),
    ...section.rows.map((row, i) => bar(section, row, longest, top + HEAD + i * ROW)),
  ].join('\n');
}

/** The chart as an SVG file. */
export function chart(sections: readonly Section[]): string {
  let top = TOP;
  const panels = sections.map((section) => {
    const drawn = panel(section, top);
    top += HEAD + section.rows.length * ROW + GAP;
    return drawn;
  });
  const title = 'Wall time of whole processes';
  const legend =
    'blue: rechunk; orange: other tools; grey: the floor; median, quickest and slowest run; each panel has a scale of its own';
  const head = [text(0, 18, title, 'class="head"'), text(0, 36, legend, 'class="small"')];
  return svg([WIDTH, top], title, STYLE, [...head, ...panels]);
}
