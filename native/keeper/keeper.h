/*
 * The keeper: the parent of one engine. It outlives the agent, so that a restarted agent finds its engines loaded, and
 * it is small, so that nothing in it can fail that need not be there. The idea is that of containerd's shim.
 *
 * One thread (main) runs everything that must never wait: the engine's pipe, its end, the socket. A second one (the
 * writer) does all writing to disks, which may be full, slow or hung.
 */
#ifndef SOPHIA_KEEPER_H
#define SOPHIA_KEEPER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

enum {
  PROTOCOL_VERSION = 1,
  MAX_PLAN_BYTES = 4 * 1024 * 1024,
  MAX_WORDS = 65536,
  TEXT_LIMIT = 1024 * 1024,
};

#define SOCKET_NAME "keeper.sock"
#define PLAN_NAME "launch"
#define STATE_NAME "state.json"

/* text.c: text that grows up to TEXT_LIMIT; what does not fit is left out and `cut` is set. */
struct text {
  char *bytes;
  size_t length;
  size_t room;
  bool cut;
};

void text_add(struct text *text, const char *bytes, size_t length);
void text_format(struct text *text, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Adds a JSON string, quotes included; bytes that are not UTF-8 become question marks. */
void text_add_json(struct text *text, const char *bytes, size_t length);
void text_free(struct text *text);
const char *signal_name(int number);
const char *errno_name(int number);

/* plan.c: what to run, as the agent wrote it down. All strings point into `bytes`. */
struct plan {
  char *bytes;
  const char *engine;
  const char *spec_hash;
  const char *folder;
  const char *output;
  long incarnation;
  size_t output_max_bytes;
  size_t tail_bytes;
  long linger_ms;
  char **argv;
  char **envp;
};

/* Reads and unlinks the plan in the current folder. Returns NULL, or what is wrong with it. */
const char *plan_read(struct plan *plan);
/* The files that the program's name may mean, ended by NULL: itself with a slash, else one per folder of PATH. */
char **plan_candidates(const struct plan *plan);

/* procs.c: processes as Linux shows them under /proc. */
struct process {
  pid_t pid;
  pid_t parent;
  unsigned long long start_ticks;
  bool alive;
  bool ours;
};

struct process_list {
  struct process *items;
  size_t count;
  size_t room;
};

/* 0 when there is no such process. */
unsigned long long process_start_ticks(pid_t pid);
/* All living descendants of this process. The list is used again; false when /proc could not be read. */
bool list_descendants(struct process_list *list);
/*
 * Whether it is the process that removes the shared memory and the semaphores of a Python engine once all others of its
 * tree are gone (CPython, Lib/multiprocessing/resource_tracker.py). Killed with them it leaves 200 MiB and more behind.
 */
bool is_tidier(const struct process *process);
/* Sends the signal to exactly that process, not to a later one with its number. */
void signal_process(const struct process *process, int number);

/* output.c: the engine's output on its way to memory and disk, and the state file. */
bool output_start(const struct plan *plan);
/* Keeps the bytes: never waits; what the writer cannot take is dropped and counted. */
void output_take(const char *bytes, size_t length);
/* The newest bytes of the output, from a line's start where there is one. */
void output_tail(struct text *into);
uint64_t output_total_bytes(void);
uint64_t output_dropped_bytes(void);
/* Has the state file written, now and again until it works. */
void output_save_state(const struct text *state);
bool output_state_saved(void);
/* Waits until what is pending is written, at most `wait_ms`. */
void output_finish(int wait_ms);

/* engine.c: the engine itself. */
enum phase { PHASE_FAILED, PHASE_RUNNING, PHASE_SWEEPING, PHASE_ENDED };

struct engine {
  enum phase phase;
  pid_t pid;
  unsigned long long start_ticks;
  int pipe;
  int failure; /* errno of a start that failed */
  int64_t started_at_ms;
  int64_t started_ms;
  int status; /* as wait() gives it */
  int64_t ended_at_ms;
  int64_t wall_ms;
  struct text last_lines;
  bool killed; /* on request */
  unsigned orphans_killed;
  struct process_list tree;
  struct process_list signalled;
  bool stuck; /* something of the tree cannot be killed */
  int64_t tidy_until_ms; /* 0: nothing of the tree was killed yet */
  int64_t sweep_since_ms;
  int64_t sweep_next_ms;
  int64_t sweep_pause_ms;
};

/* Starts the engine; engine->failure says why it could not. */
void engine_start(struct engine *engine, const struct plan *plan);
/* Reads what the pipe holds, at most `limit` bytes. */
void engine_read(struct engine *engine, size_t limit);
/* Reaps whatever has ended. True when the first process was among it. */
bool engine_reap(struct engine *engine);
/*
 * SIGKILL for everything that lives below us; what tidies up after the others gets a moment to do so. False when nothing
 * was left.
 */
bool engine_kill_tree(struct engine *engine);
/* One round of the sweep after the end, when its time has come. True when the phase has changed to ended. */
bool engine_sweep(struct engine *engine, int64_t now_ms);

/* parts.c: processes without which the engine is dead although its first process lives. */
enum { PARTS_POLLS = 32 };
struct pollfd;
/* Looks for them when it is time. */
void parts_look(int64_t age_ms, int64_t now_ms);
int64_t parts_next_look_ms(void);
void parts_polls(struct pollfd *polls);
/* True when the first of them has ended. */
bool parts_handle(const struct pollfd *polls);
bool parts_lost(void);

/* server.c: the socket and its few words. */
bool server_open(void);
/* How many poll entries it needs. */
enum { SERVER_POLLS = 9 };
void server_polls(struct pollfd *polls);
void server_handle(const struct pollfd *polls);
/* Tells every subscriber what has become of the engine. */
void server_publish(const char *what);
bool server_has_subscriber(void);
void server_close(void);

/* main.c: what the others ask of the whole. */
void keeper_report(struct text *text, const char *what);
struct engine *keeper_engine(void);
void keeper_acknowledge(void);
int64_t monotonic_ms(void);
int64_t wall_clock_ms(void);
/* One line for the keeper's own log, which is its standard error. */
void keeper_log(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif
