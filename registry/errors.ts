/** The one error class, and the one list of codes with what a user can do about each. */

/** What a user can do, by error code. Callers match on the code, people read the advice. */
export const ADVICE = {
  usage: 'see `rechunk help COMMAND` for the form that is wanted',
  reference:
    'write docker://host/repo:tag, oci:DIR[:REF], oci-archive:FILE, docker-archive:FILE, containers-storage:NAME, docker-daemon:NAME or rootfs:DIR',
  'not-found': 'check the name, the tag and that you may read it',
  exists: 'choose another destination, or remove what is there',
  platform: 'name one of the platforms that the image has with --platform',
  'digest-mismatch': 'the data is damaged or was changed; fetch or build the image again',
  'size-mismatch': 'the data is cut short or the manifest lies; fetch or build the image again',
  compression: 'the compressed data is damaged; fetch or build the image again',
  tar: 'the layer is no valid tar archive; build the image again',
  path: 'the archive holds a name that leaves its root or cannot be expressed; do not trust this image',
  manifest: 'the image metadata is not valid OCI or Docker JSON; build the image again',
  unsupported:
    'this kind of image or content cannot be rechunked; the message says what can be done instead',
  auth: 'log in with `skopeo login`, `podman login` or `docker login`, or pass --authfile',
  registry: 'the registry refused the request, or could not serve it; its answer stands above',
  engine: 'check that the container engine runs and that you may use it; its own message says more',
  network: 'check the host name, the network and proxies, then try again',
  io: 'check free disk space and permissions',
  database: 'the package database is damaged; rechunk goes on without it unless --strict',
  limit: 'the input is larger than a named limit allows',
  different: 'the images are not equal; `rechunk verify` lists every difference',
  build: 'the build itself failed; what it said stands above',
  interrupted: 'run it again; nothing was left behind',
} as const;

/** Why an operation failed; see {@link ADVICE} for what to do. */
export type ErrorCode = keyof typeof ADVICE;

/** Extra facts for scripts: shown in `--json`, never needed to understand the message. */
export type ErrorDetails = Readonly<Record<string, string | number | boolean | null>>;

/**
 * An error that a user can act on. The message says what was being done, on what, what was found and what was
 * wanted. A bug is an assertion, not one of these.
 */
export class RechunkError extends Error {
  override readonly name = 'RechunkError';
  readonly code: ErrorCode;
  readonly details: ErrorDetails;

  constructor(
    code: ErrorCode,
    message: string,
    options: { readonly details?: ErrorDetails; readonly cause?: unknown } = {},
  ) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.code = code;
    this.details = options.details ?? {};
  }
}

/** System error codes that mean "the disk or its permissions", as opposed to a bug. */
const IO_CODES =
  /^(E(ACCES|PERM|NOSPC|ROFS|IO|EXIST|NOTDIR|ISDIR|MFILE|NFILE|DQUOT|FBIG|NOENT|NOTEMPTY|BUSY|LOOP|NAMETOOLONG|XDEV))$/;

/** The `code` of a system error (`ENOENT`), or undefined. */
export function systemCode(error: unknown): string | undefined {
  const code = (error as { code?: unknown } | undefined)?.code;
  return typeof code === 'string' ? code : undefined;
}

/**
 * Runs `work` and, if it throws, puts the gerund `doing` ("reading layer 3 of oci:img") before the message and keeps
 * the first error as cause. The code of a {@link RechunkError} is kept; system errors become `io`; bugs pass through.
 */
export async function during<T>(doing: string, work: () => Promise<T> | T): Promise<T> {
  try {
    return await work();
  } catch (error) {
    throw describe(doing, error);
  }
}

/** The error that {@link during} throws for `error`. */
export function describe(doing: string, error: unknown): unknown {
  if (error instanceof RechunkError) {
    return new RechunkError(error.code, `${doing}: ${error.message}`, {
      details: error.details,
      cause: error,
    });
  }
  const code = systemCode(error);
  if (code === 'ENOENT')
    return new RechunkError('not-found', `${doing}: ${(error as Error).message}`, { cause: error });
  if (code && IO_CODES.test(code)) {
    return new RechunkError('io', `${doing}: ${(error as Error).message}`, { cause: error });
  }
  return error;
}
