/** Targets of a report, surveyed as options say. */
import type { Option } from 'commander';
import { collect } from '../../registry/report/collect.ts';
import type { Memory, Survey } from '../../registry/report/survey.ts';
import { remoteOf } from '../../registry/transport.ts';
import { openMemory } from '../report/memory.ts';
import { cacheOptions } from './cache.ts';
import { type Host, option, type Values } from './options.ts';
import type { Session } from './session.ts';
import { parseCount } from './values.ts';

const MOST_REQUESTS = 64;

/** How many requests there are at a time. */
export function requestsOption(): Option {
  return option('--requests <n>', 'requests at a time with one registry (default: 8)');
}

/** What a survey is made with. */
export interface Surveying {
  readonly values: Values;
  readonly host: Host;
  readonly session: Session;
  /** Whether registries are asked what refers to images. */
  readonly referrers: boolean;
}

/** Surveys `targets` and hands what was found, and what keeps what is learnt for the next run, to `work`. */
export async function withSurvey<T>(
  targets: readonly string[],
  { values, host, session: { reporter, transport }, referrers }: Surveying,
  work: (survey: Survey, memory: Memory | undefined) => Promise<T>,
): Promise<T> {
  const requests = values['requests'] as string | undefined;
  const atOnce = requests && parseCount(requests, '--requests', 1, MOST_REQUESTS);
  const cache = cacheOptions(values, host);
  const onNotice = (notice: string): void => reporter.notice(notice);
  const memory = cache && (await openMemory(cache, onNotice));
  try {
    const survey = await collect(targets, {
      remote: remoteOf(transport),
      memory,
      referrers,
      ...(atOnce && { requests: atOnce }),
      onProgress: ({ done, total }) => reporter.count('tags', done, total),
      onNotice,
    });
    return await work(survey, memory);
  } finally {
    await memory?.close();
  }
}
