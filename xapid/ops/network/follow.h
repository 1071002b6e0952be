/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* follow.h -- a host gets the bonds, VLANs and tunnels that the pool's coordinator has. */
#pragma once

struct call;

/*
 * At the start of a member: what the coordinator has and this host has not is made here, on cards
 * of the same names and networks, as stock members do it, so that machines find their networks on a
 * host that has just joined.  Nothing is changed or removed.  What cannot be made is logged.
 */
void network_follow(struct call *call);
