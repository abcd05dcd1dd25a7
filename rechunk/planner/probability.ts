/** The chance that something changes in an update, by arithmetic that every machine does alike. */

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
