/* The functions behind the routes. */
#ifndef SERVER_ROUTES_H
#define SERVER_ROUTES_H

#include "server/exchange.h"

/* ---- images.c ---- */
route_fn route_commit, route_images_create, route_images_list,
    route_images_search, route_images_prune, route_images_load,
    route_images_get, route_image_get, route_image_inspect,
    route_image_history, route_image_tag, route_image_push,
    route_image_delete, route_distribution, route_export;

/* ---- system.c ---- */
route_fn route_ping, route_version, route_info, route_auth, route_df,
    route_events, route_metrics;

/* ---- others.c: what imgd has nothing of ---- */
route_fn route_empty_list, route_no_volumes, route_no_object,
    route_nothing_pruned, route_not_ours;

/* ---- own.c: /imgd/ ---- */
route_fn route_job, route_jobs, route_job_cancel;

#endif
