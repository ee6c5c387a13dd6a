/*
 * The part of NVML's binary interface that the sensor uses, declared here so that no NVIDIA header is needed to build.
 * Pinned to the header of NVML 13.5 (checked against it and against 12.9 structure by structure); a symbol or a
 * structure version that the library of a host lacks is answered by an older one, or by a status, never by a crash.
 */
#ifndef SOPHIA_NVML_ABI_H
#define SOPHIA_NVML_ABI_H

typedef void *nvml_device;
typedef void *nvml_event_set;

enum {
  NVML_OK = 0,
  NVML_INVALID_ARGUMENT = 2,
  NVML_NOT_SUPPORTED = 3,
  NVML_NOT_FOUND = 6,
  NVML_INSUFFICIENT_SIZE = 7,
  NVML_TIMEOUT = 10,
  NVML_LIBRARY_MISSING = 12,
  NVML_FUNCTION_NOT_FOUND = 13,
  NVML_GPU_IS_LOST = 15,
  NVML_VERSION_MISMATCH = 25,
};

enum { NVML_TEMPERATURE_GPU = 0, NVML_LIMIT_SLOWDOWN = 1, NVML_LIMIT_MEMORY = 2 };
enum { NVML_CLOCK_SM = 1, NVML_CLOCK_MEMORY = 2 };
enum { NVML_ECC_CORRECTED = 0, NVML_ECC_UNCORRECTED = 1, NVML_ECC_AGGREGATE = 1 };

#define NVML_EVENT_DOUBLE_BIT_ECC 0x2ULL
#define NVML_EVENT_XID 0x8ULL
#define NVML_EVENT_UNAVAILABLE 0x4000ULL
#define NVML_EVENT_RECOVERY_ACTION 0x8000ULL

#define NVML_NOT_AVAILABLE (~0ULL)
#define NVML_VERSIONED(type, number) ((unsigned int)(sizeof(type) | ((number) << 24U)))

typedef struct {
  unsigned int gpu, memory;
} nvml_utilization;

typedef struct {
  unsigned long long total, free, used;
} nvml_memory_v1;

typedef struct {
  unsigned int version;
  unsigned long long total, reserved, free, used;
} nvml_memory_v2;

typedef struct {
  unsigned int version, sensor;
  int celsius;
} nvml_temperature_v1;

typedef struct {
  unsigned int version, mode;
} nvml_addressing_mode_v1;

typedef struct {
  unsigned int pid;
  unsigned long long memory;
} nvml_process_v1;

typedef struct {
  unsigned int pid;
  unsigned long long memory;
  unsigned int gpu_instance, compute_instance;
} nvml_process_v2;

typedef union {
  double d;
  int i;
  unsigned int u;
  unsigned long ul;
  unsigned long long ull;
  long long ll;
  unsigned short us;
} nvml_value;

/* The kinds of nvml_value, as `kind` of a field tells them. */
enum { NVML_DOUBLE, NVML_UINT, NVML_ULONG, NVML_ULLONG, NVML_LLONG, NVML_INT, NVML_USHORT };

typedef struct {
  unsigned int id, scope;
  long long timestamp_us, latency_us;
  int kind, status;
  nvml_value value;
} nvml_field;

typedef struct {
  nvml_device device;
  unsigned long long type, data;
  unsigned int gpu_instance, compute_instance;
} nvml_event;

#endif
