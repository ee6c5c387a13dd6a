/*
 * Loads NVML by dlopen and reads one GPU. A function that the library lacks, or a structure version that it refuses, is
 * replaced by the older form of the same call; where there is none, the status says so and the reading is unknown.
 */
#define _GNU_SOURCE
#include "nvml.h"

#include <dlfcn.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

static void *library_handle;
static nvml_gpu gpus[MOST_GPUS];
static unsigned int gpu_count;
static char driver_version[96];

static _Atomic(const char *) place_call;
static atomic_int place_gpu = -1;

nvml_place nvml_where(void) {
  nvml_place place = {atomic_load(&place_call), atomic_load(&place_gpu)};
  return place;
}

static void enter(int gpu, const char *call) {
  atomic_store(&place_gpu, gpu);
  atomic_store(&place_call, call);
}

static void leave(void) { atomic_store(&place_call, NULL); }

void *nvml_symbol(const char *name) { return library_handle == NULL ? NULL : dlsym(library_handle, name); }

unsigned int nvml_gpu_count(void) { return gpu_count; }
const nvml_gpu *nvml_gpu_at(unsigned int index) { return &gpus[index]; }
const char *nvml_driver_version(void) { return driver_version; }

const char *nvml_status_text(int status) {
  const char *(*text)(int) = (const char *(*)(int))nvml_symbol("nvmlErrorString");
  const char *found = text == NULL ? NULL : text(status);
  return found == NULL ? "unknown NVML error" : found;
}

/* Whether the older form of a call should be tried: the library does not know this one, or not its structure. */
static int is_too_new(int status) { return status == NVML_FUNCTION_NOT_FOUND || status == NVML_VERSION_MISMATCH; }

typedef int (*device_uint_call)(nvml_device, unsigned int *);
typedef int (*device_ullong_call)(nvml_device, unsigned long long *);

static int ask_uint(const char *name, nvml_device device, double *value) {
  device_uint_call call = (device_uint_call)nvml_symbol(name);
  unsigned int found = 0;
  int status = call == NULL ? NVML_FUNCTION_NOT_FOUND : call(device, &found);
  *value = found;
  return status;
}

static int ask_of(const char *name, nvml_device device, unsigned int which, double *value) {
  int (*call)(nvml_device, unsigned int, unsigned int *) = nvml_symbol(name);
  unsigned int found = 0;
  int status = call == NULL ? NVML_FUNCTION_NOT_FOUND : call(device, which, &found);
  *value = found;
  return status;
}

static int ask_utilization(nvml_device device, double *values) {
  int (*call)(nvml_device, nvml_utilization *) = nvml_symbol("nvmlDeviceGetUtilizationRates");
  nvml_utilization found = {0, 0};
  int status = call == NULL ? NVML_FUNCTION_NOT_FOUND : call(device, &found);
  values[0] = found.gpu;
  values[1] = found.memory;
  return status;
}

static int ask_memory(nvml_device device, double *values) {
  int (*newer)(nvml_device, nvml_memory_v2 *) = nvml_symbol("nvmlDeviceGetMemoryInfo_v2");
  nvml_memory_v2 found = {NVML_VERSIONED(nvml_memory_v2, 2U), 0, 0, 0, 0};
  int status = newer == NULL ? NVML_FUNCTION_NOT_FOUND : newer(device, &found);
  if (is_too_new(status)) {
    int (*older)(nvml_device, nvml_memory_v1 *) = nvml_symbol("nvmlDeviceGetMemoryInfo");
    nvml_memory_v1 plain = {0, 0, 0};
    status = older == NULL ? NVML_FUNCTION_NOT_FOUND : older(device, &plain);
    found.total = plain.total;
    found.used = plain.used;
    found.free = plain.free;
  }
  values[0] = (double)found.total;
  values[1] = (double)found.used;
  values[2] = (double)found.free;
  return status;
}

static int ask_temperature(nvml_device device, double *values) {
  int (*newer)(nvml_device, nvml_temperature_v1 *) = nvml_symbol("nvmlDeviceGetTemperatureV");
  nvml_temperature_v1 found = {NVML_VERSIONED(nvml_temperature_v1, 1U), NVML_TEMPERATURE_GPU, 0};
  int status = newer == NULL ? NVML_FUNCTION_NOT_FOUND : newer(device, &found);
  values[0] = found.celsius;
  if (is_too_new(status)) status = ask_of("nvmlDeviceGetTemperature", device, NVML_TEMPERATURE_GPU, values);
  return status;
}

static int ask_sm_clock(nvml_device device, double *values) {
  return ask_of("nvmlDeviceGetClockInfo", device, NVML_CLOCK_SM, values);
}

static int ask_memory_clock(nvml_device device, double *values) {
  return ask_of("nvmlDeviceGetClockInfo", device, NVML_CLOCK_MEMORY, values);
}

static int ask_event_reasons(nvml_device device, double *values) {
  device_ullong_call call = (device_ullong_call)nvml_symbol("nvmlDeviceGetCurrentClocksEventReasons");
  if (call == NULL) call = (device_ullong_call)nvml_symbol("nvmlDeviceGetCurrentClocksThrottleReasons");
  unsigned long long found = 0;
  int status = call == NULL ? NVML_FUNCTION_NOT_FOUND : call(device, &found);
  values[0] = (double)found;
  return status;
}

static int ask_power(nvml_device device, double *values) { return ask_uint("nvmlDeviceGetPowerUsage", device, values); }

static int ask_mig_mode(nvml_device device, double *values) {
  int (*call)(nvml_device, unsigned int *, unsigned int *) = nvml_symbol("nvmlDeviceGetMigMode");
  unsigned int current = 0;
  unsigned int pending = 0;
  int status = call == NULL ? NVML_FUNCTION_NOT_FOUND : call(device, &current, &pending);
  values[0] = current;
  values[1] = pending;
  return status;
}

static int ask_persistence(nvml_device device, double *values) {
  return ask_uint("nvmlDeviceGetPersistenceMode", device, values);
}

static int ask_numa_node(nvml_device device, double *values) {
  return ask_uint("nvmlDeviceGetNumaNodeId", device, values);
}

static int ask_addressing_mode(nvml_device device, double *values) {
  int (*call)(nvml_device, nvml_addressing_mode_v1 *) = nvml_symbol("nvmlDeviceGetAddressingMode");
  nvml_addressing_mode_v1 found = {NVML_VERSIONED(nvml_addressing_mode_v1, 1U), 0};
  int status = call == NULL ? NVML_FUNCTION_NOT_FOUND : call(device, &found);
  values[0] = found.mode;
  return status;
}

static int ask_slowdown_limit(nvml_device device, double *values) {
  return ask_of("nvmlDeviceGetTemperatureThreshold", device, NVML_LIMIT_SLOWDOWN, values);
}

static int ask_memory_limit(nvml_device device, double *values) {
  return ask_of("nvmlDeviceGetTemperatureThreshold", device, NVML_LIMIT_MEMORY, values);
}

static int ask_ecc(nvml_device device, unsigned int kind, double *values) {
  int (*call)(nvml_device, unsigned int, unsigned int, unsigned long long *) =
      nvml_symbol("nvmlDeviceGetTotalEccErrors");
  unsigned long long found = 0;
  int status = call == NULL ? NVML_FUNCTION_NOT_FOUND : call(device, kind, NVML_ECC_AGGREGATE, &found);
  values[0] = (double)found;
  return status;
}

static int ask_ecc_corrected(nvml_device device, double *values) { return ask_ecc(device, NVML_ECC_CORRECTED, values); }

static int ask_ecc_uncorrected(nvml_device device, double *values) {
  return ask_ecc(device, NVML_ECC_UNCORRECTED, values);
}

static int ask_remapped_rows(nvml_device device, double *values) {
  int (*call)(nvml_device, unsigned int *, unsigned int *, unsigned int *, unsigned int *) =
      nvml_symbol("nvmlDeviceGetRemappedRows");
  unsigned int found[4] = {0, 0, 0, 0};
  int status = call == NULL ? NVML_FUNCTION_NOT_FOUND : call(device, &found[0], &found[1], &found[2], &found[3]);
  for (int i = 0; i < 4; i++) values[i] = found[i];
  return status;
}

static int ask_pcie_replays(nvml_device device, double *values) {
  return ask_uint("nvmlDeviceGetPcieReplayCounter", device, values);
}

static const struct {
  const char *name;
  int (*ask)(nvml_device, double *);
} CALLS[CALL_COUNT] = {
    [CALL_UTILIZATION] = {"GetUtilizationRates", ask_utilization},
    [CALL_MEMORY] = {"GetMemoryInfo", ask_memory},
    [CALL_TEMPERATURE] = {"GetTemperature", ask_temperature},
    [CALL_SM_CLOCK] = {"GetClockInfo", ask_sm_clock},
    [CALL_MEMORY_CLOCK] = {"GetClockInfo", ask_memory_clock},
    [CALL_EVENT_REASONS] = {"GetCurrentClocksEventReasons", ask_event_reasons},
    [CALL_POWER] = {"GetPowerUsage", ask_power},
    [CALL_MIG_MODE] = {"GetMigMode", ask_mig_mode},
    [CALL_PERSISTENCE] = {"GetPersistenceMode", ask_persistence},
    [CALL_NUMA_NODE] = {"GetNumaNodeId", ask_numa_node},
    [CALL_ADDRESSING_MODE] = {"GetAddressingMode", ask_addressing_mode},
    [CALL_SLOWDOWN_LIMIT] = {"GetTemperatureThreshold", ask_slowdown_limit},
    [CALL_MEMORY_LIMIT] = {"GetTemperatureThreshold", ask_memory_limit},
    [CALL_ECC_CORRECTED] = {"GetTotalEccErrors", ask_ecc_corrected},
    [CALL_ECC_UNCORRECTED] = {"GetTotalEccErrors", ask_ecc_uncorrected},
    [CALL_REMAPPED_ROWS] = {"GetRemappedRows", ask_remapped_rows},
    [CALL_PCIE_REPLAYS] = {"GetPcieReplayCounter", ask_pcie_replays},
};

nvml_answer nvml_ask(unsigned int gpu, unsigned int call) {
  nvml_answer answer = {NVML_INVALID_ARGUMENT, {0, 0, 0, 0}};
  if (gpu >= gpu_count || call >= CALL_COUNT) return answer;
  answer.status = gpus[gpu].status;
  if (answer.status != NVML_OK) return answer;
  enter((int)gpu, CALLS[call].name);
  answer.status = CALLS[call].ask(gpus[gpu].device, answer.values);
  leave();
  return answer;
}

int nvml_fields(unsigned int gpu, nvml_field *fields, unsigned int count) {
  if (gpu >= gpu_count) return NVML_INVALID_ARGUMENT;
  if (gpus[gpu].status != NVML_OK) return gpus[gpu].status;
  int (*call)(nvml_device, int, nvml_field *) = nvml_symbol("nvmlDeviceGetFieldValues");
  if (call == NULL) return NVML_FUNCTION_NOT_FOUND;
  enter((int)gpu, "GetFieldValues");
  int status = call(gpus[gpu].device, (int)count, fields);
  leave();
  return status;
}

/* The process list of one device, whole or a MIG part, appended to `list`. */
static int append_processes(nvml_device device, nvml_process_v2 *list, unsigned int *count) {
  static const char *const NEWER[] = {"nvmlDeviceGetComputeRunningProcesses_v3",
                                      "nvmlDeviceGetComputeRunningProcesses_v2"};
  unsigned int room = MOST_PROCESSES - *count;
  int status = NVML_FUNCTION_NOT_FOUND;
  for (unsigned int i = 0; i < 2 && is_too_new(status); i++) {
    int (*call)(nvml_device, unsigned int *, nvml_process_v2 *) = nvml_symbol(NEWER[i]);
    unsigned int found = room;
    if (call == NULL) continue;
    status = call(device, &found, list + *count);
    if (status == NVML_OK) *count += found < room ? found : room;
  }
  if (!is_too_new(status)) return status;
  int (*older)(nvml_device, unsigned int *, nvml_process_v1 *) = nvml_symbol("nvmlDeviceGetComputeRunningProcesses");
  static nvml_process_v1 plain[MOST_PROCESSES];
  unsigned int found = room;
  status = older == NULL ? NVML_FUNCTION_NOT_FOUND : older(device, &found, plain);
  if (status != NVML_OK) return status;
  for (unsigned int i = 0; i < found && *count < MOST_PROCESSES; i++) {
    list[*count].pid = plain[i].pid;
    list[(*count)++].memory = plain[i].memory;
  }
  return NVML_OK;
}

static int append_mig_processes(nvml_device device, nvml_process_v2 *list, unsigned int *count) {
  int (*part_at)(nvml_device, unsigned int, nvml_device *) = nvml_symbol("nvmlDeviceGetMigDeviceHandleByIndex");
  double most = 0;
  int status = ask_uint("nvmlDeviceGetMaxMigDeviceCount", device, &most);
  if (part_at == NULL) status = NVML_FUNCTION_NOT_FOUND;
  for (unsigned int i = 0; status == NVML_OK && i < (unsigned int)most; i++) {
    nvml_device part = NULL;
    int found = part_at(device, i, &part);
    /* Places between the parts are empty. */
    if (found == NVML_NOT_FOUND) continue;
    status = found == NVML_OK ? append_processes(part, list, count) : found;
  }
  return status;
}

int nvml_processes(unsigned int gpu, nvml_process_v2 *list, unsigned int *count) {
  *count = 0;
  if (gpu >= gpu_count) return NVML_INVALID_ARGUMENT;
  if (gpus[gpu].status != NVML_OK) return gpus[gpu].status;
  nvml_device device = gpus[gpu].device;
  double modes[MOST_VALUES] = {0, 0, 0, 0};
  enter((int)gpu, "GetComputeRunningProcesses");
  int is_split = ask_mig_mode(device, modes) == NVML_OK && modes[0] == 1;
  int status = is_split ? append_mig_processes(device, list, count) : append_processes(device, list, count);
  leave();
  return status;
}

static void take_gpu(unsigned int index) {
  nvml_gpu *gpu = &gpus[index];
  int (*by_index)(unsigned int, nvml_device *) = nvml_symbol("nvmlDeviceGetHandleByIndex_v2");
  if (by_index == NULL) by_index = nvml_symbol("nvmlDeviceGetHandleByIndex");
  memset(gpu, 0, sizeof *gpu);
  gpu->status = by_index == NULL ? NVML_FUNCTION_NOT_FOUND : by_index(index, &gpu->device);
  if (gpu->status != NVML_OK) return;
  int (*text)(nvml_device, char *, unsigned int) = nvml_symbol("nvmlDeviceGetUUID");
  if (text == NULL || text(gpu->device, gpu->uuid, sizeof gpu->uuid - 1) != NVML_OK) gpu->uuid[0] = 0;
  text = nvml_symbol("nvmlDeviceGetName");
  if (text == NULL || text(gpu->device, gpu->name, sizeof gpu->name - 1) != NVML_OK) gpu->name[0] = 0;
}

static int start(void) {
  int (*init)(void) = nvml_symbol("nvmlInit_v2");
  if (init == NULL) init = nvml_symbol("nvmlInit");
  enter(-1, "Init");
  int status = init == NULL ? NVML_FUNCTION_NOT_FOUND : init();
  if (status != NVML_OK) return status;
  int (*version)(char *, unsigned int) = nvml_symbol("nvmlSystemGetDriverVersion");
  if (version == NULL || version(driver_version, sizeof driver_version - 1) != NVML_OK) driver_version[0] = 0;
  int (*counted)(unsigned int *) = nvml_symbol("nvmlDeviceGetCount_v2");
  if (counted == NULL) counted = nvml_symbol("nvmlDeviceGetCount");
  enter(-1, "DeviceGetCount");
  unsigned int found = 0;
  status = counted == NULL ? NVML_FUNCTION_NOT_FOUND : counted(&found);
  if (status != NVML_OK) return status;
  gpu_count = found < MOST_GPUS ? found : MOST_GPUS;
  for (unsigned int i = 0; i < gpu_count; i++) {
    enter((int)i, "GetHandleByIndex");
    take_gpu(i);
  }
  return NVML_OK;
}

int nvml_open(const char *library, char *failure, unsigned int failure_size) {
  failure[0] = 0;
  if (library_handle == NULL) {
    library_handle = dlopen(library, RTLD_NOW | RTLD_LOCAL);
    if (library_handle == NULL) {
      const char *why = dlerror();
      snprintf(failure, failure_size, "%s", why == NULL ? "dlopen failed" : why);
      return NVML_LIBRARY_MISSING;
    }
  }
  int status = start();
  leave();
  if (status != NVML_OK) snprintf(failure, failure_size, "%s", nvml_status_text(status));
  return status;
}
