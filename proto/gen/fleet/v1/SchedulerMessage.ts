// Original file: fleet/v1/fleet.proto

import type { Welcome as _fleet_v1_Welcome, Welcome__Output as _fleet_v1_Welcome__Output } from '../../fleet/v1/Welcome.ts';
import type { DesiredState as _fleet_v1_DesiredState, DesiredState__Output as _fleet_v1_DesiredState__Output } from '../../fleet/v1/DesiredState.ts';
import type { EventAck as _fleet_v1_EventAck, EventAck__Output as _fleet_v1_EventAck__Output } from '../../fleet/v1/EventAck.ts';
import type { Command as _fleet_v1_Command, Command__Output as _fleet_v1_Command__Output } from '../../fleet/v1/Command.ts';
import type { TicketIssuer as _fleet_v1_TicketIssuer, TicketIssuer__Output as _fleet_v1_TicketIssuer__Output } from '../../fleet/v1/TicketIssuer.ts';
import type { ModelPeers as _fleet_v1_ModelPeers, ModelPeers__Output as _fleet_v1_ModelPeers__Output } from '../../fleet/v1/ModelPeers.ts';
import type { Long } from '@grpc/proto-loader';

export interface SchedulerMessage {
  'term'?: (number | string | Long);
  'welcome'?: (_fleet_v1_Welcome | null);
  'desiredState'?: (_fleet_v1_DesiredState | null);
  'eventAck'?: (_fleet_v1_EventAck | null);
  'command'?: (_fleet_v1_Command | null);
  'ticketIssuer'?: (_fleet_v1_TicketIssuer | null);
  'modelPeers'?: (_fleet_v1_ModelPeers | null);
  'body'?: "welcome"|"desiredState"|"eventAck"|"command"|"ticketIssuer"|"modelPeers";
}

export interface SchedulerMessage__Output {
  'term': (number);
  'welcome'?: (_fleet_v1_Welcome__Output | null);
  'desiredState'?: (_fleet_v1_DesiredState__Output | null);
  'eventAck'?: (_fleet_v1_EventAck__Output | null);
  'command'?: (_fleet_v1_Command__Output | null);
  'ticketIssuer'?: (_fleet_v1_TicketIssuer__Output | null);
  'modelPeers'?: (_fleet_v1_ModelPeers__Output | null);
  'body'?: "welcome"|"desiredState"|"eventAck"|"command"|"ticketIssuer"|"modelPeers";
}
