/** The settings of an agent for files of models that hosts of the fleet take from each other; a part of agent/config.ts. */
import { byteSize, flag, integer, port, text, url } from './setting_types.ts';

export const PEER_MODEL_SETTINGS = {
  modelsFromPeers: {
    schema: flag(),
    default: true,
    doc: 'Take files of models from other nodes that a scheduler names, checked as ever; the source gives what they do not.',
  },
  modelsServePort: {
    schema: port(),
    default: undefined,
    doc: 'Port on which this node gives its models to other nodes; 0 takes a free one; unset: it gives none.',
  },
  modelsServeHost: {
    schema: text({ maxLength: 253 }),
    default: '127.0.0.1',
    doc: 'Address of that listener. It speaks TLS with certFile, and takes callers whose certificate is of caFile.',
  },
  modelsServeUrl: {
    schema: url(),
    default: undefined,
    doc: 'How other nodes reach it, without a path, such as https://gpu-7.example:8446; unset: made of the two above.',
  },
  modelsServeTransfers: {
    schema: integer({ min: 1, max: 256 }),
    default: 8,
    doc: 'Most files that are given at a time; who asks for more is sent away for a moment.',
  },
  modelsServeBandwidth: {
    schema: byteSize({ min: 0 }),
    default: 256 * 1024 * 1024,
    doc: 'Most bytes a second that are given to other nodes, all together; 0: no limit.',
  },
} as const;
