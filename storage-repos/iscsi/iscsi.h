/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * iscsi.h -- a LUN of an iSCSI target as a block device of this host: settings, sessions, probing.
 *
 * Whoever uses a target says so by a mark, a file "USER.iscsi" in the folder of mounts: USER is the
 * uuid of an attached repository, or "work-PID" for as long as a process works.  The mark is there
 * before the login and goes after the logout, so a session that a kill leaves behind is known, and
 * ends with the next one who comes by.  The last user of a target logs out, unless the session was
 * there before any of us: then it is somebody else's.
 */
#pragma once

#include "storage-repos/common/sr_error.h"
#include "storage-repos/sr.h"

struct apart_request;

/* Whether repositories of this type are on an iSCSI target. */
bool iscsi_serves(const char *type);
/* The target, for errors, even where settings are missing. */
const char *iscsi_name(struct call *call, const struct strmap *device_config);
/* Whether a file in the folder of mounts, after its uuid, is the mark of a repository. */
bool iscsi_is_mark(const char *ending);

/* Strings are the arena's. */
struct iscsi_place {
    const char *system_root, *mounts;
    const char *portal;  /* address and port, as iscsiadm wants them */
    const char *iqn;     /* of the target; NULL: not given */
    const char *scsi_id; /* of the LUN; NULL: not given */
    struct strmap config;
    usec_t deadline; /* for all that is asked of the target */
};
/* Checks the settings; those that a probe may lack may be missing. */
MUST_CHECK struct error *iscsi_place(struct call *call, const struct apart_request *request,
                                     struct iscsi_place *out);
/* Errors for those that a repository may not lack. */
MUST_CHECK struct error *iscsi_is_complete(struct call *call, const struct iscsi_place *place);

/* "work-PID" of this process. */
const char *iscsi_worker(struct call *call);
/* Logs in for this user, unless this host is.  Whoever is done calls iscsi_close, also where this
 * has failed. */
MUST_CHECK struct error *iscsi_open(struct call *call, const struct iscsi_place *place,
                                    const char *user);
/* Logs out unless somebody else uses the target.  Nothing where the user has no mark; the settings
 * need not be known. */
MUST_CHECK struct error *iscsi_close(struct call *call, const struct apart_request *request,
                                     const char *user);
/* The block device of the LUN; waits for it if asked to. */
MUST_CHECK struct error *iscsi_device(struct call *call, const struct iscsi_place *place, bool wait,
                                      const char **out);
/* What a target has, as an error that carries it: its IQNs, or a target's LUNs.  '*complete': the
 * settings name a LUN, and nothing was asked. */
MUST_CHECK struct error *iscsi_probe(struct call *call, const struct apart_request *request,
                                     const struct iscsi_place *place, struct sr_probe *out,
                                     bool *complete);

/* ---- private to the folder ---- */

struct iscsi_lun {
    const char *number, *vendor, *serial;
    const char *scsi_id; /* as udev's scsi_id writes it, "" where the LUN has none */
    const char *device;  /* NULL: not yet */
    int64_t size;        /* bytes */
};
struct iscsi_luns {
    struct iscsi_lun *v;
    size_t n;
};
/* The disks of a session, ordered by number. */
void iscsi_luns(struct call *call, const char *system_root, const char *session,
                struct iscsi_luns *out);
/* The disks of this place's target, once each is a device; those that become none are left out. */
MUST_CHECK struct error *iscsi_all_luns(struct call *call, const struct iscsi_place *place,
                                        struct iscsi_luns *out);
/* This host's session with the target: its name in sysfs, "session12"; NULL: none. */
const char *iscsi_session(struct call *call, const char *system_root, const char *iqn);
/* iscsiadm with these arguments, the last NULL. */
MUST_CHECK struct error *iscsi_run(struct call *call, const struct iscsi_place *place,
                                   enum sr_failure which, const char *const *words,
                                   const char **output);
#define ISCSIADM(call, place, which, ...)                                                          \
    iscsi_run(call, place, which, (const char *const[]){__VA_ARGS__, NULL}, NULL)
/* Sets a value in a record of iscsiadm, which the words name. */
MUST_CHECK struct error *iscsi_set(struct call *call, const struct iscsi_place *place,
                                   enum sr_failure which, const char *const *record,
                                   const char *name, const char *value);
/* The same of all that CHAP needs; 'prefix' is where the record has it. */
MUST_CHECK struct error *iscsi_set_login(struct call *call, const struct iscsi_place *place,
                                         enum sr_failure which, const char *const *record,
                                         const char *prefix);
