/**
 * A reverse proxy in front of a real registry that does to requests what networks, gateways and blob stores do: tests
 * hand it a function that lets an exchange pass, changes it, or breaks it.
 */
import {
  createServer,
  type IncomingHttpHeaders,
  type IncomingMessage,
  request,
  type ServerResponse,
} from 'node:http';
import type { AddressInfo } from 'node:net';

/** A request that the proxy has seen, with its headers as they came. */
export interface SeenRequest {
  readonly method: string;
  /** With the query. */
  readonly path: string;
  readonly headers: IncomingHttpHeaders;
}

/** What the registry answered, whole. */
export interface Answer {
  status: number;
  headers: IncomingHttpHeaders;
  body: Buffer;
}

/** One request on its way through the proxy. */
export interface Exchange extends SeenRequest {
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
  /** Sends the request on and returns the registry's answer; `headers` are added or, where undefined, left out. */
  fetch(headers?: Record<string, string | undefined>): Promise<Answer>;
  /** Answers the client. */
  reply(answer: {
    status: number;
    headers?: Record<string, string | string[] | undefined>;
    body?: Buffer | string;
  }): void;
  /** Breaks the connection to the client. */
  drop(): void;
}

/** Handles an exchange; returns false to let it pass unchanged. */
export type Fault = (exchange: Exchange) => Promise<unknown> | unknown;

/** A running proxy. */
export interface FaultProxy {
  /** `127.0.0.1:PORT`. */
  readonly host: string;
  readonly port: number;
  /** Every request so far, in order of arrival. */
  readonly seen: SeenRequest[];
  /** What it does to exchanges from now on; nothing by default. */
  fault: Fault;
  stop(): Promise<void>;
}

async function readAll(message: IncomingMessage): Promise<Buffer> {
  const parts: Buffer[] = [];
  for await (const part of message) parts.push(part as Buffer);
  return Buffer.concat(parts);
}

function forward(
  target: string,
  incoming: IncomingMessage,
  headers: Record<string, string | undefined>,
): Promise<Answer> {
  const merged = Object.entries({ ...incoming.headers, ...headers });
  const kept = Object.fromEntries(merged.filter(([, value]) => value !== undefined));
  return new Promise((resolve, reject) => {
    const { method, url: path } = incoming;
    const [hostname = '', port] = target.split(':');
    const outgoing = request({ hostname, port, method, path, headers: kept, agent: false });
    outgoing.on('error', reject);
    outgoing.on('response', (message) => {
      const { statusCode: status = 0, headers } = message;
      readAll(message).then((body) => resolve({ status, headers, body }), reject);
    });
    incoming.on('error', (error) => outgoing.destroy(error));
    incoming.pipe(outgoing);
  });
}

function exchangeOf(target: string, incoming: IncomingMessage, response: ServerResponse): Exchange {
  return {
    method: incoming.method ?? '',
    path: incoming.url ?? '',
    headers: incoming.headers,
    request: incoming,
    response,
    fetch: (headers = {}) => forward(target, incoming, headers),
    reply: ({ status, headers = {}, body = '' }) => {
      const { 'transfer-encoding': _, connection: __, ...rest } = headers;
      const kept = Object.entries(rest).filter(([, value]) => value !== undefined);
      response.writeHead(status, Object.fromEntries(kept) as Record<string, string>);
      response.end(body);
    },
    drop: () => incoming.socket.destroy(),
  };
}

/** Starts a proxy before `target` (`HOST:PORT`), on loopback. */
export async function startProxy(target: string): Promise<FaultProxy> {
  const server = createServer();
  const proxy = {
    host: '',
    port: 0,
    seen: [] as SeenRequest[],
    fault: (() => false) as Fault,
    stop,
  };
  async function handle(incoming: IncomingMessage, response: ServerResponse): Promise<void> {
    const exchange = exchangeOf(target, incoming, response);
    const { method, path, headers } = exchange;
    proxy.seen.push({ method, path, headers });
    if ((await proxy.fault(exchange)) === false) exchange.reply(await exchange.fetch());
  }
  server.on('request', (incoming, response) => {
    // A client that leaves takes the exchange along.
    handle(incoming, response).catch(() => incoming.socket.destroy());
  });
  async function stop(): Promise<void> {
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  }
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  proxy.port = (server.address() as AddressInfo).port;
  proxy.host = `127.0.0.1:${proxy.port}`;
  return proxy;
}
