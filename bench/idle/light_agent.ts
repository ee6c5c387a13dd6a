/**
 * Very many agents in one process: each is a real HTTP/2 connection over mutual TLS with a real Session call, and another
 * with a Lane, as a real agent opens them. Nothing of grpc-js is used on this side, so that the machine's time goes to
 * the scheduler that is measured.
 */
import http2 from 'node:http2';
import { createSecureContext } from 'node:tls';
import { issueCertificate, type PemPair } from '../../lib/io/local_ca.ts';
import { encodeJson, FRAME, FrameBatch, LANE_PROTOCOL_VERSION } from '../../proto/codec.ts';
import type { AgentMessage } from '../../proto/gen/fleet/v1/AgentMessage.ts';
import { fleetService } from '../../proto/load.ts';
import { deltaMessage, helloMessage, snapshotMessage, type FleetShape } from './messages.ts';

export interface LightAgentOptions {
  readonly port: number;
  readonly ca: PemPair;
  readonly shape: FleetShape;
}

export interface LightAgent {
  /** Says what changed; the scheduler then knows the agent to be alive. */
  tick(): void;
  /** The scheduler's welcome has come. */
  readonly welcomed: Promise<void>;
  close(): void;
}

const HEADERS = { ':method': 'POST', 'content-type': 'application/grpc', te: 'trailers' } as const;

/** gRPC's frame: no compression, length, message. */
function framed(message: Buffer): Buffer {
  const head = Buffer.alloc(5);
  head.writeUInt32BE(message.length, 1);
  return Buffer.concat([head, message]);
}

function connect(port: number, ca: PemPair, pair: PemPair): http2.ClientHttp2Session {
  const secureContext = createSecureContext({ ca: ca.certPem, cert: pair.certPem, key: pair.keyPem });
  const session = http2.connect(`https://localhost:${port}`, { secureContext });
  // The end shows on the stream; a second report would only kill this process.
  session.on('error', () => undefined);
  return session;
}

export async function openLightAgent(index: number, options: LightAgentOptions): Promise<LightAgent> {
  const { port, ca, shape } = options;
  const nodeName = `light-${index}`;
  const sessionId = `session-${index}`;
  const pair = await issueCertificate(ca, { commonName: nodeName, hosts: [], nowMs: Date.now() });
  const control = connect(port, ca, pair);
  const lanes = connect(port, ca, pair);
  const stream = control.request({ ...HEADERS, ':path': fleetService.Session.path });
  let seq = 0;
  const send = (message: AgentMessage): void => {
    seq += 1;
    stream.write(framed(fleetService.Session.requestSerialize({ ...message, seq })));
  };
  const welcomed = new Promise<void>((resolve, reject) => {
    stream.once('data', () => resolve());
    stream.once('error', reject);
    stream.once('close', () => reject(new Error(`${nodeName}: the scheduler ended the session`)));
  });
  void welcomed.then(() => {
    send({ telemetry: snapshotMessage(shape) });
    const lane = lanes.request({ ...HEADERS, ':path': fleetService.Lane.path });
    lane.on('error', () => undefined);
    lane.resume();
    const batch = new FrameBatch();
    const hello = { protocolVersion: LANE_PROTOCOL_VERSION, sessionId, nodeName, worker: 0 };
    batch.append({ kind: FRAME.HELLO, stream: 0 }, encodeJson(hello));
    lane.write(framed(fleetService.Lane.requestSerialize(batch.take() as never)));
  });
  send({ hello: helloMessage(shape, nodeName, sessionId) });
  let round = index;
  return {
    tick() {
      round += 1;
      if (!stream.destroyed) send({ telemetry: deltaMessage(shape, round) });
    },
    welcomed,
    close() {
      control.destroy();
      lanes.destroy();
    },
  };
}
