/* sophia-keeper FOLDER: keeps the engine whose plan lies in that folder. See keeper.h for what it is there for. */
#define _GNU_SOURCE
#include "keeper.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum {
  READ_PER_TURN_BYTES = 256 * 1024,
  /* What a dead engine has left in its pipe, read at once so that its last lines are known with its end. */
  READ_AT_END_BYTES = 4 * 1024 * 1024,
  FINISH_MS = 1000,
  EXIT_BAD_PLAN = 2,
};

static struct plan plan;
static struct engine engine;
static char boot_id[64];
static unsigned long long own_ticks;
static bool acknowledged;

int64_t monotonic_ms(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

int64_t wall_clock_ms(void) {
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

void keeper_log(const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  vdprintf(STDERR_FILENO, format, arguments);
  va_end(arguments);
  dprintf(STDERR_FILENO, "\n");
}

struct engine *keeper_engine(void) { return &engine; }

void keeper_acknowledge(void) { acknowledged = true; }

static void report_exit(struct text *text) {
  text_format(text, ",\"exit\":{\"atMs\":%lld,\"wallMs\":%lld,\"orphansKilled\":%u", (long long)engine.ended_at_ms,
              (long long)engine.wall_ms, engine.orphans_killed);
  if (WIFSIGNALED(engine.status)) text_format(text, ",\"signal\":\"%s\"", signal_name(WTERMSIG(engine.status)));
  else text_format(text, ",\"exitCode\":%d", WEXITSTATUS(engine.status));
  text_format(text, ",\"unkillable\":[");
  for (size_t i = 0; engine.stuck && i < engine.tree.count; i++)
    text_format(text, "%s%d", i == 0 ? "" : ",", (int)engine.tree.items[i].pid);
  text_format(text, "],\"lastLines\":");
  text_add_json(text, engine.last_lines.bytes == NULL ? "" : engine.last_lines.bytes, engine.last_lines.length);
  text_format(text, "}");
}

void keeper_report(struct text *text, const char *what) {
  static const char *const PHASES[] = {
      [PHASE_FAILED] = "failed",
      [PHASE_RUNNING] = "running",
      [PHASE_SWEEPING] = "sweeping",
      [PHASE_ENDED] = "ended",
  };
  text_format(text, "{\"t\":\"%s\",\"version\":%d,\"kind\":\"native\",\"phase\":\"%s\"", what, PROTOCOL_VERSION,
              PHASES[engine.phase]);
  text_format(text, ",\"keeperPid\":%d,\"keeperTicks\":\"%llu\",\"enginePid\":%d,\"engineTicks\":\"%llu\"",
              (int)getpid(), own_ticks, (int)engine.pid, engine.start_ticks);
  text_format(text, ",\"bootId\":\"%s\",\"incarnation\":%ld,\"startedAtMs\":%lld", boot_id, plan.incarnation,
              (long long)engine.started_at_ms);
  text_format(text, ",\"outputBytes\":%llu,\"droppedBytes\":%llu,\"engine\":", (unsigned long long)output_total_bytes(),
              (unsigned long long)output_dropped_bytes());
  text_add_json(text, plan.engine, strlen(plan.engine));
  text_format(text, ",\"specHash\":");
  text_add_json(text, plan.spec_hash, strlen(plan.spec_hash));
  if (engine.phase == PHASE_FAILED) text_format(text, ",\"failure\":\"%s\"", errno_name(engine.failure));
  if (engine.phase == PHASE_SWEEPING || engine.phase == PHASE_ENDED) report_exit(text);
  text_format(text, "}");
}

static void save_state(void) {
  struct text state = {0};
  keeper_report(&state, "status");
  if (!state.cut) output_save_state(&state);
  text_free(&state);
}

static void read_boot_id(void) {
  int file = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
  ssize_t length = file < 0 ? 0 : read(file, boot_id, sizeof boot_id - 1);
  if (file >= 0) close(file);
  for (ssize_t i = 0; i < length; i++)
    if (strchr("0123456789abcdef-", boot_id[i]) == NULL) boot_id[i] = '\0';
}

/* Cuts every tie to whoever started this process, and makes it the parent of all that an engine leaves behind. */
static void settle(void) {
  // Requests to end it are not for a keeper: a stop of the agent's unit, a hang-up, an interrupt on a terminal. A write
  // beyond a limit fails instead of killing.
  static const int IGNORED[] = {SIGTERM, SIGINT, SIGHUP, SIGQUIT, SIGPIPE, SIGUSR1, SIGUSR2, SIGALRM, SIGXFSZ, SIGTTOU};
  for (size_t i = 0; i < sizeof IGNORED / sizeof *IGNORED; i++) signal(IGNORED[i], SIG_IGN);
  setsid();
  umask(0077);
#ifdef SYS_close_range
  syscall(SYS_close_range, 3U, ~0U, 0);
#endif
  if (prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0)
    keeper_log("not a subreaper (%s): orphans of the engine cannot be found", errno_name(errno));
  read_boot_id();
  own_ticks = process_start_ticks(getpid());
}

static void on_death(void) {
  engine_read(&engine, READ_AT_END_BYTES);
  output_tail(&engine.last_lines);
  server_publish("died");
  save_state();
}

static int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }

/* Milliseconds until something is due, for poll(). */
static int wait_ms(int64_t now_ms, int64_t gone_at_ms) {
  int64_t wait = 60000;
  if (engine.phase == PHASE_RUNNING) wait = least(wait, parts_next_look_ms() - now_ms);
  if (engine.phase == PHASE_SWEEPING || engine.stuck) wait = least(wait, engine.sweep_next_ms - now_ms);
  if (gone_at_ms != 0) wait = least(wait, gone_at_ms - now_ms);
  // Someone may wait for the state to be on disk before this process goes.
  if (gone_at_ms != 0 && !output_state_saved()) wait = least(wait, 250);
  return wait < 0 ? 0 : (int)wait;
}

/* Whether there is nothing more to keep: the end is told and taken, or nobody will come for it. */
static bool may_go(int64_t now_ms, int64_t gone_at_ms) {
  if (gone_at_ms == 0) return false;
  if (now_ms >= gone_at_ms) return true;
  if (engine.stuck) return false;
  // An end that was ordered is no news; the order's giver is gone, and the state file tells it to others.
  return acknowledged || (engine.killed && output_state_saved() && !server_has_subscriber());
}

static void run(int signals) {
  enum { ALL_POLLS = 2 + SERVER_POLLS + PARTS_POLLS };
  struct pollfd polls[ALL_POLLS];
  int64_t gone_at_ms = engine.phase == PHASE_FAILED ? monotonic_ms() + plan.linger_ms : 0;
  for (;;) {
    int64_t now_ms = monotonic_ms();
    if (engine_sweep(&engine, now_ms)) {
      engine_read(&engine, READ_AT_END_BYTES);
      server_publish("ended");
      save_state();
      gone_at_ms = now_ms + plan.linger_ms;
    }
    if (may_go(now_ms, gone_at_ms)) return;
    if (engine.phase == PHASE_RUNNING) parts_look(now_ms - engine.started_ms, now_ms);
    polls[0] = (struct pollfd){.fd = signals, .events = POLLIN};
    polls[1] = (struct pollfd){.fd = engine.pipe, .events = POLLIN};
    server_polls(polls + 2);
    parts_polls(polls + 2 + SERVER_POLLS);
    if (poll(polls, ALL_POLLS, wait_ms(now_ms, gone_at_ms)) <= 0) continue;
    if (polls[0].revents != 0) {
      struct signalfd_siginfo taken[16];
      while (read(signals, taken, sizeof taken) > 0) continue;
      if (engine_reap(&engine)) on_death();
      engine.sweep_next_ms = least(engine.sweep_next_ms, monotonic_ms());
    }
    if (polls[1].revents != 0) engine_read(&engine, READ_PER_TURN_BYTES);
    // After the first process's own end, which says more.
    if (parts_handle(polls + 2 + SERVER_POLLS) && engine.phase == PHASE_RUNNING) server_publish("part_died");
    server_handle(polls + 2);
  }
}

int main(int count, char **words) {
  if (count != 2) {
    keeper_log("usage: sophia-keeper FOLDER");
    return EXIT_BAD_PLAN;
  }
  settle();
  if (chdir(words[1]) != 0) {
    keeper_log("the folder cannot be entered: %s", errno_name(errno));
    return EXIT_BAD_PLAN;
  }
  const char *wrong = plan_read(&plan);
  if (wrong != NULL) {
    keeper_log("%s", wrong);
    return EXIT_BAD_PLAN;
  }
  sigset_t ends;
  sigemptyset(&ends);
  sigaddset(&ends, SIGCHLD);
  sigprocmask(SIG_BLOCK, &ends, NULL);
  int signals = signalfd(-1, &ends, SFD_CLOEXEC | SFD_NONBLOCK);
  if (signals < 0 || !server_open() || !output_start(&plan)) {
    keeper_log("cannot begin: %s", errno_name(errno));
    return EXIT_BAD_PLAN;
  }
  engine_start(&engine, &plan);
  if (engine.phase == PHASE_FAILED) keeper_log("the engine cannot be started: %s", errno_name(engine.failure));
  save_state();
  run(signals);
  output_finish(FINISH_MS);
  server_close();
  return 0;
}
