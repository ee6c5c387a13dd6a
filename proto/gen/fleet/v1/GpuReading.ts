// Original file: fleet/v1/fleet.proto

import type { Long } from '@grpc/proto-loader';

export interface GpuReading {
  'index'?: (number);
  'utilizationRatio'?: (number | string);
  'memoryUsedBytes'?: (number | string | Long);
  'memoryTotalBytes'?: (number | string | Long);
  'temperatureCelsius'?: (number | string);
  'powerWatts'?: (number | string);
  '_utilizationRatio'?: "utilizationRatio";
  '_memoryUsedBytes'?: "memoryUsedBytes";
  '_memoryTotalBytes'?: "memoryTotalBytes";
  '_temperatureCelsius'?: "temperatureCelsius";
  '_powerWatts'?: "powerWatts";
}

export interface GpuReading__Output {
  'index': (number);
  'utilizationRatio'?: (number);
  'memoryUsedBytes'?: (number);
  'memoryTotalBytes'?: (number);
  'temperatureCelsius'?: (number);
  'powerWatts'?: (number);
  '_utilizationRatio'?: "utilizationRatio";
  '_memoryUsedBytes'?: "memoryUsedBytes";
  '_memoryTotalBytes'?: "memoryTotalBytes";
  '_temperatureCelsius'?: "temperatureCelsius";
  '_powerWatts'?: "powerWatts";
}
