/*
 * The engine's output: the newest bytes stay in memory, all of it goes to a file of bounded size. The thread that reads
 * the pipe hands bytes over and never waits for a disk: an engine must not block because a disk is full, slow or gone.
 * The state file takes the same way.
 */
#define _GNU_SOURCE
#include "keeper.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { RING_BYTES = 256 * 1024, PIECE_BYTES = 32 * 1024, STATE_RETRY_MS = 500 };

static struct {
  pthread_mutex_t lock;
  pthread_cond_t work;
  pthread_cond_t idle;
  char ring[RING_BYTES];
  size_t first;
  size_t used;
  bool writing;
  uint64_t total;
  uint64_t dropped;
  /* What is to be written, owned by whoever takes it out. */
  char *state;
  size_t state_length;
  bool state_failed;
  bool state_saved;
} shared = {.lock = PTHREAD_MUTEX_INITIALIZER};

/* Only the main thread's. */
static char *tail;
static size_t tail_room, tail_first, tail_used;

/* Only the writer's. */
static const char *output_path;
static char rotated_path[4096 + 3];
static size_t output_max;
static int output_file = -1;
static uint64_t dropped_told;

static void deadline_after(struct timespec *at, int64_t ms) {
  clock_gettime(CLOCK_MONOTONIC, at);
  at->tv_sec += ms / 1000;
  at->tv_nsec += (ms % 1000) * 1000000;
  if (at->tv_nsec >= 1000000000) {
    at->tv_sec += 1;
    at->tv_nsec -= 1000000000;
  }
}

static bool open_output(void) {
  if (output_file >= 0) return true;
  output_file = open(output_path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NOCTTY, 0600);
  struct stat facts;
  if (output_file >= 0 && fstat(output_file, &facts) == 0 && S_ISREG(facts.st_mode)) return true;
  if (output_file >= 0) close(output_file);
  output_file = -1;
  return false;
}

/* Starts a new file when this one is full. Of two files at most twice the limit is held. */
static void rotate_when_full(size_t coming) {
  struct stat facts;
  if (output_file < 0 || fstat(output_file, &facts) != 0 || (size_t)facts.st_size + coming <= output_max) return;
  if (facts.st_size == 0 || rename(output_path, rotated_path) != 0) return;
  close(output_file);
  output_file = -1;
}

/* How many of the bytes reached the file. */
static size_t write_output(const char *bytes, size_t length) {
  size_t done = 0;
  while (done < length) {
    ssize_t count = write(output_file, bytes + done, length - done);
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) break;
    done += (size_t)count;
  }
  return done;
}

/* Says in the file how much is missing, once there is room again. */
static bool tell_dropped(uint64_t dropped) {
  char line[96];
  if (dropped == dropped_told) return true;
  int length = snprintf(line, sizeof line, "\n[keeper] %llu bytes of output are missing here\n",
                        (unsigned long long)(dropped - dropped_told));
  if (write_output(line, (size_t)length) != (size_t)length) return false;
  dropped_told = dropped;
  return true;
}

static void drop(size_t length) {
  pthread_mutex_lock(&shared.lock);
  shared.dropped += length;
  pthread_mutex_unlock(&shared.lock);
}

static void write_piece(const char *piece, size_t length, uint64_t dropped) {
  rotate_when_full(length);
  if (!open_output() || !tell_dropped(dropped)) {
    drop(length);
    return;
  }
  size_t done = write_output(piece, length);
  if (done < length) drop(length - done);
}

/* Writes the whole file beside the old one, then puts it in its place. */
static bool write_state(const char *bytes, size_t length) {
  static const char temporary[] = STATE_NAME ".tmp";
  int file = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
  if (file < 0) return false;
  size_t done = 0;
  while (done < length) {
    ssize_t count = write(file, bytes + done, length - done);
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) break;
    done += (size_t)count;
  }
  bool good = done == length && fdatasync(file) == 0;
  good = close(file) == 0 && good;
  if (good && rename(temporary, STATE_NAME) == 0) return true;
  unlink(temporary);
  return false;
}

/* With the lock held on entry and on return. */
static void save_state_unlocked(void) {
  char *bytes = shared.state;
  size_t length = shared.state_length;
  shared.state = NULL;
  pthread_mutex_unlock(&shared.lock);
  bool good = write_state(bytes, length);
  pthread_mutex_lock(&shared.lock);
  shared.state_failed = !good;
  if (good) shared.state_saved = shared.state == NULL;
  // What could not be written comes again, unless something newer has taken its place.
  if (!good && shared.state == NULL) {
    shared.state = bytes;
    shared.state_length = length;
  } else {
    free(bytes);
  }
}

static void write_ring_unlocked(void) {
  static char piece[PIECE_BYTES];
  size_t length = shared.used < sizeof piece ? shared.used : sizeof piece;
  size_t to_end = RING_BYTES - shared.first;
  size_t front = length < to_end ? length : to_end;
  memcpy(piece, shared.ring + shared.first, front);
  memcpy(piece + front, shared.ring, length - front);
  shared.first = (shared.first + length) % RING_BYTES;
  shared.used -= length;
  uint64_t dropped = shared.dropped;
  pthread_mutex_unlock(&shared.lock);
  write_piece(piece, length, dropped);
  pthread_mutex_lock(&shared.lock);
}

static void *writer(void *unused) {
  (void)unused;
  struct timespec retry_at = {0};
  // An engine that says nothing has a file too, for whoever looks into it.
  open_output();
  pthread_mutex_lock(&shared.lock);
  for (;;) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    bool retry_due = now.tv_sec > retry_at.tv_sec || (now.tv_sec == retry_at.tv_sec && now.tv_nsec >= retry_at.tv_nsec);
    bool state_due = shared.state != NULL && (!shared.state_failed || retry_due);
    if (!state_due && shared.used == 0) {
      shared.writing = false;
      pthread_cond_signal(&shared.idle);
      if (shared.state == NULL) pthread_cond_wait(&shared.work, &shared.lock);
      else pthread_cond_timedwait(&shared.work, &shared.lock, &retry_at);
      shared.writing = true;
      continue;
    }
    if (state_due) {
      save_state_unlocked();
      if (shared.state_failed) deadline_after(&retry_at, STATE_RETRY_MS);
    }
    if (shared.used > 0) write_ring_unlocked();
  }
  return NULL;
}

bool output_start(const struct plan *plan) {
  output_path = plan->output;
  output_max = plan->output_max_bytes;
  tail_room = plan->tail_bytes;
  tail = malloc(tail_room);
  int length = snprintf(rotated_path, sizeof rotated_path, "%s.1", output_path);
  if (tail == NULL || length < 0 || (size_t)length >= sizeof rotated_path) return false;
  pthread_condattr_t monotonic;
  pthread_condattr_init(&monotonic);
  pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
  pthread_cond_init(&shared.work, &monotonic);
  pthread_cond_init(&shared.idle, &monotonic);
  pthread_condattr_destroy(&monotonic);
  pthread_attr_t small;
  pthread_attr_init(&small);
  pthread_attr_setstacksize(&small, 128 * 1024);
  pthread_t thread;
  bool started = pthread_create(&thread, &small, writer, NULL) == 0;
  pthread_attr_destroy(&small);
  return started;
}

static void keep_tail(const char *bytes, size_t length) {
  if (length > tail_room) {
    bytes += length - tail_room;
    length = tail_room;
  }
  size_t at = (tail_first + tail_used) % tail_room;
  size_t front = length < tail_room - at ? length : tail_room - at;
  memcpy(tail + at, bytes, front);
  memcpy(tail, bytes + front, length - front);
  size_t over = tail_used + length > tail_room ? tail_used + length - tail_room : 0;
  tail_first = (tail_first + over) % tail_room;
  tail_used = tail_used + length - over;
}

void output_take(const char *bytes, size_t length) {
  keep_tail(bytes, length);
  pthread_mutex_lock(&shared.lock);
  shared.total += length;
  size_t fits = RING_BYTES - shared.used < length ? RING_BYTES - shared.used : length;
  size_t at = (shared.first + shared.used) % RING_BYTES;
  size_t front = fits < RING_BYTES - at ? fits : RING_BYTES - at;
  memcpy(shared.ring + at, bytes, front);
  memcpy(shared.ring, bytes + front, fits - front);
  shared.used += fits;
  shared.dropped += length - fits;
  pthread_cond_signal(&shared.work);
  pthread_mutex_unlock(&shared.lock);
}

void output_tail(struct text *into) {
  size_t front = tail_used < tail_room - tail_first ? tail_used : tail_room - tail_first;
  text_add(into, tail + tail_first, front);
  text_add(into, tail, tail_used - front);
  if (tail_used < tail_room || into->bytes == NULL) return;
  // The oldest line is probably cut: it goes, unless it is the only one.
  char *line_end = memchr(into->bytes, '\n', into->length);
  if (line_end == NULL || line_end + 1 == into->bytes + into->length) return;
  size_t skip = (size_t)(line_end + 1 - into->bytes);
  memmove(into->bytes, line_end + 1, into->length - skip);
  into->length -= skip;
}

uint64_t output_total_bytes(void) {
  pthread_mutex_lock(&shared.lock);
  uint64_t total = shared.total;
  pthread_mutex_unlock(&shared.lock);
  return total;
}

uint64_t output_dropped_bytes(void) {
  pthread_mutex_lock(&shared.lock);
  uint64_t dropped = shared.dropped;
  pthread_mutex_unlock(&shared.lock);
  return dropped;
}

void output_save_state(const struct text *state) {
  char *bytes = malloc(state->length + 1);
  if (bytes == NULL) return;
  memcpy(bytes, state->bytes, state->length);
  bytes[state->length] = '\n';
  pthread_mutex_lock(&shared.lock);
  free(shared.state);
  shared.state = bytes;
  shared.state_length = state->length + 1;
  shared.state_saved = false;
  shared.state_failed = false;
  pthread_cond_signal(&shared.work);
  pthread_mutex_unlock(&shared.lock);
}

bool output_state_saved(void) {
  pthread_mutex_lock(&shared.lock);
  bool saved = shared.state_saved;
  pthread_mutex_unlock(&shared.lock);
  return saved;
}

void output_finish(int wait_ms) {
  struct timespec until;
  deadline_after(&until, wait_ms);
  pthread_mutex_lock(&shared.lock);
  while (shared.writing || shared.used > 0 || (shared.state != NULL && !shared.state_failed))
    if (pthread_cond_timedwait(&shared.idle, &shared.lock, &until) != 0) break;
  pthread_mutex_unlock(&shared.lock);
}
