/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "xapid/db/member.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "xapid/db/row.h"
#include "xapid/main/xapid.h"

#define DIGITS 16

const char *member_id_text(struct arena *arena, uint64_t id)
{
    return arena_printf(arena, "%016" PRIx64, id);
}

bool member_id_of(const char *text, uint64_t *id)
{
    if (!text || strlen(text) != DIGITS || strspn(text, "0123456789abcdef") != DIGITS)
        return false;
    *id = strtoull(text, NULL, 16);
    return *id != 0;
}

size_t members_renewed(const struct db_snap *snap, struct arena *arena, const uint64_t **ids,
                       const char *const **fingerprints)
{
    size_t n = 0, room = snap_root(snap)->tables[CLASS_host_state].count;
    const char **now = arena_array(arena, const char *, room + 1);
    uint64_t *id = arena_array(arena, uint64_t, room + 1);
    const struct host_state *state;
    struct db_walk walk;

    db_walk(snap, CLASS_host_state, &walk);
    while ((state = db_walk_next(&walk)))
        if (*state->identity && member_id_of(state->member, &id[n]))
            now[n++] = arena_strdup(arena, state->identity);
    *ids = id;
    *fingerprints = now;
    return n;
}

uint64_t host_member(struct call *call, ref_t host)
{
    struct refs states = db_referrers(call, FIELD_host_state_host, host);
    const struct host_state *state = states.n ? db_find(call, CLASS_host_state, states.v[0]) : NULL;
    uint64_t id;

    return state && member_id_of(state->member, &id) ? id : 0;
}

struct error *host_log_member(struct call *call, ref_t host, struct log_member *out)
{
    uint64_t id = host_member(call, host);
    struct log_member *all;
    size_t n;

    db_members(call->xapid->db, call->arena, &n, &all);
    for (size_t i = 0; id && i < n; i++) {
        *out = all[i];
        if (all[i].id == id && *all[i].address)
            return OK;
    }
    return err_cannot_contact_host(call, call_ref(call, host));
}
