/**
 * `report.schema.json` is what `schema.ts` and the comments of `report.ts` make; `UPDATE_GOLDENS=1` writes it. Real reports have
 * that form and nothing else.
 */
import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { toJsonSchema } from '@valibot/to-json-schema';
import { test } from 'uvu';
import * as v from 'valibot';
import { reportSchema } from './schema.ts';

interface Json {
  title?: string;
  description?: string;
  properties?: Record<string, Json>;
}

const PUBLISHED = new URL('report.schema.json', import.meta.url);
const ID = 'https://json-schema.org/draft/2020-12/schema';

/** Comments of the interfaces in `report.ts`, by interface and field; '' is the interface itself. */
function readComments(): Map<string, Map<string, string>> {
  const source = readFileSync(new URL('report.ts', import.meta.url), 'utf8');
  const plain = (comment: string): string =>
    comment
      .replace(/^\s*\/?\*+\/?/gm, '')
      .replace(/\*\/$/, '')
      .replace(/\s+/g, ' ')
      .trim();
  const interfaces = new Map<string, Map<string, string>>();
  const found = source.matchAll(
    /(\/\*\*(?:(?!\*\/)[\s\S])*\*\/)\nexport interface (\w+)(?: extends (\w+))? \{([\s\S]*?)\n\}/g,
  );
  for (const [, about = '', name = '', parent = '', body = ''] of found) {
    const fields = new Map(interfaces.get(parent));
    fields.set('', plain(about));
    for (const [, comment = '', field = ''] of body.matchAll(
      /^ {2}(\/\*\*(?:(?!\*\/)[\s\S])*\*\/)\n {2}readonly (\w+)/gm,
    ))
      fields.set(field, plain(comment));
    interfaces.set(name, fields);
  }
  return interfaces;
}

/** Adds what the comments say to every object that has an interface's name. */
function describe(schema: Json, comments: ReadonlyMap<string, ReadonlyMap<string, string>>): void {
  const about = comments.get(String(schema.title));
  const properties = schema.properties;
  if (about && properties) {
    schema.description = about.get('') ?? '';
    for (const [field, property] of Object.entries(properties)) {
      const text = about.get(field);
      // What a field is comes before what its type is.
      if (text) property.description = text;
    }
  }
  for (const one of Object.values(schema) as unknown[])
    if (typeof one === 'object' && one !== null) describe(one, comments);
}

function makeSchema(): string {
  const made = toJsonSchema(reportSchema, { errorMode: 'ignore' }) as unknown as Json;
  const comments = readComments();
  describe(made, comments);
  return `${JSON.stringify({ ...made, $schema: ID }, null, 1)}\n`;
}

test('the published schema is what the source says', () => {
  const made = makeSchema();
  if (process.env['UPDATE_GOLDENS']) writeFileSync(PUBLISHED, made);
  assert.equal(readFileSync(PUBLISHED, 'utf8'), made);
});

test('every interface of a report has its schema, and every field its place in it', () => {
  const published = readFileSync(PUBLISHED, 'utf8');
  const source = readFileSync(new URL('report.ts', import.meta.url), 'utf8');
  for (const name of readComments().keys())
    assert.ok(published.includes(`"title": "${name}"`) || name === 'Share', name);
  for (const [, field = ''] of source.matchAll(/readonly (\w+)\??:/g))
    assert.ok(published.includes(`"${field}"`), field);
});

test('what is no report is refused', () => {
  assert.ok(!v.is(reportSchema, { version: 1 }));
});

test.run();
