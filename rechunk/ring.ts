/**
 * A byte stream from one thread to another through shared memory: the bytes are copied once, and nothing is allocated on the way.
 */
import { MessageChannel, type MessagePort } from 'node:worker_threads';
import { RechunkError } from '../registry/errors.ts';
import { Inbox } from './pool.ts';

/** Bytes of a slot; a chunk of the stream takes one or several. */
const SLOT_BYTES: number = 256 << 10;
/** Slots that may be filled before the reader has taken any: 4 MiB. */
const SLOTS = 16;

/** One end of a ring; plain data for a thread. `port` has to be transferred. */
export interface RingEnd {
  readonly memory: SharedArrayBuffer;
  readonly port: MessagePort;
}

/** What the writer says: a slot has this many bytes; or how the stream ended. */
type Filled = { readonly slot: number; readonly size: number } | 'end' | 'error';

/** The two ends of a new ring. */
export function makeRing(): { readonly writer: RingEnd; readonly reader: RingEnd } {
  const memory = new SharedArrayBuffer(SLOTS * SLOT_BYTES);
  const { port1, port2 } = new MessageChannel();
  return { writer: { memory, port: port1 }, reader: { memory, port: port2 } };
}

/** Writes `chunks`; ends quietly where the reader stops early, and tells it of an error, which is thrown here. */
export async function writeRing(
  { memory, port }: RingEnd,
  chunks: AsyncIterable<Uint8Array>,
): Promise<void> {
  const taken = new Inbox<number>(port);
  const free = Array.from({ length: SLOTS }, (_, slot) => slot);
  const say = (message: Filled): void => port.postMessage(message);
  try {
    for await (const chunk of chunks) {
      for (let at = 0; at < chunk.length; at += SLOT_BYTES) {
        const slot = free.pop() ?? (await taken.next());
        if (slot === undefined) return;
        const part = chunk.subarray(at, at + SLOT_BYTES);
        new Uint8Array(memory, slot * SLOT_BYTES).set(part);
        say({ slot, size: part.length });
      }
    }
    say('end');
  } catch (error) {
    say('error');
    throw error;
  }
  // The last slots must be taken before the port is closed.
  while ((await taken.next()) !== undefined);
}

/** The stream that {@link writeRing} writes; a chunk is valid until the next is asked for. */
export async function* readRing({ memory, port }: RingEnd): AsyncGenerator<Uint8Array> {
  const filled = new Inbox<Filled>(port);
  try {
    for (;;) {
      const message = await filled.next();
      if (message === 'end') return;
      // The writer's own error says what happened; it is thrown there.
      if (message === 'error' || message === undefined)
        throw new RechunkError('network', 'the stream broke off');
      const { slot, size } = message;
      yield new Uint8Array(memory, slot * SLOT_BYTES, size);
      port.postMessage(slot);
    }
  } finally {
    port.close();
  }
}
