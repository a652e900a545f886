/* Proxies for registries, as the environment of a process names them. */
#ifndef CORE_PROXIES_H
#define CORE_PROXIES_H

/* URLs for requests by http and https, and hosts that are asked without; NULL:
 * none. */
struct proxies {
	const char *http, *https, *none;
};

/* Of this process; borrowed from its environment. */
struct proxies proxies_of_environment(void);

#endif
