/** The page's script: reads what it shows from the page, draws, filters and sorts. */
import type { PageData } from '../pagedata.ts';
import { drawCosts, tellCost } from './costs.ts';
import { type Picture, picture } from './drawing.ts';
import { drawCopies, drawLorenz } from './duplicates.ts';
import { HeatMap } from './heat.ts';
import { drawPresence, tellPresence } from './presence.ts';
import { type State, seriesChoices, stateOf } from './state.ts';
import { drawSizes, drawStorage } from './storage.ts';
import { filterTables, makeSortable } from './tables.ts';

const data: PageData = JSON.parse(document.getElementById('data')?.textContent ?? '');
const control = <T extends HTMLElement>(id: string): T => document.getElementById(id) as T;
const picked = (name: string): string =>
  document.querySelector<HTMLInputElement>(`input[name=${name}]:checked`)?.value ?? '';

const repository = control<HTMLSelectElement>('repository');
const pattern = control<HTMLInputElement>('pattern');
const series = control<HTMLSelectElement>('series');
const all = control<HTMLButtonElement>('heat-all');
const heat = new HeatMap();

const repositoryOf = (): number | undefined =>
  repository.value === '' ? undefined : Number(repository.value);
const readState = (): State =>
  stateOf(data, {
    repository: repositoryOf(),
    pattern: pattern.value,
    series: Number(series.value),
  });

function offerSeries(): void {
  const before = series.value;
  const choices = seriesChoices(data, repositoryOf());
  const options = choices.map((index) => {
    const found = data.series[index];
    const name = `${data.repositories[found?.repository ?? 0]?.name}, ${found?.platform}`;
    return new Option(name, `${index}`);
  });
  series.replaceChildren(...options);
  if (choices.includes(Number(before)) && before !== '') series.value = before;
}

let state: State;
const present = <T>(found: (T | undefined)[]): T[] => found.filter((one) => one !== undefined);
const presence = picture('presence', {
  draw: () => drawPresence(state, picked('presence-rows') === 'count' ? 'count' : 'size'),
  tell: (clicked) => tellPresence(state, clicked),
});
const heatMap = picture('heat', {
  draw: () => heat.draw(state, picked('heat-view')),
  tell: (clicked) => {
    if (heat.open(clicked)) showHeat();
    return undefined;
  },
});
const duplicates = picture('duplicates', {
  draw: () => (picked('duplicates-view') === 'copies' ? drawCopies(state) : drawLorenz(state)),
});
const ofStorage = present([
  picture('storage', { draw: () => drawStorage(state) }),
  picture('sizes', { draw: () => drawSizes(state) }),
]);
const ofSeries = present([
  picture('costs', {
    draw: () => drawCosts(state),
    tell: (clicked) => tellCost(state, clicked),
  }),
  presence,
  heatMap,
]);

function showHeat(): void {
  all.hidden = !heat.isNarrowed;
  heatMap?.refresh();
}

function refresh(pictures: readonly (Picture | undefined)[]): void {
  for (const one of pictures) one?.refresh();
}

function filter(): void {
  offerSeries();
  heat.reset();
  all.hidden = true;
  state = readState();
  filterTables(state);
  const shown = data.tags.filter((_, tag) => state.isShown(tag)).length;
  control('matched').textContent =
    shown === data.tags.length ? '' : `${shown} of ${data.tags.length} tags`;
  refresh([...ofStorage, ...ofSeries]);
}

function onChoice(name: string, act: () => void): void {
  for (const input of document.querySelectorAll(`input[name=${name}]`))
    input.addEventListener('change', act);
}

/** Milliseconds without a keystroke after which the filter is applied. */
const TYPING_MS = 150;
let typing: ReturnType<typeof setTimeout> | undefined;

repository.addEventListener('change', filter);
pattern.addEventListener('input', () => {
  clearTimeout(typing);
  typing = setTimeout(filter, TYPING_MS);
});
control('filter').addEventListener('submit', (event) => event.preventDefault());
series.addEventListener('change', filter);
all.addEventListener('click', () => {
  heat.reset();
  showHeat();
});
onChoice('presence-rows', () => presence?.refresh());
onChoice('heat-view', () => heatMap?.refresh());
onChoice('duplicates-view', () => duplicates?.refresh());

const everything = (): void => refresh([...ofStorage, ...ofSeries, duplicates]);
onChoice('theme', everything);
matchMedia('(prefers-color-scheme: dark)').addEventListener('change', everything);

document.documentElement.dataset['script'] = 'true';
makeSortable();
control('filter').hidden = false;
filter();
refresh([duplicates]);
