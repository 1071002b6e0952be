/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* coordinator.h -- who is the pool's coordinator. */
#pragma once

#include "libxapi/base/call.h"

/*
 * This host is about to go down: if it is the coordinator another member leads from now on, and the
 * others are a majority without it.  What does not work is logged; a pool whose other members are
 * away stops with this host.
 */
void coordinator_step_down(struct call *call);
