/** A gateway that reads one answer over GenerateMany and comes back for the rest, however often its stream is cut. */
import * as grpc from '@grpc/grpc-js';
import { inferenceService } from '../../proto/load.ts';
import { ENTRY, type ManyResponse } from '../../proto/many_codec.ts';
import { decodeStatus } from '../../proto/status.ts';
import { type ChatObject, contentOf, type Doors } from './doors.ts';

interface Part {
  readonly chunks: readonly ChatObject[];
  /** The answer is whole; else the stream was cut. */
  readonly ended: boolean;
}

type Many = (metadata: grpc.Metadata) => grpc.ClientDuplexStream<object, ManyResponse>;

/** Reads on from the chunk after the first `had`. @param stopAfter cuts the stream itself after so many chunks */
function readPart(doors: Doors, id: string, body: object, had: number, stopAfter = Infinity): Promise<Part> {
  const Client = grpc.makeClientConstructor(inferenceService, 'inference.v1.Inference');
  const client = new Client(doors.grpcAddress, grpc.credentials.createInsecure());
  const metadata = new grpc.Metadata();
  metadata.set('authorization', `Bearer ${doors.key}`);
  const call = (client as unknown as { readonly GenerateMany: Many }).GenerateMany(metadata);
  const chunks: ChatObject[] = [];
  return new Promise<Part>((resolve, reject) => {
    const take = (kind: number, data: Buffer): void => {
      if (kind === ENTRY.CHUNK) chunks.push(JSON.parse(data.toString('utf8')) as ChatObject);
      if (kind === ENTRY.END) resolve({ chunks, ended: true });
      if (kind === ENTRY.ERROR) reject(decodeStatus(data).error);
      if (chunks.length >= stopAfter) call.cancel();
    };
    call.on('data', ({ stream, kind, size, data }: ManyResponse) => {
      let at = 0;
      for (let i = 0; i < stream.length; i++) {
        const end = at + (size[i] as number);
        take(kind[i] as number, data.subarray(at, end));
        at = end;
      }
    });
    call.once('error', () => resolve({ chunks, ended: false }));
    const bytes = Buffer.from(JSON.stringify(body));
    call.write({ start: [{ stream: 1, envelope: { id }, body: bytes, resumeAfter: had }] });
  }).finally(() => {
    call.cancel();
    client.close();
  });
}

/** The text of the whole answer, and how often it was cut; the first stream is left after `leaveAfter` chunks. */
export async function readWithReturns(
  doors: Doors,
  id: string,
  body: object,
  leaveAfter: number,
): Promise<{ readonly text: string; readonly cuts: number }> {
  let had = 0;
  let text = '';
  for (let cuts = 0; cuts < 100; cuts++) {
    const part = await readPart(doors, id, body, had, cuts === 0 ? leaveAfter : Infinity);
    had += part.chunks.length;
    text += part.chunks.map(contentOf).join('');
    if (part.ended) return { text, cuts };
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  throw new Error('the answer never ended');
}
