/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * protocol.h -- what the daemon and the process behind it (executor or simulator) say to each
 * other.
 *
 * A Unix stream socket carries frames: four bytes of length, most significant first, then that many
 * bytes of JSON, always one object.  `socat` and eyes are enough to debug it.  Every message:
 *
 *   client  {"hello": "xapid-hypervisor", "oldest": 1, "newest": 1}                   first, once
 *   server  {"hello": "xapid-hypervisor", "version": 1, "instance": UUID, "hypervisor":
 * "simulator"} or {"hello": ..., "refused": TEXT}, and the end of the connection client  {"serial":
 * N, "call": NAME, "id": ID, "epoch": E, "timeout_ms": MS, "args": {...}} server  {"serial": N,
 * "result": {...}} or {"serial": N, "error": {"code": CODE, "params": [...]}}, in any order server
 * {"changed": UUID}, to connections that made the call "watch"; "" means: anything may have changed
 *
 * Calls with an id are done at most once.  Asked again with the id, the server answers what it
 * answered the first time, waiting for the end of what still runs.  "outcome" {"id"} answers
 * {"known": bool} and the remembered "result" or "error"; an id it has never seen is sealed by
 * that: a request with it that comes late (from a connection that was lost) is refused.  So "never
 * seen" stays true.
 *
 * The instance names the memory of outcomes: where it differs after a reconnect, "never seen" means
 * nothing about earlier requests.
 *
 * Guest agent keys (hv_domain.guest) are those below /local/domain/<domid> in xenstore, with the
 * same names and values: attr/PVAddons/{Major,Minor,Micro,Build}Version,
 * attr/vif/<device>/{ipv4,ipv6}/<n>, attr/eth<device>/ip, data/os_name, data/os_uname,
 * data/os_distro, data/os_majorver, data/os_minorver, data/meminfo_total, data/meminfo_free (KiB),
 * data/host_name, data/updated, control/feature-*, and vm-data/... as the domain was built with.
 */
#pragma once

#include <jansson.h>

#include "libxapi/base/buf.h"
#include "xapid/hypervisor/hv.h"

#define PROTOCOL_NAME "xapid-hypervisor"
#define PROTOCOL_OLDEST 1
#define PROTOCOL_NEWEST 2
#define PROTOCOL_HELLO_MAX ((size_t)4096)
#define PROTOCOL_REQUEST_MAX ((size_t)1024 * 1024) /* bytes of a frame's body, client to server */
#define PROTOCOL_REPLY_MAX ((size_t)16 * 1024 * 1024) /* server to client */
#define PROTOCOL_MESSAGES_MAX ((size_t)256 * 1024)    /* bytes of the hypervisor's messages */
#define PROTOCOL_KEYS_MAX 64
#define PROTOCOL_WATCHDOG_MAX ((int64_t)3600 * 1000) /* milliseconds */
#define PROTOCOL_DISKS_MAX 256
#define PROTOCOL_NICS_MAX 64
#define PROTOCOL_PCIS_MAX 128
#define PROTOCOL_USBS_MAX 64
#define PROTOCOL_PAIRS_MAX 4096
#define PROTOCOL_DOMAINS_MAX 4096
#define PROTOCOL_COUNTERS_MAX 4096 /* of one thing: processors */
#define PROTOCOL_PORTS_MAX 256

/* How the texts of these failures begin, so that hv_failure_of can tell them from others. */
#define FAILURE_UNKNOWN "hypervisor: outcome unknown: "
#define FAILURE_STALE "hypervisor: stale epoch: "
#define FAILURE_NO_DOMAIN "hypervisor: no such domain: "

/*
 * Frames.
 */
enum frame_state { FRAME_MORE, FRAME_READY, FRAME_BAD };

/* Appends the message as a frame; false, with nothing appended, if its body would be larger than
 * 'limit'. */
MUST_CHECK bool frame_append(struct buf *out, const json_t *message, size_t limit);
/*
 * Looks at 'len' bytes received.  FRAME_READY: *message is the first frame's object (the caller's
 * to json_decref) and *used its bytes.  FRAME_BAD: a length of zero or beyond the limit, or no JSON
 * object; the connection cannot go on; *why says it (static).
 */
MUST_CHECK enum frame_state frame_take(const char *data, size_t len, size_t limit, size_t *used,
                                       json_t **message, const char **why);

/*
 * Reading.  A reader notes the first key that is missing or has the wrong type or size, and answers
 * empty values from then on, so that it is asked once, at the end.  Strings point into the arena.
 */
struct reader {
    struct arena *arena;
    const json_t *object;
    const char *bad; /* the key, or NULL */
};

/* 'object' may be NULL or no object: then every key is missing. */
struct reader reader_of(struct arena *arena, const json_t *object);
/* A string of at most 'max' bytes, never NULL. */
const char *read_text(struct reader *r, const char *key, size_t max);
/* The same, but empty where the key is missing: it came with a later version. */
const char *read_text_if_any(struct reader *r, const char *key, size_t max);
/* A text of a fixed size: a uuid, or an id (which may be empty where 'may_be_empty'). */
void read_uuid(struct reader *r, const char *key, bool may_be_empty, char out[UUID_TEXT_SIZE]);
int64_t read_int(struct reader *r, const char *key, int64_t min, int64_t max);
double read_real(struct reader *r, const char *key);
bool read_bool(struct reader *r, const char *key);
struct strmap read_strmap(struct reader *r, const char *key);
/* The same, but empty (a number 0) where the key is missing: it came with a later version. */
const char *read_text_if_any(struct reader *r, const char *key, size_t max);
int64_t read_int_if_any(struct reader *r, const char *key, int64_t min, int64_t max);
struct strmap read_strmap_if_any(struct reader *r, const char *key);
/* Of a request "watchdog": milliseconds that are left until it bites, at least 1; 0: never.  What
 * the request was on its way is no part of them. */
int64_t read_watchdog(struct reader *r);
/* Texts, at most PROTOCOL_PAIRS_MAX. */
struct strings read_strings(struct reader *r, const char *key);
/* One of 'names' (ends with NULL); its index. */
int read_enum(struct reader *r, const char *key, const char *const *names);

/* A JSON string; bytes that are no UTF-8 (a path in an error's text) become '?'.  Never NULL. */
json_t *json_text(const char *s);

/*
 * Records.  Writers return a new reference; readers copy into the reader's arena and mark the
 * reader where something is wrong.
 */
extern const char *const hv_state_names[];   /* by enum hv_state, ends with NULL */
extern const char *const hv_reason_names[];  /* by enum hv_reason, ends with NULL */
extern const char *const hv_trigger_names[]; /* by enum hv_trigger, ends with NULL */

json_t *write_strmap(const struct strmap *map);
json_t *write_strings(const struct strings *set);
json_t *write_disk(const struct hv_disk *disk);
void read_disk(struct reader *r, struct hv_disk *out);
json_t *write_nic(const struct hv_nic *nic);
void read_nic(struct reader *r, struct hv_nic *out);
json_t *write_usb(const struct hv_usb *usb);
void read_usb(struct reader *r, struct hv_usb *out);
json_t *write_config(const struct hv_domain_config *config);
void read_config(struct reader *r, struct hv_domain_config *out);
json_t *write_domain(const struct hv_domain *domain);
void read_domain(struct reader *r, struct hv_domain *out);
json_t *write_host(const struct hv_host_info *host);
void read_host(struct reader *r, struct hv_host_info *out);
json_t *write_stats(const struct hv_stats *stats);
void read_stats(struct reader *r, struct hv_stats *out);
json_t *write_error(const struct error *e);
/* Never NULL: what cannot be read becomes an error that says so. */
MUST_CHECK struct error *read_error(struct arena *arena, const json_t *value);
