#ifndef CORE_EXEC_H
#define CORE_EXEC_H

struct engine;

/* Main thread: start what engine_exec asked for, reap what ended. */
void exec_serve(struct engine *e);

/* The engine ends; who has not ended is waited for by nobody. */
void exec_forget(struct engine *e);

#endif
