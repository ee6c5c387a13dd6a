/*
 * Node-API 8 around nvml.h. Everything that can block inside the driver runs on a thread of libuv's pool and answers by
 * a promise, so that the sensor's own loop can still say what it waits for. native/contract.ts gives these names types.
 */
#define NAPI_VERSION 8
#include <node_api.h>

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "nvml.h"

#define MOST_PATH 4096
#define MOST_MESSAGE 4096

enum job_kind { JOB_OPEN, JOB_READ, JOB_PROCESSES, JOB_WATCH };

typedef struct {
  enum job_kind kind;
  napi_async_work work;
  napi_deferred deferred;
  int status;
  unsigned int gpu;
  char text[MOST_PATH];
  char failure[512];
  unsigned int call_count, field_count, process_count;
  unsigned int calls[CALL_COUNT];
  nvml_answer answers[CALL_COUNT];
  nvml_field fields[MOST_FIELDS];
  nvml_process_v2 processes[MOST_PROCESSES];
} job;

typedef struct {
  int gpu;
  unsigned long long type, data;
} told_event;

/* NULL once the loop that listens has ended: the thread of the events may outlive it. */
static napi_threadsafe_function event_target;
static pthread_mutex_t event_lock = PTHREAD_MUTEX_INITIALIZER;

static napi_value number(napi_env env, double value) {
  napi_value made = NULL;
  napi_create_double(env, value, &made);
  return made;
}

static napi_value text(napi_env env, const char *value) {
  napi_value made = NULL;
  napi_create_string_utf8(env, value, NAPI_AUTO_LENGTH, &made);
  return made;
}

static void set(napi_env env, napi_value object, const char *key, napi_value value) {
  napi_set_named_property(env, object, key, value);
}

static napi_value fail(napi_env env, const char *why) {
  napi_throw_type_error(env, "ERR_INVALID_ARG_TYPE", why);
  return NULL;
}

/* An Error with `status`, NVML's number, and `call`; the contract makes a coded class of it. */
static napi_value nvml_error(napi_env env, const job *done) {
  napi_value error = NULL;
  const char *message = done->failure[0] != 0 ? done->failure : nvml_status_text(done->status);
  napi_create_error(env, NULL, text(env, message), &error);
  set(env, error, "status", number(env, done->status));
  return error;
}

static napi_value opened(napi_env env) {
  napi_value result = NULL;
  napi_value list = NULL;
  napi_create_object(env, &result);
  napi_create_array(env, &list);
  for (unsigned int i = 0; i < nvml_gpu_count(); i++) {
    const nvml_gpu *gpu = nvml_gpu_at(i);
    napi_value one = NULL;
    napi_create_object(env, &one);
    set(env, one, "index", number(env, i));
    set(env, one, "status", number(env, gpu->status));
    set(env, one, "uuid", text(env, gpu->uuid));
    set(env, one, "name", text(env, gpu->name));
    napi_set_element(env, list, i, one);
  }
  set(env, result, "driverVersion", text(env, nvml_driver_version()));
  set(env, result, "gpus", list);
  return result;
}

static double value_of(const nvml_field *field) {
  switch (field->kind) {
    case NVML_DOUBLE: return field->value.d;
    case NVML_UINT: return field->value.u;
    case NVML_ULONG: return (double)field->value.ul;
    case NVML_ULLONG: return (double)field->value.ull;
    case NVML_LLONG: return (double)field->value.ll;
    case NVML_INT: return field->value.i;
    case NVML_USHORT: return field->value.us;
    default: return 0;
  }
}

/* One flat list: for each call its status and four values, then for each field its status and value. */
static napi_value readings(napi_env env, const job *done) {
  napi_value list = NULL;
  uint32_t at = 0;
  napi_create_array_with_length(env, done->call_count * (1 + MOST_VALUES) + done->field_count * 2, &list);
  for (unsigned int i = 0; i < done->call_count; i++) {
    napi_set_element(env, list, at++, number(env, done->answers[i].status));
    for (unsigned int v = 0; v < MOST_VALUES; v++)
      napi_set_element(env, list, at++, number(env, done->answers[i].values[v]));
  }
  for (unsigned int i = 0; i < done->field_count; i++) {
    const nvml_field *field = &done->fields[i];
    napi_set_element(env, list, at++, number(env, field->status));
    napi_set_element(env, list, at++, number(env, value_of(field)));
  }
  return list;
}

/* Pairs of a pid and its memory in bytes, -1 where the driver does not tell. */
static napi_value process_list(napi_env env, const job *done) {
  napi_value list = NULL;
  napi_create_array_with_length(env, done->process_count * 2, &list);
  for (unsigned int i = 0; i < done->process_count; i++) {
    const nvml_process_v2 *one = &done->processes[i];
    double memory = one->memory == NVML_NOT_AVAILABLE ? -1 : (double)one->memory;
    napi_set_element(env, list, i * 2, number(env, one->pid));
    napi_set_element(env, list, i * 2 + 1, number(env, memory));
  }
  return list;
}

static void tell_event(int gpu, unsigned long long type, unsigned long long data, void *unused) {
  (void)unused;
  told_event *event = malloc(sizeof *event);
  if (event == NULL) return;
  *event = (told_event){gpu, type, data};
  pthread_mutex_lock(&event_lock);
  int is_told = event_target != NULL &&
                napi_call_threadsafe_function(event_target, event, napi_tsfn_nonblocking) == napi_ok;
  pthread_mutex_unlock(&event_lock);
  if (!is_told) free(event);
}

/* Runs before Node takes the function away. */
static void forget_target(void *unused) {
  (void)unused;
  pthread_mutex_lock(&event_lock);
  event_target = NULL;
  pthread_mutex_unlock(&event_lock);
}

static void deliver_event(napi_env env, napi_value callback, void *unused, void *data) {
  (void)unused;
  told_event event = *(told_event *)data;
  free(data);
  if (env == NULL) return;
  napi_value self = NULL;
  napi_get_undefined(env, &self);
  napi_value arguments[3] = {number(env, event.gpu), number(env, (double)event.type), number(env, (double)event.data)};
  napi_call_function(env, self, callback, 3, arguments, NULL);
}

static void execute(napi_env env, void *data) {
  (void)env;
  job *asked = data;
  switch (asked->kind) {
    case JOB_OPEN:
      asked->status = nvml_open(asked->text, asked->failure, sizeof asked->failure);
      return;
    case JOB_WATCH:
      asked->status = nvml_watch(tell_event, NULL);
      return;
    case JOB_PROCESSES:
      asked->status = nvml_processes(asked->gpu, asked->processes, &asked->process_count);
      return;
    case JOB_READ:
      for (unsigned int i = 0; i < asked->call_count; i++) asked->answers[i] = nvml_ask(asked->gpu, asked->calls[i]);
      if (asked->field_count == 0) return;
      int status = nvml_fields(asked->gpu, asked->fields, asked->field_count);
      for (unsigned int i = 0; status != NVML_OK && i < asked->field_count; i++) asked->fields[i].status = status;
  }
}

static void complete(napi_env env, napi_status status, void *data) {
  job *done = data;
  napi_value result = NULL;
  if (status != napi_ok) done->status = NVML_INVALID_ARGUMENT;
  if (done->status != NVML_OK) {
    napi_reject_deferred(env, done->deferred, nvml_error(env, done));
  } else {
    switch (done->kind) {
      case JOB_OPEN: result = opened(env); break;
      case JOB_READ: result = readings(env, done); break;
      case JOB_PROCESSES: result = process_list(env, done); break;
      case JOB_WATCH: napi_get_undefined(env, &result); break;
    }
    napi_resolve_deferred(env, done->deferred, result);
  }
  napi_delete_async_work(env, done->work);
  free(done);
}

static napi_value begin(napi_env env, job *made) {
  napi_value promise = NULL;
  if (napi_create_promise(env, &made->deferred, &promise) != napi_ok ||
      napi_create_async_work(env, NULL, text(env, "nvml"), execute, complete, made, &made->work) != napi_ok ||
      napi_queue_async_work(env, made->work) != napi_ok) {
    free(made);
    napi_throw_error(env, NULL, "The work cannot be queued.");
    return NULL;
  }
  return promise;
}

static job *new_job(enum job_kind kind) {
  job *made = calloc(1, sizeof *made);
  if (made != NULL) made->kind = kind;
  return made;
}

static napi_value js_open(napi_env env, napi_callback_info info) {
  size_t count = 1;
  size_t length = 0;
  napi_value argument = NULL;
  napi_get_cb_info(env, info, &count, &argument, NULL, NULL);
  job *made = new_job(JOB_OPEN);
  if (made == NULL) return fail(env, "out of memory");
  if (napi_get_value_string_utf8(env, argument, made->text, sizeof made->text, &length) != napi_ok || length == 0 ||
      length >= sizeof made->text - 1) {
    free(made);
    return fail(env, "the path of the library must be text of 1 to 4094 bytes");
  }
  return begin(env, made);
}

/* Reads a list of whole numbers; answers their count, or -1 where it is no such list or has more than `most`. */
static int take_list(napi_env env, napi_value list, unsigned int *numbers, uint32_t most) {
  uint32_t length = 0;
  if (napi_get_array_length(env, list, &length) != napi_ok || length > most) return -1;
  for (uint32_t i = 0; i < length; i++) {
    napi_value item = NULL;
    if (napi_get_element(env, list, i, &item) != napi_ok) return -1;
    if (napi_get_value_uint32(env, item, &numbers[i]) != napi_ok) return -1;
  }
  return (int)length;
}

/* read(gpu, calls, fields, scopes) */
static napi_value js_read(napi_env env, napi_callback_info info) {
  size_t count = 4;
  napi_value arguments[4] = {NULL, NULL, NULL, NULL};
  unsigned int ids[MOST_FIELDS];
  unsigned int scopes[MOST_FIELDS];
  napi_get_cb_info(env, info, &count, arguments, NULL, NULL);
  job *made = new_job(JOB_READ);
  if (made == NULL) return fail(env, "out of memory");
  int calls = take_list(env, arguments[1], made->calls, CALL_COUNT);
  int fields = take_list(env, arguments[2], ids, MOST_FIELDS);
  if (napi_get_value_uint32(env, arguments[0], &made->gpu) != napi_ok || calls < 0 || fields < 0 ||
      take_list(env, arguments[3], scopes, MOST_FIELDS) != fields) {
    free(made);
    return fail(env, "read takes a GPU, calls, field ids and as many scopes");
  }
  made->call_count = (unsigned int)calls;
  made->field_count = (unsigned int)fields;
  for (int i = 0; i < fields; i++) {
    made->fields[i].id = ids[i];
    made->fields[i].scope = scopes[i];
  }
  return begin(env, made);
}

static napi_value js_processes(napi_env env, napi_callback_info info) {
  size_t count = 1;
  napi_value argument = NULL;
  napi_get_cb_info(env, info, &count, &argument, NULL, NULL);
  job *made = new_job(JOB_PROCESSES);
  if (made == NULL) return fail(env, "out of memory");
  if (napi_get_value_uint32(env, argument, &made->gpu) != napi_ok) {
    free(made);
    return fail(env, "processes takes a GPU");
  }
  return begin(env, made);
}

/* watch(listener): the listener gets gpu, kind and data of each event. */
static napi_value js_watch(napi_env env, napi_callback_info info) {
  size_t count = 1;
  napi_value listener = NULL;
  napi_get_cb_info(env, info, &count, &listener, NULL, NULL);
  if (event_target != NULL) return fail(env, "events are watched already");
  if (napi_create_threadsafe_function(env, listener, NULL, text(env, "nvml events"), 0, 1, NULL, NULL, NULL,
                                      deliver_event, &event_target) != napi_ok)
    return fail(env, "watch takes a function");
  napi_unref_threadsafe_function(env, event_target);
  napi_add_env_cleanup_hook(env, forget_target, NULL);
  job *made = new_job(JOB_WATCH);
  return made == NULL ? fail(env, "out of memory") : begin(env, made);
}

/* where(): what is being asked of the driver at this moment, or undefined. */
static napi_value js_where(napi_env env, napi_callback_info info) {
  (void)info;
  nvml_place place = nvml_where();
  napi_value result = NULL;
  napi_get_undefined(env, &result);
  if (place.call == NULL) return result;
  napi_create_object(env, &result);
  set(env, result, "call", text(env, place.call));
  set(env, result, "gpu", number(env, place.gpu));
  return result;
}

/* notify(path, message): undefined when it was sent, else the name of the error. */
static napi_value js_notify(napi_env env, napi_callback_info info) {
  static char path[MOST_PATH];
  static char message[MOST_MESSAGE];
  size_t count = 2;
  size_t length = 0;
  napi_value arguments[2] = {NULL, NULL};
  napi_get_cb_info(env, info, &count, arguments, NULL, NULL);
  if (napi_get_value_string_utf8(env, arguments[0], path, sizeof path, &length) != napi_ok ||
      napi_get_value_string_utf8(env, arguments[1], message, sizeof message, &length) != napi_ok)
    return fail(env, "notify takes a path and a message");
  int failure = notify_send(path, message);
  napi_value result = NULL;
  napi_get_undefined(env, &result);
  return failure == 0 ? result : text(env, strerror(failure));
}

static napi_value init(napi_env env, napi_value exports) {
  const struct {
    const char *name;
    napi_callback call;
  } functions[] = {{"open", js_open},   {"read", js_read},     {"processes", js_processes},
                   {"watch", js_watch}, {"where", js_where}, {"notify", js_notify}};
  for (size_t i = 0; i < sizeof functions / sizeof functions[0]; i++) {
    napi_value made = NULL;
    napi_create_function(env, functions[i].name, NAPI_AUTO_LENGTH, functions[i].call, NULL, &made);
    set(env, exports, functions[i].name, made);
  }
  return exports;
}

NAPI_MODULE(sophia, init)
