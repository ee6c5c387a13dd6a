/*
 * The scenario that the false NVML plays: a text file, read again whenever it has changed, so that a test moves the
 * world by writing the file and never by waiting. README.md lists its lines.
 */
#ifndef FAKE_NVML_SCENARIO_H
#define FAKE_NVML_SCENARIO_H

#define MOST_LINES 512
#define LINE_BYTES 512

/* Called at the start of every function of the library: re-reads the file, logs, hangs, and answers a status. */
int scenario_enter(const char *function, int gpu);
/* How many GPUs there are. */
int scenario_gpus(void);
/* A figure of a GPU by its key: 0, or 3 (not supported) where the scenario has none. */
int scenario_number(int gpu, const char *key, double *value);
int scenario_text(int gpu, const char *key, char *text, unsigned int size);
/* A field value of GetFieldValues. */
int scenario_field(int gpu, unsigned int id, unsigned int scope, double *value);
/* The live processes of a GPU, or of one of its MIG parts; a process that is gone holds no memory any more. */
int scenario_processes(int gpu, int part, unsigned int *pids, unsigned long long *memory, int most);
/* Takes the next event that is due: 1 and its parts, or 0. */
int scenario_event(int *gpu, unsigned long long *type, unsigned long long *data);
/* A word of a line that stands for the whole library, such as `driver`. */
int scenario_word(const char *key, char *text, unsigned int size);

#endif
