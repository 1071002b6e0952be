/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* vif_move.h -- within ops/network: the interfaces of running machines that a change of the host's
 * network takes to another bridge. */
#pragma once

#include "xapid/ops/network/model.h"
#include "xapid/ops/op.h"

/* Those that are attached here and whose network is another one in the model. */
struct refs vifs_that_move(struct net_model *m);
/* Takes them there.  Where one fails those before it are where the model has them: move them back.
 */
MUST_CHECK struct error *vifs_move(struct op *op, struct net_model *m, const struct refs *vifs);
/* Puts those that were moved back to where the records have them; each request is made once. */
MUST_CHECK struct error *vifs_move_back(struct op *op, const struct refs *vifs);
