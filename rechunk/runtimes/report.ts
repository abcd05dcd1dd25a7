/** What the runtimes that are asked for make of an image's layers. */
import { RechunkError } from '../../registry/errors.ts';
import type { Tree } from '../tree.ts';
import type { LayerIndex } from '../upper.ts';
import { type ComparedView, compareViews, type TimesOf } from './compare.ts';
import type { RuntimeModel } from './model.ts';
import { MODELS, modelOf } from './models.ts';
import { isolateLayers } from './stack.ts';
import { viewOf } from './view.ts';

/** The models that `ids` name: ids separated by commas, or `all`. Throws `usage` for an unknown one. */
export function parseRuntimes(ids: string): readonly RuntimeModel[] {
  if (ids === 'all') return MODELS;
  return ids.split(',').map((id) => {
    const model = modelOf(id.trim());
    if (model) return model;
    const known = MODELS.map((one) => one.id).join(', ');
    throw new RechunkError('usage', `--runtimes: got '${id}', want all, or some of ${known}`);
  });
}

/** Compares what each of `models` shows of `layers`, lowest first, with `tree`, which is meant. */
export function compareRuntimes(
  tree: Tree,
  layers: readonly LayerIndex[],
  models: readonly RuntimeModel[] = MODELS,
  timesOf?: TimesOf,
): ComparedView[] {
  const stack = isolateLayers(layers);
  return models.map((model) => compareViews(tree, viewOf(model, stack), timesOf));
}
