/**
 * Whether a registry serves several parts of a blob by one request, as clients of zstd:chunked layers ask for them (RFC 9110
 * sections 14.2 and 15.3.7.2; c/image 5.34 `docker_image_src.go`). distribution-spec v1.1.1 asks for single ranges only.
 *
 * What c/image makes of other answers: 200 works, and costs the whole blob each time; 400 lets it take the whole layer; a part that
 * is missing, and any other status, ends the pull.
 */
import { pullScope, type RegistryClient } from './client.ts';
import { during, RechunkError } from './errors.ts';
import type { HttpResponse } from './http.ts';
import type { ByteRange } from './image.ts';
import type { Descriptor } from './oci.ts';

/** Bytes of each range that are asked for. */
const PROBE_SIZE = 512;
/** What a response may have beside the parts, bytes. */
const AROUND_LIMIT: number = 4 << 10;
/** Every status but those for which access must be given, or that may go away by themselves. */
const ANSWERS: readonly number[] = [
  ...[200, 206, 400, 404, 405, 406, 410, 411, 412, 415, 416, 417, 421, 422, 431, 501, 505],
];

/** Why clients cannot read `ranges` of a blob that the repository holds at once; undefined where they can. */
export async function refusesRanges(
  client: RegistryClient,
  repository: string,
  { digest }: Descriptor,
  ranges: readonly ByteRange[],
): Promise<string | undefined> {
  const asked = ranges.map((range) => ({ ...range, size: Math.min(range.size, PROBE_SIZE) }));
  const list = asked.map((range) => `${range.offset}-${range.offset + range.size - 1}`).join(',');
  const response = await during(`asking for parts of ${digest}`, () =>
    client.request({
      method: 'GET',
      to: `/v2/${repository}/blobs/${digest}`,
      scopes: [pullScope(repository)],
      want: ANSWERS,
      headers: { range: `bytes=${list}` },
    }),
  );
  if (response.status !== 206) {
    await response.discard();
    return response.status === 200
      ? 'asked for two parts of a blob, it sends the whole'
      : `asked for two parts of a blob, it answers ${response.status}`;
  }
  return judgeParts(response, asked);
}

async function judgeParts(
  response: HttpResponse,
  asked: readonly ByteRange[],
): Promise<string | undefined> {
  const type = response.header('content-type') ?? '';
  const boundary = /^multipart\/byteranges\s*;(?:.*;)?\s*boundary="?([^";]+)"?/i.exec(type)?.[1];
  if (boundary === undefined) {
    await response.discard();
    return `asked for two parts of a blob, it sends ${type || 'one'}, want multipart/byteranges`;
  }
  try {
    const limit = asked.reduce((sum, { size }) => sum + size + AROUND_LIMIT, AROUND_LIMIT);
    const text = (await response.bytes(limit)).toString('latin1');
    const parts = text.split(`--${boundary}`).slice(1, -1).map(partOf);
    const wanted = asked.map((range) => ({
      place: `${range.offset}-${range.offset + range.size - 1}`,
      size: range.size,
    }));
    if (JSON.stringify(parts) === JSON.stringify(wanted)) return undefined;
  } catch (error) {
    if (!(error instanceof RechunkError) || error.code !== 'limit') throw error;
  }
  return 'asked for two parts of a blob, it sends others';
}

/** Where a part of a multipart body says to be, and how many bytes it has. */
function partOf(text: string): { readonly place: string; readonly size: number } {
  const [head = '', ...body] = text.split('\r\n\r\n');
  const place = /^content-range:\s*bytes (\d+-\d+)\//im.exec(head)?.[1] ?? '';
  // A line's end belongs to the boundary after it.
  return { place, size: body.join('\r\n\r\n').length - '\r\n'.length };
}
