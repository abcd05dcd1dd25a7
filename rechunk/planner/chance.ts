/**
 * The chance that a component or a layer changes in an update, by arithmetic that every machine does alike (+ − × ÷).
 *
 * What is expected of a component is a rate m that counts for K observed updates; of T observed ones, n changed it. By Bayes (a
 * Poisson process, a gamma prior) it changes at `(n + K m) / (T + K)` an update. Of the two terms the second is taken to be
 * independent of all other components; of the first it is known which updates it came from, so what changed together counts once
 * in a layer: of n updates counted over all members, u different ones, the layer has the share u/n.
 */

/** `1 − exp(−x)` by IEEE-exact arithmetic only: the series on `x / 2^k`, then squared k times. Relative error < 1e-12. */
export function changeProbability(x: number): number {
  if (x <= 0) return 0;
  if (x > 40) return 1;
  let halvings = 0;
  let small = x;
  while (small > 1 / 16) {
    small /= 2;
    halvings++;
  }
  // y = exp(-small) - 1, by Horner's scheme on ten terms.
  let y = 0;
  for (let n = 10; n >= 1; n--) y = (-small / n) * (1 + y);
  // exp(2a) - 1 = (exp(a) - 1) × (exp(a) - 1 + 2) keeps the precision for small values.
  for (let i = 0; i < halvings; i++) y = y * (y + 2);
  return -y;
}

/** Most of a share of updates that a hazard is computed for: what changes always would have an infinite one. */
const SHARE_LIMIT = 0.98;

/** The rate of a Poisson process that changes something in the share `p` of updates, `−ln(1 − p)`. Relative error < 1e-12. */
export function hazardOf(p: number): number {
  let survival = 1 - Math.min(Math.max(p, 0), SHARE_LIMIT);
  // ln(s) = ln(s × 2^k) − k ln 2, and ln of what is near 1 by the series of the area tangent.
  let doublings = 0;
  while (survival < 0.7) {
    survival *= 2;
    doublings++;
  }
  const z = (1 - survival) / (1 + survival);
  let sum = 0;
  for (let n = 17; n >= 1; n -= 2) sum = sum * z * z + 1 / n;
  return 2 * z * sum + doublings * Math.LN2;
}
