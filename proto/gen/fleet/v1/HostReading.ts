// Original file: fleet/v1/fleet.proto

import type { Long } from '@grpc/proto-loader';

export interface HostReading {
  'cpuUtilizationRatio'?: (number | string);
  'memoryUsedBytes'?: (number | string | Long);
  'loadAverage_1m'?: (number | string);
  'diskFreeBytes'?: (number | string | Long);
  '_cpuUtilizationRatio'?: "cpuUtilizationRatio";
  '_memoryUsedBytes'?: "memoryUsedBytes";
  '_loadAverage_1m'?: "loadAverage_1m";
  '_diskFreeBytes'?: "diskFreeBytes";
}

export interface HostReading__Output {
  'cpuUtilizationRatio'?: (number);
  'memoryUsedBytes'?: (number);
  'loadAverage_1m'?: (number);
  'diskFreeBytes'?: (number);
  '_cpuUtilizationRatio'?: "cpuUtilizationRatio";
  '_memoryUsedBytes'?: "memoryUsedBytes";
  '_loadAverage_1m'?: "loadAverage_1m";
  '_diskFreeBytes'?: "diskFreeBytes";
}
