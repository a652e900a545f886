#ifndef CORE_SPAWNER_H
#define CORE_SPAWNER_H

/*
 * The spawner's life: single-threaded, with the unpacker's module loaded, it
 * forks a worker for each SPAWN_RUN.  Returns the exit status.
 */
int spawner_run(void);

#endif
