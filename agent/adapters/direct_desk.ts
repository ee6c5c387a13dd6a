/**
 * Stands between the direct listener, which is on a thread of its own, and the sessions: tells each scheduler where this
 * node can be called and which of its keys are known here, tells the listener whose tickets are good, and passes on what
 * became of them. A scheduler makes no ticket for a listener that has not said that it knows the key.
 */
import type { TicketIssuer__Output } from '../../proto/gen/fleet/v1/TicketIssuer.ts';
import type { SchedulerLinks } from '../ports.ts';
import type { DirectReport, KnownIssuer } from '../workers/relay_messages.ts';

export interface DirectDeskDeps {
  readonly links: Pick<SchedulerLinks, 'sendDirectListener' | 'sendDirectUse'>;
  readonly setIssuers: (issuers: readonly KnownIssuer[]) => void;
  /** How clients reach the listener on this port, without a path. */
  readonly urlOf: (port: number) => string;
  readonly figures: { directEnded(code: string): void; directRefused(code: string, count: number): void };
  readonly log: { info(fields: object, message: string): void; error(fields: object, message: string): void };
}

export interface DirectDesk {
  onReport(report: DirectReport): void;
  /** A session is open. */
  connected(scheduler: string): void;
  onTicketIssuer(scheduler: string, issuer: TicketIssuer__Output): void;
}

/** Keys of one scheduler that are looked at. */
const MAX_KEYS = 16;
const MAX_FIELDS = 256;

function toKnown(scheduler: string, told: TicketIssuer__Output): KnownIssuer {
  const { issuer, keys, maxBodyBytes, maxBodyDepth, allowedEngineFields, allowRemoteMedia, leaseMs } = told;
  return {
    scheduler,
    issuer,
    // Copies: a key that is a view would take its whole message along to the thread.
    keys: keys.slice(0, MAX_KEYS).map(({ keyId, publicKey }) => ({ keyId, publicKey: Uint8Array.from(publicKey) })),
    maxBodyBytes,
    maxBodyDepth,
    allowedEngineFields: allowedEngineFields.slice(0, MAX_FIELDS),
    allowRemoteMedia,
    leaseMs,
  };
}

export function createDirectDesk(deps: DirectDeskDeps): DirectDesk {
  const { links, setIssuers, urlOf, figures, log } = deps;
  // One for each scheduler of the agent's list, so that it is as short as that.
  const issuers = new Map<string, KnownIssuer>();
  const known = new Map<string, readonly string[]>();
  const connected = new Set<string>();
  let listener: { readonly url: string; readonly life: string } | undefined;
  const tell = (scheduler: string): void => {
    const { url, life } = listener ?? { url: '', life: '' };
    links.sendDirectListener?.(scheduler, { url, life, keyIds: [...(known.get(scheduler) ?? [])] });
  };
  const open = (port: number, life: string): void => {
    listener = { url: urlOf(port), life };
    log.info({ url: listener.url, port }, 'direct listener open');
    for (const scheduler of connected) tell(scheduler);
  };
  const closed = (code: string, reason: string): void => {
    log.error({ code, reason }, 'direct listener closed');
    listener = undefined;
    known.clear();
    for (const scheduler of connected) tell(scheduler);
  };
  return {
    onReport(report) {
      switch (report.what) {
        case 'open':
          open(report.port, report.life);
          return;
        case 'closed':
          closed(report.code, report.reason);
          return;
        case 'keys':
          for (const { scheduler, keyIds } of report.known) {
            known.set(scheduler, keyIds);
            if (connected.has(scheduler)) tell(scheduler);
          }
          return;
        case 'leases':
          for (const { phase, code } of report.leases)
            if (phase === 'DIRECT_PHASE_ENDED') figures.directEnded(code === '' ? 'ok' : (code ?? 'ok'));
          links.sendDirectUse?.(report.scheduler, { leases: [...report.leases] });
          return;
        case 'refused':
          for (const [code, count] of Object.entries(report.counts)) figures.directRefused(code, count);
      }
    },
    connected(scheduler) {
      connected.add(scheduler);
      if (listener !== undefined) tell(scheduler);
    },
    onTicketIssuer(scheduler, issuer) {
      issuers.set(scheduler, toKnown(scheduler, issuer));
      setIssuers([...issuers.values()]);
    },
  };
}
