/** Lists that a registry gives page by page (distribution-spec v1.1.1, "Content Discovery"). */
import * as v from 'valibot';
import type { RegistryClient, RegistryRequest } from './client.ts';
import { RechunkError } from './errors.ts';
import type { HttpResponse } from './http.ts';
import { withRetries } from './retry.ts';

/** Largest page, bytes. */
const PAGE_LIMIT = 32 << 20;
/** Most pages of one list; a list that never ends is cut with an error. */
const PAGE_COUNT_LIMIT = 10_000;
/** Entries asked for in one page: the most that ECR allows. */
const PAGE_ENTRIES = 1000;

/** The target of the first `rel="next"` in a `Link` header (RFC 8288); undefined for none. */
export function parseNextLink(header: string | undefined): string | undefined {
  for (const [, target, parameters = ''] of (header ?? '').matchAll(/<([^>]*)>([^<]*)/g)) {
    const rel = /;\s*rel\s*=\s*(?:"([^"]*)"|([^\s;,"]+))/i.exec(parameters);
    if ((rel?.[1] ?? rel?.[2] ?? '').toLowerCase().split(/\s+/).includes('next')) return target;
  }
  return undefined;
}

/** Where the page after `response` is, on the same host; undefined for the last page. */
function nextPage(response: HttpResponse): URL | undefined {
  const link = parseNextLink(response.header('link'));
  if (link === undefined) return undefined;
  const next = URL.parse(link, response.url.href);
  // Some registries behind a proxy name their inner scheme: the host is what counts.
  if (next?.host !== response.url.host)
    throw new RechunkError(
      'registry',
      `${response.url.host} names a next page on another host: '${link}'`,
    );
  next.protocol = response.url.protocol;
  return next;
}

/** A page as it came: its response, and its body where that was wanted (status 200). */
export interface Page {
  readonly response: HttpResponse;
  readonly body: Buffer;
}

/** The pages of a list; one whose connection breaks is asked for again, body and all. */
export async function* readPages(
  client: RegistryClient,
  request: RegistryRequest,
): AsyncGenerator<Page> {
  const seen = new Set<string>();
  let to: string | URL | undefined = request.to;
  while (to !== undefined) {
    if (seen.has(String(to)) || seen.size === PAGE_COUNT_LIMIT)
      throw new RechunkError('registry', `${client.host}: the pages of ${request.to} never end`);
    seen.add(String(to));
    const page: Page = await fetchPage(client, { ...request, to, tries: 'once' });
    yield page;
    to = page.response.status === 200 ? nextPage(page.response) : undefined;
  }
}

function fetchPage(client: RegistryClient, request: RegistryRequest): Promise<Page> {
  return withRetries(client.policy, async () => {
    const response = await client.request(request);
    if (response.status === 200) return { response, body: await response.bytes(PAGE_LIMIT) };
    await response.discard();
    return { response, body: Buffer.alloc(0) };
  });
}

/** The body of a page as JSON of the form `schema`; throws `registry` for anything else. */
export function parsePage<T>({ response, body }: Page, schema: v.GenericSchema<unknown, T>): T {
  const what = `${response.method} ${response.url.origin}${response.url.pathname}`;
  let json: unknown;
  try {
    json = JSON.parse(body.toString('utf8'));
  } catch {
    throw new RechunkError('registry', `${what}: got what is not JSON, want a list`);
  }
  const result = v.safeParse(schema, json);
  if (result.success) return result.output;
  throw new RechunkError(
    'registry',
    `${what}: ${v.getDotPath(result.issues[0]) ?? 'the list'} is not of the wanted form`,
  );
}

/** The strings of the list `name` at `path`, in the registry's order, without those that are null (Nexus). */
export async function readNames(
  client: RegistryClient,
  path: string,
  name: string,
  scopes: readonly string[],
): Promise<string[]> {
  const entries = v.nullish(v.array(v.nullable(v.string())));
  const schema: v.GenericSchema<unknown, Record<string, unknown>> = v.looseObject({
    [name]: entries,
  });
  const names: string[] = [];
  const request = { method: 'GET', to: `${path}?n=${PAGE_ENTRIES}`, scopes, want: [200] } as const;
  for await (const page of readPages(client, request)) {
    const found = parsePage(page, schema)[name] as (string | null)[] | null | undefined;
    for (const entry of found ?? []) if (entry !== null) names.push(entry);
  }
  return names;
}
