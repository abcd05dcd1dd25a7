/**
 * What becomes of an image that is the base of a final stage (`FROM oci:DIR`). Without instructions after it, and without triggers, buildah
 * keeps config and manifest annotations to the byte. Instructions make another image: of the config only what image-spec v1.1.1
 * (config.md) has survives, and annotations of layers never do. Measured with buildah 1.28.2 and 1.39.3 (`plugin/containerfile`).
 */
import type { ConfigFile } from '../../registry/inspect.ts';

/** Fields of the config that a commit by buildah keeps, or sets anew. */
const KEPT_FIELDS = new Set([
  ...['created', 'author', 'architecture', 'os', 'os.version', 'os.features', 'variant'],
  ...['config', 'rootfs', 'history'],
]);
/** Fields of `config` within it, likewise. */
const KEPT_SETTINGS = new Set([
  ...['User', 'ExposedPorts', 'Env', 'Entrypoint', 'Cmd', 'Volumes', 'WorkingDir', 'Labels'],
  'StopSignal',
]);
/** Triggers: the final stage runs them, and its image has none. */
const TRIGGERS = 'OnBuild';

/** What a final stage makes of an image, in words for people; none where nothing is lost. */
export function describeLosses({ config, annotations }: ConfigFile): string[] {
  const settings = (config['config'] ?? {}) as Record<string, unknown>;
  const triggers = isSet(settings[TRIGGERS]) ? 1 : 0;
  const dropped = [
    ...Object.keys(config).filter((name) => !KEPT_FIELDS.has(name) && isSet(config[name])),
    ...Object.keys(settings).filter(
      (name) => name !== TRIGGERS && !KEPT_SETTINGS.has(name) && isSet(settings[name]),
    ),
  ];
  const names = Object.keys(annotations);
  return [
    ...(triggers ? ['FROM oci: runs the triggers of ONBUILD, and the image then has none'] : []),
    ...(dropped.length > 0
      ? [
          `instructions after FROM oci: drop ${dropped.join(', ')}; state them there again, or have none`,
        ]
      : []),
    ...(names.length > 0
      ? [
          `docker’s format has no annotations (${names.join(', ')}); --annotations-to-labels writes them as labels too`,
        ]
      : []),
  ];
}

/** Engines print what is not set as null, false, 0, or empty. */
function isSet(value: unknown): boolean {
  if (typeof value !== 'object') return Boolean(value);
  return value !== null && Object.keys(value).length > 0;
}
