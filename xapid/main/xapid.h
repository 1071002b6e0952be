/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * xapid.h -- a daemon is a value: everything that lives as long as it does hangs here, and two can
 * live in one process.
 *
 * Each member is owned by the module it is named after; other modules use it only through that
 * module's interface.
 */
#pragma once

#include "libxapi/base/call.h"
#include "libxapi/base/seam.h"

struct agents;
struct clis;
struct consoles;
struct vm_watch;
struct squeezer;
struct coalescer;
struct scheduler;
struct claims;
struct db;
struct db_options;
struct events;
struct faults;
struct http_server;
struct hv;
struct op_queue;
struct sessions;
struct tasks;
struct workers;
struct sr_table;
struct auth;
struct audit;
struct callers;
struct peers;
struct members;
struct office;
struct voters;
struct ha;
struct roam;
struct forward;
struct joiner;
struct mailer;
struct nbd;
struct replication;
struct relays;
struct timings;
struct traces;
struct stats;
struct host_network;
struct reached;

struct xapid_options {
    const char *state_dir;       /* database, secrets, certificate; default /var/lib/xapid */
    const char *unix_socket;     /* default /var/lib/xcp/xapi; "" for none */
    const char *listen_address;  /* for TLS; default "::" */
    int tls_port;                /* 443; 0 picks one; -1 none */
    int plain_port;              /* on loopback only; 80; 0 picks one; -1 none */
    int nbd_port;                /* for disks that are read over NBD; 10809; 0 picks one; -1 none */
    const char *hypervisor;      /* "xen" or "sim"; no default without Xen */
    const char *sim_program;     /* path of xapid-sim */
    const char *password_file;   /* lines "user:password-hash"; NULL: PAM */
    const char *pam_helper;      /* path of the PAM helper */
    const char *cli_program;     /* what serves /cli; default "xe", in the system's folders */
    const char *storage_dir;     /* where the local SR lives; default <state_dir>/storage */
    const char *storage_program; /* path of xapid-storage */
    const char *mounts;   /* where network storage is mounted; default /run/sr-mount, with the
                             simulator <state_dir>/sr-mount */
    usec_t storage_wait;  /* how long network storage may take to answer; default a minute */
    const char *datapath; /* how disks are served: "fuse", "nbd" or "none"; default: "nbd"
                             with Xen, "none" with the simulator */
    const char *web_root; /* static files; NULL: none */
    /* What is put before the paths of the host's own programs and configuration files: "" on a real
       host; default with the simulator: <state_dir>/system, where there are none. */
    const char *system_root;
    const char *network; /* whose network is changed: "linux", "ovs", or "none" for a simulated one;
                            default: "linux" with Xen, "none" with the simulator */
    usec_t network_trial; /* how long a change of the management interface may take to prove
                             itself; 0: it need not; -1: the default, 60 seconds, 0 with "none" */
    bool enable_faults;   /* tests: fail or die at op_steps named in <state_dir>/faults */
    unsigned level;  /* understood of the database, for tests; 0: all that this version knows */
    usec_t op_wait;  /* how long an operation waits in line for a busy object; default 20 minutes */
    usec_t end_wait; /* how long a guest that was asked to may take to end; the same default */
    const char *config_dir;      /* /etc/xapid */
    const char *sysfs_dir;       /* the devices of the host; default /sys, with the simulator
                                    <state_dir>/sysfs, where there is one */
    const struct db_options *db; /* tests: another log engine; its dir is not used */
    /* Of a pool of several hosts (xapid/main/members.h).  "HOST:PORT" where the other members reach
       this one; NULL: the management interface's address and pool_port (0: none, it stays alone).
     */
    const char *pool_address;
    int pool_port;
    const char *pool_trust; /* addresses or fingerprints of members, between commas; or NULL */
    bool manual_members;    /* tests: the log's members change by /internal/pool only */
    uint64_t member_id;     /* of one that has joined by pool.join: its number; else 0 */
    bool joining;           /* a new state directory waits to be added to a pool */
    /* Asked while xapid_start waits for a pool: true ends it.  May be NULL. */
    bool (*give_up)(void);
    /* Asks for this daemon's end and a new start, soon; must only post.  May be NULL. */
    void (*restart)(void);
};

struct xapid {
    struct xapid_options options;
    struct db *db;
    struct http_server *http;
    struct workers *workers;
    struct sessions *sessions;
    struct tasks *tasks;
    struct events *events;
    struct auth *auth;
    struct audit *audit;
    struct callers *callers;
    struct op_queue *queue;
    usec_t locks_due; /* when they are looked at next; of the worker that looks after storage */
    struct faults *faults;
    struct hv *hv;
    struct sr_table *srs;
    struct consoles *consoles;
    struct nbd *nbd; /* NULL: disks are not offered */
    struct clis *clis;
    struct vm_watch *watch;
    struct squeezer *squeezer;
    struct coalescer *coalescer;
    struct claims *claims; /* hosts that VMs were sent to, until the records say so */
    struct host_network *network;
    struct reached *reached;
    struct scheduler *scheduler;
    struct replication *replication;
    struct peers *peers; /* links to the other members; NULL: this host stays alone */
    struct members *members;
    struct office *office;
    struct voters *voters; /* NULL where the members do not follow the hosts */
    struct roam *roam;
    struct forward *forward; /* NULL: this host stays alone */
    struct ha *ha; /* heartbeats and what follows from their lack; NULL: this host stays alone */
    struct joiner *joiner;
    struct relays *relays; /* requests that other hosts pass on */
    struct mailer *mailer;
    struct agents *agents;   /* client programs that have called */
    struct timings *timings; /* how long calls take */
    struct traces *traces;   /* each of them, for observers */
    ref_t host;              /* row of the host this daemon runs on */
    struct stats *stats;
    ref_t pool;
    bool cut_off;   /* it was started without a pool that somebody leads: emergency mode */
    bool replaced;  /* its pool went on without it: it makes no changes (join/takeover.h) */
    uint64_t epoch; /* of the coordinator, as applied here; xapid_epoch reads it */
    int tls_port, plain_port; /* as bound */
    int nbd_port;             /* 0: none */
    usec_t started;           /* wall clock */
    usec_t opened;            /* the database; monotonic */
    struct mutex timer_lock;
    bool stopping; /* under timer_lock: no further housekeeping, and the server is about to go */
};

static inline uint64_t xapid_epoch(const struct xapid *xapid)
{
    return __atomic_load_n(&xapid->epoch, __ATOMIC_ACQUIRE);
}

/* Opens the database, makes what a first start needs, recovers operations, listens.  On failure
 * everything is undone.  A member of a pool waits until somebody leads it (one that joins: until it
 * was added), and serves only /internal/pool meanwhile. */
MUST_CHECK struct error *xapid_start(struct arena *arena, const struct xapid_options *options,
                                     struct xapid **out);
/* Answers no new calls, waits for short ones, closes.  Domains go on. */
void xapid_stop(struct xapid *xapid);
/* Whether that has begun: what takes long looks now and then, as the end waits for it. */
bool xapid_is_stopping(struct xapid *xapid);

/* Asks for this daemon's end and a new start, after the delay: those who called have their answers.
 */
void xapid_restart_soon(struct xapid *xapid, usec_t delay);
/* Reads the certificate again. */
void xapid_reload(struct xapid *xapid);

struct certificate_trust;
/* The same, and whether it went well. */
MUST_CHECK struct error *xapid_reload_certificate(struct arena *arena, struct xapid *xapid);
/* http_trust_clients. */
MUST_CHECK struct error *xapid_trust_clients(struct arena *arena, struct xapid *xapid,
                                             const struct certificate_trust *trust);

/* A call of the daemon's own, with local root's rights; released with call_release. */
void call_init_internal(struct call *call, struct xapid *xapid, struct arena *arena);
/* Lets go of the call's snapshot and session, not of its arena. */
void call_release(struct call *call);
