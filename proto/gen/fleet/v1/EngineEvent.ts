// Original file: fleet/v1/fleet.proto

import type { EngineState as _fleet_v1_EngineState, EngineState__Output as _fleet_v1_EngineState__Output } from '../../fleet/v1/EngineState.ts';
import type { EngineKind as _fleet_v1_EngineKind, EngineKind__Output as _fleet_v1_EngineKind__Output } from '../../fleet/v1/EngineKind.ts';
import type { ServedModel as _fleet_v1_ServedModel, ServedModel__Output as _fleet_v1_ServedModel__Output } from '../../fleet/v1/ServedModel.ts';
import type { PreflightCheck as _fleet_v1_PreflightCheck, PreflightCheck__Output as _fleet_v1_PreflightCheck__Output } from '../../fleet/v1/PreflightCheck.ts';
import type { DrainProgress as _fleet_v1_DrainProgress, DrainProgress__Output as _fleet_v1_DrainProgress__Output } from '../../fleet/v1/DrainProgress.ts';
import type { Long } from '@grpc/proto-loader';

export interface EngineEvent {
  'engine'?: (string);
  'incarnation'?: (number);
  'state'?: (_fleet_v1_EngineState);
  'reason'?: (string);
  'message'?: (string);
  'atMs'?: (number | string | Long);
  'exitCode'?: (number);
  'signal'?: (string);
  'kind'?: (_fleet_v1_EngineKind);
  'models'?: (_fleet_v1_ServedModel)[];
  'progressRatio'?: (number | string);
  'pid'?: (number);
  'restarts'?: (number);
  'generation'?: (number | string | Long);
  'address'?: (string);
  'checks'?: (_fleet_v1_PreflightCheck)[];
  'etaMs'?: (number | string | Long);
  'drain'?: (_fleet_v1_DrainProgress | null);
  'cause'?: (string);
  'advice'?: (string);
  'adopted'?: (boolean);
  '_atMs'?: "atMs";
  '_exitCode'?: "exitCode";
  '_signal'?: "signal";
  '_progressRatio'?: "progressRatio";
  '_pid'?: "pid";
  '_restarts'?: "restarts";
  '_generation'?: "generation";
  '_address'?: "address";
  '_etaMs'?: "etaMs";
}

export interface EngineEvent__Output {
  'engine': (string);
  'incarnation': (number);
  'state': (_fleet_v1_EngineState__Output);
  'reason': (string);
  'message': (string);
  'atMs'?: (number);
  'exitCode'?: (number);
  'signal'?: (string);
  'kind': (_fleet_v1_EngineKind__Output);
  'models': (_fleet_v1_ServedModel__Output)[];
  'progressRatio'?: (number);
  'pid'?: (number);
  'restarts'?: (number);
  'generation'?: (number);
  'address'?: (string);
  'checks': (_fleet_v1_PreflightCheck__Output)[];
  'etaMs'?: (number);
  'drain': (_fleet_v1_DrainProgress__Output | null);
  'cause': (string);
  'advice': (string);
  'adopted': (boolean);
  '_atMs'?: "atMs";
  '_exitCode'?: "exitCode";
  '_signal'?: "signal";
  '_progressRatio'?: "progressRatio";
  '_pid'?: "pid";
  '_restarts'?: "restarts";
  '_generation'?: "generation";
  '_address'?: "address";
  '_etaMs'?: "etaMs";
}
