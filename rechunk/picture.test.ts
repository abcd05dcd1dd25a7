/** The treemap: every component is in it, areas are sizes, names are text, colours can be read. */
import assert from 'node:assert/strict';
import { test } from 'uvu';
import { drawPlan } from './picture.ts';
import type { PlannedComponent, PlanReport } from './preview.ts';

function component(id: string, layer: number, size: number, changes = 0): PlannedComponent {
  const kind = id.includes(':') ? 'package' : 'config';
  return { id, kind, size, rate: 0, source: 'prior', observed: 0, changes, layer, entries: 1 };
}

function reportOf(components: readonly PlannedComponent[], more?: Partial<PlanReport>): PlanReport {
  const groups = [...Map.groupBy(components, ({ layer }) => layer)].sort(([a], [b]) => a - b);
  const layers = groups.map(([layer, members]) => ({
    layer,
    role: 'content' as const,
    components: members.map(({ id }) => id),
    size: members.reduce((sum, { size }) => sum + size, 0),
    tarSize: 0,
    changes: 10_000,
  }));
  return {
    reference: 'oci:image:1',
    source: 'sha256:0',
    platform: 'linux/amd64',
    entries: components.length,
    components,
    layers,
    size: layers.reduce((sum, { size }) => sum + size, 0),
    updateBytes: 0,
    updateChainBytes: 0,
    observed: 0,
    excuses: [],
    ...more,
  };
}

/** Component boxes of the map (not of the legend), by the first line of their tooltip. */
function boxesOf(svg: string): Map<string, number> {
  const found = svg.matchAll(
    /<title>([^<\n]*)[^<]*<\/title><rect class="box [^"]*" x="[\d.]+" y="[\d.]+" width="([\d.]+)" height="([\d.]+)"/g,
  );
  return new Map([...found].map(([, id = '', w, h]) => [id, Number(w) * Number(h)]));
}

/** The elements that are open at the end; throws where one is closed that is not the last one opened. */
function openElements(xml: string): string[] {
  const open: string[] = [];
  for (const [, close, name = '', empty] of xml.matchAll(/<(\/?)([a-z]+)[^>]*?(\/?)>/g)) {
    if (close) assert.equal(open.pop(), name);
    else if (!empty) open.push(name);
  }
  return open;
}

test('areas are as sizes are, within a layer and, strips aside, between layers', () => {
  const sizes = { 'dpkg:a': 4e6, 'dpkg:b': 2e6, 'dpkg:c': 1e6 };
  const [a, b, c] = Object.entries(sizes).map(([id, size], i) =>
    component(id, i < 2 ? 1 : 2, size),
  );
  const boxes = boxesOf(drawPlan(reportOf([a, b, c] as PlannedComponent[])));
  assert.deepEqual([...boxes.keys()].sort(), Object.keys(sizes));
  const ratio = (x: string, y: string): number => (boxes.get(x) ?? 0) / (boxes.get(y) ?? 1);
  assert.ok(Math.abs(ratio('dpkg:a', 'dpkg:b') - 2) < 0.01, `${ratio('dpkg:a', 'dpkg:b')}`);
  assert.ok(Math.abs(ratio('dpkg:b', 'dpkg:c') - 2) < 0.1, `${ratio('dpkg:b', 'dpkg:c')}`);
});

test('a thousand components are all there, and the bytes do not depend on their order', () => {
  const many = Array.from({ length: 1000 }, (_, i) =>
    component(`dpkg:p${i}`, 1 + (i % 60), 1000 + ((i * 7919) % 100_000), i * 1000),
  );
  const svg = drawPlan(reportOf(many));
  assert.equal(boxesOf(svg).size, 1000);
  const { layers } = reportOf(many);
  assert.equal(drawPlan({ ...reportOf([...many].reverse()), layers }), svg);
});

test('names are text, whatever is in them', () => {
  const hostile = 'dpkg:<script>alert("1")</script>&\x07\xff';
  const svg = drawPlan(reportOf([component(hostile, 1, 10)], { reference: 'oci:<b>&' }));
  assert.deepEqual(openElements(svg), []);
  assert.ok(svg.includes('&lt;script&gt;alert(&quot;1&quot;)&lt;/script&gt;&amp;\\x07\\xff'));
  assert.ok(svg.includes('<title id="title">Plan of oci:&lt;b&gt;&amp;</title>'));
  assert.ok(!/[\x00-\x09\x0b-\x1f]/.test(svg));
});

test('a kept layer is marked, and the legend says how', () => {
  const report = reportOf([component('dpkg:a', 1, 10), component('dpkg:b', 2, 10)]);
  const layers = report.layers.map((layer) =>
    layer.layer === 1 ? { ...layer, previousLayer: 3 } : layer,
  );
  const now = { keptLayers: 1, pullBytes: 10, movedBytes: 0, chainBytes: 10 };
  const svg = drawPlan({ ...report, layers, now });
  assert.equal(svg.match(/class="layer kept"/g)?.length, 2);
  assert.match(svg, /<title>Layer 1: 10 B · 1\.0 %, kept, 1 components<\/title>/);
  assert.equal(drawPlan(report).match(/class="layer kept"/g), null);
});

test('a skeleton has a box of its own size and colour', () => {
  const report = reportOf([component('dpkg:a', 1, 3_000_000)]);
  const skeleton = { layer: 2, role: 'skeleton', components: [], tarSize: 0 } as const;
  const layers = [...report.layers, { ...skeleton, size: 1_000_000, changes: 500_000 }];
  const svg = drawPlan({ ...report, layers });
  assert.match(svg, /<title>Layer 2: 1\.0 MB · 50\.0 %, directories<\/title>/);
  const [, width, height] =
    /directories<\/title>\n<rect class="box c6" [^>]* width="([\d.]+)" height="([\d.]+)"/.exec(
      svg,
    ) ?? [];
  const area = Number(width) * Number(height);
  const ratio = (boxesOf(svg).get('dpkg:a') ?? 0) / area;
  assert.ok(Math.abs(ratio - 3) < 0.2, `${ratio}`);
});

test('an image without files is a picture, too', () => {
  assert.deepEqual(openElements(drawPlan(reportOf([]))), []);
});

/** Relative luminance (WCAG 2.2). */
function luminance(colour: string): number {
  const digits =
    colour.length === 4 ? [...colour.slice(1)].map((c) => c + c) : colour.slice(1).match(/../g);
  const [r = 0, g = 0, b = 0] = (digits ?? []).map((pair) => {
    const part = Number.parseInt(pair, 16) / 255;
    return part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
  });
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
}

test('every label can be read on its box, in light and in dark: a contrast of 4.5 (WCAG AA)', () => {
  const css = /<style>(.*)<\/style>/.exec(drawPlan(reportOf([])))?.[1] ?? '';
  const [light = '', dark = ''] = css.split('@media(prefers-color-scheme:dark)');
  for (const rules of [light, dark]) {
    const fill = (name: string): string =>
      new RegExp(`\\.${name}\\{fill:(#[0-9a-f]+)`).exec(rules)?.[1] ?? '';
    for (let i = 0; i < 7; i++) {
      const [a, b] = [luminance(fill(`c${i}`)), luminance(fill(`i${i}`))];
      const contrast = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
      assert.ok(contrast >= 4.5, `${fill(`c${i}`)} ${fill(`i${i}`)} ${contrast.toFixed(2)}`);
    }
  }
});

test.run();
