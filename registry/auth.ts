/**
 * Access to one registry: answers its challenges (Basic, Bearer) and keeps the tokens, one for each set of scopes.
 *
 * Nothing is sent before the registry asked for it. Once it has asked, tokens for further scopes are fetched ahead. Protocol: distribution's token and oauth2 specifications (distribution.github.io/distribution,
 * spec/auth).
 */
import * as v from 'valibot';
import type { Challenge } from './challenge.ts';
import type { Credentials } from './credentials.ts';
import { RechunkError } from './errors.ts';
import { type Http, type HttpResponse, showUrl, unexpected } from './http.ts';
import { checkTarget } from './network.ts';

/** What an {@link Authorizer} works with. */
export interface AuthorizerOptions {
  /** The registry's name in messages. */
  readonly host: string;
  /** Looked up when the registry first asks. */
  readonly credentials: () => Promise<Credentials | undefined>;
  readonly http: Http;
  readonly signal?: AbortSignal | undefined;
}

/** Longest answer of a token server, bytes. */
const TOKEN_LIMIT = 64 << 10;
/** Shortest and default life of a token, ms (distribution's token specification, `expires_in`). */
const TOKEN_LIFE_MS = 60_000;
/** A token is renewed this long before its end, ms. */
const RENEW_BEFORE_MS = 10_000;
/** How token servers know this client. */
const CLIENT_ID = 'rechunk';

const nullishText: v.GenericSchema<unknown, string | null | undefined> = v.nullish(v.string());
const tokenSchema = v.looseObject({
  token: nullishText,
  access_token: nullishText,
  refresh_token: nullishText,
  expires_in: v.nullish(v.number()),
});

interface Token {
  readonly value: string;
  readonly expiresMs: number;
}

/** Who asks for which rights where. */
interface Grant {
  readonly realm: URL;
  readonly service: string | undefined;
  readonly scopes: readonly string[];
  readonly credentials: Credentials | undefined;
}

type Scheme =
  | { readonly kind: 'basic' }
  | { readonly kind: 'bearer'; readonly realm: URL; readonly service: string | undefined };

/** `Basic` credentials as a header value (RFC 7617, UTF-8). */
function basic(username: string, password: string): string {
  return `Basic ${Buffer.from(`${username}:${password}`).toString('base64')}`;
}

/** The access to one registry host. */
export class Authorizer {
  readonly #options: AuthorizerOptions;
  readonly #tokens: Map<string, Promise<Token>> = new Map();
  /** Scopes that the registry wanted beyond those that were asked for, by the latter. */
  readonly #extra: Map<string, readonly string[]> = new Map();
  #credentials: Promise<Credentials | undefined> | undefined;
  #identityToken: string | undefined;
  #scheme: Scheme | undefined;

  constructor(options: AuthorizerOptions) {
    this.#options = options;
  }

  /** The `Authorization` for a request that needs `scopes`; undefined as long as the registry did not ask for one. */
  async authorization(scopes: readonly string[]): Promise<string | undefined> {
    if (this.#scheme === undefined) return undefined;
    const credentials = await this.#find();
    if (credentials?.registryToken) return `Bearer ${credentials.registryToken}`;
    if (this.#scheme.kind === 'basic') {
      if (!credentials?.username) return undefined;
      return basic(credentials.username, credentials.password ?? credentials.identityToken ?? '');
    }
    return `Bearer ${await this.#token(this.#scheme, scopes)}`;
  }

  /**
   * Takes in what the registry asks for in answer to a request for `scopes` that was sent with `sent`; returns the
   * `Authorization` to try once more with, undefined where there is nothing better to offer.
   */
  async answer(
    challenges: readonly Challenge[],
    scopes: readonly string[],
    sent: string | undefined,
    response: HttpResponse,
  ): Promise<string | undefined> {
    const bearer = challenges.find(({ scheme }) => scheme === 'bearer');
    if (bearer) this.#takeBearer(bearer, scopes, response);
    else if (challenges.some(({ scheme }) => scheme === 'basic')) this.#scheme = { kind: 'basic' };
    else return undefined;
    const offered = await this.authorization(scopes);
    return offered === sent ? undefined : offered;
  }

  /** What to add to a message about refused access: which credentials were used, or that none were found. */
  async note(): Promise<string> {
    if (this.#scheme === undefined) return '';
    const credentials = await this.#find();
    if (!credentials) return `; no credentials for ${this.#options.host} were found`;
    return `; with the credentials of ${credentials.username || 'a token'}${credentials.origin ? ` from ${credentials.origin}` : ''}`;
  }

  #find(): Promise<Credentials | undefined> {
    this.#credentials ??= this.#options.credentials();
    return this.#credentials;
  }

  #takeBearer(challenge: Challenge, scopes: readonly string[], response: HttpResponse): void {
    const { realm = '', service, scope = '' } = challenge.parameters;
    const url = URL.parse(realm, response.url.href);
    if (!url)
      throw new RechunkError(
        'auth',
        `${this.#options.host} names a token server that is no URL: '${realm}'`,
      );
    // Plain http is borne where the registry itself is reached by it.
    checkTarget(
      response.url,
      url,
      this.#options.http.insecure || response.url.protocol === 'http:',
    );
    this.#scheme = { kind: 'bearer', realm: url, service };
    const key = keyOf(scopes);
    const extra = scope
      .split(/\s+/)
      .filter((one) => one && !scopes.some((own) => covers(own, one)));
    this.#extra.set(key, [...new Set([...extra, ...(this.#extra.get(key) ?? [])])]);
    this.#tokens.delete(key);
  }

  async #token(scheme: Scheme & { kind: 'bearer' }, scopes: readonly string[]): Promise<string> {
    const key = keyOf(scopes);
    const known = this.#tokens.get(key);
    if (known && (await known).expiresMs - RENEW_BEFORE_MS > Date.now()) return (await known).value;
    if (this.#tokens.get(key) === known) this.#tokens.set(key, this.#fetch(scheme, key, scopes));
    return (await (this.#tokens.get(key) as Promise<Token>)).value;
  }

  async #fetch(
    scheme: Scheme & { kind: 'bearer' },
    key: string,
    scopes: readonly string[],
  ): Promise<Token> {
    try {
      const credentials = await this.#find();
      // Some servers grant the first scope only: what was asked for last comes first.
      const all = [...(this.#extra.get(key) ?? []), ...scopes];
      return await this.#request({ ...scheme, scopes: all, credentials });
    } catch (error) {
      this.#tokens.delete(key);
      throw error;
    }
  }

  async #request(grant: Grant): Promise<Token> {
    this.#identityToken ??= grant.credentials?.identityToken;
    const refresh = this.#identityToken;
    let response = refresh === undefined ? undefined : await this.#post(grant, refresh);
    if (response?.status === 404 || response?.status === 405) {
      await response.discard();
      response = undefined;
    }
    response ??= await this.#get(grant, refresh);
    if (response.status !== 200) throw await this.#refused(response);
    return this.#read(response);
  }

  /** The oauth2 form: an identity token is exchanged for an access token. */
  #post(grant: Grant, refresh: string): Promise<HttpResponse> {
    const form = new URLSearchParams({
      grant_type: 'refresh_token',
      refresh_token: refresh,
      service: grant.service ?? '',
      scope: grant.scopes.join(' '),
      client_id: CLIENT_ID,
    });
    const content = Buffer.from(form.toString());
    return this.#options.http.send({
      method: 'POST',
      url: grant.realm,
      headers: { 'content-type': 'application/x-www-form-urlencoded' },
      body: { size: content.length, open: () => content },
      signal: this.#options.signal,
    });
  }

  #get(grant: Grant, refresh: string | undefined): Promise<HttpResponse> {
    const url = new URL(grant.realm);
    if (grant.service !== undefined) url.searchParams.set('service', grant.service);
    for (const scope of grant.scopes) url.searchParams.append('scope', scope);
    const { username, password = refresh } = grant.credentials ?? {};
    if (username) {
      url.searchParams.set('account', username);
      url.searchParams.set('client_id', CLIENT_ID);
    }
    const authorization =
      username && password !== undefined ? basic(username, password) : undefined;
    return this.#options.http.send({
      method: 'GET',
      url,
      signal: this.#options.signal,
      ...(authorization !== undefined && { authorization }),
    });
  }

  async #refused(response: HttpResponse): Promise<RechunkError> {
    const error = await unexpected(response, [200], await this.note());
    // Whatever the status: rights were refused, not an image missing.
    const code = error.details['transient'] ? error.code : 'auth';
    return new RechunkError(code, `asking for a token: ${error.message}`, {
      details: error.details,
    });
  }

  async #read(response: HttpResponse): Promise<Token> {
    const what = `the answer of ${showUrl(response.url)}`;
    let json: unknown;
    try {
      json = JSON.parse((await response.bytes(TOKEN_LIMIT)).toString('utf8'));
    } catch (error) {
      if (error instanceof RechunkError) throw error;
      throw new RechunkError('auth', `${what} is not JSON, want a token`);
    }
    const parsed = v.safeParse(tokenSchema, json);
    const value = parsed.success ? parsed.output.token || parsed.output.access_token : undefined;
    if (!parsed.success || !value || /[^\x21-\x7e]/.test(value))
      throw new RechunkError('auth', `${what} holds no token`);
    if (parsed.output.refresh_token) this.#identityToken = parsed.output.refresh_token;
    // The server's clock (`issued_at`) may be off: the life counts from now.
    const lifeMs = Math.max((parsed.output.expires_in ?? 0) * 1000, TOKEN_LIFE_MS);
    return { value, expiresMs: Date.now() + lifeMs };
  }
}

/** Whether `scope` grants all that `wanted` names, in whatever order (`repository:name:pull,push`). */
function covers(scope: string, wanted: string): boolean {
  const split = (text: string): [string, string[]] => {
    const colon = text.lastIndexOf(':');
    return [text.slice(0, colon), text.slice(colon + 1).split(',')];
  };
  const [[resource, actions], [wantedResource, wantedActions]] = [split(scope), split(wanted)];
  return resource === wantedResource && wantedActions.every((action) => actions.includes(action));
}

function keyOf(scopes: readonly string[]): string {
  return [...scopes].sort().join(' ');
}
