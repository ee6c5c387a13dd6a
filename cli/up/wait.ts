/**
 * Waits until the engines of a fresh fleet answer, and says on a terminal how far they are.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { CodedError } from '../../lib/errors.ts';
import type { Engine__Output } from '../../proto/gen/admin/v1/Engine.ts';
import { type Printer, printable } from '../output.ts';
import type { AdminConnection } from '../rpc.ts';

const POLL_MS = 150;

function progressText(engines: readonly Engine__Output[]): string {
  return engines
    .map((engine) => {
      const state = (engine.event?.state ?? '').replace('ENGINE_STATE_', '').toLowerCase();
      const ratio = engine.event?.progressRatio;
      return `${engine.event?.engine ?? ''} ${state}${ratio === undefined || state === 'ready' ? '' : ` ${Math.round(ratio * 100)} %`}`;
    })
    .join(', ');
}

/** @throws CodedError no_engine when an engine failed for good or the time is over */
export async function waitForEngines(
  admin: AdminConnection,
  count: number,
  timeoutMs: number,
  print: Printer,
): Promise<void> {
  const endMs = Date.now() + timeoutMs;
  const terminal = process.stderr.isTTY && !print.json;
  let shown = '';
  while (Date.now() < endMs) {
    const engines = (await admin.call('ListEngines', {}))?.engines ?? [];
    const ready = engines.filter((engine) => engine.routable).length;
    const text = progressText(engines);
    if (terminal && text !== shown) process.stderr.write(`\r\u001b[Kstarting: ${printable(text)}`);
    shown = text;
    if (ready >= count) {
      if (terminal) process.stderr.write('\r\u001b[K');
      return;
    }
    const failed = engines.find((engine) => engine.event?.state === 'ENGINE_STATE_FAILED');
    if (failed !== undefined) {
      throw new CodedError('no_engine', `Engine ${failed.event?.engine ?? ''} failed: ${failed.event?.message ?? ''}`);
    }
    await refuseIfRejected(admin);
    await sleep(POLL_MS);
  }
  throw new CodedError(
    'no_engine',
    `The engines were not ready after ${Math.round(timeoutMs / 1000)} s: ${shown || 'none was started'}.`,
  );
}

async function refuseIfRejected(admin: AdminConnection): Promise<void> {
  const nodes = (await admin.call('ListNodes', {}))?.nodes ?? [];
  const rejection = nodes.flatMap((node) => node.rejections)[0];
  if (rejection !== undefined) {
    throw new CodedError('cannot_start', `The agent refused engine ${rejection.engine}: ${rejection.message}`, {
      param: rejection.param,
    });
  }
}
