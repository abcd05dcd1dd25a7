/** What the folder offers to others: images where they are, and the formats that they are made of. */
export { type ArchiveKind, type ArchiveOptions, openArchive, spoolStdin } from './archive.ts';
export { createDockerArchive, createOciArchive } from './archivewriter.ts';
export { decompress, detectCompression, fileBlob, readBlob, verifying } from './blob.ts';
export {
  COMPRESSION_FORMAT,
  type Compressor,
  type CompressorOptions,
  createCompressor,
  layerMediaType,
} from './compress.ts';
export { openDir } from './dir.ts';
export { createDaemon, openDaemon } from './engines/daemon.ts';
export type { EngineOptions } from './engines/engine.ts';
export { createStorage, openStorage } from './engines/storage.ts';
export { ADVICE, type ErrorCode, type ErrorDetails, RechunkError } from './errors.ts';
export {
  type Blob,
  type Compression,
  type Destination,
  type DirectoryTree,
  type Document,
  type Image,
  type ImageSet,
  type Layer,
  openImage,
  openImageSet,
  type Source,
} from './image.ts';
export { createLayout, openLayout } from './layout.ts';
export { listRepositories, listTags } from './lists.ts';
export {
  type Annotations,
  type Descriptor,
  type Digest,
  digestOf,
  formatPlatform,
  type History,
  type ImageConfig,
  type Index,
  type Manifest,
  MEDIA,
  type Platform,
  parseConfig,
  parseDigest,
  parseIndex,
  parseManifest,
  parsePlatform,
} from './oci.ts';
export { type Path, pathFromText, pathOf, showPath } from './path.ts';
export { formatReference, parseReference, type Reference } from './reference.ts';
export {
  createRemote,
  openRemote,
  type RemoteOptions,
  type RemoteReference,
} from './remote.ts';
export { openRootfs, type RootfsOptions } from './rootfs.ts';
export type { EntryType, Extent, TarEntry, TarFields, Xattrs } from './tar.ts';
export { TarReader, type TarSink } from './tarreader.ts';
export { END_OF_ARCHIVE, encodeEntry, paddingOf, TAR_FORMAT } from './tarwriter.ts';
export { openDestination, openSource, type TransportOptions } from './transport.ts';
