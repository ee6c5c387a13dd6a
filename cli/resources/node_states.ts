/**
 * In which state a node is, for a person: what its agent says, what operators have declared of it, and why, as a table from
 * the state that matters most to the one that matters least. A node may be in several; the first one is its state.
 */
import type { Node__Output } from '../../proto/gen/admin/v1/Node.ts';
import { durationText, printable } from '../output.ts';

export interface NodeStanding {
  readonly state: string;
  readonly reason: string;
}

type Row = readonly [state: string, why: (node: Node__Output, nowMs: number) => string | undefined];

const byWhom = ({ declared }: Node__Output): string => {
  if (declared === null) return '';
  const { updatedBy, reason } = declared;
  return reason === '' ? `by ${updatedBy}` : `by ${updatedBy}: ${reason}`;
};

const ROWS: readonly Row[] = [
  ['retired', (node) => (node.declared?.retired === true ? byWhom(node) : undefined)],
  [
    'enrolled',
    ({ connected, lastSeenMs }) =>
      !connected && lastSeenMs === undefined ? 'its agent has not come to this scheduler yet' : undefined,
  ],
  [
    'lost',
    ({ connected, lastSeenMs }, nowMs) =>
      connected || lastSeenMs === undefined
        ? undefined
        : `nothing was heard of it for ${durationText(nowMs - lastSeenMs)}`,
  ],
  ['draining', (node) => (node.declared?.draining === true ? byWhom(node) : undefined)],
  [
    'draining',
    ({ nodeEvent }) => {
      if (nodeEvent?.draining !== true) return undefined;
      const { actor = '', reason = '', runningRequests } = nodeEvent.drain ?? {};
      const who = [actor === '' ? '' : `by ${actor}`, reason].filter((part) => part !== '').join(': ');
      const left = runningRequests === 0 ? 'nothing runs there any more' : `${runningRequests ?? 'some'} requests run`;
      return `at its agent${who === '' ? '' : ` ${who}`}; ${left}`;
    },
  ],
  ['cordoned', (node) => (node.declared?.cordoned === true ? byWhom(node) : undefined)],
  [
    'gpu quarantined',
    ({ gpuEvents }) =>
      gpuEvents.length === 0
        ? undefined
        : gpuEvents.map(({ index, message }) => `GPU ${index}: ${printable(message)}`).join('; '),
  ],
  [
    'refusing',
    ({ rejections }) =>
      rejections.length === 0
        ? undefined
        : rejections.map(({ engine, message }) => `${engine}: ${printable(message)}`).join('; '),
  ],
  [
    'tainted',
    ({ declared }) => (declared === null || declared.taints.length === 0 ? undefined : declared.taints.join(', ')),
  ],
];

/** All states of a node with their reasons, the one that matters most first; `ready` when nothing is in the way. */
export function nodeStandings(node: Node__Output, nowMs: number): readonly NodeStanding[] {
  const found = ROWS.flatMap(([state, why]) => {
    const reason = why(node, nowMs);
    return reason === undefined ? [] : [{ state, reason }];
  });
  return found.length > 0 ? found : [{ state: 'ready', reason: '' }];
}
