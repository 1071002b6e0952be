/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * executor.h -- the process that drives Xen through libxenlight.
 *
 * One thread runs the loop: connections, ids, consoles (../server).  Each call gets a thread and a
 * libxl context of its own; one more thread follows what xenstore tells (watch).  No state that
 * matters is only in memory: domains are known by their uuid and by a mark in xenstore, requests by
 * a journal, so that a kill -9 at any line is followed by settle.c.
 *
 * Its files: xen (a context and what libxl said), config (what libxl builds from), domains (finding
 * and describing them), calls (the small handlers), build, image (save, restore), guest (shutdown
 * and death), devices, host, stats, settle (what a life before left), journal, worker (threads),
 * watch, console and terminal (screens).  Private to this folder.
 */
#pragma once

#include <libxl.h>
#include <libxl_utils.h>
#include <xenctrl.h>
#include <xenstore.h>

#include "libxapi/base/seam.h"
#include "xapid/hypervisor/executor/journal.h"
#include "xapid/hypervisor/server/screen.h"
#include "xapid/hypervisor/server/server.h"

#define MEMORY_RESERVE ((int64_t)32 << 20) /* bytes of the host that are never given to guests */

struct xen;
struct console;
struct watch;

/*
 * worker.c
 */
/* Who may work on a domain at the same time. */
enum hold_kind {
    HOLD_BUILD,  /* excludes everything */
    HOLD_WORK,   /* excludes others and a build */
    HOLD_DESTROY /* excludes a build and another destroy: what still works on it fails */
};

struct held {
    struct held *next;
    char uuid[UUID_TEXT_SIZE];
    enum hold_kind kind;
};

struct job;

struct executor {
    const char *dir;
    const char *block_script; /* the hotplug script of disks; NULL: Xen's own */
    struct server *server;
    struct journal *journal;

    struct mutex lock; /* of the following; never held across a call of libxl */
    struct cond freed;
    struct held *held;
    struct job *done, *done_last; /* for the loop */
    int n_threads;
    uint64_t world; /* rises when something has happened to any domain */
    struct cond world_rose;

    /* Of the loop's thread. */
    struct source done_source; /* an eventfd */
    struct timer stop_timer;
    struct screens screens;
    struct console *consoles;
    struct watch *watch;
};

static inline struct executor *executor_of(const struct request *rq)
{
    return rq->server->ctx;
}

bool workers_start(struct executor *x);
/* The program's dispatcher. */
void worker_dispatch(struct request *rq);
/* Runs 'fn' on the loop's thread, later.  'arg' is a JSON value, taken. */
void loop_post(struct executor *x, void (*fn)(struct executor *x, json_t *arg), json_t *arg);
/* Whether no call is being worked on. */
bool workers_idle(struct executor *x);
void world_changed(struct executor *x);
uint64_t world_now(struct executor *x);
/* Waits until the world is no longer 'seen', or the time (monotonic). */
void world_wait(struct executor *x, uint64_t seen, usec_t until);

/* The guard of a domain's uuid. */
struct hold {
    struct executor *x;
    struct held *held;
};
/* Fails when the request's deadline passes first. */
MUST_CHECK struct error *hold_take(struct request *rq, const char *uuid, enum hold_kind kind,
                                   struct hold *out);
void hold_release(struct hold *hold);

/*
 * xen.c
 */
struct xen_log;

/* A libxl context, a connection to xenstore and what libxl has complained of. */
struct xen {
    libxl_ctx *ctx;
    struct xs_handle *xs;
    struct xen_log *log;
};
MUST_CHECK struct error *xen_open(struct arena *arena, struct xen *out);
void xen_release(struct xen *xen);
/* Handles of one thread without a libxl context, NULL where that fails; only so, never by
   xc_interface_open and xs_open (see xen.c, forking).  Closing NULL does nothing. */
xc_interface *xen_control_open(void);
void xen_control_close(xc_interface *xc);
struct xs_handle *xen_store_open(void);
void xen_store_close(struct xs_handle *xs);
/* INTERNAL_ERROR: 'what' and libxl's own words, which are then forgotten. */
MUST_CHECK struct error *xen_failed(struct arena *arena, struct xen *xen, const char *what, int rc);
/* The line in which libxl has complained with these words since the last xen_failed, or NULL. */
const char *xen_said(const struct xen *xen, const char *words);
/* What libxl has complained of so far is none of anybody's business. */
void xen_forget(struct xen *xen);
/* The prefix of file, line and function taken off that libxl and libxc begin with. */
const char *xen_words(const char *message);

/* xenstore.  A value in the arena, NULL if there is none or it cannot be read. */
const char *xs_text(struct arena *arena, struct xen *xen, const char *path);
/* One level below; sorted as xenstore gives them. */
char **xs_list(struct xen *xen, const char *path, unsigned *n);
MUST_CHECK struct error *xs_put(struct arena *arena, struct xen *xen, const char *path,
                                const char *value);
void xs_drop(struct xen *xen, const char *path);

/*
 * config.c
 */
struct config_options {
    const char *dir; /* where consoles' sockets are */
    bool restoring;  /* memory and code come from an image */
    const char *block_script;
    const char *cpu_features; /* what guests of this type could have here; "" if not known */
};
/* What is wrong with the configuration is said in the XenAPI's words; *out is to be disposed of in
 * any case.  Needs no Xen. */
MUST_CHECK struct error *config_translate(struct arena *arena,
                                          const struct hv_domain_config *config,
                                          const struct config_options *options,
                                          libxl_domain_config *out);
/* What guests can be offered of this machine's processor: words as in featureset.h; "" where Xen
 * does not tell. */
const char *host_features(struct arena *arena, bool pv);
/* False: an empty drive, which only an HVM guest has. */
bool config_has_disk(const struct hv_disk *disk, libxl_domain_type type);
/* 'script': the hotplug script of block devices, or NULL. */
MUST_CHECK struct error *config_disk(struct arena *arena, const struct hv_disk *disk,
                                     libxl_domain_type type, const char *script,
                                     libxl_device_disk *out);
MUST_CHECK struct error *config_nic(struct arena *arena, const struct hv_nic *nic,
                                    libxl_device_nic *out);
#define MASK_CPUS_MAX 4096
/* Numbers of processors between commas; false, with nothing to dispose of, if it is no such list.
 */
bool config_cpu_mask(const char *text, libxl_bitmap *out);
/* From "pv", "pvh", "pv_in_pvh", "hvm"; false if it is none of them. */
bool config_type(const char *name, libxl_domain_type *out);
/* The VNC socket of an HVM guest. */
const char *config_vnc_path(struct arena *arena, const char *dir, const char *uuid);

/*
 * domains.c
 */
/* A domain as Xen has it, and whether it is ours and complete. */
struct found {
    bool exists, ours;
    uint32_t domid;
    libxl_dominfo info;     /* holds no memory of its own; its type does not tell PVH from HVM */
    const char *type_name;  /* as it was built: "pvh"; "" if it is not ours */
    libxl_domain_type type; /* the same */
    char uuid[UUID_TEXT_SIZE];
};
MUST_CHECK struct error *domain_find(struct request *rq, struct xen *xen, const char *uuid,
                                     struct found *out);
/* The domain that the request's "uuid" names, which must be ours. */
MUST_CHECK struct error *domain_of(struct request *rq, struct xen *xen, struct found *out);
/* The same, and it has not ended. */
MUST_CHECK struct error *domain_alive(struct request *rq, struct xen *xen, struct found *out);
/* The domain of a call: held for work, with a context; 'alive': not one that has ended. */
MUST_CHECK struct error *domain_begin(struct request *rq, bool alive, struct hold *hold,
                                      struct xen *xen, struct found *out);
enum hv_state domain_state(const libxl_dominfo *info, enum hv_reason *reason);
/* The mark: /libxl/<domid>/xapid, which libxl removes with the domain and no guest can write. */
const char *mark_path(struct arena *arena, uint32_t domid, const char *key);
MUST_CHECK struct error *mark_complete(struct request *rq, struct xen *xen, uint32_t domid,
                                       const struct hv_domain_config *config);
MUST_CHECK struct error *mark_disk(struct arena *arena, struct xen *xen, uint32_t domid,
                                   const struct hv_disk *disk);
MUST_CHECK struct error *mark_nic(struct arena *arena, struct xen *xen, uint32_t domid,
                                  const struct hv_nic *nic);
/* Bytes free for guests. */
MUST_CHECK struct error *memory_free(struct arena *arena, struct xen *xen, int64_t *out);
MUST_CHECK struct error *memory_need(struct arena *arena, struct xen *xen, int64_t bytes);

/*
 * The handlers.
 */
struct error *run_host(struct request *rq, json_t **result);
struct error *run_list(struct request *rq, json_t **result);
struct error *run_get(struct request *rq, json_t **result);
struct error *run_stats(struct request *rq, json_t **result);
struct error *run_build(struct request *rq, json_t **result);
struct error *run_restore(struct request *rq, json_t **result);
struct error *run_save(struct request *rq, json_t **result);
/* A guest that has stopped to be saved or sent goes on; one that has not is left alone. */
MUST_CHECK struct error *resume_suspended(struct request *rq, struct xen *xen, const char *uuid);
/* What libxl said when it could not be saved or sent. */
struct error *save_failed(struct request *rq, struct xen *xen, const struct found *d, int rc);
/* After a kill: one that may still be about to stop is waited for, and goes on. */
MUST_CHECK struct error *settle_suspend(struct request *rq, struct xen *xen, struct found *d);

/*
 * migrate.c
 */
struct error *run_migrate_out(struct request *rq, json_t **result);
struct error *run_migrate_in(struct request *rq, json_t **result);
struct error *run_resume(struct request *rq, json_t **result);
struct error *run_shutdown(struct request *rq, json_t **result);
struct error *run_wait_death(struct request *rq, json_t **result);
struct error *run_destroy(struct request *rq, json_t **result);
struct error *run_disk_plug(struct request *rq, json_t **result);
struct error *run_disk_unplug(struct request *rq, json_t **result);
struct error *run_disk_change(struct request *rq, json_t **result);
struct error *run_nic_plug(struct request *rq, json_t **result);
struct error *run_nic_unplug(struct request *rq, json_t **result);
struct error *run_usb_unplug(struct request *rq, json_t **result);
struct error *run_sysrq(struct request *rq, json_t **result);
struct error *run_trigger(struct request *rq, json_t **result);
struct error *run_set_scheduling(struct request *rq, json_t **result);
struct error *run_set_shadow(struct request *rq, json_t **result);
struct error *run_guest_write(struct request *rq, json_t **result);
struct error *run_core_dump(struct request *rq, json_t **result);
struct error *run_messages(struct request *rq, json_t **result);
struct error *run_debug_keys(struct request *rq, json_t **result);
struct error *run_watchdog(struct request *rq, json_t **result);
#define EXECUTOR_N_HANDLERS 33
extern const struct handler executor_handlers[EXECUTOR_N_HANDLERS];

/* build.c */
/* Builds from the translated configuration, or, with fd, from an image. */
MUST_CHECK struct error *build_domain(struct request *rq, struct xen *xen,
                                      const struct hv_domain_config *config, int fd, int *domid);
MUST_CHECK struct error *config_of(struct request *rq, struct hv_domain_config *out);

/* guest.c */
/* VM_FAILED_..._ACKNOWLEDGMENT. */
struct error *ack_failed(struct arena *arena, enum hv_reason what, const char *uuid);
/* Takes back what the guest was asked for; false if it has taken notice already. */
bool ask_withdraw(struct arena *arena, struct xen *xen, uint32_t domid);

/* image.c */
/* What a save that was cut short left: resumes the guest, or finds the image whole. */
struct error *settle_save(struct request *rq);
struct error *settle_migrate_out(struct request *rq);

/* settle.c */
/* A request that a life before this began and did not end: what became of it. */
struct error *settle(struct request *rq, json_t **result);

/*
 * watch.c
 */
struct watch *watch_start(struct executor *x);

/*
 * console.c
 */
/* {"domid": N, "uuid": U, "name": T}: it has its sockets, from now on. */
void console_ensure(struct executor *x, json_t *domain);
/* {"domids": [...]}: those that exist; consoles of others are closed. */
void consoles_keep(struct executor *x, json_t *existing);
/* The sockets' paths. */
const char *console_rfb_path(struct arena *arena, const struct executor *x, uint32_t domid);
const char *console_text_path(struct arena *arena, const struct executor *x, uint32_t domid);
