/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* refresh.h -- the records of this host's devices follow what is there. */
#pragma once

#include "xapid/db/db.h"

/* At start, with xapid->host known: PCI functions, graphics processors and USB devices. */
MUST_CHECK struct error *devices_refresh(struct call *call);
/* PCI functions and graphics processors: what they are, who drives them. */
MUST_CHECK struct error *devices_refresh_pci(struct call *call);
/* USB devices. */
MUST_CHECK struct error *devices_refresh_usb(struct call *call);
/* Each group offers what its cards offer.  After whatever changes a card or its group; should the
 * daemon die before, the next start does it. */
MUST_CHECK struct error *gpu_groups_refresh(struct call *call);
/* "10de/13f2": what cards of one group have in common. */
const char *gpu_kind(struct arena *arena, const struct pci *pci);
/* The type that is the whole card. */
#define PASSTHROUGH_TYPE "0001:passthrough"
