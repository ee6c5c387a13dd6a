/** Shows how long the certificates of a process are good, and what became of changed files, in its metrics. */
import type { Metrics } from './metrics.ts';
import type { TlsWatchEvents } from './tls_watch.ts';

export type CertificateFigures = Pick<TlsWatchEvents, 'onExpiry' | 'onReload'>;

export function certificateFigures(metrics: Metrics, certificate: string): CertificateFigures {
  return {
    onExpiry: (expiresAtMs) =>
      metrics.gauge('sophia_certificate_expiry_timestamp_seconds').set({ certificate }, expiresAtMs / 1000),
    onReload: (outcome) => metrics.counter('sophia_certificate_reloads_total').inc({ certificate, outcome }),
  };
}
