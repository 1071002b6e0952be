/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* pif.h -- within ops/network: what other operations do with PIFs. */
#pragma once

#include "xapid/ops/network/model.h"

/* PIF.plug. */
MUST_CHECK struct error *pif_bring_up(struct call *call, ref_t pif);

/* The parts of plug and unplug that are about records: what rides on the PIF goes down with it. */
MUST_CHECK struct error *model_plug(struct net_model *m, struct pif *pif);
void model_unplug(struct net_model *m, struct pif *pif);
/* No address of either family any more. */
void pif_clear_addresses(struct pif *pif);
/* The addresses, and what clients may do with them, go from one PIF to another: the management
 * interface too. */
void pif_move_addresses(struct pif *from, struct pif *to);
/* A PIF that is no card, like 'base' but for what the caller says. */
struct pif *model_add_pif(struct net_model *m, const struct pif *base, ref_t network);
/* The PIF goes, with its metrics. */
void model_remove_pif(struct net_model *m, ref_t pif);

/* The host a PIF is on; HANDLE_INVALID. */
MUST_CHECK struct error *pif_host(struct call *call, ref_t pif, ref_t *host);
