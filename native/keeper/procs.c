/*
 * Finds the tree of an engine. A process group is not enough: vLLM's helpers make groups and sessions of their own.
 * This process is a subreaper, so that whatever an engine starts stays below it, however often it forks.
 */
#define _GNU_SOURCE
#include "keeper.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { MOST_PROCESSES = 1 << 20 };

/* Reads /proc/PID/stat (proc_pid_stat(5)); false when there is no such process. */
static bool read_process(pid_t pid, struct process *process) {
  char path[40], line[1024];
  snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
  int file = open(path, O_RDONLY | O_CLOEXEC);
  if (file < 0) return false;
  ssize_t length = read(file, line, sizeof line - 1);
  close(file);
  if (length <= 0) return false;
  line[length] = '\0';
  // The name stands in parentheses and may hold anything, so fields are counted from the last one.
  const char *after = strrchr(line, ')');
  if (after == NULL) return false;
  char state;
  int parent;
  long threads;
  unsigned long long ticks;
  if (sscanf(after + 1, " %c %d %*d %*d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d %*d %*d %ld %*d %llu", &state,
             &parent, &threads, &ticks) != 4)
    return false;
  // The first thread of a process may have ended while others still run: that looks like a zombie and is none.
  bool alive = (state != 'Z' && state != 'X') || threads > 1;
  *process = (struct process){.pid = pid, .parent = parent, .start_ticks = ticks, .alive = alive};
  return true;
}

unsigned long long process_start_ticks(pid_t pid) {
  struct process process;
  return read_process(pid, &process) ? process.start_ticks : 0;
}

static bool add(struct process_list *list, const struct process *process) {
  if (list->count == list->room) {
    size_t room = list->room == 0 ? 256 : list->room * 2;
    struct process *grown = room > MOST_PROCESSES ? NULL : realloc(list->items, room * sizeof *grown);
    if (grown == NULL) return false;
    list->items = grown;
    list->room = room;
  }
  list->items[list->count++] = *process;
  return true;
}

static int by_pid(const void *a, const void *b) {
  pid_t left = ((const struct process *)a)->pid, right = ((const struct process *)b)->pid;
  return (left > right) - (left < right);
}

static struct process *find(const struct process_list *list, pid_t pid) {
  struct process key = {.pid = pid};
  return list->count == 0 ? NULL : bsearch(&key, list->items, list->count, sizeof key, by_pid);
}

/* Marks everything below this process; each round settles at least one more generation. */
static void mark_ours(struct process_list *list, pid_t self) {
  for (bool grew = true; grew;) {
    grew = false;
    for (size_t i = 0; i < list->count; i++) {
      struct process *process = &list->items[i];
      if (process->ours || process->pid == self) continue;
      const struct process *parent = process->parent == self ? NULL : find(list, process->parent);
      if (process->parent != self && (parent == NULL || !parent->ours)) continue;
      process->ours = true;
      grew = true;
    }
  }
}

bool list_descendants(struct process_list *list) {
  DIR *folder = opendir("/proc");
  list->count = 0;
  if (folder == NULL) return false;
  struct dirent *entry;
  while ((entry = readdir(folder)) != NULL) {
    char *end;
    long pid = strtol(entry->d_name, &end, 10);
    struct process process;
    if (*end != '\0' || pid <= 0 || !read_process((pid_t)pid, &process)) continue;
    if (!add(list, &process)) break;
  }
  closedir(folder);
  qsort(list->items, list->count, sizeof *list->items, by_pid);
  mark_ours(list, getpid());
  size_t kept = 0;
  for (size_t i = 0; i < list->count; i++)
    if (list->items[i].ours && list->items[i].alive) list->items[kept++] = list->items[i];
  list->count = kept;
  return true;
}

bool is_tidier(const struct process *process) {
  static const char NAME[] = "multiprocessing.resource_tracker";
  char path[40], line[4096];
  snprintf(path, sizeof path, "/proc/%d/cmdline", (int)process->pid);
  int file = open(path, O_RDONLY | O_CLOEXEC);
  if (file < 0) return false;
  ssize_t length = read(file, line, sizeof line);
  close(file);
  return length > 0 && memmem(line, (size_t)length, NAME, sizeof NAME - 1) != NULL;
}

void signal_process(const struct process *process, int number) {
#ifdef SYS_pidfd_open
  int handle = (int)syscall(SYS_pidfd_open, process->pid, 0);
  if (handle >= 0) {
    // The handle names one process for ever; the start time says that it is the one that was meant.
    bool same = process_start_ticks(process->pid) == process->start_ticks;
    bool sent = !same || syscall(SYS_pidfd_send_signal, handle, number, NULL, 0) == 0 || errno == ESRCH;
    close(handle);
    if (sent) return;
  } else if (errno == ESRCH) {
    return;
  }
#endif
  if (process_start_ticks(process->pid) == process->start_ticks) kill(process->pid, number);
}
