/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * coalesce.h -- chains of images become shorter: where a hidden image has only one other on it, the
 * two become one (sr.h, vdi_coalesce).
 *
 * A thread does it, one pair after the other, as a task that says how far it is and can be
 * cancelled.  Nobody waits for it: it holds no object, and what somebody does with a disk meanwhile
 * makes it give up that pair, to be tried again.  SR.other_config: "coalesce" or "gc" false: not in
 * this SR; "leaf-coalesce" false (there or in VDI.other_config): disks themselves stay as they are;
 * "coalesce-kbps": KiB a second at most; "last-coalesce-error": what went wrong last.
 *
 * Of several hosts that have an SR one does it: the pool's coordinator, or the first of the others
 * that live, where that does not have it.
 */
#pragma once

#include "xapid/ops/op.h"

struct coalescer;

struct coalescer *coalescer_start(struct xapid *xapid);
/* Stops the thread; then nobody may call but coalescer_free. */
void coalescer_stop(struct coalescer *c);
void coalescer_free(struct coalescer *c);

/* Something was taken away from the SR: its chains are looked at in a while, or 'now'.  Nothing
 * with a NULL coalescer. */
void coalescer_kick(struct coalescer *c, ref_t sr, bool now);
/* The SR is about to be detached: waits until nothing of it is in use by the thread, which gives up
 * what it does there. */
void coalescer_leave(struct coalescer *c, ref_t sr);
