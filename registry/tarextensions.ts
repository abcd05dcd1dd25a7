/**
 * What stands before a header and changes what it says: PAX headers for the next entry (`x`), GNU long names (`L`) and long
 * link targets (`K`); and PAX headers for all that follow (`g`), which change nothing.
 */
import { RechunkError } from './errors.ts';
import { type PaxRecords, parsePax } from './pax.ts';
import { EXTENSION_LIMIT } from './tar.ts';
import { parseSize } from './tarentry.ts';
import { parseText } from './tarheader.ts';

/** Type flags of extensions. */
export type ExtensionFlag = 'x' | 'g' | 'L' | 'K';

/** Keys of a global header that a warning names. */
const NAMED_KEYS = 3;

/** Whether the flag is one of an extension, whose body says more of the entry that follows. */
export function isExtension(flag: string): flag is ExtensionFlag {
  return flag === 'x' || flag === 'g' || flag === 'L' || flag === 'K';
}

/** Collects the extensions of the entry to come. */
export class TarExtensions {
  /** Takes a sentence for what is read differently elsewhere, or not kept. */
  readonly warn: (warning: string) => void;
  #pax: PaxRecords | undefined;
  #longName: string | undefined;
  #longLink: string | undefined;

  constructor(warn: (warning: string) => void) {
    this.warn = warn;
  }

  /** The records that hold for the entry. */
  get pax(): PaxRecords | undefined {
    return this.#pax;
  }

  get longName(): string | undefined {
    return this.#longName;
  }

  get longLink(): string | undefined {
    return this.#longLink;
  }

  /** Whether there are extensions whose entry is still to come. */
  get isPending(): boolean {
    return (this.#pax ?? this.#longName ?? this.#longLink) !== undefined;
  }

  /** The size of the body that follows the header at `at`; throws for a second extension of a kind, as readers differ. */
  start(flag: ExtensionFlag, block: Buffer, at: number): number {
    const known = { x: this.#pax, g: undefined, L: this.#longName, K: this.#longLink }[flag];
    if (known !== undefined) throw new RechunkError('tar', `it has two extensions of type ${flag}`);
    const size = parseSize(block, at, undefined);
    if (size <= EXTENSION_LIMIT) return size;
    const found = `an extension of type ${flag} has ${size} bytes`;
    throw new RechunkError('limit', `${found}, at most ${EXTENSION_LIMIT} are read`);
  }

  /** Takes the body of an extension. */
  take(flag: ExtensionFlag, body: Buffer): void {
    if (flag === 'L') this.#longName = parseText(body, 0, body.length);
    else if (flag === 'K') this.#longLink = parseText(body, 0, body.length);
    else if (flag === 'x') this.#pax = parsePax(body);
    else this.#passGlobals(parsePax(body));
  }

  /** Forgets what was collected: its entry has come. */
  clear(): void {
    this.#pax = undefined;
    this.#longName = undefined;
    this.#longLink = undefined;
  }

  /**
   * A global header sets defaults for all entries that follow (POSIX), but Docker, podman and containerd read archives with
   * Go's archive/tar, which leaves them to its caller, and none of them applies any. What runs counts.
   */
  #passGlobals({ fields, xattrs }: PaxRecords): void {
    const keys = [...fields.keys(), ...xattrs.keys()].filter((key) => key !== 'comment');
    if (keys.length === 0) return;
    const named = keys.slice(0, NAMED_KEYS).join(', ');
    const more = keys.length > NAMED_KEYS ? ` and ${keys.length - NAMED_KEYS} more` : '';
    this.warn(
      `a global header sets ${named}${more}; container runtimes ignore it, and so it is ignored`,
    );
  }
}
