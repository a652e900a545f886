/* Words to the service manager (sd_notify(3)). */
#ifndef SERVER_NOTIFY_H
#define SERVER_NOTIFY_H

/* Send state, if there is a manager who wants to know. */
void notify_manager(const char *state);

#endif
