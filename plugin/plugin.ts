/**
 * What hosts of CI have in common: each option of `rechunk build` is an input of the same name, handed on as `RECHUNK_NAME` in the environment,
 * where an empty text is not given. The lists of inputs in their files are written here from the command line's own options.
 */
import { createProgram } from '../rechunk/cli/main.ts';

/** An option as an input of a host. */
export interface StepInput {
  /** As after the dashes: `max-layers`. */
  readonly name: string;
  /** `RECHUNK_MAX_LAYERS`. */
  readonly variable: string;
  readonly about: string;
}

/** A host of CI, by the directory with its file. */
export type HostName = 'github' | 'gitlab' | 'tekton';

/** The file of each host, beside this one. */
export const HOST_FILES: Readonly<Record<HostName, string>> = {
  github: 'github/action.yml',
  gitlab: 'gitlab/templates/rechunk.yml',
  tekton: 'tekton/rechunk.yaml',
};

/** Options that a host's file sets itself, or that would take its results away. */
const OWN: ReadonlySet<string> = new Set([
  ...['json', 'quiet', 'help', 'cache', 'digest-file', 'summary-file', 'outputs-file'],
]);

/** The inputs of a host: every option of `rechunk build` that it does not set itself. */
export function stepInputs(): readonly StepInput[] {
  const program = createProgram({ env: {}, signal: new AbortController().signal });
  const build = program.commands.find((command) => command.name() === 'build');
  return (build?.options ?? []).flatMap(({ long, envVar, description, argChoices, ...option }) => {
    const name = long?.slice(2) ?? '';
    if (envVar === undefined || OWN.has(name)) return [];
    const isSwitch = !option.required && !option.optional;
    const choices = argChoices ? `: ${argChoices.join(', ')}` : '';
    const about = description.replace(' (repeatable)', '; one a line');
    const kind = isSwitch ? '; true or false' : '';
    return [{ name, variable: envVar, about: `${about}${choices}${kind}` }];
  });
}

/** The lines that a part of a host's file has for one input. */
type Part = (input: StepInput) => readonly string[];

/** YAML in one line: JSON is YAML. */
const text = (value: string): string => JSON.stringify(value);

const PARTS: Readonly<Record<HostName, Readonly<Record<string, Part>>>> = {
  github: {
    inputs: ({ name, about }) => [`  ${name}:`, `    description: ${text(about)}`],
    environment: ({ name, variable }) => [`        ${variable}: \${{ inputs.${name} }}`],
  },
  gitlab: {
    inputs: ({ name, about }) => [
      `    ${name}:`,
      `      description: ${text(about)}`,
      "      default: ''",
    ],
    environment: ({ name, variable }) => [`    ${variable}: $[[ inputs.${name} ]]`],
  },
  tekton: {
    inputs: ({ variable, about }) => [
      `    - name: ${paramOf(variable)}`,
      `      description: ${text(about)}`,
      '      type: string',
      "      default: ''",
    ],
    environment: ({ variable }) => [
      `        - name: ${variable}`,
      `          value: $(params.${paramOf(variable)})`,
    ],
  },
};

/** Tekton's parameters are named as its users name them: `MAX_LAYERS`. */
function paramOf(variable: string): string {
  return variable.slice('RECHUNK_'.length);
}

/** The file of `host` with its lists of inputs as they are now, each between `# PART: begin` and `# PART: end`. */
export function fillIn(host: HostName, file: string): string {
  return Object.entries(PARTS[host]).reduce((filled, [name, linesOf]) => {
    const between = new RegExp(`^( *# ${name}: begin\\b.*\n)[^]*?^( *# ${name}: end\n)`, 'm');
    if (!between.test(filled)) throw new Error(`${HOST_FILES[host]}: no lines '# ${name}: begin'`);
    const lines = stepInputs().flatMap(linesOf).join('\n');
    return filled.replace(between, (_, begin, end) => `${begin}${lines}\n${end}`);
  }, file);
}
