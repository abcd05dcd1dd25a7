/**
 * A pool of worker threads, and streams into them. Tasks are named functions of `worker.ts`; what they take and give is
 * plain data. The longest-waiting task goes to the first free worker.
 *
 * File descriptors are shared by all threads of a process, so open files are passed as numbers; they belong to whoever
 * opened them.
 */
import { MessageChannel, type MessagePort, Worker } from 'node:worker_threads';
import { RechunkError } from '../registry/errors.ts';
import type { Tasks } from './worker.ts';

/** What a worker sends back for a task: any number of parts, then the result or an error. */
export type Reply =
  | { readonly id: number; readonly kind: 'part'; readonly part: unknown }
  | { readonly id: number; readonly kind: 'result'; readonly result: unknown }
  | { readonly id: number; readonly kind: 'error'; readonly error: SentError };

/** An error as plain data, since structured clone keeps neither class nor code. */
export interface SentError {
  readonly message: string;
  readonly stack: string | undefined;
  readonly code: string | undefined;
  readonly rechunk: { readonly code: string; readonly details: object } | undefined;
}

/** The error that `sent` describes. */
function receiveError(sent: SentError): Error {
  if (sent.rechunk) {
    return new RechunkError(sent.rechunk.code as RechunkError['code'], sent.message, {
      details: sent.rechunk.details as RechunkError['details'],
    });
  }
  const error = new Error(sent.message);
  if (sent.stack !== undefined) error.stack = sent.stack;
  return Object.assign(error, sent.code === undefined ? {} : { code: sent.code });
}

/** Ports that no worker will take: who sends to them must not wait for ever. */
function closeAll(ports: readonly MessagePort[] = []): void {
  for (const port of ports) port.close();
}

interface Waiting {
  readonly id: number;
  readonly name: string;
  readonly job: unknown;
  readonly transfer: readonly MessagePort[];
  readonly onPart: ((part: never) => void) | undefined;
  readonly resolve: (result: never) => void;
  readonly reject: (error: unknown) => void;
}

interface Seat {
  readonly worker: Worker;
  task: Waiting | undefined;
}

/** Old-generation heap of a worker, MiB: it holds one layer's index in parts and one layer's headers. */
const WORKER_HEAP_MIB = 512;

/** In the single-file build the name of that file, which `.ci/single.ts` puts in its place. */
declare const SINGLE_FILE: string | undefined;

/** What a thread loads: of the single file, the part that is for threads. */
function workerFile(): string | URL {
  if (typeof SINGLE_FILE !== 'undefined') return SINGLE_FILE;
  const extension = import.meta.url.endsWith('.ts') ? 'ts' : 'js';
  return new URL(`./worker.${extension}`, import.meta.url);
}

/** Worker threads that run {@link Tasks}. `close` ends them, whatever they do. */
export class Pool {
  #threads: number;
  readonly #seats: Seat[] = [];
  readonly #queue: Waiting[] = [];
  #ids = 0;
  #failure: unknown;

  /** Workers are started when they are first needed, at most `threads`. */
  constructor(threads: number) {
    this.#threads = threads;
  }

  /** The most that may work at once. */
  get threads(): number {
    return this.#threads;
  }

  /** Lets go of all threads but `threads`, once they have nothing to do. */
  shrink(threads: number): void {
    this.#threads = Math.max(1, Math.min(this.#threads, threads));
    for (const seat of this.#seats.filter(({ task }) => !task)) this.#retire(seat);
  }

  #retire(seat: Seat): void {
    if (this.#seats.length <= this.#threads) return;
    this.#seats.splice(this.#seats.indexOf(seat), 1);
    void seat.worker.terminate();
  }

  /** Starts up to `count` threads now, so that they are there when they are needed. */
  warm(count: number): void {
    while (this.#seats.length < Math.min(count, this.threads)) this.#start();
  }

  /** Threads that have nothing to do. */
  get free(): number {
    const busy = this.#seats.filter(({ task }) => task).length;
    return Math.max(0, this.threads - busy - this.#queue.length);
  }

  /** Runs one task; `onPart` is told of each part in order before the result. */
  run<Name extends keyof Tasks>(
    name: Name,
    job: Tasks[Name]['job'],
    options: {
      readonly onPart?: (part: Tasks[Name]['part']) => void;
      readonly transfer?: readonly MessagePort[];
    } = {},
  ): Promise<Tasks[Name]['result']> {
    if (this.#failure) {
      closeAll(options.transfer);
      return Promise.reject(this.#failure);
    }
    return new Promise((resolve, reject) => {
      this.#queue.push({
        id: ++this.#ids,
        name,
        job,
        transfer: options.transfer ?? [],
        onPart: options.onPart as ((part: never) => void) | undefined,
        resolve: resolve as (result: never) => void,
        reject,
      });
      this.#assign();
    });
  }

  #assign(): void {
    while (this.#queue.length > 0) {
      let seat = this.#seats.find((candidate) => !candidate.task);
      if (!seat && this.#seats.length < this.threads) seat = this.#start();
      if (!seat) return;
      const task = this.#queue.shift() as Waiting;
      seat.task = task;
      seat.worker.ref();
      seat.worker.postMessage({ id: task.id, name: task.name, job: task.job }, [...task.transfer]);
    }
  }

  #start(): Seat {
    const worker = new Worker(workerFile(), {
      // The pool outlives no run; files opened in a worker must outlive the worker.
      trackUnmanagedFds: false,
      resourceLimits: { maxOldGenerationSizeMb: WORKER_HEAP_MIB, maxYoungGenerationSizeMb: 16 },
      execArgv: process.execArgv.filter((arg) => arg.startsWith('--disable-warning')),
    });
    const seat: Seat = { worker, task: undefined };
    worker.unref();
    worker.on('message', (reply: Reply) => this.#receive(seat, reply));
    worker.on('error', (error) => this.#fail(error));
    worker.on('exit', (code) => {
      if (seat.task) this.#fail(new Error(`a worker thread ended with exit code ${code}`));
    });
    this.#seats.push(seat);
    return seat;
  }

  #receive(seat: Seat, reply: Reply): void {
    const { task } = seat;
    // A pool that closes waits for its threads, which must not be let go of any more.
    if (!task || reply.id !== task.id || this.#failure) return;
    if (reply.kind === 'part') {
      task.onPart?.(reply.part as never);
      return;
    }
    seat.task = undefined;
    seat.worker.unref();
    this.#retire(seat);
    if (reply.kind === 'result') task.resolve(reply.result as never);
    else task.reject(receiveError(reply.error));
    this.#assign();
  }

  #fail(error: unknown): void {
    this.#failure ??= error;
    for (const seat of this.#seats) seat.task?.reject(error);
    for (const task of this.#queue.splice(0)) {
      closeAll(task.transfer);
      task.reject(error);
    }
  }

  /** Ends all workers; tasks under way are rejected. */
  async close(): Promise<void> {
    this.#fail(new RechunkError('interrupted', 'the run was stopped'));
    await Promise.all(this.#seats.map(({ worker }) => worker.terminate()));
  }
}

/** How much may be under way to a worker before it has taken it: bytes of a byte stream, items of any other. */
const WINDOW = { bytes: 8 << 20, items: 4 } as const;

/** What a stream's item counts for. */
function weigh(item: unknown): number {
  return item instanceof Uint8Array ? item.length / WINDOW.bytes : 1 / WINDOW.items;
}

type StreamMessage<T> = { readonly item: T } | 'end' | 'error';

/** Settles the next time that `wake` is called. */
class Signal {
  #wake: (() => void) | undefined;

  wait(): Promise<void> {
    return new Promise((resolve) => {
      this.#wake = resolve;
    });
  }

  wake(): void {
    this.#wake?.();
  }
}

/**
 * Sends a stream of plain data through a message port, with flow control. `done` settles when the receiver has taken all,
 * and rejects with the stream's own error. What `given` names of an item is handed over and not copied: it is empty here afterwards.
 */
export function sendStream<T>(
  items: AsyncIterable<T> | Iterable<T>,
  given: (item: T) => readonly ArrayBuffer[] = () => [],
): {
  port: MessagePort;
  done: Promise<void>;
} {
  const { port1, port2 } = new MessageChannel();
  const done = pump(items, port1, given).finally(() => port1.close());
  return { port: port2, done };
}

async function pump<T>(
  items: AsyncIterable<T> | Iterable<T>,
  port: MessagePort,
  given: (item: T) => readonly ArrayBuffer[],
): Promise<void> {
  const send = (message: StreamMessage<T>, transfer: readonly ArrayBuffer[] = []): void =>
    port.postMessage(message, [...transfer]);
  const signal = new Signal();
  let outstanding = 0;
  let closed = false;
  port.on('message', (taken: number) => {
    outstanding -= taken;
    signal.wake();
  });
  port.on('close', () => {
    closed = true;
    signal.wake();
  });
  try {
    for await (const item of items) {
      while (outstanding >= 1 && !closed) await signal.wait();
      if (closed) return;
      outstanding += weigh(item);
      send({ item }, given(item));
    }
    send('end');
  } catch (error) {
    send('error');
    throw error;
  }
  // The last items must reach the other side before the port is closed.
  while (!closed) await signal.wait();
}

/** Messages of a port, to be waited for; undefined once it is closed. */
export class Inbox<T> {
  readonly #messages: T[] = [];
  readonly #signal = new Signal();
  #isClosed = false;

  constructor(port: MessagePort) {
    port.on('message', (message: T) => {
      this.#messages.push(message);
      this.#signal.wake();
    });
    port.on('close', () => {
      this.#isClosed = true;
      this.#signal.wake();
    });
  }

  /** The next message, oldest first. */
  async next(): Promise<T | undefined> {
    while (this.#messages.length === 0 && !this.#isClosed) {
      await this.#signal.wait();
    }
    return this.#messages.shift();
  }
}

/** The stream that {@link sendStream} sends; ends with an error when the sender failed. */
export async function* receiveStream<T>(port: MessagePort): AsyncGenerator<T> {
  const inbox = new Inbox<StreamMessage<T>>(port);
  try {
    for (;;) {
      const message = await inbox.next();
      if (message === 'end') return;
      // The sender's own error says what happened; it is thrown there.
      if (message === 'error' || message === undefined)
        throw new RechunkError('network', 'the stream broke off');
      port.postMessage(weigh(message.item));
      yield message.item;
    }
  } finally {
    port.close();
  }
}
