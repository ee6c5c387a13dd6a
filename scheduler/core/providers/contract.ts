/**
 * What is known of a provider: an OpenAI-compatible service that answers where the fleet cannot, be it a second pool of
 * one's own or somebody else's. It is configuration; what becomes of it in operation is in book.ts.
 */

/** How a service departs from OpenAI's API (dialect.ts, outgoing.ts). */
export type Dialect = 'openai' | 'openrouter';
export const DIALECTS = ['openai', 'openrouter'] as const;

export interface ProviderSpec {
  readonly name: string;
  readonly dialect: Dialect;
  /** Whether prompts leave the fleet's own machines by it: then a tenant must have allowed that. */
  readonly leavesFleet: boolean;
  /** Name of a model here, and at the provider. */
  readonly models: Readonly<Record<string, string>>;
  /** In one currency for all providers, per million tokens. */
  readonly promptPricePerMillion: number;
  readonly outputPricePerMillion: number;
  readonly maxRunningRequests: number;
  /** Lets a marketplace pick hosts that keep prompts; heeded by the dialects that have a word for it. */
  readonly allowDataCollection: boolean;
}

/** Which providers stand behind each model, in order, and whose prompts may leave. */
export interface FallbackRules {
  readonly providers: readonly ProviderSpec[];
  readonly fallbacks: Readonly<Record<string, readonly string[]>>;
  readonly leaveFleetTenants: readonly string[];
}
