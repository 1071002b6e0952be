/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * shared.h -- storage that several hosts of the pool have: it is plugged on all of them, and what
 * could not be plugged is tried again.
 *
 * A PBD that ought to be attached and is not says so in other_config:plug-again, whose value is the
 * reason; its host tries again every now and then, until it is plugged or somebody unplugs it.
 */
#pragma once

#include "xapid/db/db.h"

/* Plugs the SR's PBDs on the other hosts, all at once; one that fails is left to be tried again. */
void sr_plug_elsewhere(struct call *call, ref_t sr);
/* Records that a PBD is not attached, and why; tells administrators where that is news. */
MUST_CHECK struct error *pbd_failed(struct call *call, ref_t pbd, const struct error *why);
/* It is as somebody wanted it. */
void txn_pbd_settled(struct txn *txn, ref_t pbd);
/* Tries again to plug what this host should have; every now and then. */
void srs_plug_again(struct call *call);
/* This host is new in its pool: it gets a PBD for each shared SR that the others have, to be
 * plugged. */
MUST_CHECK struct error *srs_reach_shared(struct call *call);
