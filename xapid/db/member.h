/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* member.h -- which member of the log a host's daemon is (host_state.member). */
#pragma once

#include "xapid/db/db.h"
#include "xapid/db/log.h"

/* The one row of class takeover. */
#define TAKEOVER_REF ((ref_t){0x74616b656f766572, 1})

/* A raft id as host_state.member has it: 16 hex digits. */
const char *member_id_text(struct arena *arena, uint64_t id);
/* False where it is none. */
bool member_id_of(const char *text, uint64_t *id);
/* Members that have renewed their certificate: the fingerprint by which they are known now. */
size_t members_renewed(const struct db_snap *snap, struct arena *arena, const uint64_t **ids,
                       const char *const **fingerprints);
/* The raft id of a host's daemon; 0 where it has none. */
uint64_t host_member(struct call *call, ref_t host);
/* The same with its address: CANNOT_CONTACT_HOST where it is no member. */
MUST_CHECK struct error *host_log_member(struct call *call, ref_t host, struct log_member *out);
