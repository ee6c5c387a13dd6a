/** The socket of a keeper on Node: the same few words as native/keeper/server.c, with the same bounds. */
import { createServer, type Server, type Socket } from 'node:net';
import { KEEPER_REQUESTS, type KeeperRequest, LIFE_FILES } from '../core/keeper_protocol.ts';

const MAX_CLIENTS = 8;
const MAX_LINE_CHARS = 63;
const MAX_PENDING_BYTES = 1024 * 1024;

interface Client {
  readonly socket: Socket;
  subscribed: boolean;
  line: string;
}

export interface KeeperAnswers {
  /** The greeting, as soon as it is known what has become of the start. */
  greet(): Promise<string>;
  /** A client has gone. */
  onGone(): void;
  /** The answer to a request, one line without its end. */
  answer(request: KeeperRequest): string | Promise<string>;
}

export interface KeeperSocket {
  /** Sends a line to everyone who has subscribed. */
  publish(line: string): void;
  readonly hasSubscriber: boolean;
  close(): void;
}

const isRequest = (word: string): word is KeeperRequest => (KEEPER_REQUESTS as readonly string[]).includes(word);

const errorLine = (message: string): string => JSON.stringify({ t: 'error', message });

function say(client: Client, line: string): void {
  if (client.socket.writableLength > MAX_PENDING_BYTES) client.socket.destroy();
  else client.socket.write(`${line}\n`);
}

/** When all places are taken, the oldest one that does not wait for the end makes room, else the oldest of all. */
function makeRoom(clients: Set<Client>): void {
  if (clients.size < MAX_CLIENTS) return;
  const all = [...clients];
  const oldest = all.find((client) => !client.subscribed) ?? all[0];
  if (oldest === undefined) return;
  clients.delete(oldest);
  oldest.socket.destroy();
}

async function onLine(client: Client, line: string, answers: KeeperAnswers): Promise<void> {
  if (!isRequest(line)) {
    client.socket.end(`${errorLine('unknown request')}\n`);
    return;
  }
  if (line === 'subscribe') client.subscribed = true;
  say(client, await answers.answer(line));
}

function onData(client: Client, piece: string, answers: KeeperAnswers): void {
  const lines = (client.line + piece).split('\n');
  client.line = lines.pop() as string;
  for (const line of lines) {
    if (client.socket.writableEnded) return;
    void onLine(client, line.slice(0, MAX_LINE_CHARS + 1), answers);
  }
  if (client.line.length <= MAX_LINE_CHARS || client.socket.writableEnded) return;
  client.line = '';
  client.socket.end(`${errorLine('the line is too long')}\n`);
}

function accept(socket: Socket, clients: Set<Client>, answers: KeeperAnswers): void {
  makeRoom(clients);
  const client: Client = { socket, subscribed: false, line: '' };
  clients.add(client);
  socket.setEncoding('latin1');
  socket.on('data', (piece: string) => onData(client, piece, answers));
  // Whoever goes without a word has gone, which is all there is to know.
  socket.on('error', () => socket.destroy());
  socket.on('close', () => {
    clients.delete(client);
    answers.onGone();
  });
  void answers.greet().then((line) => say(client, line));
}

/** Listens in the current folder, whose path may be longer than a socket's may. */
export async function openSocket(answers: KeeperAnswers): Promise<KeeperSocket> {
  const clients = new Set<Client>();
  const server: Server = createServer((socket) => accept(socket, clients, answers));
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    // The file is made within the call, readable for nobody else.
    const before = process.umask(0o177);
    server.listen(LIFE_FILES.socket, resolve);
    process.umask(before);
  });
  return {
    publish(line) {
      for (const client of clients) if (client.subscribed) say(client, line);
    },
    get hasSubscriber() {
      return [...clients].some((client) => client.subscribed);
    },
    close() {
      server.close();
      for (const { socket } of clients) socket.end();
    },
  };
}
