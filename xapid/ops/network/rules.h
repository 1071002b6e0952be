/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* rules.h -- what changes of a host's network have to obey, each with the error that says so. */
#pragma once

#include "xapid/ops/network/model.h"

/* PIF_UNMANAGED: the PIF is left to the administrator. */
MUST_CHECK struct error *pif_check_managed(struct net_model *m, const struct pif *pif);
/* NETWORK_UNMANAGED, and NETWORK_ALREADY_CONNECTED where a PIF of the host is on it. */
MUST_CHECK struct error *network_check_free(struct net_model *m, ref_t network);
/* VIF_IN_USE: a machine on this host is attached to the network. */
MUST_CHECK struct error *network_check_idle(struct net_model *m, ref_t network);
/* PIF_IS_MANAGEMENT_INTERFACE. */
MUST_CHECK struct error *pif_check_not_management(struct net_model *m, const struct pif *pif);

/* True while the pool's hosts watch each other: then the way between them stays as it is. */
bool network_is_watched(struct net_model *m);

/* INVALID_IP_ADDRESS_SPECIFIED(name). */
MUST_CHECK struct error *check_ip(struct call *call, int family, const char *name,
                                  const char *text);
/* The same of each of a list between commas. */
MUST_CHECK struct error *check_ip_list(struct call *call, const char *name, const char *text);
/* INVALID_CIDR_ADDRESS_SPECIFIED(name) for what is not "address/bits". */
MUST_CHECK struct error *check_cidr(struct call *call, int family, const char *name,
                                    const char *text);
