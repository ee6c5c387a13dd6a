/*
 * A false libnvidia-ml.so.1 for tests: the functions that the sensor calls, with NVML's own structure versions checked
 * as the real one does. With -DOLD_DRIVER the symbols that a driver of 2020 lacks are not there at all.
 */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../../../native/addon/nvml_abi.h"
#include "scenario.h"

#define MOST_GPUS 16
#define MOST_PARTS 8
#define MOST_LISTED 64
#define STRING_BYTES 512

typedef struct {
  int gpu, part;
} device;

static device whole[MOST_GPUS];
static unsigned long long registered;

#define OF(handle) (((device *)(handle))->gpu)
#define BEGIN(handle)                               \
  do {                                              \
    int begun = scenario_enter(__func__, OF(handle)); \
    if (begun != 0) return begun;                   \
  } while (0)

const char *nvmlErrorString(int status) {
  switch (status) {
    case 0: return "Success";
    case 3: return "Not Supported";
    case 9: return "Driver Not Loaded";
    case 13: return "Function Not Found";
    case 15: return "GPU is lost";
    case 16: return "GPU requires reset";
    case 18: return "Driver/library version mismatch";
    case 25: return "Argument version mismatch";
    default: return "Unknown Error";
  }
}

static int begin_library(const char *function) { return scenario_enter(function, -1); }

int nvmlInit_v2(void) { return begin_library(__func__); }

static int put(const char *text, char *out, unsigned int size) {
  if (strlen(text) >= size) return NVML_INSUFFICIENT_SIZE;
  memcpy(out, text, strlen(text) + 1);
  return NVML_OK;
}

int nvmlSystemGetDriverVersion(char *version, unsigned int size) {
  char text[STRING_BYTES] = "580.95.05";
  int status = begin_library(__func__);
  if (status != NVML_OK) return status;
  scenario_word("driver", text, sizeof text);
  return put(text, version, size);
}

int nvmlDeviceGetCount_v2(unsigned int *count) {
  int status = begin_library(__func__);
  int found = scenario_gpus();
  *count = (unsigned int)(found < MOST_GPUS ? found : MOST_GPUS);
  return status;
}

int nvmlDeviceGetHandleByIndex_v2(unsigned int index, nvml_device *handle) {
  if (index >= MOST_GPUS) return NVML_INVALID_ARGUMENT;
  whole[index] = (device){(int)index, -1};
  *handle = &whole[index];
  return scenario_enter(__func__, (int)index);
}

static int text_of(nvml_device handle, const char *key, char *out, unsigned int size) {
  char text[STRING_BYTES];
  int status = scenario_text(OF(handle), key, text, sizeof text);
  return status == NVML_OK ? put(text, out, size) : status;
}

int nvmlDeviceGetUUID(nvml_device handle, char *uuid, unsigned int size) {
  BEGIN(handle);
  return text_of(handle, "uuid", uuid, size);
}

int nvmlDeviceGetName(nvml_device handle, char *name, unsigned int size) {
  BEGIN(handle);
  return text_of(handle, "name", name, size);
}

static int uint_of(nvml_device handle, const char *key, unsigned int *value) {
  double found = 0;
  int status = scenario_number(OF(handle), key, &found);
  *value = (unsigned int)found;
  return status;
}

int nvmlDeviceGetUtilizationRates(nvml_device handle, nvml_utilization *rates) {
  BEGIN(handle);
  double split = 0;
  if (scenario_number(OF(handle), "mig", &split) == NVML_OK && split == 1) return NVML_NOT_SUPPORTED;
  rates->memory = 0;
  return uint_of(handle, "util", &rates->gpu);
}

static int memory_of(nvml_device handle, double *total, double *used) {
  unsigned int pids[MOST_LISTED];
  unsigned long long held[MOST_LISTED];
  int status = scenario_number(OF(handle), "memory", total);
  scenario_number(OF(handle), "used", used);
  int count = scenario_processes(OF(handle), -1, pids, held, MOST_LISTED);
  for (int i = 0; i < count; i++)
    if (held[i] != NVML_NOT_AVAILABLE) *used += (double)held[i];
  return status;
}

int nvmlDeviceGetMemoryInfo(nvml_device handle, nvml_memory_v1 *memory) {
  double total = 0;
  double used = 0;
  BEGIN(handle);
  int status = memory_of(handle, &total, &used);
  *memory = (nvml_memory_v1){(unsigned long long)total, (unsigned long long)(total - used), (unsigned long long)used};
  return status;
}

int nvmlDeviceGetPowerUsage(nvml_device handle, unsigned int *milliwatts) {
  BEGIN(handle);
  return uint_of(handle, "milliwatts", milliwatts);
}

int nvmlDeviceGetTemperature(nvml_device handle, unsigned int sensor, unsigned int *celsius) {
  BEGIN(handle);
  return sensor == NVML_TEMPERATURE_GPU ? uint_of(handle, "temp", celsius) : NVML_INVALID_ARGUMENT;
}

int nvmlDeviceGetTemperatureThreshold(nvml_device handle, unsigned int which, unsigned int *celsius) {
  BEGIN(handle);
  return uint_of(handle, which == NVML_LIMIT_SLOWDOWN ? "temp_limit" : "memory_temp_limit", celsius);
}

int nvmlDeviceGetClockInfo(nvml_device handle, unsigned int clock, unsigned int *mhz) {
  BEGIN(handle);
  return uint_of(handle, clock == NVML_CLOCK_SM ? "sm_mhz" : "memory_mhz", mhz);
}

int nvmlDeviceGetCurrentClocksThrottleReasons(nvml_device handle, unsigned long long *reasons) {
  double found = 0;
  BEGIN(handle);
  int status = scenario_number(OF(handle), "reasons", &found);
  *reasons = (unsigned long long)found;
  return status;
}

int nvmlDeviceGetPersistenceMode(nvml_device handle, unsigned int *mode) {
  BEGIN(handle);
  return uint_of(handle, "persistence", mode);
}

int nvmlDeviceGetPcieReplayCounter(nvml_device handle, unsigned int *replays) {
  BEGIN(handle);
  return uint_of(handle, "replays", replays);
}

int nvmlDeviceGetTotalEccErrors(nvml_device handle, unsigned int kind, unsigned int counter, unsigned long long *count) {
  double found = 0;
  BEGIN(handle);
  if (counter > 1) return NVML_INVALID_ARGUMENT;
  int status = scenario_number(OF(handle), kind == NVML_ECC_CORRECTED ? "ecc_corrected" : "ecc_uncorrected", &found);
  *count = (unsigned long long)found;
  return status;
}

static unsigned int list_processes(nvml_device handle, nvml_process_v2 *list, unsigned int most) {
  unsigned int pids[MOST_LISTED];
  unsigned long long held[MOST_LISTED];
  int room = most < MOST_LISTED ? (int)most : MOST_LISTED;
  int count = scenario_processes(OF(handle), ((device *)handle)->part, pids, held, room);
  for (int i = 0; i < count; i++) list[i] = (nvml_process_v2){pids[i], held[i], ~0U, ~0U};
  return (unsigned int)count;
}

int nvmlDeviceGetComputeRunningProcesses(nvml_device handle, unsigned int *count, nvml_process_v1 *list) {
  nvml_process_v2 found[MOST_LISTED];
  BEGIN(handle);
  *count = list_processes(handle, found, *count);
  for (unsigned int i = 0; i < *count; i++) list[i] = (nvml_process_v1){found[i].pid, found[i].memory};
  return NVML_OK;
}

/* What is under way at most for a wait: short steps, so that a changed scenario is seen soon. */
int nvmlEventSetWait_v2(nvml_event_set set, nvml_event *event, unsigned int timeout_ms) {
  (void)set;
  for (unsigned int waited = 0; waited < timeout_ms; waited += 10) {
    int gpu = 0;
    unsigned long long type = 0;
    unsigned long long data = 0;
    if (scenario_event(&gpu, &type, &data) && (type & registered) != 0) {
      *event = (nvml_event){&whole[gpu], type, data, ~0U, ~0U};
      return NVML_OK;
    }
    usleep(10000);
  }
  return NVML_TIMEOUT;
}

int nvmlEventSetCreate(nvml_event_set *set) {
  *set = &registered;
  return begin_library(__func__);
}

int nvmlDeviceGetSupportedEventTypes(nvml_device handle, unsigned long long *types) {
  BEGIN(handle);
  *types = NVML_EVENT_XID | NVML_EVENT_DOUBLE_BIT_ECC | NVML_EVENT_RECOVERY_ACTION | NVML_EVENT_UNAVAILABLE;
  return NVML_OK;
}

int nvmlDeviceRegisterEvents(nvml_device handle, unsigned long long types, nvml_event_set set) {
  (void)set;
  BEGIN(handle);
  registered |= types;
  return NVML_OK;
}

#ifndef OLD_DRIVER

static device parts[MOST_GPUS][MOST_PARTS];

int nvmlDeviceGetMemoryInfo_v2(nvml_device handle, nvml_memory_v2 *memory) {
  double total = 0;
  double used = 0;
  BEGIN(handle);
  if (memory->version != NVML_VERSIONED(nvml_memory_v2, 2U)) return NVML_VERSION_MISMATCH;
  int status = memory_of(handle, &total, &used);
  memory->total = (unsigned long long)total;
  memory->used = (unsigned long long)used;
  memory->free = (unsigned long long)(total - used);
  return status;
}

int nvmlDeviceGetTemperatureV(nvml_device handle, nvml_temperature_v1 *temperature) {
  double found = 0;
  BEGIN(handle);
  if (temperature->version != NVML_VERSIONED(nvml_temperature_v1, 1U)) return NVML_VERSION_MISMATCH;
  int status = scenario_number(OF(handle), "temp", &found);
  temperature->celsius = (int)found;
  return status;
}

int nvmlDeviceGetCurrentClocksEventReasons(nvml_device handle, unsigned long long *reasons) {
  BEGIN(handle);
  return nvmlDeviceGetCurrentClocksThrottleReasons(handle, reasons);
}

int nvmlDeviceGetComputeRunningProcesses_v3(nvml_device handle, unsigned int *count, nvml_process_v2 *list) {
  BEGIN(handle);
  *count = list_processes(handle, list, *count);
  return NVML_OK;
}

int nvmlDeviceGetMigMode(nvml_device handle, unsigned int *current, unsigned int *pending) {
  BEGIN(handle);
  int status = uint_of(handle, "mig", current);
  *pending = *current;
  return status;
}

int nvmlDeviceGetMaxMigDeviceCount(nvml_device handle, unsigned int *count) {
  (void)handle;
  *count = MOST_PARTS;
  return NVML_OK;
}

int nvmlDeviceGetMigDeviceHandleByIndex(nvml_device handle, unsigned int index, nvml_device *part) {
  double made = 0;
  BEGIN(handle);
  scenario_number(OF(handle), "mig_parts", &made);
  if (index >= MOST_PARTS || index >= (unsigned int)made) return NVML_NOT_FOUND;
  parts[OF(handle)][index] = (device){OF(handle), (int)index};
  *part = &parts[OF(handle)][index];
  return NVML_OK;
}

int nvmlDeviceGetNumaNodeId(nvml_device handle, unsigned int *node) {
  BEGIN(handle);
  return uint_of(handle, "numa_node", node);
}

int nvmlDeviceGetAddressingMode(nvml_device handle, nvml_addressing_mode_v1 *mode) {
  BEGIN(handle);
  if (mode->version != NVML_VERSIONED(nvml_addressing_mode_v1, 1U)) return NVML_VERSION_MISMATCH;
  return uint_of(handle, "addressing", &mode->mode);
}

int nvmlDeviceGetRemappedRows(nvml_device handle, unsigned int *corrected, unsigned int *uncorrected,
                              unsigned int *pending, unsigned int *failed) {
  BEGIN(handle);
  int status = uint_of(handle, "remapped_corrected", corrected);
  uint_of(handle, "remapped_uncorrected", uncorrected);
  uint_of(handle, "remap_pending", pending);
  uint_of(handle, "remap_failed", failed);
  return status;
}

int nvmlDeviceGetFieldValues(nvml_device handle, int count, nvml_field *fields) {
  BEGIN(handle);
  for (int i = 0; i < count; i++) {
    double value = 0;
    fields[i].status = scenario_field(OF(handle), fields[i].id, fields[i].scope, &value);
    fields[i].kind = NVML_ULLONG;
    fields[i].value.ull = (unsigned long long)value;
  }
  return NVML_OK;
}

#endif
