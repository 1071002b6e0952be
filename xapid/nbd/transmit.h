/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* transmit.h -- within xapid/nbd: the second phase, requests and their replies. */
#pragma once

#include "xapid/nbd/negotiate.h"

/* Answers requests, one after the other, until the client leaves or breaks the rules. */
void nbd_transmit(const struct nbd_negotiation *agreed);
