#include "config.h"

#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "lib/cleanup.h"
#include "server/waiter.h"

#define THREAD_STACK (64u << 10)

struct waiter {
	int epoll_fd, stop_fd;
	pthread_t thread;
	pthread_mutex_t mutex; /* for the table */
	struct exchange **waiting; /* by descriptor */
	size_t n_waiting;
};

/* While the mutex is held nobody forgets the descriptor. */
static void
serve_ready(struct waiter *w, int fd)
{
	struct exchange *x;

	pthread_mutex_lock(&w->mutex);
	x = (size_t)fd < w->n_waiting ? w->waiting[fd] : NULL;
	if (x != NULL) {
		w->waiting[fd] = NULL;
		exchange_wake(x);
	}
	pthread_mutex_unlock(&w->mutex);
}

static void *
run(void *arg)
{
	struct waiter *w = arg;
	struct epoll_event events[16];
	int i, n;

	for (;;) {
		n = epoll_wait(w->epoll_fd, events, 16, -1);
		for (i = 0; i < n; i++) {
			if (events[i].data.fd == w->stop_fd)
				return NULL;
			serve_ready(w, events[i].data.fd);
		}
	}
}

int
waiter_new(struct waiter **ret, struct imgd_error **err)
{
	struct waiter *w = calloc(1, sizeof(*w));
	struct epoll_event event = { .events = EPOLLIN };
	pthread_attr_t attr;
	int r = ENOMEM;

	if (w == NULL)
		return imgd_error_set(err, ENOMEM, "out of memory");
	(void)pthread_mutex_init(&w->mutex, NULL);
	w->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	w->stop_fd = eventfd(0, EFD_CLOEXEC);
	event.data.fd = w->stop_fd;
	if (w->epoll_fd < 0 || w->stop_fd < 0 ||
	    epoll_ctl(w->epoll_fd, EPOLL_CTL_ADD, w->stop_fd, &event) < 0) {
		r = errno;
	} else {
		(void)pthread_attr_init(&attr);
		(void)pthread_attr_setstacksize(&attr, THREAD_STACK);
		r = pthread_create(&w->thread, &attr, run, w);
		(void)pthread_attr_destroy(&attr);
	}
	if (r == 0) {
		*ret = w;
		return 0;
	}
	close_fd(&w->epoll_fd);
	close_fd(&w->stop_fd);
	free(w);
	return imgd_error_set(err, r, "server: %s", strerror(r));
}

void
waiter_free(struct waiter *w)
{
	const uint64_t one = 1;

	if (w == NULL)
		return;
	(void)!write(w->stop_fd, &one, sizeof(one));
	(void)pthread_join(w->thread, NULL);
	close_fd(&w->epoll_fd);
	close_fd(&w->stop_fd);
	(void)pthread_mutex_destroy(&w->mutex);
	free(w->waiting);
	free(w);
}

static bool
make_room(struct waiter *w, int fd)
{
	size_t n = (size_t)fd + 64;
	struct exchange **grown;

	if ((size_t)fd < w->n_waiting)
		return true;
	grown = reallocarray(w->waiting, n, sizeof(struct exchange *));
	if (grown == NULL)
		return false;
	memset(grown + w->n_waiting, 0,
	    (n - w->n_waiting) * sizeof(struct exchange *));
	w->waiting = grown;
	w->n_waiting = n;
	return true;
}

void
waiter_watch(struct waiter *w, int fd, uint32_t events, struct exchange *x)
{
	struct epoll_event event = {
		.events = events | EPOLLONESHOT,
		.data.fd = fd,
	};
	bool ok;

	pthread_mutex_lock(&w->mutex);
	ok = make_room(w, fd);
	if (ok)
		w->waiting[fd] = x;
	pthread_mutex_unlock(&w->mutex);
	if (ok && epoll_ctl(w->epoll_fd, EPOLL_CTL_MOD, fd, &event) < 0)
		ok = errno == ENOENT &&
		    epoll_ctl(w->epoll_fd, EPOLL_CTL_ADD, fd, &event) == 0;
	/* Better to look in vain than never. */
	if (!ok)
		exchange_wake(x);
}

void
waiter_forget(struct waiter *w, int fd)
{
	pthread_mutex_lock(&w->mutex);
	if ((size_t)fd < w->n_waiting)
		w->waiting[fd] = NULL;
	pthread_mutex_unlock(&w->mutex);
	(void)epoll_ctl(w->epoll_fd, EPOLL_CTL_DEL, fd, NULL);
}
