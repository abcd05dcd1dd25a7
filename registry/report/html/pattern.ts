/** Patterns of tag names, as people type them. */

/** What matches `pattern`: `*` stands for anything, `?` for one character; without either, names that contain it. */
export function matcher(pattern: string): (name: string) => boolean {
  const wanted = pattern.trim();
  if (!/[*?]/.test(wanted)) return (name) => name.includes(wanted);
  const source = wanted
    .replace(/[.+^${}()|[\]\\]/g, '\\$&')
    .replaceAll('*', '.*')
    .replaceAll('?', '.');
  const expression = new RegExp(`^${source}$`, 's');
  return (name) => expression.test(name);
}
