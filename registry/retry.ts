/**
 * When a failed request to a registry is tried again, and after what wait.
 *
 * An error that may go away by itself carries `transient: true` in its details, and `retryAfterMs` where the server
 * named a wait.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { RechunkError } from './errors.ts';

/** What happens on the way that people may want to see; nothing of it is an error. */
export interface RemoteEvent {
  readonly kind: 'retry' | 'notice';
  /** One line, without credentials. */
  readonly message: string;
  /** For a retry: how long it waits first, ms. */
  readonly waitMs?: number;
}

/** How often and how patiently a failed request is tried again. */
export interface RetryPolicy {
  /** Further tries after the first. */
  readonly retries: number;
  /** Wait before the second try, ms; doubles with each further one. */
  readonly delayMs: number;
  readonly signal?: AbortSignal | undefined;
  readonly onEvent?: ((event: RemoteEvent) => void) | undefined;
}

/** Tries after the first by default (five in all, as most registry clients do). */
export const DEFAULT_RETRIES = 4;
/** First wait by default, ms. */
export const DEFAULT_DELAY_MS = 1000;
/** Longest wait between two tries, ms; a server that asks for more ends the run with a clear message. */
export const WAIT_LIMIT_MS = 60_000;
/** Share of a wait that is random, so that many clients do not come back at once. */
const JITTER = 0.2;

/** Statuses that may go away by themselves: timeouts, rate limits, gateways. */
const TRANSIENT_STATUSES: ReadonlySet<number> = new Set([408, 429, 499, 500, 502, 503, 504, 522]);

/** Whether a response with `status` is worth another try. */
export function isTransientStatus(status: number): boolean {
  return TRANSIENT_STATUSES.has(status);
}

/** Whether `error` may go away by itself. */
export function isTransient(error: unknown): error is RechunkError {
  return error instanceof RechunkError && error.details['transient'] === true;
}

/**
 * The wait in ms that a `Retry-After` value asks for, seconds or an HTTP date (RFC 9110 section 10.2.3), counted from
 * `nowMs`; undefined for none or nonsense, never negative.
 */
export function parseRetryAfter(value: string | undefined, nowMs: number): number | undefined {
  const text = value?.trim();
  if (!text) return undefined;
  if (/^\d+(\.\d+)?$/.test(text)) return Math.ceil(Number(text) * 1000);
  const date = /[a-z]{3}/i.test(text) ? Date.parse(text) : Number.NaN;
  return Number.isNaN(date) ? undefined : Math.max(0, date - nowMs);
}

/** The error that a user's interruption becomes. */
export function interrupted(cause: unknown): RechunkError {
  return new RechunkError('interrupted', 'interrupted', { cause });
}

/** `error` as one that is not worth another try: the same but for the mark. */
export function asFinal(error: RechunkError, suffix = ''): RechunkError {
  const { transient: _, retryAfterMs: __, ...details } = error.details;
  return new RechunkError(error.code, error.message + suffix, { details, cause: error.cause });
}

function waitMs(error: RechunkError, failures: number, policy: RetryPolicy): number {
  const asked = error.details['retryAfterMs'];
  if (typeof asked === 'number') return Math.max(Math.ceil(asked), 1);
  const own = policy.delayMs * 2 ** (failures - 1) * (1 - JITTER + 2 * JITTER * Math.random());
  return Math.min(Math.ceil(own), WAIT_LIMIT_MS);
}

function showWait(ms: number): string {
  if (ms < 120_000) return `${Math.ceil(ms / 1000)} s`;
  return ms < 7_200_000 ? `${Math.ceil(ms / 60_000)} min` : `${Math.ceil(ms / 3_600_000)} h`;
}

/**
 * Waits after failure number `failures` (1 for the first), or throws: `error` itself where it is not transient, one
 * that says how often it was tried, or that the server asks for a longer wait than {@link WAIT_LIMIT_MS}.
 */
export async function pauseAfter(
  error: unknown,
  failures: number,
  policy: RetryPolicy,
): Promise<void> {
  if (policy.signal?.aborted) throw interrupted(policy.signal.reason);
  if (!isTransient(error)) throw error;
  if (failures > policy.retries) {
    throw asFinal(error, failures > 1 ? `, ${failures} times in a row` : '');
  }
  const ms = waitMs(error, failures, policy);
  if (ms > WAIT_LIMIT_MS) {
    throw asFinal(
      error,
      `; the server asks to wait ${showWait(ms)}, at most ${showWait(WAIT_LIMIT_MS)} are waited`,
    );
  }
  policy.onEvent?.({ kind: 'retry', message: error.message, waitMs: ms });
  try {
    await sleep(ms, undefined, { signal: policy.signal });
  } catch (cause) {
    throw interrupted(cause);
  }
}

/** Runs `work`, and again after a wait as long as it throws transient errors and `policy` allows. */
export async function withRetries<T>(policy: RetryPolicy, work: () => Promise<T>): Promise<T> {
  for (let failures = 1; ; failures++) {
    try {
      return await work();
    } catch (error) {
      await pauseAfter(error, failures, policy);
    }
  }
}
