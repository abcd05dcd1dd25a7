/**
 * Whether JSON says the same to all who read it. c/storage reads keys of any case, takes the last of two equal ones, though the
 * entries of both lists, and ends an object at an empty key (1.57 `pkg/chunked/cache_linux.go`, `unmarshalToc`).
 */

const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const COLON = 0x3a;

/** How many keys JSON has that was read before, in all objects. */
function countWritten(json: Uint8Array): number {
  let count = 0;
  let isText = false;
  for (let at = 0; at < json.length; at++) {
    const byte = json[at];
    if (byte === QUOTE) isText = !isText;
    else if (!isText && byte === COLON) count++;
    else if (isText && byte === BACKSLASH) at++;
  }
  return count;
}

/** How many keys the objects within `value` have. */
function countRead(value: unknown): number {
  let count = 0;
  const open = [value];
  for (let next = open.pop(); next !== undefined; next = open.pop()) {
    if (typeof next !== 'object' || next === null) continue;
    const values = Object.values(next);
    if (!Array.isArray(next)) count += values.length;
    for (const one of values) if (typeof one === 'object') open.push(one);
  }
  return count;
}

/** Whether `json`, which was read as `value`, has a key twice in one object. */
export function hasDuplicateKeys(json: Uint8Array, value: unknown): boolean {
  return countWritten(json) !== countRead(value);
}

/** A key of `object` that others may take for the end, or for one of `known` that it is not. */
export function ambiguousKey(object: object, known: ReadonlySet<string>): string | undefined {
  return Object.keys(object).find((key) => !known.has(key) && isAmbiguous(key, known));
}

function isAmbiguous(key: string, known: ReadonlySet<string>): boolean {
  // Letters beyond ASCII may have one of ASCII as their small one.
  if (!/^[\x20-\x7e]+$/.test(key)) return true;
  const small = key.toLowerCase();
  return [...known].some((one) => one.toLowerCase() === small);
}
