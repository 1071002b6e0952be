/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* scan.h -- the cards of this host. */
#pragma once

#include "libxapi/base/call.h"

/* At the start of a host that has no PIFs yet: one for each card, with the addresses that it has.
 * Nothing where the network is simulated, whose first PIF is made with the host. */
MUST_CHECK struct error *network_adopt(struct call *call);
