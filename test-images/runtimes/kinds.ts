/** The runtimes that can be run, and how. */
import { openContainerd } from './containerd.ts';
import { openDocker } from './docker.ts';
import { openOstree } from './ostree.ts';
import { openPodman } from './podman.ts';
import type { Sandbox, SandboxOptions } from './sandbox.ts';
import type { Suite } from './suite.ts';
import { openUmoci } from './umoci.ts';
import type { Look } from './view.ts';

/** Where `containerd` and `ctr` 2.2 or later are, which Debian does not have; unset where they are not. */
export const BUILT: string | undefined = process.env['RECHUNK_TEST_CONTAINERD'];

/** The models of `rechunk/runtimes` that a real runtime stands for. */
export type Model =
  | 'podman-overlay'
  | 'podman-overlay-rootless'
  | 'podman-vfs'
  | 'podman-chunked'
  | 'podman-chunked-rootless'
  | 'podman-composefs'
  | 'docker-overlay2'
  | 'docker-overlay2-rootless'
  | 'containerd'
  | 'containerd-native'
  | 'containerd-parallel'
  | 'containerd-rootless'
  | 'umoci'
  | 'ostree';

/** A way to run a runtime. */
export interface Kind {
  readonly model: Model;
  /** Part of the id before the suite; '' for the plain form. */
  readonly variant: string;
  readonly name: string;
  /** Debian's package that has it; that of `built` is not what runs. */
  readonly pkg: string;
  readonly suites: readonly Suite[];
  readonly user?: SandboxOptions['user'];
  readonly open: (sandbox: Sandbox) => Promise<Look>;
}

const BOTH: readonly Suite[] = ['bookworm', 'trixie'];

/** All, in the order in which they are listed. */
export const KINDS: readonly Kind[] = [
  {
    model: 'podman-overlay',
    variant: '',
    name: 'podman, overlay driver',
    pkg: 'podman',
    suites: BOTH,
    open: (sandbox) => openPodman(sandbox, { driver: 'overlay', pull: 'whole' }),
  },
  {
    model: 'podman-overlay-rootless',
    variant: '',
    name: 'podman, overlay driver, rootless',
    pkg: 'podman',
    suites: BOTH,
    user: 'rootless',
    open: (sandbox) => openPodman(sandbox, { driver: 'overlay', pull: 'whole' }),
  },
  {
    model: 'podman-vfs',
    variant: '',
    name: 'podman, vfs driver',
    pkg: 'podman',
    suites: BOTH,
    open: (sandbox) => openPodman(sandbox, { driver: 'vfs', pull: 'whole' }),
  },
  {
    model: 'podman-chunked',
    variant: '',
    name: 'podman, overlay driver, partial pulls of zstd:chunked layers',
    pkg: 'podman',
    suites: ['trixie'],
    open: (sandbox) => openPodman(sandbox, { driver: 'overlay', pull: 'chunked' }),
  },
  {
    model: 'podman-chunked',
    variant: 'converted-',
    name: 'podman, overlay driver, gzip layers converted',
    pkg: 'podman',
    suites: ['trixie'],
    open: (sandbox) => openPodman(sandbox, { driver: 'overlay', pull: 'converted' }),
  },
  {
    model: 'podman-chunked-rootless',
    variant: '',
    name: 'podman, overlay driver, partial pulls of zstd:chunked layers, rootless',
    pkg: 'podman',
    suites: ['trixie'],
    user: 'rootless',
    open: (sandbox) => openPodman(sandbox, { driver: 'overlay', pull: 'chunked' }),
  },
  {
    model: 'podman-composefs',
    variant: '',
    name: 'podman, overlay driver, zstd:chunked layers as composefs',
    pkg: 'podman',
    suites: ['trixie'],
    open: (sandbox) => openPodman(sandbox, { driver: 'overlay', pull: 'chunked', composefs: 'on' }),
  },
  {
    model: 'docker-overlay2',
    variant: '',
    name: 'dockerd, overlay2',
    pkg: 'docker.io',
    suites: BOTH,
    open: openDocker,
  },
  {
    model: 'docker-overlay2-rootless',
    variant: '',
    name: 'dockerd, overlay2, rootless',
    pkg: 'docker.io',
    suites: BOTH,
    user: 'rootless',
    open: openDocker,
  },
  {
    model: 'containerd',
    variant: '',
    name: 'containerd, overlayfs snapshotter',
    pkg: 'containerd',
    suites: BOTH,
    open: (sandbox) => openContainerd(sandbox, { snapshotter: 'overlayfs' }),
  },
  {
    model: 'containerd-parallel',
    variant: '',
    name: 'containerd, overlayfs snapshotter, layers unpacked at once',
    pkg: 'containerd',
    suites: ['built'],
    open: (sandbox) =>
      openContainerd(sandbox, { snapshotter: 'overlayfs', unpack: 'parallel', bin: BUILT ?? '' }),
  },
  {
    model: 'containerd-native',
    variant: '',
    name: 'containerd, native snapshotter',
    pkg: 'containerd',
    suites: BOTH,
    open: (sandbox) => openContainerd(sandbox, { snapshotter: 'native' }),
  },
  {
    model: 'containerd-rootless',
    variant: '',
    name: 'containerd, overlayfs snapshotter, rootless',
    pkg: 'containerd',
    suites: BOTH,
    user: 'rootless',
    open: (sandbox) => openContainerd(sandbox, { snapshotter: 'overlayfs' }),
  },
  {
    model: 'umoci',
    variant: '',
    name: 'umoci unpack',
    pkg: 'umoci',
    suites: ['bookworm'],
    open: openUmoci,
  },
  {
    model: 'ostree',
    variant: '',
    name: 'ostree commits, union checkouts',
    pkg: 'ostree',
    suites: BOTH,
    open: openOstree,
  },
];
