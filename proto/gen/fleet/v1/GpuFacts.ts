// Original file: fleet/v1/fleet.proto

import type { Long } from '@grpc/proto-loader';

export interface GpuFacts {
  'index'?: (number);
  'uuid'?: (string);
  'name'?: (string);
  'memoryTotalBytes'?: (number | string | Long);
  'driverVersion'?: (string);
  'memoryUsableBytes'?: (number | string | Long);
  '_uuid'?: "uuid";
  '_name'?: "name";
  '_memoryTotalBytes'?: "memoryTotalBytes";
  '_driverVersion'?: "driverVersion";
  '_memoryUsableBytes'?: "memoryUsableBytes";
}

export interface GpuFacts__Output {
  'index': (number);
  'uuid'?: (string);
  'name'?: (string);
  'memoryTotalBytes'?: (number);
  'driverVersion'?: (string);
  'memoryUsableBytes'?: (number);
  '_uuid'?: "uuid";
  '_name'?: "name";
  '_memoryTotalBytes'?: "memoryTotalBytes";
  '_driverVersion'?: "driverVersion";
  '_memoryUsableBytes'?: "memoryUsableBytes";
}
