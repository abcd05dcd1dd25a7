/**
 * A report as one page that needs nothing else: no network, and no script for its words and tables. Script draws the pictures,
 * sorts and filters. A policy within the page forbids all that it does not bring along: what names of repositories, tags or files
 * might smuggle in would not run.
 */
import { createHash } from 'node:crypto';
import { formatSize } from '../../size.ts';
import type { Report, Threshold } from '../report.ts';
import { html, Markup, scriptJson } from './markup.ts';
import { pageData } from './pagedata.ts';
import * as storage from './storage.ts';
import { STYLE } from './style.ts';
import * as updates from './updates.ts';
import { counted, percent } from './words.ts';

/** The page for `report`; the same report gives the same bytes. */
export async function reportHtml(report: Report): Promise<string> {
  const { pageScript } = await import('./script.ts');
  const script = asElement(await pageScript());
  const hash = createHash('sha256').update(script).digest('base64');
  const policy = `default-src 'none'; script-src 'sha256-${hash}'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'`;
  const page = html`<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="${policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta name="generator" content="rechunk">
<title>Layer report: ${report.targets.join(', ')}</title>
<style>${new Markup(STYLE)}</style>
</head>
<body>
${head(report)}
<main>
${parts(report)}
</main>
<script type="application/json" id="data">${scriptJson(pageData(report))}</script>
<script>${new Markup(script)}</script>
</body>
</html>
`;
  return page.text;
}

/** `script` as a browser reads it from an element: with its line ends, and without an end in a text or a pattern. */
function asElement(script: string): string {
  return script.replace(/\r\n?/g, '\n').replaceAll('</script', '<\\/script');
}

function head({ targets, depth, generated, headline, repositories }: Report): Markup {
  const { tags, images, blobs } = headline;
  const facts = `${counted(headline.repositories, 'repository', 'repositories')}, ${counted(tags, 'tag')}, ${counted(images, 'image')}, ${counted(blobs, 'blob')}`;
  const depthWords = depth === 'files' ? 'every file was read' : 'from manifests and configs';
  const options = repositories.map(({ name }, i) => html`<option value="${i}">${name}</option>`);
  const theme = (value: string, name: string): Markup =>
    html`<label><input type="radio" name="theme" value="${value}" id="theme-${value}"${value === 'auto' ? html` checked` : ''}><span>${name}</span></label>`;
  return html`<header>
<div><h1>Layer report</h1><p class="targets">${targets.join(', ')}</p>
<p class="dim">${facts}; ${depthWords}${generated === undefined ? '' : html`, <time datetime="${generated}">${generated.slice(0, 16).replace('T', ' ')} UTC</time>`}</p></div>
<fieldset class="theme"><legend>Colours</legend>${theme('auto', 'Auto')}${theme('light', 'Light')}${theme('dark', 'Dark')}</fieldset>
</header>
<form id="filter" role="search" aria-label="Filter" hidden>
<label>Repository <select id="repository"><option value="">all</option>${options}</select></label>
<label>Tags <input id="pattern" type="search" placeholder="such as 1.* or *-slim" spellcheck="false" autocomplete="off"></label>
<output id="matched" aria-live="polite"></output>
</form>`;
}

/** A picture that script draws: its controls, itself, and what a click on it tells. */
function picture(id: string, title: string, says: string, controls?: Markup): Markup {
  return html`<figure id="${id}" class="picture"><figcaption><h3>${title}</h3><p>${says}</p></figcaption>
<div class="controls">${controls}</div><div class="canvas" role="img" aria-label="${title}"></div>
<div class="told" role="status"></div></figure>`;
}

function choice(
  name: string,
  legend: string,
  options: readonly (readonly [string, string])[],
): Markup {
  const buttons = options.map(
    ([value, text], i) =>
      html`<label><input type="radio" name="${name}" value="${value}"${i === 0 ? html` checked` : ''}><span>${text}</span></label>`,
  );
  return html`<fieldset class="choice"><legend>${legend}</legend>${buttons}</fieldset>`;
}

function section(id: string, title: string, content: Markup | undefined): Markup | undefined {
  if (content === undefined) return undefined;
  return html`<section id="${id}" aria-labelledby="${id}-title"><h2 id="${id}-title">${title}</h2>
${content}</section>\n`;
}

function parts(report: Report): (Markup | undefined)[] {
  const { whatIf, deletion, node, files, thresholds = [], skipped = [] } = report;
  return [
    section('summary', 'In short', html`${thresholdList(thresholds)}${storage.headline(report)}`),
    section('stored', 'What is stored', storedPictures(report)),
    section('pulled', 'What updates pull', updatePictures(report)),
    section('what-if', 'What rechunking would save', whatIf && updates.whatIf(whatIf)),
    section('deletion', 'What a deletion frees', deletion && storage.deletion(report, deletion)),
    section('node', 'What a node pulls', node && updates.node(report, node)),
    section('repositories', 'Repositories', storage.repositories(report)),
    section('tags', 'Tags', storage.tags(report)),
    section('updates', 'Updates', report.updates.length > 0 ? updates.updates(report) : undefined),
    section(
      'pairs',
      'From every tag to every other',
      report.matrices.length > 0 ? updates.matrices(report) : undefined,
    ),
    section('files', 'Duplicate files', files && updates.files(report, files)),
    section('repeated', 'Stored more than once', storage.repeated(report)),
    section('unreferenced', 'Needed by nothing', storage.unreferenced(report)),
    section('layers', 'Layers', storage.layers(report)),
    section(
      'skipped',
      'Not in this report',
      skipped.length > 0
        ? html`<ul>${skipped.map(({ name, why }) => html`<li><b>${name}</b>: ${why}</li>`)}</ul>`
        : undefined,
    ),
  ];
}

/** Shown until script runs, be it that a reader or a server does not allow it. */
const NO_SCRIPT = html`<p class="note scriptless">Pictures need script. The tables below have all figures.</p>`;

function storedPictures({ files }: Report): Markup {
  const duplicates = picture(
    'duplicates',
    'Duplicate files',
    'Contents, most wasteful first, against what they waste: the steeper, the fewer files matter.',
    choice('duplicates-view', 'Show', [
      ['lorenz', 'Lorenz curve'],
      ['copies', 'By number of copies'],
    ]),
  );
  return html`${NO_SCRIPT}<div class="pictures">${picture(
    'storage',
    'Storage',
    'Area is bytes stored. Layers lie with the repository that alone needs them, or with those that several need. A click opens a part.',
  )}${picture('sizes', 'Layers by size', 'Bars are bytes stored, the line counts layers.')}${files ? duplicates : ''}</div>`;
}

function updatePictures({ updates: found }: Report): Markup {
  const hasFloor = found.some(({ floor }) => floor !== undefined);
  return html`${NO_SCRIPT}<p class="controls series"><label>Images <select id="series"></select></label></p>
<div class="pictures">${picture(
    'costs',
    'Update cost',
    'What a node that has one tag pulls for the next one. A click on a bar tells why.',
  )}${picture(
    'presence',
    'Layers by tag',
    'A column is a tag, a row layers that the same tags have. Orange is new in that tag: a node pulls it.',
    choice('presence-rows', 'Row height', [
      ['size', 'Bytes'],
      ['count', 'Equal'],
    ]),
  )}${picture(
    'heat',
    'From tag to tag',
    'What a node that has the tag of the row pulls for the tag of the column.',
    html`${
      hasFloor
        ? choice('heat-view', 'Show', [
            ['layers', 'Layers'],
            ['floor', 'Floor by files'],
          ])
        : ''
    }<button type="button" id="heat-all" hidden>All tags</button>`,
  )}</div>`;
}

function thresholdList(thresholds: readonly Threshold[]): Markup | undefined {
  if (thresholds.length === 0) return undefined;
  const rows = thresholds.map(({ name, limit, found, crossed, where }) => {
    const shown = (value: number): string =>
      name === 'min-shared' ? percent(value, 1) : formatSize(value);
    if (found === undefined)
      return html`<li class="bad"><b>Not held</b> <code>--${name} ${shown(limit)}</code>: ${
        where === undefined ? 'there is no update' : `${where} cannot be read`
      }</li>`;
    const at = where === undefined ? '' : ` at ${where}`;
    return html`<li class="${crossed ? 'bad' : 'good'}"><b>${crossed ? 'Crossed' : 'Kept'}</b> <code>--${name} ${shown(limit)}</code>: found ${shown(found)}${at}</li>`;
  });
  return html`<ul class="thresholds">${rows}</ul>`;
}
