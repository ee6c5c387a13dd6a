// Original file: fleet/v1/fleet.proto

import type { Long } from '@grpc/proto-loader';

export interface AgentReading {
  'rssBytes'?: (number | string | Long);
  'loopLagP99Ms'?: (number | string);
  'relayLoopLagP99Ms'?: (number | string);
  'gcPauseMaxMs'?: (number | string);
  '_rssBytes'?: "rssBytes";
  '_loopLagP99Ms'?: "loopLagP99Ms";
  '_relayLoopLagP99Ms'?: "relayLoopLagP99Ms";
  '_gcPauseMaxMs'?: "gcPauseMaxMs";
}

export interface AgentReading__Output {
  'rssBytes'?: (number);
  'loopLagP99Ms'?: (number);
  'relayLoopLagP99Ms'?: (number);
  'gcPauseMaxMs'?: (number);
  '_rssBytes'?: "rssBytes";
  '_loopLagP99Ms'?: "loopLagP99Ms";
  '_relayLoopLagP99Ms'?: "relayLoopLagP99Ms";
  '_gcPauseMaxMs'?: "gcPauseMaxMs";
}
