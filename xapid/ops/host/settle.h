/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * settle.h -- what each start of the daemon, and the housekeeping, does so that this host is as its
 * record says, and the record as the host is.
 *
 * None of these fails: what does not work is logged, and tried again at the next start.
 */
#pragma once

#include "libxapi/base/call.h"

/* All of the following. */
void host_settle(struct call *call);
/* Enabled, if the machine has booted since. */
void power_settle(struct call *call);
/* The time servers as recorded; the time zone as it is. */
void clock_settle(struct call *call);
/* The shells' idle time and SSH's automatic mode as recorded. */
void ssh_settle(struct call *call);
/* The limit of idle states, which Xen forgets. */
void xen_settle(struct call *call);
/* What the guest agents are told. */
void guest_agent_settle(struct call *call);
/* Whether the host shows itself on its screen, as it is. */
void display_settle(struct call *call);
/* One record for each crash dump that lies on this host. */
void crashdumps_settle(struct call *call);
/* Files of uploads that a crash cut short go. */
void upload_settle(struct call *call);

/* Now and then: switches SSH off once its time is over. */
void ssh_expire(struct call *call);
