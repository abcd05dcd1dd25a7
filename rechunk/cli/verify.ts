/** `rechunk verify`: is it the same root file system and config? */
import type { Command } from 'commander';
import { verify as verifyImages } from '../rechunk.ts';
import { canBeRight } from '../runtimes/compare.ts';
import { parseRuntimes } from '../runtimes/report.ts';
import type { Verification } from '../verify.ts';
import {
  addPolicyOptions,
  addRunOptions,
  type Host,
  listOption,
  metadataOptions,
  option,
  platformOptions,
  policyOptions,
  type Values,
} from './options.ts';
import { formatRuntimes } from './runtimestext.ts';
import { noticeIndexes, print, withSession } from './session.ts';
import { oneLine } from './values.ts';

/** Adds the command to `program`. */
export function addVerify(program: Command, host: Host): void {
  const command = program
    .command('verify')
    .description(
      'same root file system and config? lists every difference, and what was excused; exit status 1 if they differ',
    )
    .argument('<a>', 'the original')
    .argument('<b>', 'the result')
    .addOption(
      listOption(
        '--previous <image>',
        'what the build inherited from, the first as for build: proves what comes from there',
      ),
    )
    .addOption(
      option(
        '--runtimes [ids]',
        'also compare what container runtimes show of the result: all (default), or ids separated by commas',
      ),
    );
  addRunOptions(addPolicyOptions(command)).action((a, b, values) => verify(a, b, values, host));
}

async function verify(a: string, b: string, values: Values, host: Host): Promise<void> {
  const { runtimes } = values;
  const options = {
    runtimes:
      runtimes === undefined
        ? undefined
        : parseRuntimes(runtimes === true ? 'all' : String(runtimes)),
    ...metadataOptions(values, host),
    ...platformOptions(values),
    policy: policyOptions(values, host),
  };
  const result = await withSession(values, host, async (session) => {
    const [original, got] = [await session.source(a), await session.source(b)];
    noticeIndexes([original, got], options, session);
    const [named] = (values['previous'] as readonly string[] | undefined) ?? [];
    const previous = named === undefined ? undefined : await session.source(named);
    return verifyImages(original, got, { ...session.run, ...options, previous });
  });
  print(result, values, format);
  if (!result.equal || result.runtimes?.some(canBeRight)) process.exitCode = 1;
}

function format(result: Verification): string {
  const { differences, excuses, entries, equal, unproven } = result;
  return [
    ...differences.map(({ at, what, want, got }) =>
      oneLine(`${at}: ${what}: want ${want}, got ${got}`),
    ),
    ...excuses.map((excuse) => `excused: ${excuse.text}`),
    equal
      ? `equal: ${entries} entries and the config`
      : `different: ${differences.length} differences`,
    ...(unproven > 0
      ? [`${unproven} of them may be as in a previous image, which --previous IMAGE would prove`]
      : []),
    ...formatRuntimes(result.runtimes ?? []),
    '',
  ].join('\n');
}
