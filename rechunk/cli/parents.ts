/** What layers hold of the directories that they need: options, and the policy that they ask for. */
import type { Command } from 'commander';
import { RechunkError } from '../../registry/errors.ts';
import type { ParentsPolicy, SkeletonPlace } from '../parents.ts';
import { option, type Values } from './options.ts';

/** Options that decide which directories layers hold. */
export function addParentsOptions(command: Command): Command {
  return command
    .addOption(
      option(
        '--parents <policy>',
        'directories in layers: full (all that a layer needs), shared (none, one skeleton layer has them), delegate (marked), implicit (none, for unpackers that mark them)',
      )
        .choices(['full', 'shared', 'delegate', 'implicit'])
        .default('full'),
    )
    .addOption(
      option(
        '--skeleton <where>',
        'where the layer of directories lies (default: last for shared; first for implicit and delegate; both for delegate with neutral fallback)',
      ).choices(['first', 'last', 'both']),
    )
    .addOption(
      option('--delegate-xattr <namespace>', 'of the marker (default: trusted)').choices([
        'trusted',
        'user',
      ]),
    )
    .addOption(
      option(
        '--delegate-fallback <what>',
        'what a marked directory says itself: exact (its own metadata; default), or neutral (0755 root:root, the same for all)',
      ).choices(['exact', 'neutral']),
    );
}

/** The policy that is asked for. Throws `usage` for an option that the policy has no use for. */
export function parentsOptions(values: Values): ParentsPolicy {
  const kind = values['parents'] as ParentsPolicy['kind'];
  const skeleton = values['skeleton'] as SkeletonPlace | undefined;
  const xattr = values['delegateXattr'] as 'trusted' | 'user' | undefined;
  const fallback = values['delegateFallback'] as 'exact' | 'neutral' | undefined;
  const refuse = (name: string, value: string | undefined, wanted: string): void => {
    if (value === undefined) return;
    throw new RechunkError('usage', `${name} ${value}: got --parents ${kind}, want ${wanted}`);
  };
  if (kind !== 'delegate') {
    refuse('--delegate-xattr', xattr, '--parents delegate');
    refuse('--delegate-fallback', fallback, '--parents delegate');
  }
  if (kind === 'delegate') return { kind, skeleton, xattr, fallback };
  if (kind === 'full') {
    refuse('--skeleton', skeleton, '--parents shared, delegate or implicit');
    return { kind };
  }
  return { kind, skeleton };
}
