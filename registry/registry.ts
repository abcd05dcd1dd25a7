/** What the folder offers to others: images where they are, and the formats that they are made of. */
export {
  type ArchiveKind,
  type ArchiveOptions,
  openArchive,
  type SpooledFile,
  spoolStdin,
} from './archive.ts';
export { createDockerArchive, createOciArchive } from './archivewriter.ts';
export { decompress, detectCompression, fileBlob, readBlob, verifying } from './blob.ts';
export type { ClientOptions } from './client.ts';
export {
  COMPRESSION_FORMAT,
  type Compressor,
  type CompressorOptions,
  createCompressor,
  type LayerFormat,
  layerMediaType,
} from './compress.ts';
export type { Credentials } from './credentials.ts';
export { type DirOptions, openDir } from './dir.ts';
export { createDaemon, openDaemon } from './engines/daemon.ts';
export type { EngineOptions } from './engines/engine.ts';
export { createStorage, openStorage } from './engines/storage.ts';
export { ADVICE, type ErrorCode, type ErrorDetails, RechunkError } from './errors.ts';
export type { Timeouts } from './http.ts';
export {
  type Blob,
  type ByteRange,
  type Compression,
  checkDocument,
  type Destination,
  type DirectoryTree,
  type Document,
  HOST_PLATFORM,
  type Image,
  type ImageSet,
  type Layer,
  openImage,
  openImageSet,
  type PlatformChoice,
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
  type ManifestOrIndex,
  MEDIA,
  type Platform,
  parseConfig,
  parseDigest,
  parseIndex,
  parseManifest,
  parsePlatform,
} from './oci.ts';
export { type Opener, withImages } from './opener.ts';
export { type Path, pathFromText, pathOf, showPath } from './path.ts';
export type { Environment } from './program.ts';
export {
  formatReference,
  parseReference,
  type Reference,
  type RepositoryReference,
  type StoredReference,
} from './reference.ts';
export {
  createRemote,
  openRemote,
  type RemoteOptions,
  type RemoteReference,
} from './remote.ts';
export type { RemoteEvent } from './retry.ts';
export { openRootfs, type RootfsOptions } from './rootfs.ts';
export type { EntryType, Extent, TarEntry, TarFields, Xattrs } from './tar.ts';
export { type TarLimits, TarReader, type TarSink } from './tarreader.ts';
export { END_OF_ARCHIVE, encodeEntry, paddingOf, TAR_FORMAT } from './tarwriter.ts';
export {
  listReferences,
  openDestination,
  openSource,
  type TransportOptions,
} from './transport.ts';
export type { XattrReader } from './xattrs.ts';
