// Original file: admin/v1/admin.proto

import type { Candidate as _admin_v1_Candidate, Candidate__Output as _admin_v1_Candidate__Output } from '../../admin/v1/Candidate.ts';
import type { RoutingDecision as _admin_v1_RoutingDecision, RoutingDecision__Output as _admin_v1_RoutingDecision__Output } from '../../admin/v1/RoutingDecision.ts';
import type { QueueWait as _admin_v1_QueueWait, QueueWait__Output as _admin_v1_QueueWait__Output } from '../../admin/v1/QueueWait.ts';
import type { ProviderTurn as _admin_v1_ProviderTurn, ProviderTurn__Output as _admin_v1_ProviderTurn__Output } from '../../admin/v1/ProviderTurn.ts';
import type { Long } from '@grpc/proto-loader';

export interface ExplainRequestResponse {
  'requestId'?: (string);
  'model'?: (string);
  'tenant'?: (string);
  'outcome'?: (string);
  'errorCode'?: (string);
  'receivedAtMs'?: (number | string | Long);
  'firstTokenAtMs'?: (number | string | Long);
  'endedAtMs'?: (number | string | Long);
  'policy'?: (string);
  'candidates'?: (_admin_v1_Candidate)[];
  'outputTokens'?: (number);
  'decisions'?: (_admin_v1_RoutingDecision)[];
  'queue'?: (_admin_v1_QueueWait | null);
  'providers'?: (_admin_v1_ProviderTurn)[];
  '_firstTokenAtMs'?: "firstTokenAtMs";
  '_endedAtMs'?: "endedAtMs";
  '_outputTokens'?: "outputTokens";
}

export interface ExplainRequestResponse__Output {
  'requestId': (string);
  'model': (string);
  'tenant': (string);
  'outcome': (string);
  'errorCode': (string);
  'receivedAtMs': (number);
  'firstTokenAtMs'?: (number);
  'endedAtMs'?: (number);
  'policy': (string);
  'candidates': (_admin_v1_Candidate__Output)[];
  'outputTokens'?: (number);
  'decisions': (_admin_v1_RoutingDecision__Output)[];
  'queue': (_admin_v1_QueueWait__Output | null);
  'providers': (_admin_v1_ProviderTurn__Output)[];
  '_firstTokenAtMs'?: "firstTokenAtMs";
  '_endedAtMs'?: "endedAtMs";
  '_outputTokens'?: "outputTokens";
}
