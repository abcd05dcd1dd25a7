/** Copies images between places, for tests. */
import type { Destination, Source } from '../registry/image.ts';
import { type Manifest, MEDIA, parseManifest } from '../registry/oci.ts';

/** Copies the image `source` (no index) as it is to `destination`, and closes both. */
export async function copyImage(source: Source, destination: Destination): Promise<void> {
  const { manifest } = parseManifest(source.root.bytes, MEDIA.manifest) as { manifest: Manifest };
  for (const blob of [manifest.config, ...manifest.layers])
    await destination.putBlob(blob, await source.blob(blob));
  await destination.commit(source.root, []);
  await destination.close();
  await source.close();
}
