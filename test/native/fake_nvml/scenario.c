/* Reads and answers the scenario file; see scenario.h. */
#define _GNU_SOURCE
#include "scenario.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static char lines[MOST_LINES][LINE_BYTES];
static int line_count;
static struct stat known;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static double loaded_ms;

static double now_ms(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (double)now.tv_sec * 1e3 + (double)now.tv_nsec / 1e6;
}

__attribute__((constructor)) static void remember_load(void) { loaded_ms = now_ms(); }

/* The scenario lies beside the library, under the name that the library was loaded by. */
static const char *scenario_path(void) {
  static char path[LINE_BYTES];
  Dl_info self;
  const char *given = getenv("FAKE_NVML_SCENARIO");
  if (given != NULL) return given;
  if (path[0] == 0 && dladdr((void *)scenario_path, &self) != 0)
    snprintf(path, sizeof path, "%s.scenario", self.dli_fname);
  return path;
}

static void reload(void) {
  struct stat found;
  if (stat(scenario_path(), &found) != 0) return;
  if (found.st_ino == known.st_ino && found.st_size == known.st_size &&
      found.st_mtim.tv_nsec == known.st_mtim.tv_nsec && found.st_mtim.tv_sec == known.st_mtim.tv_sec)
    return;
  FILE *file = fopen(scenario_path(), "r");
  if (file == NULL) return;
  known = found;
  line_count = 0;
  while (line_count < MOST_LINES && fgets(lines[line_count], LINE_BYTES, file) != NULL) {
    lines[line_count][strcspn(lines[line_count], "\n")] = 0;
    line_count++;
  }
  fclose(file);
}

/* The text after the last `key=` of a line, up to the next blank; 0 where the line has no such key. */
static int value_in(const char *line, const char *key, char *text, unsigned int size) {
  size_t length = strlen(key);
  int found = 0;
  for (const char *at = strchr(line, ' '); at != NULL; at = strchr(at + 1, ' ')) {
    if (strncmp(at + 1, key, length) != 0 || at[1 + length] != '=') continue;
    const char *value = at + 2 + length;
    snprintf(text, size, "%.*s", (int)strcspn(value, " "), value);
    found = 1;
  }
  return found;
}

static double number_in(const char *line, const char *key, double otherwise) {
  char text[LINE_BYTES];
  return value_in(line, key, text, sizeof text) ? strtod(text, NULL) : otherwise;
}

static int is_kind(const char *line, const char *kind) {
  size_t length = strlen(kind);
  return strncmp(line, kind, length) == 0 && (line[length] == ' ' || line[length] == 0);
}

/* Whether a line is of this kind, names this GPU (or none), and its time has come. */
static int matches(const char *line, const char *kind, int gpu) {
  if (!is_kind(line, kind)) return 0;
  double of = number_in(line, "gpu", -1);
  if (of >= 0 && (int)of != gpu) return 0;
  return number_in(line, "at", 0) <= now_ms() - loaded_ms;
}

static void log_call(const char *function, int gpu) {
  char path[LINE_BYTES + 8];
  snprintf(path, sizeof path, "%s.calls", scenario_path());
  FILE *file = fopen(path, "a");
  if (file == NULL) return;
  fprintf(file, "%s %d\n", function, gpu);
  fclose(file);
}

static void hang(double ms) {
  double end = now_ms() + ms;
  while (ms < 0 || now_ms() < end) usleep(20000);
}

int scenario_enter(const char *function, int gpu) {
  double hang_ms = 0;
  int status = 0;
  double lost = 0;
  pthread_mutex_lock(&lock);
  reload();
  for (int i = 0; i < line_count; i++) {
    char call[LINE_BYTES];
    if (is_kind(lines[i], "log_calls")) log_call(function, gpu);
    if (!value_in(lines[i], "call", call, sizeof call) || strcmp(call, function) != 0) continue;
    if (matches(lines[i], "hang", gpu)) hang_ms = number_in(lines[i], "ms", -1);
    if (matches(lines[i], "status", gpu)) status = (int)number_in(lines[i], "code", 999);
  }
  pthread_mutex_unlock(&lock);
  if (hang_ms != 0) hang(hang_ms);
  if (gpu >= 0 && scenario_number(gpu, "lost", &lost) == 0 && lost != 0) return 15;
  return status;
}

int scenario_gpus(void) {
  int most = -1;
  pthread_mutex_lock(&lock);
  for (int i = 0; i < line_count; i++) {
    int gpu = is_kind(lines[i], "gpu") ? (int)number_in(lines[i], "gpu", -1) : -1;
    if (gpu > most) most = gpu;
  }
  pthread_mutex_unlock(&lock);
  return most + 1;
}

int scenario_text(int gpu, const char *key, char *text, unsigned int size) {
  int found = 0;
  pthread_mutex_lock(&lock);
  for (int i = 0; i < line_count; i++)
    if (matches(lines[i], "gpu", gpu) && value_in(lines[i], key, text, size)) found = 1;
  pthread_mutex_unlock(&lock);
  return found && strcmp(text, "unsupported") != 0 ? 0 : 3;
}

int scenario_number(int gpu, const char *key, double *value) {
  char text[LINE_BYTES];
  int status = scenario_text(gpu, key, text, sizeof text);
  *value = status == 0 ? strtod(text, NULL) : 0;
  return status;
}

int scenario_field(int gpu, unsigned int id, unsigned int scope, double *value) {
  int status = 3;
  pthread_mutex_lock(&lock);
  for (int i = 0; i < line_count; i++) {
    if (!matches(lines[i], "field", gpu) || (unsigned int)number_in(lines[i], "id", 0) != id) continue;
    if ((unsigned int)number_in(lines[i], "scope", 0) != scope) continue;
    status = (int)number_in(lines[i], "status", 0);
    *value = number_in(lines[i], "value", 0);
  }
  pthread_mutex_unlock(&lock);
  return status;
}

static int is_alive(int pid) {
  char path[64];
  char state = 'X';
  snprintf(path, sizeof path, "/proc/%d/stat", pid);
  FILE *file = fopen(path, "r");
  if (file == NULL) return 0;
  if (fscanf(file, "%*d (%*[^)]) %c", &state) != 1) state = 'X';
  fclose(file);
  return state != 'Z' && state != 'X';
}

int scenario_processes(int gpu, int part, unsigned int *pids, unsigned long long *memory, int most) {
  int count = 0;
  pthread_mutex_lock(&lock);
  for (int i = 0; i < line_count && count < most; i++) {
    if (!matches(lines[i], "process", gpu)) continue;
    if (part >= 0 && (int)number_in(lines[i], "part", 0) != part) continue;
    int pid = (int)number_in(lines[i], "pid", 0);
    if (!is_alive(pid)) continue;
    pids[count] = (unsigned int)pid;
    memory[count++] = (unsigned long long)number_in(lines[i], "memory", -1);
  }
  pthread_mutex_unlock(&lock);
  return count;
}

static int seen_event(int write_seq) {
  char path[LINE_BYTES + 8];
  int seq = 0;
  snprintf(path, sizeof path, "%s.seen", scenario_path());
  FILE *file = fopen(path, write_seq > 0 ? "w" : "r");
  if (file == NULL) return 0;
  if (write_seq > 0) fprintf(file, "%d", write_seq);
  else if (fscanf(file, "%d", &seq) != 1) seq = 0;
  fclose(file);
  return seq;
}

int scenario_event(int *gpu, unsigned long long *type, unsigned long long *data) {
  int found = 0;
  pthread_mutex_lock(&lock);
  reload();
  int seen = seen_event(0);
  for (int i = 0; i < line_count && found == 0; i++) {
    int seq = (int)number_in(lines[i], "seq", 0);
    *gpu = (int)number_in(lines[i], "gpu", 0);
    if (!matches(lines[i], "event", *gpu) || seq <= seen) continue;
    *type = (unsigned long long)number_in(lines[i], "type", 8);
    *data = (unsigned long long)number_in(lines[i], "data", 0);
    seen_event(seq);
    found = 1;
  }
  pthread_mutex_unlock(&lock);
  return found;
}

int scenario_word(const char *key, char *text, unsigned int size) {
  int found = 0;
  pthread_mutex_lock(&lock);
  for (int i = 0; i < line_count; i++)
    if (is_kind(lines[i], "library") && value_in(lines[i], key, text, size)) found = 1;
  pthread_mutex_unlock(&lock);
  return found;
}
