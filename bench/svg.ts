/** Parts of SVG pictures, readable on light and dark ground. */

/** Classes that every chart has. */
export const BASE_STYLE = `
  text { font: 12px system-ui, sans-serif; fill: #24292f }
  .head { font-weight: 600 } .small { font-size: 11px; fill: #57606a }
  .grid { stroke: #d0d7de }`;
/** The same for dark ground. */
export const DARK_BASE_STYLE = `
    text { fill: #e6edf3 } .small { fill: #9198a1 }
    .grid { stroke: #3d444d }`;

/** Text with the characters that XML reserves escaped. */
export const escapeText = (text: string): string =>
  text.replace(/[&<>"]/g, (char) => `&#${char.charCodeAt(0)};`);

/** Coordinates to a tenth of a pixel. */
export const round = (value: number): number => Math.round(value * 10) / 10;

/** A line of text. */
export function text(x: number, y: number, content: string, attributes = ''): string {
  return `<text x="${round(x)}" y="${round(y)}"${attributes && ` ${attributes}`}>${escapeText(content)}</text>`;
}

/** A straight line of a class. */
export function rule(x1: number, y1: number, x2: number, y2: number, name: string): string {
  return `<line class="${name}" x1="${round(x1)}" y1="${round(y1)}" x2="${round(x2)}" y2="${round(y2)}"/>`;
}

/** A picture of the given size, pixels; `label` is what it shows, for those who cannot see it. */
export function svg(
  [width, height]: readonly [number, number],
  label: string,
  style: string,
  content: readonly string[],
): string {
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" width="${width}" height="${height}" role="img" aria-label="${escapeText(label)}">`,
    `<style>${style}</style>`,
    ...content,
    '</svg>',
    '',
  ].join('\n');
}
