/*
 * The parts of an engine without which it is dead although its first process lives. vLLM's API server needs more than a
 * second to notice that its engine core is gone (real-vllm.md: the port is refused after 0.65 s, the end comes at 1.3 s);
 * a handle on the core's process tells it at once. The parts are known by the titles that vLLM gives them.
 */
#define _GNU_SOURCE
#include "keeper.h"

#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

struct part {
  int handle; /* -1: no part */
  pid_t pid;
  unsigned long long start_ticks;
};

/* How often to look for new ones, by the age of the engine: its tree grows while it starts. */
static const struct {
  int64_t younger_than_ms;
  int64_t pause_ms;
} LOOKS[] = {{10 * 1000, 250}, {120 * 1000, 1000}, {INT64_MAX, 10 * 1000}};

static const char *const TITLES[] = {"VLLM::EngineCor", "VLLM::Worker"};

static struct part parts[PARTS_POLLS];
static bool opened;
static bool lost;
static int64_t next_look_ms;

static bool begins_with_title(pid_t pid, const char *file) {
  char path[40], text[32];
  snprintf(path, sizeof path, "/proc/%d/%s", (int)pid, file);
  int handle = open(path, O_RDONLY | O_CLOEXEC);
  if (handle < 0) return false;
  ssize_t length = read(handle, text, sizeof text);
  close(handle);
  for (size_t i = 0; i < sizeof TITLES / sizeof *TITLES; i++) {
    size_t wanted = strlen(TITLES[i]);
    if (length >= (ssize_t)wanted && memcmp(text, TITLES[i], wanted) == 0) return true;
  }
  return false;
}

static bool is_known(const struct process *process) {
  for (size_t i = 0; i < PARTS_POLLS; i++)
    if (parts[i].handle >= 0 && parts[i].pid == process->pid && parts[i].start_ticks == process->start_ticks) return true;
  return false;
}

static void watch(const struct process *process) {
#ifdef SYS_pidfd_open
  for (size_t i = 0; i < PARTS_POLLS; i++) {
    if (parts[i].handle >= 0) continue;
    int handle = (int)syscall(SYS_pidfd_open, process->pid, 0);
    if (handle < 0) return;
    fcntl(handle, F_SETFD, FD_CLOEXEC);
    if (process_start_ticks(process->pid) != process->start_ticks) {
      close(handle);
      return;
    }
    parts[i] = (struct part){.handle = handle, .pid = process->pid, .start_ticks = process->start_ticks};
    return;
  }
#else
  (void)process;
#endif
}

void parts_look(int64_t age_ms, int64_t now_ms) {
  static struct process_list list;
  if (!opened) {
    opened = true;
    for (size_t i = 0; i < PARTS_POLLS; i++) parts[i].handle = -1;
  }
  if (now_ms < next_look_ms) return;
  size_t row = 0;
  while (age_ms >= LOOKS[row].younger_than_ms) row++;
  next_look_ms = now_ms + LOOKS[row].pause_ms;
  if (!list_descendants(&list)) return;
  for (size_t i = 0; i < list.count; i++) {
    const struct process *process = &list.items[i];
    if (is_known(process)) continue;
    if (begins_with_title(process->pid, "cmdline") || begins_with_title(process->pid, "comm")) watch(process);
  }
}

int64_t parts_next_look_ms(void) { return next_look_ms; }

void parts_polls(struct pollfd *polls) {
  for (size_t i = 0; i < PARTS_POLLS; i++)
    polls[i] = (struct pollfd){.fd = opened ? parts[i].handle : -1, .events = POLLIN};
}

bool parts_handle(const struct pollfd *polls) {
  bool first = false;
  for (size_t i = 0; i < PARTS_POLLS; i++) {
    if (polls[i].revents == 0 || parts[i].handle != polls[i].fd) continue;
    close(parts[i].handle);
    parts[i].handle = -1;
    first = first || !lost;
    lost = true;
  }
  return first;
}

bool parts_lost(void) { return lost; }
