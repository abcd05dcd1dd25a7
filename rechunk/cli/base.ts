/** The base whose layers stay: an option, and how it is opened. */
import type { Command } from 'commander';
import { during, RechunkError } from '../../registry/errors.ts';
import { type Image, openImage, type Source } from '../../registry/image.ts';
import { ANNOTATION, parseDigest, parseManifest } from '../../registry/oci.ts';
import { formatReference, parseReference } from '../../registry/reference.ts';
import type { OpenBase } from '../below.ts';
import { option, type Values } from './options.ts';
import type { Session } from './session.ts';

/** In place of a reference: what the image's annotations name. */
export const ANNOTATED = 'annotated';

/** The option that names a base. */
export function addBaseOption(command: Command): Command {
  return command.addOption(
    option(
      '--base <image>',
      `leave the layers of this base as they are and rechunk what lies above; ${ANNOTATED}: the base that the image’s annotations name`,
    ),
  );
}

/** How the base that is asked for is opened; undefined where none is. */
export function baseOption(values: Values, session: Session): OpenBase | undefined {
  const name = values['base'] as string | undefined;
  if (name === undefined) return undefined;
  const open = once((reference) => session.source(reference));
  if (name !== ANNOTATED) return () => open(name);
  return async (image) => {
    const reference = await annotatedBase(image, session);
    const doing = `opening the base that the annotations of ${image.source.reference} name (--base IMAGE names another)`;
    return during(doing, async () => {
      const source = await open(reference);
      await checkShared(image, source);
      return source;
    });
  };
}

/**
 * Throws `usage` unless `image` begins with the layers of its base: else annotations alone could make a build publish the layers of
 * any image that the user may read.
 */
async function checkShared(image: Image, source: Source): Promise<void> {
  const { platform } = image;
  const { layers } = await openImage(source, { platform, hostPlatform: platform });
  const differs = layers.findIndex(({ diffId }, i) => diffId !== image.layers[i]?.diffId);
  if (differs < 0) return;
  throw new RechunkError(
    'usage',
    `layer ${differs + 1} of ${source.reference} is not that of ${image.source.reference}: got another, want an image that begins with its base's layers, or --base IMAGE`,
  );
}

/** `open` that opens each reference once: the images of an index share their base. */
function once(open: (reference: string) => Promise<Source>): typeof open {
  const opened = new Map<string, Promise<Source>>();
  return (reference) => {
    const known = opened.get(reference) ?? open(reference);
    opened.set(reference, known);
    return known;
  };
}

/** The reference of the base that an image's annotations name, else those of the index that it is in; by digest where there is one. */
async function annotatedBase(image: Image, { reporter }: Session): Promise<string> {
  const { reference: source } = image.source;
  const { [ANNOTATION.baseName]: name, [ANNOTATION.baseDigest]: digest } = annotationsOf(image);
  if (name === undefined || name === '')
    throw new RechunkError(
      'usage',
      `--base ${ANNOTATED}: ${source} has no annotation ${ANNOTATION.baseName}, want --base IMAGE`,
    );
  return during(`reading the annotation ${ANNOTATION.baseName} of ${source}`, () => {
    const reference = parseReference(name);
    if (digest === undefined) {
      reporter.notice(
        `the annotations of ${source} name the base ${name} without a digest: what it is now is taken`,
      );
      return formatReference(reference);
    }
    const exact = parseDigest(digest);
    if (reference.transport === 'docker') {
      const { host, repository } = reference;
      return formatReference({ transport: 'docker', host, repository, digest: exact });
    }
    const { transport } = reference;
    if (transport === 'oci' || transport === 'oci-archive' || transport === 'docker-archive')
      return formatReference({ transport, path: reference.path, ref: `@${exact}` });
    throw new RechunkError('reference', `got '${name}', want the name of an image with digests`);
  });
}

/** The annotations that name a base: of the manifest, else of the index. */
function annotationsOf({ source, manifest }: Image): Readonly<Record<string, string>> {
  const own = manifest.annotations ?? {};
  if (own[ANNOTATION.baseName] !== undefined) return own;
  const { bytes, descriptor } = source.root;
  const root = parseManifest(bytes, descriptor.mediaType, `the manifest of ${source.reference}`);
  return (root.kind === 'index' && root.index.annotations) || own;
}
