/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * trial.h -- a change of the way to a host's management address has to prove itself.
 *
 * From when it is carried out somebody has --network-trial seconds to reach the host over it.  This
 * counts, and nothing else:
 *
 *   a call with a valid session that came in afterwards over TCP, from another machine and to an
 *   address of the management interface as it is now;
 *   a sign of life, at the level of TCP, of the client that asked for the change, where it waits
 *   for the answer: its connection goes on, so its address is the same;
 *   in a pool, something heard from every other member.
 *
 * Without any of them the change is an error, and goes back.  Where the network is simulated every
 * call over TCP counts.
 */
#pragma once

#include "network-bridge/net.h"
#include "xapid/ops/network/model.h"

struct trial {
    struct reached *reached;     /* NULL: nothing is on trial */
    const char *device, *bridge; /* that carry the management address then */
};

/* On trial where a step of the plan touches what the management address hangs on, before or after
 * the change. */
void trial_begin(struct call *call, struct net_model *m, const struct net_plan *plan,
                 struct trial *out);
/* OK once somebody has reached the host; PIF_CONFIGURATION_ERROR, and an alert, where nobody did.
 */
MUST_CHECK struct error *trial_wait(struct call *call, struct trial *trial,
                                    struct net_kernel *kernel);
void trial_release(struct trial *trial);
