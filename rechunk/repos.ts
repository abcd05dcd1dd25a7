/** The component repos, in no order that matters: precedence is `assign()`'s business. */
import type { ComponentRepo } from './components.ts';
import { alpm } from './repos/alpm.ts';
import { apk } from './repos/apk.ts';
import { dpkg } from './repos/dpkg.ts';
import { node } from './repos/node.ts';
import { python } from './repos/python.ts';
import { rpm } from './repos/rpm.ts';
import { xattr } from './repos/xattr.ts';

/** Every repo that needs no input of its own. */
export const REPOS: readonly ComponentRepo[] = [xattr, dpkg, rpm, apk, alpm, python, node];
