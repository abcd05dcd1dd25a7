/** `rechunk plan`: components, layers and expected update bytes; writes nothing. */
import type { Command } from 'commander';
import { type PlanReport, planSource } from '../preview.ts';
import {
  addGroupOptions,
  addPolicyOptions,
  addRunOptions,
  groupOptions,
  type Host,
  metadataOptions,
  platformOptions,
  policyOptions,
  type Values,
} from './options.ts';
import { print, withSession } from './session.ts';
import { formatSize, oneLine } from './values.ts';

/** Adds the command to `program`. */
export function addPlan(program: Command, host: Host): void {
  const command = program
    .command('plan')
    .description('show components, layers and expected update bytes; writes nothing')
    .argument('<source>', 'the image to read');
  addRunOptions(addPolicyOptions(addGroupOptions(command))).action((source, values) =>
    plan(source, values, host),
  );
}

async function plan(source: string, values: Values, host: Host): Promise<void> {
  const options = {
    ...groupOptions(values),
    ...metadataOptions(values, host),
    ...platformOptions(values),
    policy: policyOptions(values, host),
  };
  const result = await withSession(values, host, async (session) =>
    planSource(await session.source(source), { ...session.run, ...options }),
  );
  print(result, values, format);
}

/** Component names that a line shows. */
const SHOWN_COMPONENTS = 4;

function format(report: PlanReport): string {
  const rows = report.layers.map((layer, i) => {
    const shown = oneLine(layer.components.slice(0, SHOWN_COMPONENTS).join(' '));
    const more = layer.components.length - SHOWN_COMPONENTS;
    const percent = `${(layer.changes / 10_000).toFixed(1)}%`;
    return `${String(i + 1).padStart(4)} ${formatSize(layer.size).padStart(9)} ${percent.padStart(6)} ${shown}${more > 0 ? ` +${more}` : ''}`;
  });
  return [
    '   # estimated change  components',
    ...rows,
    `${report.entries} entries, ${report.components.length} components, ${report.layers.length} layers`,
    `an update pulls about ${formatSize(report.updateBytes)} of ${formatSize(report.size)}`,
    '',
  ].join('\n');
}
