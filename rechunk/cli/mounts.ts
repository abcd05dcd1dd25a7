/** Where a step of a build runs, as the container's own files tell: which engine, and what is mounted. */

/** A mount of the container. */
export interface Mount {
  /** Where it is. */
  readonly point: string;
  /** Type of file system. */
  readonly type: string;
  /** What the file system was mounted with. */
  readonly options: string;
}

/** Parses /proc/self/mountinfo (proc_pid_mountinfo(5)). */
export function parseMounts(text: string): Mount[] {
  return text.split('\n').flatMap((line) => {
    const [own = '', system = ''] = line.split(' - ', 2);
    const point = own.split(' ')[4];
    const [type = '', , options = ''] = system.split(' ');
    return point === undefined ? [] : [{ point: unescapeOctal(point), type, options }];
  });
}

/** Spaces and backslashes of paths are written `\040`. */
function unescapeOctal(text: string): string {
  return text.replace(/\\([0-7]{3})/g, (_, digits) =>
    String.fromCharCode(Number.parseInt(digits, 8)),
  );
}

/** The mount that holds the absolute `path`. */
export function mountOf(path: string, mounts: readonly Mount[]): Mount | undefined {
  const holds = ({ point }: Mount): boolean => point === '/' || `${path}/`.startsWith(`${point}/`);
  // Of two at the same place the later one is seen.
  return mounts
    .filter(holds)
    .reduce<Mount | undefined>(
      (best, mount) => (best && best.point.length > mount.point.length ? best : mount),
      undefined,
    );
}

/** The version of buildah that runs this step (podman build is one too), from /run/.containerenv; undefined where it is none. */
export function buildahVersion(text: string): readonly [number, number, number] | undefined {
  const [, major, minor, patch] = /^engine="buildah-(\d+)\.(\d+)\.(\d+)/m.exec(text) ?? [];
  return major === undefined ? undefined : [Number(major), Number(minor), Number(patch)];
}

/** The first buildah whose overlay over the context lasts until the end of the build. */
const LASTING: readonly [number, number] = [1, 44];

/**
 * Whether what is written to this mount is thrown away when the step ends: since the fix of CVE-2024-11218 (1.38.1, and in older
 * series) buildah lays an overlay over a context that is mounted for writing, one for each step before 1.44.
 */
export function isDiscarded(mount: Mount, version: readonly number[]): boolean {
  const [major = 0, minor = 0] = version;
  if (major > LASTING[0] || (major === LASTING[0] && minor >= LASTING[1])) return false;
  // `overlay/NUMBER/upper` is buildah's; the layers of a container have other names.
  return (
    mount.type === 'overlay' && /(^|,)upperdir=[^,]*\/overlay\/\d+\/upper(,|$)/.test(mount.options)
  );
}
