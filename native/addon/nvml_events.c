/*
 * A thread of its own that waits for what the driver says by itself: Xids, a GPU that is not there any more, a changed
 * recovery action. It ends only with the process: the sensor is killed, never asked to stop.
 */
#define _GNU_SOURCE
#include "nvml.h"

#include <pthread.h>
#include <time.h>

#define WAIT_MS 1000U

static nvml_event_listener event_listener;
static void *event_context;
static nvml_event_set event_set;
static int (*event_wait)(nvml_event_set, nvml_event *, unsigned int);

static int index_of(nvml_device device) {
  for (unsigned int i = 0; i < nvml_gpu_count(); i++)
    if (nvml_gpu_at(i)->device == device) return (int)i;
  return -1;
}

static void *wait_for_events(void *unused) {
  (void)unused;
  for (;;) {
    nvml_event event = {0, 0, 0, 0, 0};
    int status = event_wait(event_set, &event, WAIT_MS);
    if (status == NVML_OK) {
      event_listener(index_of(event.device), event.type, event.data, event_context);
    } else if (status != NVML_TIMEOUT) {
      /* A lost GPU fails every wait at once; the readings tell which one it is. */
      struct timespec pause = {1, 0};
      nanosleep(&pause, NULL);
    }
  }
  return NULL;
}

int nvml_watch(nvml_event_listener listener, void *context) {
  int (*create)(nvml_event_set *) = nvml_symbol("nvmlEventSetCreate");
  int (*add)(nvml_device, unsigned long long, nvml_event_set) = nvml_symbol("nvmlDeviceRegisterEvents");
  int (*supported)(nvml_device, unsigned long long *) = nvml_symbol("nvmlDeviceGetSupportedEventTypes");
  event_wait = nvml_symbol("nvmlEventSetWait_v2");
  if (event_wait == NULL) event_wait = nvml_symbol("nvmlEventSetWait");
  if (create == NULL || add == NULL || event_wait == NULL) return NVML_FUNCTION_NOT_FOUND;
  int status = create(&event_set);
  if (status != NVML_OK) return status;
  unsigned int registered = 0;
  for (unsigned int i = 0; i < nvml_gpu_count(); i++) {
    const nvml_gpu *gpu = nvml_gpu_at(i);
    unsigned long long known = NVML_EVENT_XID | NVML_EVENT_DOUBLE_BIT_ECC;
    unsigned long long wanted = known | NVML_EVENT_UNAVAILABLE | NVML_EVENT_RECOVERY_ACTION;
    if (gpu->status != NVML_OK) continue;
    if (supported != NULL && supported(gpu->device, &known) != NVML_OK) continue;
    /* To register a kind that the GPU does not have is refused as a whole. */
    if ((wanted & known) != 0 && add(gpu->device, wanted & known, event_set) == NVML_OK) registered++;
  }
  if (registered == 0) return NVML_NOT_SUPPORTED;
  event_listener = listener;
  event_context = context;
  pthread_t thread;
  if (pthread_create(&thread, NULL, wait_for_events, NULL) != 0) return NVML_NOT_SUPPORTED;
  pthread_detach(thread);
  return NVML_OK;
}
