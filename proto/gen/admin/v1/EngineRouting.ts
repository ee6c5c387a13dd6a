// Original file: admin/v1/admin.proto

import type { Long } from '@grpc/proto-loader';

export interface EngineRouting {
  'breaker'?: (string);
  'breakerDueMs'?: (number | string);
  'breakerOpened'?: (number);
  'pendingPrefillTokens'?: (number | string | Long);
  'pendingPrefillMs'?: (number | string);
  'contextTokens'?: (number | string | Long);
  'prefillBaseMs'?: (number | string);
  'prefillPerTokenMs'?: (number | string);
  'prefillPerSquareMs'?: (number | string);
  'stepBaseMs'?: (number | string);
  'stepPerSequenceMs'?: (number | string);
  'stepPerContextTokenMs'?: (number | string);
  'observations'?: (number | string | Long);
  'rejectedObservations'?: (number | string | Long);
  '_breakerDueMs'?: "breakerDueMs";
}

export interface EngineRouting__Output {
  'breaker': (string);
  'breakerDueMs'?: (number);
  'breakerOpened': (number);
  'pendingPrefillTokens': (number);
  'pendingPrefillMs': (number);
  'contextTokens': (number);
  'prefillBaseMs': (number);
  'prefillPerTokenMs': (number);
  'prefillPerSquareMs': (number);
  'stepBaseMs': (number);
  'stepPerSequenceMs': (number);
  'stepPerContextTokenMs': (number);
  'observations': (number);
  'rejectedObservations': (number);
  '_breakerDueMs'?: "breakerDueMs";
}
