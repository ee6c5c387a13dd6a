// Original file: fleet/v1/fleet.proto

import type { DirectPhase as _fleet_v1_DirectPhase, DirectPhase__Output as _fleet_v1_DirectPhase__Output } from '../../fleet/v1/DirectPhase.ts';

export interface DirectLease {
  'lease'?: (string);
  'phase'?: (_fleet_v1_DirectPhase);
  'code'?: (string);
  'promptTokens'?: (number);
  'completionTokens'?: (number);
  'cachedPromptTokens'?: (number);
  '_promptTokens'?: "promptTokens";
  '_completionTokens'?: "completionTokens";
  '_cachedPromptTokens'?: "cachedPromptTokens";
}

export interface DirectLease__Output {
  'lease': (string);
  'phase': (_fleet_v1_DirectPhase__Output);
  'code': (string);
  'promptTokens'?: (number);
  'completionTokens'?: (number);
  'cachedPromptTokens'?: (number);
  '_promptTokens'?: "promptTokens";
  '_completionTokens'?: "completionTokens";
  '_cachedPromptTokens'?: "cachedPromptTokens";
}
