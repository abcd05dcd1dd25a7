/** What all build steps share: a CI host's named inputs as arguments of the command line. */

/** Inputs by name, as the command line names its options, without the dashes; an empty text is not given. */
export type StepInputs = Readonly<Record<string, string | undefined>>;

/** Inputs that are arguments by place, in order. */
const ARGUMENTS = ['source', 'destination'];

/**
 * The arguments of `rechunk COMMAND` for `inputs`: `source` and `destination` by place, `true` as a bare option, `false` as
 * none, a text of several lines as one option a line.
 */
export function argvOf(command: string, inputs: StepInputs): string[] {
  const given = Object.entries(inputs).filter((input): input is [string, string] =>
    Boolean(input[1]?.trim()),
  );
  const byPlace = ARGUMENTS.flatMap(
    (name) => given.find(([key]) => key === name)?.[1].trim() ?? [],
  );
  const options = given
    .filter(([name]) => !ARGUMENTS.includes(name))
    .flatMap(([name, value]) => value.split('\n').map((line) => [name, line.trim()] as const))
    .filter(([, value]) => value !== '' && value !== 'false')
    .flatMap(([name, value]) => (value === 'true' ? [`--${name}`] : [`--${name}`, value]));
  return [command, ...byPlace, ...options];
}
