/*
 * Reading NVML, without a word of JavaScript: nvml.c loads the library and reads one GPU, nvml_events.c waits for what
 * the driver says by itself, addon.c puts both behind Node-API. Every call here may block for ever inside the driver.
 */
#ifndef SOPHIA_NVML_H
#define SOPHIA_NVML_H

#include "nvml_abi.h"

#define MOST_GPUS 64
#define MOST_FIELDS 64
#define MOST_PROCESSES 1024
#define MOST_VALUES 4

/* The numbers are part of the seam: native/contract.ts names them in the same order. */
enum nvml_call_id {
  CALL_UTILIZATION,
  CALL_MEMORY,
  CALL_TEMPERATURE,
  CALL_SM_CLOCK,
  CALL_MEMORY_CLOCK,
  CALL_EVENT_REASONS,
  CALL_POWER,
  CALL_MIG_MODE,
  CALL_PERSISTENCE,
  CALL_NUMA_NODE,
  CALL_ADDRESSING_MODE,
  CALL_SLOWDOWN_LIMIT,
  CALL_MEMORY_LIMIT,
  CALL_ECC_CORRECTED,
  CALL_ECC_UNCORRECTED,
  CALL_REMAPPED_ROWS,
  CALL_PCIE_REPLAYS,
  CALL_COUNT,
};

typedef struct {
  int status;
  double values[MOST_VALUES];
} nvml_answer;

typedef struct {
  int status;
  nvml_device device;
  char uuid[96];
  char name[96];
} nvml_gpu;

/* What is being asked of the driver now, for whoever finds that it takes too long. */
typedef struct {
  const char *call;
  int gpu;
} nvml_place;

/* Loads the library, starts NVML and takes a handle of each GPU. On failure `failure` says what was tried. */
int nvml_open(const char *library, char *failure, unsigned int failure_size);
unsigned int nvml_gpu_count(void);
const nvml_gpu *nvml_gpu_at(unsigned int index);
const char *nvml_driver_version(void);
const char *nvml_status_text(int status);
nvml_place nvml_where(void);

nvml_answer nvml_ask(unsigned int gpu, unsigned int call);
/* One call for all fields; each has its own status afterwards. Answers the status of the call itself. */
int nvml_fields(unsigned int gpu, nvml_field *fields, unsigned int count);
/* Processes with memory on the GPU, of all its MIG devices where it is split. */
int nvml_processes(unsigned int gpu, nvml_process_v2 *list, unsigned int *count);

typedef void (*nvml_event_listener)(int gpu, unsigned long long type, unsigned long long data, void *context);
/* Starts the thread that waits for events. Answers a status; NVML_NOT_SUPPORTED where no GPU tells any. */
int nvml_watch(nvml_event_listener listener, void *context);

/* For nvml_events.c: a function of the library, or NULL where it has none. */
void *nvml_symbol(const char *name);

/* sd_notify(3): one datagram to a socket, `@` first for an abstract one. Answers 0 or an errno. */
int notify_send(const char *path, const char *message);

#endif
