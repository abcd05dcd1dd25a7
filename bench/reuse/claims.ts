/** What the project claims of its updates, each with the figure that was measured. A claim is never bent to fit. */
import { HINDSIGHT, PACKINGS } from './packings.ts';
import { AVERAGED, COUNTS, Figures, type Results } from './results.ts';

/** A claim and what was measured. */
export interface Claim {
  readonly text: string;
  readonly measured: string;
  /** Absent where a figure is told and nothing is claimed of it. */
  readonly holds?: boolean;
}

const RULES = PACKINGS.filter(({ group }) => group === 'rule').map(({ name }) => name);
/** The two that claims of shares are about, with the memory that they have, and without. */
const BOTH = RULES.filter((name) => /^(chunkah|rpm-ostree)/.test(name));
const FORGETFUL = BOTH.filter((name) => !name.endsWith('remembering'));

const percent = (share: number): string => `${(share * 100).toFixed(1)} %`;
const MISSING = Number.NaN;

/** A figure of each series, and whether all of them are within a limit, if there is one. */
function eachSeries(
  text: string,
  limit: number | undefined,
  figureOf: (series: string) => number,
  names: readonly string[] = AVERAGED,
): Claim {
  const figures = names.map((series) => [series, figureOf(series)] as const);
  return {
    text,
    measured: figures.map(([series, figure]) => `${series} ${figure.toFixed(3)}`).join(', '),
    ...(limit === undefined ? {} : { holds: figures.every(([, figure]) => figure <= limit) }),
  };
}

/** Ours against the hindsight plan of the same runs. */
function againstHindsight(
  figures: Figures,
  maxLayers: number,
  which: 'bytes' | 'laterBytes',
): (series: string) => number {
  return (series) => {
    const row = figures.find(series, HINDSIGHT, maxLayers);
    return (row?.ours?.[which] ?? MISSING) / (row?.every[1][which] ?? MISSING);
  };
}

function fewerThanRivals(figures: Figures): Claim {
  const lost: string[] = [];
  for (const series of AVERAGED) {
    for (const count of COUNTS) {
      const ours = figures.bytes(series, OURS_NAME, count) ?? MISSING;
      for (const rule of RULES) {
        const theirs = figures.bytes(series, rule, count) ?? MISSING;
        if (ours < theirs) continue;
        lost.push(`${series} ${count}: ${rule} ${percent(1 - theirs / ours)} fewer than ours`);
      }
    }
  }
  const all = AVERAGED.length * COUNTS.length * RULES.length;
  return {
    text: "on every series and N fewer bytes than every rival's packing rule over our components",
    measured: `${all - lost.length} of ${all} comparisons${lost.length > 0 ? `; not: ${lost.join('; ')}` : ''}`,
    holds: lost.length === 0,
  };
}

const OURS_NAME = PACKINGS.filter(({ group }) => group === 'ours').at(-1)?.name ?? '';

/** How many bytes fewer than the best of some rules, by series and on average, and what the package floor would allow. */
function fewerThanBest(
  figures: Figures,
  maxLayers: number,
  wanted: number,
  which: string,
  rules: readonly string[],
): Claim {
  const least = (series: string): number =>
    Math.min(...rules.map((rule) => figures.bytes(series, rule, maxLayers) ?? MISSING));
  const saved = AVERAGED.map((series) => {
    const best = least(series);
    const ours = figures.bytes(series, OURS_NAME, maxLayers) ?? MISSING;
    return { series, ours: 1 - ours / best, most: 1 - (figures.floor(series) ?? MISSING) / best };
  });
  const mean = (pick: (one: (typeof saved)[number]) => number): number =>
    saved.reduce((sum, one) => sum + pick(one), 0) / saved.length;
  const parts = saved.map((one) => `${one.series} ${percent(one.ours)} of ${percent(one.most)}`);
  return {
    text: `N=${maxLayers}: on average at least ${percent(wanted)} fewer bytes than the best of ${which}`,
    measured: `${percent(mean((one) => one.ours))} of the ${percent(mean((one) => one.most))} that the package floor allows (${parts.join(', ')})`,
    holds: mean((one) => one.ours) >= wanted,
  };
}

function quietOnNoise({ noise }: Results): Claim {
  const ours = noise.filter(({ packing }) => packing === OURS_NAME);
  const loud = ours.filter(({ strangers = [] }) => strangers.length > 0);
  const named = loud.map(
    ({ series, maxLayers, strangers = [] }) =>
      `${series} ${maxLayers}: ${strangers.length} other components (${strangers.slice(0, 3).join(', ')}${strangers.length > 3 ? ', …' : ''}) share a layer with a database`,
  );
  const most = Math.max(...ours.map(({ bytes }) => Math.max(...Object.values(bytes))));
  return {
    text: "(e), the same content rebuilt: nothing but the package databases' own layers is pulled",
    measured: `at most ${(most / 1e6).toFixed(2)} MB${named.length > 0 ? `; ${named.join('; ')}` : ', databases alone'}`,
    holds: ours.length > 0 && loud.length === 0,
  };
}

/** Whom ours is compared to: as the claim says, and a weaker and a stronger reading. */
const READINGS = [
  { which: "chunkah's and rpm-ostree's rules, which remembers", rules: BOTH },
  { which: 'the same two, both fresh (weaker than claimed)', rules: FORGETFUL },
  { which: 'all rules (more than claimed)', rules: RULES },
];

/** All claims about updates. */
export function checkClaims(results: Results): Claim[] {
  const figures = new Figures(results);
  const bounds = (series: string): number => {
    const rows = COUNTS.map((count) => figures.find(series, HINDSIGHT, count));
    return Math.max(
      ...rows.map((row) => (row?.every[1].bytes ?? MISSING) / (row?.bound ?? MISSING)),
    );
  };
  return [
    eachSeries(
      'N=120: at most 1.15 times the hindsight plan, on each series',
      1.15,
      againstHindsight(figures, 120, 'bytes'),
    ),
    eachSeries(
      'N=64: at most 1.4 times the hindsight plan once ten updates were observed, on each series',
      1.4,
      againstHindsight(figures, 64, 'laterBytes'),
    ),
    eachSeries(
      'N=120: at most 1.25 times the package floor of npm',
      1.25,
      (series) => (figures.bytes(series, OURS_NAME, 120) ?? MISSING) / (figures.floor(series) ?? 0),
      ['npm'],
    ),
    eachSeries(
      'hindsight against its lower bound, the worst of all N (brute force on small cases: `hindsight.test.ts`)',
      undefined,
      bounds,
    ),
    fewerThanRivals(figures),
    ...READINGS.flatMap(({ which, rules }) => [
      fewerThanBest(figures, 120, 0.25, which, rules),
      fewerThanBest(figures, 64, 0.3, which, rules),
    ]),
    quietOnNoise(results),
  ];
}
