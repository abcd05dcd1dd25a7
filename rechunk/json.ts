/**
 * JSON that is edited and written again without losing what this program does not know: numbers keep their text where a
 * double would change it, and a key named `__proto__` stays a key.
 */

/** The raw-JSON functions of ES2026, which Node has since 21 and TypeScript's library does not name yet. */
interface RawJson {
  rawJSON(text: string): unknown;
  parse(
    text: string,
    reviver: (key: string, value: unknown, context: { source?: string }) => unknown,
  ): unknown;
}

/** Parses JSON for editing; {@link formatJson} gives back every number as it was written. */
export function parseJson(bytes: Uint8Array): Record<string, unknown> {
  const json = JSON as unknown as RawJson;
  const text = new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  return json.parse(text, (_key, value, { source }) => {
    if (typeof value !== 'number' || source === undefined || String(value) === source) return value;
    return json.rawJSON(source);
  }) as Record<string, unknown>;
}

/** The bytes of a JSON document, without white space. */
export function formatJson(value: unknown): Buffer {
  return Buffer.from(JSON.stringify(value), 'utf8');
}
