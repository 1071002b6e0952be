/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * setting.h -- a setting of this host that is in two places: in a record, and with a program of
 * the system that is told.
 *
 * The system is told first, for it may refuse; then it is recorded.  Whatever goes wrong once it
 * may have been told, also a crash, the system is told what the record says.
 */
#pragma once

#include "xapid/db/db.h"

enum host_setting { HOST_SETTING_SSH, HOST_SETTING_IDLE_STATES, HOST_SETTING_GUEST_AGENTS };

struct host_change {
    enum host_setting setting;
    struct error *(*tell)(struct call *call, void *arg);
    db_txn_fn *record;
    void *arg; /* of both */
};

MUST_CHECK struct error *host_change(struct call *call, const struct host_change *change);

/* Each tells the system what the record says. */
MUST_CHECK struct error *ssh_tell(struct call *call);
MUST_CHECK struct error *idle_states_tell(struct call *call);
MUST_CHECK struct error *guest_agents_tell(struct call *call);
