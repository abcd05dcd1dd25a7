/** The runtimes that are modelled, each as its rules; measured where Debian has the runtime (`test-images/runtimes/`). */
import type { Flaw, Fresh, Rules, RuntimeModel } from './model.ts';

const FABRICATED: Fresh = { mode: 0o755, owner: 'root', time: 'now' };
const NO_TARGET =
  'a hard link to a file of a lower layer has no target where layers are unpacked apart';
const TWICE = 'a path is listed twice';
const OVER_OWN = 'a deletion has no place where its own layer made the name';

const SELINUX: Flaw = {
  of: 'xattrs',
  names: /^security\.selinux$/,
  why: 'security.selinux is set by the host',
};

/** containers-storage and moby reject both when they record how to make the tar again (tar-split), and when they unpack. */
const APART: Rules['refuses'] = {
  duplicate: TWICE,
  'lower-hard-link': NO_TARGET,
  'late-whiteout': OVER_OWN,
};

const podmanOverlay: Rules = {
  layering: 'overlay',
  implied: 'fabricated',
  fresh: FABRICATED,
  setgid: 'mode',
  overlayXattrs: { trusted: 'live', user: 'visible' },
  keepsXattrs: /^(?!security\.selinux$)/,
  root: { mode: 0o555 },
  whiteouts: 'overlay',
  keepsLowestWhiteouts: true,
  refuses: APART,
};

const podmanChunked: Rules = {
  ...podmanOverlay,
  fresh: { mode: 0, owner: 'root', time: 'now' },
  setgid: 'both',
  bumped: 'filled',
  bumpsSymlinks: true,
  ignoresTypes: ['char', 'block', 'fifo'],
  root: 'entry',
};

/** What a user namespace may not make. */
const DEVICES: Rules['ignoresTypes'] = ['char', 'block'];
const NO_DEVICES: Flaw = { of: 'types', why: 'devices are left out' };

const CHUNKED_TYPES: Flaw = { of: 'types', why: 'devices and fifos are left out' };
const CHUNKED_TIMES: readonly Flaw[] = [
  { of: 'directory-times', why: 'a directory’s time is set before it is filled' },
  { of: 'symlink-times', why: 'a symlink’s time is not set' },
];

/** Rootless mounts obey `user.overlay.*` instead, and hide it. */
function rootless(rules: Rules, trusted: 'dropped' | 'refused'): Rules {
  return {
    ...rules,
    ignoresTypes: rules.ignoresTypes ?? DEVICES,
    overlayXattrs: { trusted, user: 'live' },
    keepsXattrs: NOT_TRUSTED,
  };
}

const NOT_TRUSTED = /^(?!trusted\.|security\.selinux$)/;
/** What a user namespace may set. */
const UNPRIVILEGED = /^(?!trusted\.|security\.(?!capability$))/;
const PRIVILEGED_NAMES = /^(trusted\.|security\.(?!(capability|selinux)$))/;
const PRIVILEGED: Flaw = {
  of: 'xattrs',
  names: PRIVILEGED_NAMES,
  why: 'trusted.* and security.* but capabilities are not set',
};
const TRUSTED: Flaw = { of: 'xattrs', names: /^trusted\./, why: 'trusted.* is not set' };

const dockerOverlay2: Rules = { ...podmanOverlay, keepsXattrs: undefined, root: { mode: 0o755 } };

/** In a user namespace moby applies layers to the mounted tree (`doesSupportNativeDiff`). */
const dockerNaive: Rules = {
  ...rootless(dockerOverlay2, 'dropped'),
  layering: 'in-place',
  implied: 'kept',
  follows: 'implied',
  bumped: 'touched',
  mergesXattrs: 'layers',
  // Set through the mount, so that overlayfs does not take them for its own.
  overlayXattrs: { trusted: 'dropped', user: 'visible' },
  keepsXattrs: UNPRIVILEGED,
  whiteouts: 'in-order',
  refuses: { duplicate: TWICE },
};

const containerd: Rules = {
  layering: 'overlay',
  implied: 'copied',
  fresh: FABRICATED,
  setgid: 'group',
  mergesXattrs: 'entries',
  overlayXattrs: { trusted: 'dropped', user: 'visible' },
  keepsXattrs: /^(?!trusted\.)/,
  root: { mode: 0o755 },
  whiteouts: 'overlay',
  refuses: { 'lower-hard-link': NO_TARGET, 'late-whiteout': OVER_OWN },
};

/** What applies layers to a mounted tree, or to a copy of the one below. */
const containerdInPlace: Rules = {
  ...containerd,
  layering: 'in-place',
  implied: 'kept',
  follows: 'implied',
  bumped: 'touched',
  mergesXattrs: 'layers',
  whiteouts: 'in-order',
  refuses: {},
};

const NATIVE_TIMES: Flaw = {
  of: 'directory-times',
  why: 'copies have new times of directories that hold something',
};

const podmanVfs: Rules = {
  layering: 'in-place',
  implied: 'kept',
  follows: 'implied',
  fresh: FABRICATED,
  bumped: 'touched',
  overlayXattrs: { trusted: 'visible', user: 'visible' },
  setgid: 'both',
  mergesXattrs: 'layers',
  keepsXattrs: /^(?!security\.selinux$)/,
  copies: { keepsXattrs: /^(user\.|security\.capability$|trusted\.overlay\.opaque$)/ },
  root: { mode: 0o555 },
  whiteouts: 'in-order',
  refuses: { duplicate: TWICE },
};

const VFS_COPIES: Flaw = {
  of: 'xattrs',
  names: /^(?!user\.|security\.capability$)/,
  why: 'copies keep only user.* and capabilities',
};

const umoci: Rules = {
  layering: 'in-place',
  implied: 'kept',
  follows: 'implied',
  fresh: FABRICATED,
  setgid: 'both',
  bumped: 'made',
  makesBare: false,
  // Version 0.4; later ones set it.
  dropsXattrs: /^trusted\.overlay\.opaque$/,
  overlayXattrs: { trusted: 'visible', user: 'visible' },
  root: 'entry',
  whiteouts: 'apart',
  refuses: {},
};

const ostree: Rules = {
  layering: 'union',
  implied: 'fabricated',
  fresh: { mode: 0o755, owner: 'entry', time: 'zero' },
  times: 'zero',
  bumpsSymlinks: true,
  overlayXattrs: { trusted: 'visible', user: 'visible' },
  root: 'entry',
  whiteouts: 'apart',
  refusesTypes: ['char', 'block', 'fifo'],
  refuses: {
    'lower-hard-link': NO_TARGET,
    'below-own-symlink': 'symlinks are not followed',
  },
};

const NO_PARENT =
  'a directory that holds an entry is defined neither before it nor by a lower layer';

const composefsRs: Rules = {
  layering: 'in-place',
  implied: 'kept',
  fresh: { refused: NO_PARENT },
  times: 'seconds',
  overlayXattrs: { trusted: 'dropped', user: 'dropped' },
  keepsXattrs: /^security\.capability$/,
  root: 'entry',
  whiteouts: 'in-order',
  lateOpaqueDeletes: true,
  isSealed: true,
  refuses: { 'below-own-symlink': 'symlinks are not followed' },
};

const podmanComposefs: Rules = {
  ...podmanOverlay,
  fresh: { mode: 0o755, owner: 'root', time: 'zero' },
  setgid: undefined,
  whiteouts: 'files',
  // Escaped, so that a container sees them again.
  overlayXattrs: { trusted: 'visible', user: 'visible' },
  root: 'entry',
  refuses: {
    duplicate: TWICE,
    'lower-hard-link': NO_TARGET,
    'late-parent': 'a directory comes after what it holds',
    'below-own-symlink': 'symlinks are not followed',
  },
};

const delegating: Rules = { ...podmanOverlay, implied: 'delegated', delegates: true };

/** Every model, in the order in which they are shown. */
export const MODELS: readonly RuntimeModel[] = [
  { id: 'podman-overlay', name: 'podman, overlay', rules: podmanOverlay, flaws: [SELINUX] },
  {
    id: 'podman-overlay-rootless',
    name: 'podman, overlay, rootless',
    rules: rootless(podmanOverlay, 'dropped'),
    flaws: [SELINUX, TRUSTED, NO_DEVICES],
  },
  {
    id: 'podman-chunked',
    name: 'podman, zstd:chunked pulled in part',
    rules: podmanChunked,
    flaws: [SELINUX, ...CHUNKED_TIMES, CHUNKED_TYPES],
  },
  {
    id: 'podman-chunked-rootless',
    name: 'podman, zstd:chunked pulled in part, rootless',
    rules: { ...rootless(podmanChunked, 'refused'), refusesXattrs: PRIVILEGED_NAMES },
    flaws: [SELINUX, ...CHUNKED_TIMES, CHUNKED_TYPES, TRUSTED],
  },
  { id: 'podman-composefs', name: 'podman, composefs', rules: podmanComposefs, flaws: [SELINUX] },
  {
    id: 'podman-vfs',
    name: 'podman, vfs',
    rules: podmanVfs,
    flaws: [SELINUX, VFS_COPIES],
  },
  { id: 'docker-overlay2', name: 'Docker, overlay2', rules: dockerOverlay2, flaws: [] },
  {
    id: 'docker-overlay2-rootless',
    name: 'Docker, overlay2, rootless',
    rules: dockerNaive,
    flaws: [PRIVILEGED, NO_DEVICES],
  },
  { id: 'containerd', name: 'containerd, overlayfs', rules: containerd, flaws: [TRUSTED] },
  {
    id: 'containerd-parallel',
    name: 'containerd, overlayfs, parallel unpack',
    rules: { ...containerd, implied: 'fabricated' },
    flaws: [TRUSTED],
  },
  {
    id: 'containerd-native',
    name: 'containerd, native',
    rules: { ...containerdInPlace, copies: { bumps: true } },
    flaws: [TRUSTED, NATIVE_TIMES],
  },
  {
    id: 'containerd-rootless',
    name: 'containerd, overlayfs, rootless',
    rules: {
      ...containerdInPlace,
      ignoresTypes: DEVICES,
      refusesXattrs: /^security\.(?!(capability|selinux)$)/,
    },
    flaws: [TRUSTED, NO_DEVICES],
  },
  { id: 'umoci', name: 'umoci', rules: umoci, flaws: [] },
  {
    id: 'ostree',
    name: 'ostree (bootc, rpm-ostree)',
    rules: ostree,
    flaws: [{ of: 'times', why: 'ostree keeps no times' }],
  },
  {
    id: 'composefs-rs',
    name: 'composefs-rs (bootc)',
    rules: composefsRs,
    flaws: [
      { of: 'run', why: '/run is emptied' },
      { of: 'sub-seconds', why: 'times are whole seconds' },
      {
        of: 'xattrs',
        names: /^(?!security\.capability$)/,
        why: 'only security.capability is kept',
      },
    ],
  },
  {
    id: 'delegating-overlay',
    name: 'an overlayfs that delegates, implied directories marked',
    rules: delegating,
    flaws: [SELINUX],
  },
  {
    id: 'delegating-overlay-rootless',
    name: 'an overlayfs that delegates, implied directories marked, rootless',
    rules: rootless(delegating, 'dropped'),
    flaws: [SELINUX, TRUSTED, NO_DEVICES],
  },
];

/** The model with this id. */
export function modelOf(id: string): RuntimeModel | undefined {
  return MODELS.find((model) => model.id === id);
}
