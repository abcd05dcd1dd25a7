/** On what the expected rate of a component rests; says of `rate.ts` what went into it. Pure. */
import type { ComponentInfo } from './components.ts';

/**
 * Where an expected rate comes from, the first that there is: `stated`, the interval that the user gave; `changelog`, the days
 * on which its maintainers changed it; `build`, when it was built; `prior`, what its kind does. The second and third are mixed
 * with the fourth.
 */
export type RateSource = 'stated' | 'changelog' | 'build' | 'prior';

/** Where the expected rate of a component comes from. */
export function rateSource(info: ComponentInfo): RateSource {
  if (info.updateIntervalDays !== undefined) return 'stated';
  if ((info.changeTimes ?? []).length === 0) return 'prior';
  return info.changesFrom ?? 'build';
}
