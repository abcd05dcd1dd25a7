// needs: chromium
/** The page in a real browser: drawn, clicked, filtered, compared, without a network and without script. */
import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { type Browser, type BrowserContextOptions, chromium, type Page } from 'playwright-core';
import { suite } from 'uvu';
import { madeUpReport, type ReportOptions } from '../../../../test-images/reports.ts';
import type { Report } from '../../report.ts';
import { reportHtml } from '../html.ts';

const GOLDENS = new URL('./page.golden.json', import.meta.url);
/** Pictures of a page of everything. */
const PICTURES = ['storage', 'sizes', 'duplicates', 'costs', 'presence', 'heat'];
/** Everything that the page can show is then in view at once, and drawn. */
const TALL = { width: 1280, height: 3600 };
const REPOSITORIES = ['registry.example/web', 'registry.example/worker', 'registry.example/tools'];
const FULL: ReportOptions = { files: true, repositories: REPOSITORIES };

const page = suite('page');
const work = mkdtempSync(join(tmpdir(), 'rechunk-page-'));
let browser: Browser;

page.before(async () => {
  const found = (process.env['PATH'] ?? '').split(delimiter).map((path) => join(path, 'chromium'));
  const executablePath = found.find((path) => statOf(path)) ?? 'chromium';
  // The sandbox of a browser does not start as root.
  browser = await chromium.launch({ executablePath, args: ['--no-sandbox', '--disable-gpu'] });
});

page.after(async () => {
  await browser?.close();
  rmSync(work, { recursive: true, force: true });
});

function statOf(path: string): boolean {
  try {
    return readFileSync(path).length > 0;
  } catch {
    return false;
  }
}

interface Opened {
  readonly tab: Page;
  /** What the browser complained of, and all that it asked for beside the page. */
  readonly trouble: string[];
  readonly bytes: number;
}

let files = 0;

/** Opens the page of `report` from a file, without a network. */
async function open(report: Report, options: BrowserContextOptions = {}): Promise<Opened> {
  const text = await reportHtml(report);
  const file = join(work, `${files++}.html`);
  writeFileSync(file, text);
  const context = await browser.newContext({ viewport: TALL, ...options });
  await context.setOffline(true);
  const tab = await context.newPage();
  const trouble: string[] = [];
  const url = pathToFileURL(file).href;
  tab.on('console', (message) => trouble.push(message.text()));
  tab.on('pageerror', ({ message }) => trouble.push(message));
  tab.on('dialog', (dialog) => trouble.push(dialog.message()));
  tab.on('request', (request) => {
    if (request.url() !== url) trouble.push(request.url());
  });
  await tab.goto(url);
  return { tab, trouble, bytes: Buffer.byteLength(text) };
}

/** Waits until all pictures are painted. */
async function drawn(tab: Page): Promise<void> {
  await tab.waitForFunction(() => {
    const canvases = [...document.querySelectorAll('.canvas')];
    return canvases.every((canvas) => canvas.getAttribute('aria-busy') === 'false');
  });
}

/** Clicks into a picture at parts of its width and height. */
async function clickAt(tab: Page, id: string, x: number, y: number): Promise<void> {
  const canvas = tab.locator(`#${id} .canvas`);
  const box = await canvas.boundingBox();
  assert.ok(box);
  await canvas.click({ position: { x: box.width * x, y: box.height * y } });
}

/** Mean colours of a picture's parts, 24 across and 12 down, from its screenshot. */
async function coloursOf(tab: Page, id: string): Promise<number[]> {
  const shot = await tab.locator(`#${id} .canvas`).screenshot();
  // The page's own policy lets it load nothing, so the picture comes as bytes.
  return tab.evaluate(
    async (bytes) => {
      const [across, down] = [24, 12];
      const blob = new Blob([new Uint8Array(bytes)], { type: 'image/png' });
      const bitmap = await createImageBitmap(blob, {
        resizeWidth: across,
        resizeHeight: down,
        resizeQuality: 'high',
      });
      const context = new OffscreenCanvas(across, down).getContext('2d');
      context?.drawImage(bitmap, 0, 0);
      const pixels = context?.getImageData(0, 0, across, down).data ?? [];
      return [...pixels].filter((_, i) => i % 4 < 3);
    },
    [...shot],
  );
}

page('every picture is drawn with a name, nothing is asked for, nothing complains', async () => {
  const { tab, trouble } = await open(madeUpReport(FULL));
  await drawn(tab);
  const names = await tab
    .getByRole('img')
    .evaluateAll((found) => found.map((one) => one.getAttribute('aria-label') ?? ''));
  assert.equal(names.length, PICTURES.length);
  for (const words of [
    /^Storage of 2\.0 GB as a treemap: registry\.example\/web/,
    /^\d+ layers by size: /,
    /^Lorenz curve of duplicate files: 14 % of contents cause half/,
    /^What 19 updates pull: on average 27\.9 MB, at most 123\.6 MB for 1\.17\.0$/,
    /^Which of 20 tags have which of 111 layers/,
    /^What nodes pull from each of 20 tags to each other, by layers: at most /,
  ])
    assert.ok(
      names.some((name) => words.test(name)),
      `${words} in ${names.join('\n')}`,
    );
  for (const name of ['Repository', 'Images']) await tab.getByRole('combobox', { name }).hover();
  await tab.getByRole('searchbox', { name: 'Tags' }).hover();
  for (const name of ['Colours', 'Row height', 'Show']) {
    const groups = await tab.getByRole('group', { name }).count();
    assert.ok(groups > 0, name);
  }
  const unnamed = await tab.evaluate(() =>
    [...document.querySelectorAll('section, .scroll')]
      .filter((one) => !one.getAttribute('aria-label') && !one.getAttribute('aria-labelledby'))
      .map((one) => one.outerHTML.slice(0, 100)),
  );
  assert.deepEqual(unnamed, []);
  assert.deepEqual(trouble, []);
});

for (const colorScheme of ['light', 'dark'] as const)
  page(`pictures look as they did, ${colorScheme}`, async () => {
    const { tab } = await open(madeUpReport(FULL), { colorScheme });
    await drawn(tab);
    const goldens = JSON.parse(readFileSync(GOLDENS, 'utf8'));
    for (const id of PICTURES) {
      const found = await coloursOf(tab, id);
      const name = `${id} ${colorScheme}`;
      if (process.env['UPDATE_GOLDENS']) goldens[name] = found.join(' ');
      const wanted: number[] = goldens[name].split(' ').map(Number);
      const differences = found.map((value, i) => Math.abs(value - (wanted[i] ?? 0)));
      const mean = differences.reduce((sum, one) => sum + one, 0) / differences.length;
      // Fonts differ by a little; a theme, an axis or a layer that is off by far more.
      const MOST_MEAN = 3;
      assert.ok(mean < MOST_MEAN, `${name}: differs by ${mean.toFixed(2)} of 255`);
      assert.ok(new Set(wanted).size > 20, `${name}: there is something to compare`);
    }
    if (process.env['UPDATE_GOLDENS'])
      writeFileSync(GOLDENS, `${JSON.stringify(goldens, undefined, 2)}\n`);
  });

page('the filter leaves out tags and repositories in tables and pictures', async () => {
  const { tab, trouble } = await open(madeUpReport(FULL));
  await drawn(tab);
  const rows = (section: string): Promise<number> =>
    tab.locator(`#${section} tbody tr:visible`).count();
  assert.deepEqual([await rows('tags'), await rows('repositories')], [60, 3]);
  await tab
    .getByRole('combobox', { name: 'Repository' })
    .selectOption({ label: 'registry.example/worker' });
  await drawn(tab);
  assert.deepEqual([await rows('tags'), await rows('repositories')], [20, 1]);
  assert.equal(await tab.getByRole('combobox', { name: 'Images' }).locator('option').count(), 1);
  await tab.getByRole('searchbox', { name: 'Tags' }).fill('1.1?.0');
  await tab.getByText('10 of 60 tags').waitFor();
  await drawn(tab);
  assert.deepEqual([await rows('tags'), await rows('updates')], [10, 10]);
  const name = await tab.locator('#presence .canvas').getAttribute('aria-label');
  assert.match(name ?? '', /^Which of 10 tags /);
  await tab.getByRole('searchbox', { name: 'Tags' }).fill('nothing at all');
  await tab.getByText('0 of 60 tags').waitFor();
  await drawn(tab);
  assert.deepEqual(trouble, []);
});

page('clicks tell of layers and causes, open parts, and sort', async () => {
  const { tab, trouble } = await open(madeUpReport(FULL));
  await drawn(tab);
  await clickAt(tab, 'presence', 0.5, 0.12);
  const told = tab.locator('#presence .told');
  assert.match(
    await told.innerText(),
    /^6 layers, 201\.5 MB, in 1\.0\.0 … 1\.19\.0\n[0-9a-f]{12}, /,
  );
  // The largest update, 1.17.0, is the bar of most bytes.
  await clickAt(tab, 'costs', 0.875, 0.85);
  const causes = await tab.locator('#costs .told').innerText();
  assert.match(causes, /^1\.16\.0 → 1\.17\.0: 123\.6 MB\nrpm:\S+ changed \(\d\.1-3 -> \d\.1-4\): /);
  const before = await coloursOf(tab, 'storage');
  await clickAt(tab, 'storage', 0.1, 0.3);
  await tab.waitForTimeout(500);
  assert.notDeepEqual(await coloursOf(tab, 'storage'), before);
  const equal = tab.getByRole('radio', { name: 'Equal' });
  const rows = await coloursOf(tab, 'presence');
  await equal.check();
  await drawn(tab);
  assert.notDeepEqual(await coloursOf(tab, 'presence'), rows);
  const head = tab.locator('#updates').getByRole('columnheader', { name: 'Pulled' });
  await head.getByRole('button').click();
  assert.equal(await head.getAttribute('aria-sort'), 'descending');
  const largest = await tab.locator('#updates tbody td:nth-of-type(2)').first().innerText();
  const sorted = madeUpReport(FULL).updates.map(({ bytes }) => bytes);
  assert.match(largest, new RegExp(`^${(Math.max(...sorted) / 1e6).toFixed(1)} MB`));
  await head.getByRole('button').click();
  assert.equal(await head.getAttribute('aria-sort'), 'ascending');
  assert.deepEqual(trouble, []);
});

page('the switch sets the colours, against what the system prefers', async () => {
  const { tab } = await open(madeUpReport(FULL), { colorScheme: 'dark' });
  await drawn(tab);
  const ground = (): Promise<string> =>
    tab.evaluate(() => getComputedStyle(document.body).backgroundColor);
  const dark = await ground();
  const picture = await coloursOf(tab, 'heat');
  await tab.getByRole('radio', { name: 'Light' }).check();
  await drawn(tab);
  assert.notEqual(await ground(), dark);
  assert.notDeepEqual(await coloursOf(tab, 'heat'), picture);
  await tab.getByRole('radio', { name: 'Dark' }).check();
  assert.equal(await ground(), dark);
});

page('without script the words and tables are all there', async () => {
  const report = madeUpReport(FULL);
  const { tab, trouble } = await open(report, { javaScriptEnabled: false });
  assert.equal(await tab.locator('#tags tbody tr').count(), report.tags.length);
  assert.equal(await tab.locator('#updates tbody tr:visible').count(), report.updates.length);
  await tab.getByText('Pictures need script').first().waitFor();
  assert.equal(await tab.locator('.picture:visible, #filter:visible').count(), 0);
  const text = await tab.locator('main').innerText();
  for (const words of [
    '21.1 GB',
    '1.0.0',
    'usr/lib64/glibc.so',
    'max-update-bytes',
    'lists no blobs',
  ])
    assert.ok(text.includes(words), words);
  assert.deepEqual(trouble, []);
});

page('names that strangers choose stay names', async () => {
  const evil = '"\'></script><script>alert(1)</script><img src=x onerror=alert(2)>\u202e{{a}}%s';
  const report = madeUpReport({
    ...{ files: true, tags: 4, layers: 8, createdBy: evil, tagName: (i) => `${i}${evil}` },
    repositories: [`registry.example/${evil}`, 'registry.example/b'],
    platform: evil,
  });
  const stranger = {
    ...report,
    targets: [evil],
    stores: [evil],
    skipped: [{ name: evil, why: evil }],
    updates: report.updates.map((one) => ({
      ...one,
      causes: [{ component: evil, why: 'changed' as const, bytes: one.bytes, detail: evil }],
    })),
  };
  const { tab, trouble } = await open(stranger);
  await drawn(tab);
  for (const id of ['storage', 'costs', 'presence', 'heat']) {
    await tab.locator(`#${id} .canvas`).hover();
    await clickAt(tab, id, 0.5, 0.6);
  }
  await tab.getByRole('combobox', { name: 'Repository' }).selectOption('0');
  assert.equal(await tab.locator('img, body script:not(#data) ~ script').count(), 0);
  assert.equal(await tab.locator('script').count(), 2);
  const shown = evil.replace('\u202e', '\\u{202e}');
  assert.equal(await tab.locator('.targets').innerText(), shown);
  assert.equal(
    await tab
      .getByLabel('Images')
      .locator('option')
      .first()
      .innerText()
      .then((text) => text.includes(shown)),
    true,
  );
  assert.deepEqual(trouble, []);
});

/** Share of a picture's parts that are not as its corner is. */
async function filled(tab: Page, id: string): Promise<number> {
  const colours = await coloursOf(tab, id);
  const parts = Array.from({ length: colours.length / 3 }, (_, i) =>
    colours.slice(3 * i, 3 * i + 3),
  );
  const [corner = []] = parts;
  const others = parts.filter((part) =>
    part.some((value, i) => Math.abs(value - (corner[i] ?? 0)) > 8),
  );
  return others.length / parts.length;
}

page('tags as long as they may be leave room for the pictures', async () => {
  const shape = { files: true, tags: 6, layers: 9 };
  const { tab } = await open(madeUpReport(shape));
  const long = await open(
    madeUpReport({ ...shape, tagName: (i) => `${'long'.repeat(31)}1.${i}`.slice(-128) }),
  );
  for (const one of [tab, long.tab]) await drawn(one);
  for (const id of ['costs', 'presence', 'heat']) {
    const [some, wanted] = [await filled(long.tab, id), await filled(tab, id)];
    assert.ok(
      some > wanted * 0.7,
      `${id}: ${some} of the picture is drawn on, ${wanted} with short names`,
    );
  }
});

/** What is written into pictures when they are drawn anew. */
async function writtenIn(tab: Page): Promise<Set<string>> {
  await tab.evaluate(() => {
    const { fillText } = CanvasRenderingContext2D.prototype;
    const texts: string[] = [];
    Object.assign(window, { texts });
    CanvasRenderingContext2D.prototype.fillText = function (text, ...rest) {
      texts.push(text);
      return fillText.call(this, text, ...rest);
    };
  });
  await tab.getByRole('radio', { name: 'Dark' }).check();
  await drawn(tab);
  return new Set(await tab.evaluate(() => (window as unknown as { texts: string[] }).texts));
}

page('a tag as long as it may be takes no label from the others', async () => {
  const tagName = (i: number): string => (i === 2 ? 'long'.repeat(32) : `1.${i}`);
  const { tab } = await open(madeUpReport({ files: true, tags: 6, layers: 9, tagName }));
  await drawn(tab);
  const texts = await writtenIn(tab);
  for (const label of ['1.0', '1.1', '1.3', '1.4', '1.5', 'longlonglo…nglonglong'])
    assert.ok(texts.has(label), `${label} of ${[...texts].join(', ')}`);
});

page('500 tags of 60 layers are drawn in time, and a click shows some of them', async () => {
  const report = madeUpReport({ files: true, tags: 500, layers: 60, repositories: ['r'] });
  const started = performance.now();
  const { tab, trouble, bytes } = await open(report);
  await drawn(tab);
  const MOST_MS = 40_000;
  assert.ok(performance.now() - started < MOST_MS, `${Math.round(performance.now() - started)} ms`);
  const MOST_BYTES = 6e6;
  assert.ok(bytes < MOST_BYTES, `${bytes} bytes`);
  const name = (): Promise<string | null> =>
    tab.locator('#heat .canvas').getAttribute('aria-label');
  assert.match((await name()) ?? '', /each of 500 tags/);
  await clickAt(tab, 'heat', 0.55, 0.45);
  const all = tab.getByRole('button', { name: 'All tags' });
  await all.waitFor();
  assert.ok(!/each of 500 tags/.test((await name()) ?? ''));
  await all.click();
  assert.match((await name()) ?? '', /each of 500 tags/);
  assert.deepEqual(trouble, []);
});

page(
  'on a telephone nothing but tables goes beyond the edge; a report of little is a page too',
  async () => {
    const small = madeUpReport({ tags: 1, layers: 3, repositories: ['oci:layout'] });
    const bare: Report = {
      ...small,
      updates: [],
      matrices: [],
      recompressed: [],
      unreferenced: [],
    };
    for (const report of [
      madeUpReport(FULL),
      bare,
      { ...bare, tags: [], repositories: [], layers: [] },
    ]) {
      const { tab, trouble } = await open(report, { viewport: { width: 390, height: 6000 } });
      await drawn(tab);
      const over = await tab.evaluate(
        () => document.documentElement.scrollWidth - document.documentElement.clientWidth,
      );
      assert.equal(over, 0);
      assert.deepEqual(trouble, []);
    }
  },
);

page('the same report gives the same bytes', async () => {
  const made = await Promise.all([1, 2].map(() => reportHtml(madeUpReport(FULL))));
  assert.ok(made[0] === made[1]);
});

page.run();
