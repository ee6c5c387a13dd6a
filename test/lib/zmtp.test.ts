/** ZeroMQ's wire: both sides understand each other however the bytes are cut, and other bytes end the connection. */
import t from 'tap';
import { type ZmtpEvent, zmtpMessage, zmtpOpening, ZmtpReader, zmtpSubscribe } from '../../lib/zmtp.ts';

const LIMITS = { maxMessageBytes: 1000 };
const bytes = (...values: number[]): Uint8Array => Uint8Array.from(values);

function readAll(stream: Uint8Array, step: number): ZmtpEvent[] {
  const reader = new ZmtpReader(LIMITS);
  const events: ZmtpEvent[] = [];
  for (let at = 0; at < stream.length; at += step) events.push(...reader.push(stream.subarray(at, at + step)));
  return events;
}

const join = (...parts: readonly Uint8Array[]): Uint8Array => new Uint8Array(Buffer.concat(parts));
const command = (name: string, rest: Uint8Array = bytes()): Uint8Array => {
  const body = join(bytes(name.length), Buffer.from(name), rest);
  return join(bytes(4, body.length), body);
};
const reasonOf = (stream: Uint8Array): string | undefined => {
  const last = readAll(stream, stream.length).at(-1);
  return last?.kind === 'malformed' ? last.reason : undefined;
};

t.test('messages come out whole however the bytes are cut', async (t) => {
  const long = new Uint8Array(700).fill(7);
  const stream = join(zmtpOpening('PUB'), command('PING'), zmtpSubscribe(), zmtpMessage([bytes(), bytes(1, 2), long]));
  const expected: ZmtpEvent[] = [
    { kind: 'ready', peer: 'PUB' },
    { kind: 'message', frames: [bytes(1)] },
    { kind: 'message', frames: [bytes(), bytes(1, 2), long] },
  ];
  for (let step = 1; step <= stream.length; step += step < 100 ? 1 : 97) t.strictSame(readAll(stream, step), expected);
});

t.test('a peer that speaks something else is malformed, once, and nothing comes after it', async (t) => {
  const opening = zmtpOpening('SUB');
  const changed = (at: number, value: number): Uint8Array => {
    const copy = Uint8Array.from(opening);
    copy[at] = value;
    return copy;
  };
  t.equal(reasonOf(Buffer.from('HTTP/1.1 200 OK\r\n')), 'this is not ZMTP');
  t.equal(reasonOf(changed(10, 2)), 'the peer is older than ZMTP 3');
  t.equal(reasonOf(changed(9, 0)), 'the peer is older than ZMTP 3');
  t.equal(reasonOf(changed(12, 0x50)), 'the peer wants another mechanism');
  const greeting = opening.subarray(0, 64);
  t.equal(reasonOf(join(greeting, command('ERROR'))), 'the peer did not say that it is ready');
  t.equal(reasonOf(join(greeting, zmtpSubscribe())), 'a message came before READY');
  t.equal(reasonOf(join(opening, bytes(8, 0))), 'a frame has unknown flags');
  t.equal(reasonOf(join(opening, bytes(5, 0))), 'a frame has unknown flags');
  t.equal(reasonOf(join(opening, zmtpMessage([new Uint8Array(1001)]))), 'a message has more than 1000 bytes');
  const half = new Uint8Array(600);
  t.equal(
    reasonOf(join(opening, zmtpMessage([half, half]))),
    'a message has more than 1000 bytes',
    'all frames together',
  );
  t.equal(
    reasonOf(join(opening, bytes(2, 255, 255, 255, 255, 255, 255, 255, 255))),
    'a message has more than 1000 bytes',
  );
  t.equal(
    reasonOf(join(opening, zmtpMessage(new Array<Uint8Array>(17).fill(bytes())))),
    'a message has too many frames',
  );
  const reader = new ZmtpReader(LIMITS);
  reader.push(Buffer.from('x'));
  t.strictSame(reader.push(opening), []);
});

t.test('what a peer says of itself may be short, cut off or absent', async (t) => {
  const greeting = zmtpOpening('SUB').subarray(0, 64);
  for (const rest of [bytes(), bytes(1, 65), bytes(1, 65, 0, 0, 0, 9, 1)]) {
    t.strictSame(readAll(join(greeting, command('READY', rest)), 500), [{ kind: 'ready', peer: '' }]);
  }
  t.strictSame(readAll(join(greeting, command('READY'), command('READY')), 500), [{ kind: 'ready', peer: '' }]);
});
