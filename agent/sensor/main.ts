/**
 * The sensor: a process of its own that reads GPUs when it is asked. The driver can hang for seconds or for ever; only
 * threads of this process then wait, its loop still says at which call, and the agent kills it. It ends when the agent
 * is gone, with all it started.
 */
import smi from 'node-nvidia-smi';
import { loadNative, type Native, NVML_EVENT, NvmlError } from '../../native/contract.ts';
import type { SensorAnswer, SensorQuestion, SensorTelling } from './messages.ts';
import { normalise } from './nvidia_smi.ts';
import { type NvmlSession, openNvml } from './nvml.ts';

const MAX_REASON_CHARS = 300;
/** After this long the agent is told which call is under way, in time for its deadline. */
const WAITING_AFTER_MS = 100;

const reasonOf = (error: unknown): string =>
  (error instanceof Error ? error.message : String(error)).replace(/\s+/g, ' ').trim().slice(0, MAX_REASON_CHARS);

let reading = false;
let native: Native | undefined;
let session: NvmlSession | undefined;

// The parent is there, or this process is about to be killed by its own disconnect.
const send = (message: SensorAnswer | SensorTelling): void => void process.send?.(message);

type Content<Answer> = Answer extends unknown ? Omit<Answer, 'id'> : never;

const failed = (failure: string, reason: string): Content<SensorAnswer> => ({ kind: 'failed', failure, reason });

/** Tells again and again where the driver is, while an answer takes long. */
function watchCall(id: number): () => void {
  const timer = setInterval(() => {
    const where = native?.where();
    if (where !== undefined) send({ kind: 'waiting', id, place: where });
  }, WAITING_AFTER_MS);
  return () => clearInterval(timer);
}

function tellEvent(index: number, kind: number, data: number): void {
  const atMs = Date.now();
  if (kind === NVML_EVENT.xid) send({ kind: 'incident', index, what: 'xid', xid: data, atMs });
  // A double-bit error also comes as Xid 48, which has a row of its own; alone it must not be lost.
  else if (kind === NVML_EVENT.doubleBitEcc) send({ kind: 'incident', index, what: 'xid', xid: 48, atMs });
  else if (kind === NVML_EVENT.unavailable) send({ kind: 'incident', index, what: 'unavailable', atMs });
  else if (kind === NVML_EVENT.recoveryAction) send({ kind: 'incident', index, what: 'recovery_action', atMs });
}

async function open(library: string, numaFolder: string): Promise<Content<SensorAnswer>> {
  const load = loadNative();
  if (load.kind === 'absent') return failed('addon_absent', 'the native addon is not built');
  native = load.native;
  session = await openNvml(native, library, numaFolder);
  try {
    await native.watch((gpu, kind, data) => {
      if (gpu >= 0) tellEvent(gpu, kind, data);
    });
  } catch (error) {
    // A driver without events is read all the same; its Xids are then seen by their effects only.
    if (!(error instanceof NvmlError)) throw error;
  }
  return { kind: 'opened', gpus: [...session.gpus] };
}

function readBySmi(): Promise<Content<SensorAnswer>> {
  return new Promise((resolve) => {
    smi((error, data) => {
      if (error != null) {
        resolve(failed('nvidia_smi', `nvidia-smi failed: ${reasonOf(error)}`));
        return;
      }
      try {
        resolve({ kind: 'smi', gpus: [...normalise(data)] });
      } catch {
        resolve(failed('nvidia_smi', 'nvidia-smi printed something that is not its XML'));
      }
    });
  });
}

async function answerTo(question: SensorQuestion): Promise<Content<SensorAnswer>> {
  switch (question.ask) {
    case 'open':
      return open(question.library, question.numaFolder);
    case 'read':
      if (session === undefined) return failed('not_open', 'NVML is not open');
      return { kind: 'read', gpus: [...(await session.read(question.groups, question.skip))] };
    case 'nvidia-smi':
      return readBySmi();
  }
}

process.on('message', (question: SensorQuestion) => {
  // Single flight: a second question while the driver is at work would only pile up behind it.
  if (reading) return;
  reading = true;
  const stopWatching = watchCall(question.id);
  void answerTo(question)
    .catch((error: unknown) =>
      error instanceof NvmlError
        ? failed(error.failure, `NVML: ${reasonOf(error)}`)
        : failed('native', reasonOf(error)),
    )
    .then((content) => {
      stopWatching();
      reading = false;
      send({ id: question.id, ...content });
    });
});

process.on('disconnect', () => {
  // It leads a process group, so that a hanging nvidia-smi goes with it.
  process.kill(-process.pid, 'SIGKILL');
});

send({ kind: 'started' });
