/** What a server asks for in `WWW-Authenticate` (RFC 9110 section 11.6.1). */

/** One authentication scheme that a server offers. */
export interface Challenge {
  /** Lower case: `basic`, `bearer`, `negotiate`. */
  readonly scheme: string;
  /** Parameters by lower-case name, unquoted. */
  readonly parameters: Readonly<Record<string, string>>;
}

const TOKEN = "[!#$%&'*+.^_`|~0-9A-Za-z-]+";
/** `name=value` or `name="va\"lue"`, blanks allowed around the sign. */
const PARAMETER = new RegExp(`(${TOKEN})\\s*=\\s*(?:"((?:[^"\\\\]|\\\\.)*)"|([^\\s,"]*))`, 'y');
const SCHEME = new RegExp(`(${TOKEN})(?=[\\s,]|$)`, 'y');
/** Credentials of the `token68` form (`Negotiate oRQ=`), which has no parameters. */
const TOKEN68 = /[A-Za-z0-9._~+/-]+=*(?=\s*(?:,|$))/y;
const BLANK = /[\s,]+/y;

/** Longest header that is read, chars. */
const CHALLENGE_LIMIT = 16_384;

function match(pattern: RegExp, text: string, at: number): RegExpExecArray | null {
  pattern.lastIndex = at;
  return pattern.exec(text);
}

/** The challenges in one header value. */
function parseValue(text: string): Challenge[] {
  const challenges: { scheme: string; parameters: Record<string, string> }[] = [];
  for (let at = 0; at < text.length; ) {
    const current = challenges.at(-1);
    const blank = match(BLANK, text, at);
    const parameter = !blank && current && match(PARAMETER, text, at);
    const scheme = !blank && !parameter && match(SCHEME, text, at);
    if (parameter) {
      const [, name = '', quoted, plain = ''] = parameter;
      current.parameters[name.toLowerCase()] = quoted?.replace(/\\(.)/gs, '$1') ?? plain;
    } else if (scheme) {
      challenges.push({
        scheme: (scheme[1] as string).toLowerCase(),
        parameters: Object.create(null),
      });
    }
    const found = blank ?? parameter ?? scheme;
    // What is none of these (a token68, garbage) is stepped over up to the next comma or blank.
    at += (found || undefined)?.[0].length || match(TOKEN68, text, at)?.[0].length || 1;
  }
  return challenges;
}

/**
 * Parses every `WWW-Authenticate` value, several challenges in each, in order. Quoted strings may hold commas and
 * escapes; what cannot be parsed is left out, since a server may offer schemes that nobody here knows.
 */
export function parseChallenges(values: string | readonly string[] | undefined): Challenge[] {
  const list = typeof values === 'string' ? [values] : (values ?? []);
  return list.flatMap((value) => parseValue(value.slice(0, CHALLENGE_LIMIT)));
}
