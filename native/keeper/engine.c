/* The engine's life as its parent sees it: start, output, end, and what is left of its tree. */
#define _GNU_SOURCE
#include "keeper.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
  PIPE_BYTES = 256 * 1024,
  READ_BYTES = 64 * 1024,
  FIRST_SWEEP_PAUSE_MS = 4,
  LONGEST_SWEEP_PAUSE_MS = 250,
  /* After this time what still lives hangs inside the kernel, and the end is told without waiting for it. */
  SWEEP_LIMIT_MS = 15000,
  STUCK_SWEEP_PAUSE_MS = 1000,
  TIDY_LIMIT_MS = 2000,
};

/* Closes all descriptors from `first` on; in a child, so nothing that could hold a lock. */
static void close_from(int first) {
#ifdef SYS_close_range
  if (syscall(SYS_close_range, (unsigned)first, ~0U, 0) == 0) return;
#endif
  long most = sysconf(_SC_OPEN_MAX);
  for (long file = first; file < (most > 0 && most < 65536 ? most : 65536); file++) close((int)file);
}

/* In the child: becomes the engine, or reports why not and ends. */
static void become_engine(const struct plan *plan, char **candidates, pid_t keeper, int output, int report) {
  static const int HANDLED[] = {SIGTERM, SIGINT, SIGHUP, SIGQUIT, SIGPIPE, SIGUSR1, SIGUSR2, SIGALRM, SIGXFSZ, SIGTTOU};
  int failure = 0;
  for (size_t i = 0; i < sizeof HANDLED / sizeof *HANDLED; i++) signal(HANDLED[i], SIG_DFL);
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, NULL);
  setsid();
  // An engine without a keeper has nobody who reads its output or sees its end: it ends with it.
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (getppid() != keeper) _exit(127);
  int nothing = open("/dev/null", O_RDONLY);
  if (nothing < 0 || dup2(nothing, 0) < 0 || dup2(output, 1) < 0 || dup2(output, 2) < 0) failure = errno;
  // The report goes to a fixed place, so that everything above it can be closed.
  if (report != 3 && dup2(report, 3) < 0) _exit(127);
  fcntl(3, F_SETFD, FD_CLOEXEC);
  close_from(4);
  if (failure == 0 && chdir(plan->folder) != 0) failure = errno;
  if (failure == 0) {
    failure = ENOENT;
    for (char **candidate = candidates; *candidate != NULL; candidate++) {
      execve(*candidate, plan->argv, plan->envp);
      // The first refusal that is more than an absence is the reason; the search goes on, as the shell's does.
      if (errno != ENOENT && errno != ENOTDIR && failure == ENOENT) failure = errno;
      if (errno != ENOENT && errno != ENOTDIR && errno != EACCES) break;
    }
  }
  while (write(3, &failure, sizeof failure) < 0 && errno == EINTR) continue;
  _exit(127);
}

/* 0 when the program runs, else the error that kept it from running. */
static int await_start(int report) {
  int failure = 0;
  ssize_t count;
  while ((count = read(report, &failure, sizeof failure)) < 0 && errno == EINTR) continue;
  return count == (ssize_t)sizeof failure ? failure : 0;
}

void engine_start(struct engine *engine, const struct plan *plan) {
  int output[2], report[2];
  char **candidates = plan_candidates(plan);
  engine->pipe = -1;
  engine->phase = PHASE_FAILED;
  engine->failure = ENOMEM;
  if (candidates == NULL || candidates[0] == NULL) return;
  if (pipe2(output, O_CLOEXEC) != 0 || pipe2(report, O_CLOEXEC) != 0) {
    engine->failure = errno;
    return;
  }
  // A larger pipe takes a burst; where it is not granted, the usual one does.
  fcntl(output[0], F_SETPIPE_SZ, PIPE_BYTES);
  fcntl(output[0], F_SETFL, O_NONBLOCK);
  engine->started_at_ms = wall_clock_ms();
  engine->started_ms = monotonic_ms();
  pid_t keeper = getpid();
  pid_t child = fork();
  if (child == 0) become_engine(plan, candidates, keeper, output[1], report[1]);
  int fork_error = errno;
  close(output[1]);
  close(report[1]);
  engine->pipe = output[0];
  engine->failure = child < 0 ? fork_error : await_start(report[0]);
  close(report[0]);
  for (char **candidate = candidates; *candidate != NULL; candidate++) free(*candidate);
  free(candidates);
  if (engine->failure != 0) {
    if (child > 0) waitpid(child, NULL, 0);
    return;
  }
  engine->phase = PHASE_RUNNING;
  engine->pid = child;
  engine->start_ticks = process_start_ticks(child);
}

void engine_read(struct engine *engine, size_t limit) {
  static char bytes[READ_BYTES];
  while (engine->pipe >= 0 && limit > 0) {
    ssize_t count = read(engine->pipe, bytes, limit < sizeof bytes ? limit : sizeof bytes);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return;
    if (count == 0) {
      close(engine->pipe);
      engine->pipe = -1;
      return;
    }
    output_take(bytes, (size_t)count);
    limit -= (size_t)count;
  }
}

bool engine_reap(struct engine *engine) {
  bool ended = false;
  for (;;) {
    int status;
    pid_t pid = waitpid(-1, &status, WNOHANG);
    if (pid < 0 && errno == EINTR) continue;
    if (pid <= 0) return ended;
    if (pid != engine->pid || engine->phase != PHASE_RUNNING) continue;
    ended = true;
    engine->status = status;
    engine->ended_at_ms = wall_clock_ms();
    engine->wall_ms = monotonic_ms() - engine->started_ms;
    engine->phase = PHASE_SWEEPING;
    engine->sweep_since_ms = engine->sweep_next_ms = monotonic_ms();
    engine->sweep_pause_ms = FIRST_SWEEP_PAUSE_MS;
  }
}

static bool was_signalled(const struct engine *engine, const struct process *process) {
  for (size_t i = 0; i < engine->signalled.count; i++) {
    const struct process *known = &engine->signalled.items[i];
    if (known->pid == process->pid && known->start_ticks == process->start_ticks) return true;
  }
  return false;
}

static void note_signalled(struct engine *engine, const struct process *process) {
  struct process_list *list = &engine->signalled;
  if (list->count == list->room) {
    size_t room = list->room == 0 ? 64 : list->room * 2;
    struct process *grown = room > MAX_WORDS ? NULL : realloc(list->items, room * sizeof *grown);
    if (grown == NULL) return;
    list->items = grown;
    list->room = room;
  }
  list->items[list->count++] = *process;
}

bool engine_kill_tree(struct engine *engine) {
  if (!list_descendants(&engine->tree)) return true;
  int64_t now_ms = monotonic_ms();
  if (engine->tidy_until_ms == 0) engine->tidy_until_ms = now_ms + TIDY_LIMIT_MS;
  for (size_t i = 0; i < engine->tree.count; i++) {
    const struct process *process = &engine->tree.items[i];
    if (process->pid != engine->pid && now_ms < engine->tidy_until_ms && is_tidier(process)) continue;
    if (!was_signalled(engine, process)) {
      note_signalled(engine, process);
      if (engine->phase != PHASE_RUNNING) engine->orphans_killed++;
    }
    signal_process(process, SIGKILL);
  }
  return engine->tree.count > 0;
}

bool engine_sweep(struct engine *engine, int64_t now_ms) {
  bool sweeping = engine->phase == PHASE_SWEEPING || engine->stuck;
  if (!sweeping || now_ms < engine->sweep_next_ms) return false;
  bool left = engine_kill_tree(engine);
  bool over = now_ms - engine->sweep_since_ms >= SWEEP_LIMIT_MS;
  engine->stuck = left && over;
  if (engine->sweep_pause_ms < LONGEST_SWEEP_PAUSE_MS) engine->sweep_pause_ms *= 2;
  engine->sweep_next_ms = now_ms + (engine->stuck ? STUCK_SWEEP_PAUSE_MS : engine->sweep_pause_ms);
  if (engine->phase != PHASE_SWEEPING || (left && !over)) return false;
  engine->phase = PHASE_ENDED;
  return true;
}
