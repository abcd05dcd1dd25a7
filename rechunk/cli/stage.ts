/**
 * `rechunk stage DIR oci:DIR2`: the step in a Containerfile. A stage that is mounted at DIR becomes an OCI layout in the context, from which
 * the final stage starts. What buildah needs for that is checked first, and said where it is missing; what the final stage
 * loses is said afterwards.
 */
import { accessSync, constants, existsSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import type { Command } from 'commander';
import { during, RechunkError, systemCode } from '../../registry/errors.ts';
import { type ConfigFile, parseConfigFile } from '../../registry/inspect.ts';
import { readIndex } from '../../registry/layout.ts';
import { parseReference } from '../../registry/reference.ts';
import { sweepLayout } from '../../registry/sweep.ts';
import { formatSize } from '../size.ts';
import { addBuildOptions, buildOptions, runBuild } from './build.ts';
import { countOf } from './difftext.ts';
import { describeLosses } from './losses.ts';
import { buildahVersion, isDiscarded, type Mount, mountOf, parseMounts } from './mounts.ts';
import { type Host, option, type Values } from './options.ts';
import { say } from './say.ts';

/** Adds the command to `program`. */
export function addStage(program: Command, host: Host): void {
  const command = program
    .command('stage')
    .description('in a Containerfile: rechunk a mounted stage, for FROM oci:')
    .argument('<directory>', 'where the stage is mounted')
    .argument('<destination>', 'oci:DIR, in the context, which is mounted for writing')
    .addOption(
      option(
        '--annotations-to-labels',
        'write the annotations that --config has as labels too, where there are none of that name',
      ),
    )
    .addOption(
      option(
        '--replace',
        'continue whatever image the layout holds, and keep nothing but the new one there',
      ),
    );
  addBuildOptions(command).action((from, to, values) => stage(from, to, values, host));
}

/** What a user adds to the options of a build. */
const VOLUME = '-v "$PWD:CONTEXT" --security-opt=label=disable';

async function stage(from: string, to: string, given: Values, host: Host): Promise<void> {
  const reference = parseReference(to);
  if (reference.transport !== 'oci')
    throw new RechunkError('usage', `writing to ${to}: want oci:DIR, which FROM oci:DIR reads`);
  const layout = resolve(reference.path);
  const only = given['replace'] === true ? reference.ref : undefined;
  if (given['replace'] === true && only === undefined)
    throw new RechunkError(
      'usage',
      `--replace with ${to}: want a name for the image, oci:DIR:NAME`,
    );
  const context = checkPlaces(resolve(from), layout);
  const config = await readConfig(given);
  const values = {
    ...given,
    ...(context && { prune: [...listOf(given, 'prune'), ...leftPoint(from, context)] }),
    ...(given['annotationsToLabels'] === true && { label: labelsWith(config, given) }),
    ...(await previousIn(layout, reference.ref, given)),
  };
  const options = buildOptions(values, host);
  try {
    await runBuild([{ from: `rootfs:${from}`, to }], values, options, host);
  } catch (error) {
    throw withCapability(error);
  }
  const swept = options.dryRun === true ? undefined : await sweep(layout, only);
  if (given['quiet'] === true) return;
  if (swept) say('note', swept);
  for (const loss of describeLosses(config)) say('note', loss);
}

/** Removes from our layout what only earlier builds needed, or it would grow with each; a sentence about that. */
async function sweep(layout: string, only: string | undefined): Promise<string | undefined> {
  try {
    const { blobs, bytes } = await sweepLayout(layout, only);
    return blobs > 0
      ? `${countOf(blobs, 'blob')} of earlier builds removed from ${layout}, ${formatSize(bytes)}`
      : undefined;
  } catch (error) {
    // The image is there, whatever else the layout holds.
    if (error instanceof RechunkError) return error.message;
    throw error;
  }
}

/** The same error, with what to do where the system keeps a file from us that only its owner may read. */
function withCapability(error: unknown): unknown {
  if (!(error instanceof RechunkError) || !/\bEACCES\b/.test(error.message)) return error;
  const want = 'want a container that runs as root and has the capability DAC_OVERRIDE';
  return new RechunkError(error.code, `${error.message}; ${want}`, { cause: error });
}

function listOf(values: Values, name: string): readonly string[] {
  return (values[name] as readonly string[] | undefined) ?? [];
}

/** The image of an earlier build in the layout, to be continued where nothing else was asked for; a build looks for its own name itself. */
async function previousIn(
  layout: string,
  name: string | undefined,
  given: Values,
): Promise<{ readonly previous?: readonly string[] }> {
  const isNamed = listOf(given, 'previous').length > 0 || given['fresh'] === true;
  if (isNamed || (name !== undefined && given['replace'] !== true)) return {};
  const { manifests } = await during(`reading oci:${layout}`, () => readIndex(layout));
  if (name === undefined) return manifests.length > 0 ? { previous: [`oci:${layout}`] } : {};
  // What is attached to an image is no image.
  const newest = manifests.findLast(({ artifactType }) => artifactType === undefined);
  return newest ? { previous: [`oci:${layout}:@${newest.digest}`] } : {};
}

async function readConfig(values: Values): Promise<ConfigFile> {
  const file = values['config'] as string | undefined;
  if (file === undefined) return { config: {}, annotations: {} };
  return during(`reading the config ${file}`, () => parseConfigFile(readFileSync(file), file));
}

/** Annotations as edits of labels, before those that were asked for. */
function labelsWith({ config, annotations }: ConfigFile, values: Values): string[] {
  const settings = config['config'] as { readonly Labels?: object | null } | undefined;
  const labels = settings?.Labels ?? {};
  const missing = Object.entries(annotations).filter(([name]) => !Object.hasOwn(labels, name));
  return [...missing.map(([name, value]) => `${name}=${value}`), ...listOf(values, 'label')];
}

/** The mount point that `-v` leaves in every stage that runs something: an empty directory where the context is mounted. */
function leftPoint(from: string, context: Mount): string[] {
  try {
    return readdirSync(join(from, context.point)).length === 0 ? [context.point] : [];
  } catch {
    return [];
  }
}

/**
 * Throws `usage`, with what is missing, unless `image` is there to be read and `layout` will be there for the final stage. Gives the mount
 * that the layout lies in; undefined outside of a build.
 */
function checkPlaces(image: string, layout: string): Mount | undefined {
  const mounts = parseMounts(readIfThere('/proc/self/mountinfo'));
  const version = buildahVersion(readIfThere('/run/.containerenv'));
  if (!existsSync(image)) {
    const want = `want --mount=type=bind,from=STAGE,target=${image}`;
    throw new RechunkError(
      'usage',
      `there is no directory ${image}: ${want} in the RUN of this step`,
    );
  }
  const place = mountOf(layout, mounts);
  if (version === undefined || place === undefined) return undefined;
  const directory = dirname(layout);
  if (place.point === '/')
    throw new RechunkError(
      'usage',
      `${directory} is not mounted, so the final stage would not see ${layout}: want --mount=type=bind,target=${directory},rw in the RUN of this step`,
    );
  const volume = VOLUME.replace('CONTEXT', place.point);
  if (isDiscarded(place, version))
    throw new RechunkError(
      'usage',
      `buildah ${version.join('.')} throws away what this step writes to ${place.point}: want ${volume} among the options of the build, or buildah 1.44`,
    );
  checkWritable(directory, volume);
  return place;
}

function checkWritable(directory: string, volume: string): void {
  try {
    accessSync(directory, constants.W_OK);
  } catch (error) {
    const want =
      systemCode(error) === 'EROFS'
        ? `want --mount=type=bind,target=${directory},rw in the RUN of this step`
        : `want ${volume} among the options of the build, and USER root in this stage`;
    throw new RechunkError('usage', `${directory} cannot be written to: ${want}`, { cause: error });
  }
}

function readIfThere(file: string): string {
  try {
    return readFileSync(file, 'utf8');
  } catch {
    return '';
  }
}
