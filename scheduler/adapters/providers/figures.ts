/** Degraded modes and providers in Prometheus' terms; every label is a word of the program or of the configuration. */
import type { ErrorCode } from '../../../lib/errors.ts';
import { boundedLabel, type Metrics } from '../../../lib/io/metrics.ts';
import type { LaneUsage } from '../../../proto/codec.ts';
import type { ProviderBook } from '../../core/providers/book.ts';
import type { ProviderSpec } from '../../core/providers/contract.ts';
import { degradedModes } from '../../core/providers/modes.ts';
import type { ProviderRefusal } from '../../core/providers/plan.ts';
import { costOf } from '../../core/providers/price.ts';

export interface ProviderFigures {
  degraded(mode: string): void;
  refused(provider: string, reason: ProviderRefusal): void;
  ended(spec: ProviderSpec, model: string, code: 'ok' | 'superseded' | ErrorCode, usage?: LaneUsage): void;
}

const BREAKER_STATES = ['closed', 'open', 'half_open'] as const;

export function createProviderFigures(metrics: Metrics, specs: readonly ProviderSpec[]): ProviderFigures {
  const degraded = metrics.counter('sophia_degraded_total');
  const requests = metrics.counter('sophia_provider_requests_total');
  const refusals = metrics.counter('sophia_provider_refusals_total');
  const tokens = metrics.counter('sophia_provider_tokens_total');
  const cost = metrics.counter('sophia_provider_cost_total');
  const chatTokens = metrics.counter('chat_tokens_total');
  const modeLabel = boundedLabel(degradedModes(specs));
  return {
    degraded: (mode) => degraded.inc({ mode: modeLabel(mode) }),
    refused: (provider, reason) => refusals.inc({ provider, reason }),
    ended(spec, model, code, usage) {
      const provider = spec.name;
      requests.inc({ provider, code });
      const kinds = {
        prompt: usage?.promptTokens,
        cached: usage?.cachedPromptTokens,
        completion: usage?.completionTokens,
      };
      for (const [kind, count = 0] of Object.entries(kinds)) {
        if (count === 0) continue;
        tokens.inc({ provider, kind }, count);
        chatTokens.inc({ model, kind }, count);
      }
      const price = costOf(spec, usage);
      if (price > 0) cost.inc({ provider }, price);
    },
  };
}

/** Shows how providers are doing at each scrape from now on. */
export function showProviders(metrics: Metrics, book: ProviderBook): void {
  const active = metrics.gauge('sophia_provider_requests_active');
  const breaker = metrics.gauge('sophia_provider_breaker');
  const openings = metrics.gauge('sophia_provider_breaker_openings');
  metrics.onRender(() => {
    const views = book.views();
    active.replace(views.map(({ provider, running }) => [{ provider }, running] as const));
    openings.replace(views.map((view) => [{ provider: view.provider }, view.breaker.opened] as const));
    breaker.replace(
      views.flatMap((view) =>
        BREAKER_STATES.map(
          (state) => [{ provider: view.provider, state }, Number(view.breaker.state === state)] as const,
        ),
      ),
    );
  });
}
