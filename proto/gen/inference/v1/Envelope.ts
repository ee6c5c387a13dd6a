// Original file: inference/v1/inference.proto

import type { Endpoint as _inference_v1_Endpoint, Endpoint__Output as _inference_v1_Endpoint__Output } from '../../inference/v1/Endpoint.ts';

export interface Envelope {
  'id'?: (string);
  'model'?: (string);
  'priority'?: (number);
  'deadlineMs'?: (number);
  'tenant'?: (string);
  'traceparent'?: (string);
  'returnTokenIds'?: (boolean);
  'endpoint'?: (_inference_v1_Endpoint);
  'tellQueue'?: (boolean);
  '_priority'?: "priority";
  '_deadlineMs'?: "deadlineMs";
  '_tenant'?: "tenant";
  '_traceparent'?: "traceparent";
}

export interface Envelope__Output {
  'id': (string);
  'model': (string);
  'priority'?: (number);
  'deadlineMs'?: (number);
  'tenant'?: (string);
  'traceparent'?: (string);
  'returnTokenIds': (boolean);
  'endpoint': (_inference_v1_Endpoint__Output);
  'tellQueue': (boolean);
  '_priority'?: "priority";
  '_deadlineMs'?: "deadlineMs";
  '_tenant'?: "tenant";
  '_traceparent'?: "traceparent";
}
