// Original file: fleet/v1/fleet.proto

import type { Long } from '@grpc/proto-loader';

export interface HostFacts {
  'hostname'?: (string);
  'os'?: (string);
  'kernel'?: (string);
  'architecture'?: (string);
  'cpuModel'?: (string);
  'cpuCores'?: (number);
  'memoryBytes'?: (number | string | Long);
  'nodeVersion'?: (string);
  'gangAddress'?: (string);
  '_hostname'?: "hostname";
  '_os'?: "os";
  '_kernel'?: "kernel";
  '_architecture'?: "architecture";
  '_cpuModel'?: "cpuModel";
  '_cpuCores'?: "cpuCores";
  '_memoryBytes'?: "memoryBytes";
  '_nodeVersion'?: "nodeVersion";
  '_gangAddress'?: "gangAddress";
}

export interface HostFacts__Output {
  'hostname'?: (string);
  'os'?: (string);
  'kernel'?: (string);
  'architecture'?: (string);
  'cpuModel'?: (string);
  'cpuCores'?: (number);
  'memoryBytes'?: (number);
  'nodeVersion'?: (string);
  'gangAddress'?: (string);
  '_hostname'?: "hostname";
  '_os'?: "os";
  '_kernel'?: "kernel";
  '_architecture'?: "architecture";
  '_cpuModel'?: "cpuModel";
  '_cpuCores'?: "cpuCores";
  '_memoryBytes'?: "memoryBytes";
  '_nodeVersion'?: "nodeVersion";
  '_gangAddress'?: "gangAddress";
}
