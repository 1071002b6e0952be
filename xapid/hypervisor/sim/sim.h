/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * sim.h -- the simulated hypervisor: one process, one thread, all state in memory.
 *
 * Its files: calls (the handlers), live (more of them), domain (what a hypervisor does), guest
 * (what runs inside), ram (its memory), devices (disks and NICs), image (suspend images), migrate
 * (on the way to another simulator), console (what its screens show), control (tests), account
 * (what ran when, for tests).  The server beneath it is that of ../server.  Private to this folder.
 */
#pragma once

#include <jansson.h>

#include "libxapi/base/arena.h"
#include "libxapi/base/buf.h"
#include "xapid/hypervisor/protocol.h"
#include "xapid/hypervisor/server/screen.h"
#include "xapid/hypervisor/server/server.h"

#define SIM_DOMAINS_MAX PROTOCOL_DOMAINS_MAX
#define SIM_VCPUS_MAX 128
#define SIM_GUEST_KEYS_MAX 512
#define SIM_ACK_SHARE(timeout)                                                                     \
    ((timeout) / 4 * 3) /* of a request's timeout: how long a guest has to answer */

struct sim_options {
    const char *socket_path, *dir;
    int64_t memory;
    int cpus;
    usec_t boot_time; /* from unpause to a guest agent that talks */
};

/* A string pair list that grows: guest keys. */
struct keys {
    size_t n;
    struct strpair v[SIM_GUEST_KEYS_MAX]; /* owned strings */
};

/* hv_disk with strings of its own, and the medium held open.  path "" and fd -1: an empty CD drive.
 */
struct sim_disk {
    struct hv_disk d;
    int fd;
};

struct sim_nic {
    struct hv_nic d;
};

/* How busy a guest is: each vCPU, in percent, and each disk and NIC, in bytes a second.  And what
 * has come of it while it ran: for each vCPU, disk and NIC the same. */
struct sim_load {
    int64_t cpu, read, write, rx, tx;
};
struct sim_work {
    usec_t cpu;
    int64_t read, write, rx, tx;
};

/* What the guest does next of its own accord. */
enum guest_plan { GUEST_IDLE, GUEST_BOOTS, GUEST_ENDS };

struct console;
struct migration;

#define SIM_PAGE ((size_t)4096)
#define SIM_PAGES_MAX 65536

/* Its memory. */
struct ram {
    size_t n;     /* pages */
    char *bytes;  /* NULL: nobody has looked yet */
    bool *dirty;  /* the guest has written since this was last cleared */
    int64_t rate; /* pages that the guest writes in a second */
    uint64_t writes;
    usec_t written; /* loop time up to which it has */
};

/* What it was told besides.  Strings in the domain's arena. */
struct live {
    char sysrq;          /* the last one, or NUL */
    const char *trigger; /* the last one, or NULL */
    bool asleep;         /* ACPI S3 */
    bool uncooperative;  /* its balloon does not move */
    const char *weight, *cap, *mask;
    int64_t shadow; /* bytes of memory for page tables */
};

struct domain {
    struct domain *next;
    struct sim *sim;
    char uuid[UUID_TEXT_SIZE];
    int domid;
    enum hv_state state;
    enum hv_reason reason;
    struct arena arena;             /* of config */
    struct hv_domain_config config; /* without disks and nics: those change */
    int64_t memory, memory_target;
    int vcpus;
    usec_t start_time;    /* wall clock */
    usec_t running_since; /* loop time, while running */
    usec_t cpu_time;      /* up to running_since */
    struct sim_load load;
    struct sim_work work; /* up to running_since */
    struct keys guest;
    struct sim_disk disks[PROTOCOL_DISKS_MAX];
    struct sim_nic nics[PROTOCOL_NICS_MAX];
    size_t n_disks, n_nics;
    char *pcis[PROTOCOL_PCIS_MAX];
    struct hv_usb usbs[PROTOCOL_USBS_MAX];
    size_t n_pcis, n_usbs;
    struct live live;
    struct ram ram;
    struct migration *migration; /* NULL: it stays where it is */
    bool booted;                 /* the guest agent has spoken */
    bool unresponsive;           /* the guest answers nothing more */
    bool accounted;              /* as running */
    enum hv_reason asked;        /* control/shutdown: what the toolstack wants of the guest */
    enum guest_plan plan;
    enum hv_reason plan_reason;
    usec_t plan_left; /* while paused */
    struct timer plan_timer;
    struct console *console;
};

struct sim {
    struct sim_options options;
    struct server *server;
    struct loop *loop; /* the server's */
    usec_t start_wall;
    char boot_id[UUID_TEXT_SIZE];
    char *cpu_features; /* of its processor, for guests of any type; NULL: the usual ones */
    int last_domid;
    size_t n_domains;
    struct domain *domains;
    int64_t memory_used;
    struct buf messages;        /* what the hypervisor has said */
    struct sim_work past;       /* of domains that are gone, of all their vCPUs and NICs */
    usec_t advanced;            /* how far time was moved by tests */
    usec_t boot_time, end_time; /* how long guests take; tests change them */
    int64_t migrate_rate;       /* pages sent in a second; 0: as many as are taken */
    int64_t migrate_break;      /* the next one breaks before that page; 0: it does not */

    struct screens screens;
    struct timer watchdog; /* ends all domains */
    int account;           /* a descriptor; -1: nobody wants one */
};

/*
 * sim.c
 */
/* NULL with a line in the log if the socket cannot be made. */
struct sim *sim_new(const struct sim_options *options);
void sim_free(struct sim *sim);

static inline struct sim *sim_of(const struct request *rq)
{
    return rq->server->ctx;
}

/*
 * calls.c
 */
#define SIM_N_HANDLERS 33
extern const struct handler sim_handlers[SIM_N_HANDLERS];

/*
 * domain.c
 */
struct domain *domain_find(struct sim *sim, const char *uuid);
/* The domain that the request's "uuid" names. */
MUST_CHECK struct error *domain_of(struct request *rq, struct domain **out);
/* The same, and it has not ended. */
MUST_CHECK struct error *domain_alive(struct request *rq, struct domain **out);
/* Makes a paused domain, all or nothing. */
MUST_CHECK struct error *domain_build(struct request *rq, const struct hv_domain_config *config,
                                      struct domain **out);
/* It stops where it is, for that reason. */
void domain_end(struct domain *d, enum hv_reason reason);
void domain_destroy(struct domain *d);
/* Something about it has changed: listeners and screens are told. */
void domain_changed(struct domain *d);
json_t *domain_json(const struct domain *d);
void domain_set_running(struct domain *d, bool running);
/* Asks for host memory beyond what is used; HOST_NOT_ENOUGH_FREE_MEMORY. */
MUST_CHECK struct error *memory_reserve(struct request *rq, int64_t more);
/* What the domain counts for. */
int64_t domain_memory(const struct domain *d);

/*
 * devices.c
 */
MUST_CHECK struct error *disk_add(struct request *rq, struct domain *d, const struct hv_disk *disk);
/* A device of the host: refused where another domain has it. */
MUST_CHECK struct error *pci_add(struct request *rq, struct domain *d, const char *id);
MUST_CHECK struct error *usb_add(struct request *rq, struct domain *d, const struct hv_usb *usb);
MUST_CHECK struct error *nic_add(struct request *rq, struct domain *d, const struct hv_nic *nic);
void devices_release(struct domain *d);
struct sim_disk *disk_find(struct domain *d, const char *device);
struct error *run_disk_plug(struct request *rq, json_t **result);
struct error *run_disk_unplug(struct request *rq, json_t **result);
struct error *run_disk_change(struct request *rq, json_t **result);
struct error *run_nic_plug(struct request *rq, json_t **result);
struct error *run_usb_unplug(struct request *rq, json_t **result);
struct error *run_nic_unplug(struct request *rq, json_t **result);

/*
 * live.c
 */
struct error *run_sysrq(struct request *rq, json_t **result);
struct error *run_trigger(struct request *rq, json_t **result);
struct error *run_set_scheduling(struct request *rq, json_t **result);
struct error *run_set_shadow(struct request *rq, json_t **result);
struct error *run_guest_write(struct request *rq, json_t **result);
struct error *run_core_dump(struct request *rq, json_t **result);
void live_schedule(struct domain *d, const struct strmap *params);
/* What it was told, as texts: for tests. */
json_t *live_json(const struct domain *d);

/*
 * guest.c
 */
/* The domain runs (again) or not: what the guest was at goes on or waits. */
void guest_resume(struct domain *d);
void guest_freeze(struct domain *d);
/* Starts to boot, at the next resume. */
void guest_will_boot(struct domain *d);
/* Ends by itself after a short time. */
void guest_will_end(struct domain *d, enum hv_reason reason);
/* The toolstack asks; the guest acknowledges by ending the requests that wait for it, now or when
 * it has booted. */
void guest_ask(struct domain *d, enum hv_reason what);
bool guest_answers(const struct domain *d);
/* NICs or memory have changed: writes the keys anew, where there is an agent. */
void guest_refresh(struct domain *d);
void keys_drop(struct keys *keys, const char *key);
void keys_set(struct keys *keys, const char *key, const char *value);
const char *keys_get(const struct keys *keys, const char *key);
void keys_release(struct keys *keys);

/*
 * image.c
 */
MUST_CHECK struct error *image_save(struct request *rq, const struct domain *d, const char *path);
struct image {
    struct strmap guest;
    bool booted;
    int64_t memory;
    usec_t cpu_time;
    char uuid[UUID_TEXT_SIZE];
};
MUST_CHECK struct error *image_load(struct request *rq, const char *path, struct image *out);
/* What of a domain is neither memory nor configuration; NULL, or what is wrong with it. */
json_t *domain_state(const struct domain *d);
const char *read_state(struct request *rq, const char *json, size_t n, struct image *out);
void image_apply(struct domain *d, const struct image *image);

/*
 * ram.c
 */
/* Empty memory of that size. */
void ram_size(struct domain *d, size_t pages);
/* NULL beyond its end. */
char *ram_page(struct domain *d, size_t i);
/* What the guest has written up to now; before it stops, and before anybody looks. */
void ram_catch_up(struct domain *d);
const char *ram_digest(struct arena *arena, struct domain *d);
void ram_release(struct domain *d);

/*
 * migrate.c
 */
struct error *run_migrate_out(struct request *rq, json_t **result);
struct error *run_migrate_in(struct request *rq, json_t **result);
struct error *run_resume(struct request *rq, json_t **result);
/* A domain that was suspended goes on. */
void domain_resume(struct domain *d);
/* Half of it has come. */
bool domain_is_incoming(const struct domain *d);
/* The domain has ended by itself, or is destroyed. */
void migration_cancel(struct domain *d);

/*
 * stats.c
 */
usec_t domain_cpu_time(const struct domain *d);
extern const struct sim_load sim_usual_load;
/* What a guest has done up to now. */
struct sim_work domain_work(const struct domain *d);
/* Counts what it has done so far; before its load, its vCPUs or whether it runs change. */
void domain_settle(struct domain *d);
/* What it has done stays with the host. */
void domain_leave(const struct domain *d);
struct error *run_stats(struct request *rq, json_t **result);

/*
 * host.c, control.c
 */
void host_info(const struct sim *sim, struct hv_host_info *out);
struct error *run_messages(struct request *rq, json_t **result);
struct error *run_debug_keys(struct request *rq, json_t **result);
struct error *run_watchdog(struct request *rq, json_t **result);
struct error *run_control(struct request *rq, json_t **result);

/*
 * account.c
 */
void account_open(struct sim *sim);
void account_close(struct sim *sim);
/* The watchdog bites: what ends now is lost with the host. */
void account_fenced(struct sim *sim);
/* From now on it runs, or not. */
void account_domain(struct domain *d, bool runs);
/* "open", "close", "failed", or "refused": somebody else has it in a way that excludes this one. */
void account_disk(const struct domain *d, const char *event, const struct hv_disk *disk);

/*
 * console.c
 */
/* Opens both sockets below the directory; false with errno. */
bool console_open(struct domain *d);
void console_close(struct domain *d);
void console_changed(struct domain *d);
const char *console_rfb_path(const struct domain *d);
const char *console_text_path(const struct domain *d);
/* What came to the screen, for tests. */
json_t *console_json(const struct domain *d);
