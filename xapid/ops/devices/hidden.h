/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * hidden.h -- the PCI functions that this host keeps from its own drivers from the next boot on:
 * the file <config>/pci-hidden, a PCI id on each line.  xapid-pci.service obeys it when the host
 * boots.
 */
#pragma once

#include "xapid/db/db.h"

/* The ids in the file; none where there is none. */
MUST_CHECK struct error *hidden_read(struct call *call, struct strings *out);
/* Puts an id there, or takes it away; durable when it returns. */
MUST_CHECK struct error *hidden_set(struct call *call, const char *id, bool hidden);
/* What the control domain can do with a function now, and after a reboot. */
enum pci_dom0_access hidden_access(const struct strings *hidden, const char *id,
                                   const char *driver);
