/** Surveys the targets of a report, those of one registry together. */
import { resolve } from 'node:path';
import { surveyLayout } from './layoutstore.ts';
import { surveyRegistry, type Wanted } from './registrystore.ts';
import type { Skipped } from './report.ts';
import { surveyStorage } from './storagestore.ts';
import type { Survey, SurveyedStore, SurveyOptions } from './survey.ts';
import { parseTarget } from './target.ts';

/**
 * What `targets` hold: a few requests a tag, no layer is read. What cannot be read by itself is in `skipped`; throws `reference` for a
 * target that is none, and `not-found`, `auth`, `network`, `registry`, `io` where a whole store cannot be read.
 */
export async function collect(targets: readonly string[], options: SurveyOptions): Promise<Survey> {
  const parsed = targets.map(parseTarget);
  const skipped: Skipped[] = [];
  const stores: SurveyedStore[] = [];
  const hosts = new Map<string, Wanted[]>();
  const directories = new Set<string>();
  for (const target of parsed) {
    if (!('host' in target)) directories.add(`${target.kind} ${resolve(target.path)}`);
    else
      hosts.set(target.host, [
        ...(hosts.get(target.host) ?? []),
        target.kind === 'registry' ? {} : target,
      ]);
  }
  for (const [host, wanted] of hosts)
    stores.push(await surveyRegistry(host, wanted, options, skipped));
  for (const target of parsed) {
    if ('host' in target || !directories.delete(`${target.kind} ${resolve(target.path)}`)) continue;
    const survey = target.kind === 'layout' ? surveyLayout : surveyStorage;
    stores.push(await survey(target.path, skipped));
  }
  return { targets, stores, skipped };
}
