/*
 * Reads the plan: records that each end with a NUL, because neither an argument nor a variable can hold one. It comes
 * in a private file and not on the command line, where everybody could read the secrets of an environment.
 */
#define _GNU_SOURCE
#include "keeper.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const char FIRST_RECORD[] = "sophia-launch 1";
static const char DEFAULT_PATH[] = "/usr/local/bin:/usr/bin:/bin";

/* The bytes of the plan, or NULL with *wrong set. */
static char *read_whole(size_t *size, const char **wrong) {
  int file = open(PLAN_NAME, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
  if (file < 0) {
    *wrong = "the plan cannot be opened";
    return NULL;
  }
  struct stat facts;
  char *bytes = NULL;
  *wrong = "the plan has no sensible size";
  if (fstat(file, &facts) == 0 && S_ISREG(facts.st_mode) && facts.st_size > 0 && facts.st_size <= MAX_PLAN_BYTES)
    bytes = malloc((size_t)facts.st_size);
  *size = 0;
  while (bytes != NULL && *size < (size_t)facts.st_size) {
    ssize_t count = read(file, bytes + *size, (size_t)facts.st_size - *size);
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) break;
    *size += (size_t)count;
  }
  close(file);
  if (bytes == NULL || *size == (size_t)facts.st_size) return bytes;
  free(bytes);
  *wrong = "the plan cannot be read";
  return NULL;
}

static bool take_number(const char *value, long least, long most, long *into) {
  char *end;
  errno = 0;
  *into = strtol(value, &end, 10);
  return errno == 0 && end != value && *end == '\0' && *into >= least && *into <= most;
}

/* The value of a record called `name`, or NULL when it is another one. */
static char *value_of(char *record, const char *name) {
  size_t length = strlen(name);
  return strncmp(record, name, length) == 0 && record[length] == '=' ? record + length + 1 : NULL;
}

static bool take_record(struct plan *plan, char *record, size_t *args, size_t *variables) {
  char *value;
  long number;
  if ((value = value_of(record, "engine")) != NULL) plan->engine = value;
  else if ((value = value_of(record, "hash")) != NULL) plan->spec_hash = value;
  else if ((value = value_of(record, "folder")) != NULL) plan->folder = value;
  else if ((value = value_of(record, "output")) != NULL) plan->output = value;
  else if ((value = value_of(record, "incarnation")) != NULL) return take_number(value, 1, 1L << 53, &plan->incarnation);
  else if ((value = value_of(record, "lingerMs")) != NULL) return take_number(value, 0, 1L << 40, &plan->linger_ms);
  else if ((value = value_of(record, "outputMaxBytes")) != NULL) {
    if (!take_number(value, 4096, 1L << 40, &number)) return false;
    plan->output_max_bytes = (size_t)number;
  } else if ((value = value_of(record, "tailBytes")) != NULL) {
    if (!take_number(value, 256, TEXT_LIMIT / 8, &number)) return false;
    plan->tail_bytes = (size_t)number;
  } else if ((value = value_of(record, "arg")) != NULL) {
    if (*args == MAX_WORDS) return false;
    plan->argv[(*args)++] = value;
  } else if ((value = value_of(record, "env")) != NULL) {
    if (*variables == MAX_WORDS || value[0] == '=' || strchr(value, '=') == NULL) return false;
    plan->envp[(*variables)++] = value;
  } else return false;
  return true;
}

const char *plan_read(struct plan *plan) {
  size_t size;
  const char *wrong;
  plan->bytes = read_whole(&size, &wrong);
  if (plan->bytes == NULL) return wrong;
  unlink(PLAN_NAME);
  if (plan->bytes[size - 1] != '\0') return "the plan is cut";
  size_t records = 0;
  for (size_t i = 0; i < size; i++) records += plan->bytes[i] == '\0';
  if (records > 2 * MAX_WORDS) return "the plan has too many records";
  plan->argv = calloc(records + 1, sizeof *plan->argv);
  plan->envp = calloc(records + 1, sizeof *plan->envp);
  if (plan->argv == NULL || plan->envp == NULL) return "there is no memory for the plan";
  if (strcmp(plan->bytes, FIRST_RECORD) != 0) return "the plan is of another version";
  size_t args = 0, variables = 0;
  bool whole = false;
  for (char *at = plan->bytes + sizeof FIRST_RECORD; at < plan->bytes + size; at += strlen(at) + 1) {
    if (whole) return "the plan goes on after its end";
    if (strcmp(at, "end") == 0) whole = true;
    else if (!take_record(plan, at, &args, &variables)) return "a record of the plan is wrong";
  }
  if (!whole) return "the plan is cut";
  if (args == 0 || plan->argv[0][0] == '\0') return "the plan names no program";
  if (plan->engine == NULL || plan->spec_hash == NULL || plan->folder == NULL || plan->output == NULL ||
      plan->incarnation == 0 || plan->output_max_bytes == 0 || plan->tail_bytes == 0)
    return "the plan lacks a record";
  return NULL;
}

char **plan_candidates(const struct plan *plan) {
  const char *program = plan->argv[0];
  const char *path = DEFAULT_PATH;
  for (char **variable = plan->envp; *variable != NULL; variable++)
    if (strncmp(*variable, "PATH=", 5) == 0) path = *variable + 5;
  if (strchr(program, '/') != NULL) path = "";
  size_t most = 2;
  for (const char *at = path; *at != '\0'; at++) most += *at == ':';
  char **candidates = calloc(most + 1, sizeof *candidates);
  if (candidates == NULL) return NULL;
  if (*path == '\0') {
    candidates[0] = strdup(program);
    return candidates;
  }
  size_t count = 0;
  for (const char *at = path;;) {
    size_t length = strcspn(at, ":");
    // An empty entry means the current folder to a shell; here it means nothing.
    if (length > 0 && asprintf(&candidates[count], "%.*s/%s", (int)length, at, program) >= 0) count++;
    if (at[length] == '\0') return candidates;
    at += length + 1;
  }
}
