/** Logs for measuring verification: events as a fleet writes them, and a pass of the verifier over a copy in memory. */
import {
  makeAnchor,
  readAnchors,
  type Sign,
  type SignedAnchor,
  type VerifySignature,
  anchorLine,
} from '../../scheduler/core/events/anchors.ts';
import { genesisHash, type Mac } from '../../scheduler/core/events/chain.ts';
import type { EventRow } from '../../scheduler/core/events/event.ts';
import type { AppendItem } from '../../scheduler/core/events/store_port.ts';
import { createVerifier, type VerifyResult } from '../../scheduler/core/events/verify.ts';
import type { LogCopy } from './tampering.ts';

/** Entries that the events are about; most events change one of them. */
const DEPLOYMENTS = 5000;
const ANCHORS = 10;

/** The event with this number (from 1): the first ones create deployments, the others change them in turn. */
export function benchItem(seq: number): AppendItem {
  const index = (seq - 1) % DEPLOYMENTS;
  return {
    kind: seq <= DEPLOYMENTS ? 'desired.created' : 'desired.changed',
    resource: { kind: 'Deployment', name: `deployment-${index}` },
    actor: 'key:bench',
    reason: 'bench',
    correlationId: `req_${seq}`,
    after: {
      spec: { model: 'm', source: 'hub://org/model', revision: 'main', replicas: seq % 7, gpuCount: 1, priority: 0 },
      labels: { team: `team-${index % 40}` },
    },
  };
}

/** A copy of the first rows of a log as if they were all of it, with anchors over it. */
export function copyOf(logId: string, rows: readonly EventRow[], sign: Sign): LogCopy {
  const anchors: SignedAnchor[] = [];
  for (let n = 1; n <= ANCHORS; n++) {
    const row = rows[Math.floor((rows.length * n) / ANCHORS) - 1] as EventRow;
    const head = { logId, seq: row.seq, hash: row.hash, atMs: row.atMs, archivedSeq: 0, archivedMac: '' };
    anchors.push(makeAnchor(head, anchors.at(-1), row.atMs, sign));
  }
  const end = rows.at(-1) as EventRow;
  return { logId, rows: [...rows], head: { seq: end.seq, hash: end.hash }, anchors: anchors.map(anchorLine) };
}

/** One pass over a copy. */
export function verifyCopy(copy: LogCopy, mac: Mac, verify: VerifySignature): VerifyResult {
  const { anchors, problems } = readAnchors(copy.anchors, copy.logId, verify);
  const verifier = createVerifier({ mac, from: { seq: 0, hash: genesisHash(mac, copy.logId) }, anchors });
  for (const { line, problem } of problems) verifier.add({ kind: 'anchor', seq: line, problem });
  for (const row of copy.rows) verifier.push(row);
  verifier.end(copy.head);
  return verifier.result();
}
