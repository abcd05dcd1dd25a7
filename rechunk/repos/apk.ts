/**
 * Components from apk databases (Alpine, Wolfi, Chainguard): one for each origin, which is what is built together.
 *
 * `installed` is text: a stanza for each package, its files in lines whose meaning depends on those before them
 * (apk-package-db(5)). Checksums of symlinks are of their target.
 */
import { RechunkError } from '../../registry/errors.ts';
import type { Path } from '../../registry/path.ts';
import type { Claim, ComponentInfo, ComponentRepo, Detection } from '../components.ts';
import type { Tree } from '../tree.ts';

/** An installed package as the database states it. */
export interface ApkPackage {
  readonly name: string;
  readonly version: string;
  /** What it was built from together with others; its own name where the database has none. */
  readonly origin: string;
  /** Seconds since the epoch; absent where the database has none. */
  readonly buildTime?: number;
  readonly files: readonly ApkFile[];
}

/** A file or symlink of a package. */
export interface ApkFile {
  /** No leading slash, one char a byte. */
  readonly path: string;
  readonly digest?: NonNullable<Claim['digest']>;
}

/** Databases, older layout first. */
const DIRECTORIES = ['lib/apk/db', 'usr/lib/apk/db'];
const NAME = /^[A-Za-z0-9_][A-Za-z0-9+._~-]*$/;
const MD5 = /^[0-9a-f]{32}$/;
const SHA1_BYTES = 20;
const SHA256_BYTES = 32;

/** Parses a `Z:` value: `Q1` and base64 of SHA-1, `Q2` of SHA-256, or MD5 in hex; undefined for anything else. */
export function parseChecksum(text: string): ApkFile['digest'] {
  if (MD5.test(text)) return { algorithm: 'md5', hex: text };
  const bytes = Buffer.from(text.slice(2), 'base64');
  const hex = bytes.toString('hex');
  if (text.startsWith('Q1') && bytes.length === SHA1_BYTES) return { algorithm: 'sha1', hex };
  if (text.startsWith('Q2') && bytes.length === SHA256_BYTES) return { algorithm: 'sha256', hex };
  return undefined;
}

interface Draft {
  readonly fields: Map<string, string>;
  readonly files: { path: string; digest?: NonNullable<Claim['digest']> }[];
  directory: string;
}

/** Parses `installed`, one char a byte. Stanzas without a name are passed over. */
export function parseInstalled(text: string): ApkPackage[] {
  const drafts: Draft[] = [newDraft()];
  for (const line of text.split('\n')) {
    const draft = drafts.at(-1) as Draft;
    if (line[1] === ':') readLine(draft, line[0] as string, line.slice(2));
    else if (line === '' && !isEmpty(draft)) drafts.push(newDraft());
  }
  return drafts.flatMap(finish);
}

const newDraft = (): Draft => ({ fields: new Map(), files: [], directory: '' });
const isEmpty = ({ fields, files, directory }: Draft): boolean =>
  fields.size === 0 && files.length === 0 && directory === '';

function readLine(draft: Draft, key: string, value: string): void {
  if (key === 'F') draft.directory = value;
  else if (key === 'R') {
    draft.files.push({ path: draft.directory === '' ? value : `${draft.directory}/${value}` });
  } else if (key === 'Z') {
    const file = draft.files.at(-1);
    const digest = parseChecksum(value);
    if (file && digest) file.digest = digest;
  } else draft.fields.set(key, value);
}

function finish({ fields, files }: Draft): ApkPackage[] {
  const name = fields.get('P') ?? '';
  const origin = fields.get('o') ?? '';
  const buildTime = Number(fields.get('t'));
  if (!NAME.test(name)) return [];
  return [
    {
      name,
      version: fields.get('V') ?? '',
      origin: NAME.test(origin) ? origin : name,
      ...(Number.isSafeInteger(buildTime) && buildTime > 0 && { buildTime }),
      files,
    },
  ];
}

async function detect(tree: Tree): Promise<Detection | undefined> {
  const directories = new Set(DIRECTORIES.flatMap((path) => tree.resolve(path, 'all') ?? []));
  const packages: ApkPackage[] = [];
  const warnings: string[] = [];
  for (const directory of directories) {
    const text = (await tree.read(`${directory}/installed`))?.toString('latin1') ?? '';
    const found = parseInstalled(text);
    for (const installed of found) packages.push(installed);
    if (text.trim() !== '' && found.length === 0)
      warnings.push(`/${directory}/installed names no package`);
    if (tree.get(`${directory}/installed.adb` as Path)) {
      warnings.push(`/${directory}/installed.adb is in apk 3's binary form, which is not read`);
    }
  }
  if (packages.length === 0 && warnings[0]) {
    throw new RechunkError('database', `reading apk's database: ${warnings[0]}`);
  }
  if (packages.length === 0) return undefined;
  return {
    repo: 'apk',
    components: describeOrigins(packages),
    claims: claimsOf(packages),
    warnings,
  };
}

const componentOf = ({ origin }: ApkPackage): string => `apk:${origin}`;

function claimsOf(packages: readonly ApkPackage[]): Claim[] {
  return packages.flatMap((installed) => {
    const component = componentOf(installed);
    return installed.files.map((file): Claim => ({ ...file, component, strength: 'owner' }));
  });
}

function describeOrigins(packages: readonly ApkPackage[]): ComponentInfo[] {
  return [...Map.groupBy(packages, componentOf)].map(([id, members]): ComponentInfo => {
    const times = new Set(members.flatMap(({ buildTime }) => buildTime ?? []));
    return {
      id,
      kind: 'package',
      packages: [...new Set(members.map(({ name, version }) => `${name} ${version}`))].sort(),
      ...(times.size > 0 && {
        changeTimes: [...times].sort((a, b) => a - b),
        changesFrom: 'build',
      }),
    };
  });
}

/** The package manager of Alpine and its relatives. */
export const apk: ComponentRepo = {
  name: 'apk',
  documents: /^(?:usr\/)?lib\/apk\/db\/installed$/,
  detect,
};
