/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "pool/member/plan.h"

size_t member_voters(size_t hosts)
{
    return hosts >= 7 ? 5 : hosts >= 3 ? 3 : 1;
}

static const struct member_seen *member_of(const struct member_world *w, uint64_t id)
{
    for (size_t i = 0; i < w->n_members; i++)
        if (w->members[i].id == id)
            return &w->members[i];
    return NULL;
}

static bool has_left(const struct member_world *w, uint64_t id)
{
    for (size_t i = 0; i < w->n_left; i++)
        if (w->left[i] == id)
            return true;
    return false;
}

static bool has_host(const struct member_world *w, uint64_t id)
{
    for (size_t i = 0; i < w->n_hosts; i++)
        if (w->hosts[i].id == id)
            return !has_left(w, id);
    return false;
}

static bool is_alive(const struct member_world *w, const struct member_seen *m)
{
    return m->id == w->leader || m->silent <= MEMBER_SILENT_LONG;
}

/* Whether a majority of the voters would live, were the member 'id' one or not. */
static bool is_safe(const struct member_world *w, uint64_t id, bool votes)
{
    size_t voters = 0, alive = 0;

    for (size_t i = 0; i < w->n_members; i++) {
        const struct member_seen *m = &w->members[i];

        if (m->id == id ? !votes : m->role != LOG_VOTER)
            continue;
        voters++;
        alive += is_alive(w, m);
    }
    return 2 * alive > voters;
}

static bool assign(struct log_change *out, const struct member_seen *m, enum log_role role)
{
    out->what = LOG_ASSIGN;
    out->id = m->id;
    out->role = role;
    return true;
}

static bool remove_left(const struct member_world *w, struct log_change *out)
{
    for (size_t i = 0; i < w->n_left; i++) {
        const struct member_seen *m = member_of(w, w->left[i]);

        if (!m || m->id == w->leader || (m->role == LOG_VOTER && !is_safe(w, m->id, false)))
            continue;
        out->what = LOG_REMOVE;
        out->id = m->id;
        return true;
    }
    return false;
}

static bool add_missing(const struct member_world *w, struct log_change *out)
{
    for (size_t i = 0; i < w->n_hosts && w->n_members < LOG_MAX_MEMBERS; i++) {
        if (member_of(w, w->hosts[i].id) || has_left(w, w->hosts[i].id))
            continue;
        out->what = LOG_ADD;
        out->id = w->hosts[i].id;
        out->address = w->hosts[i].address;
        return true;
    }
    return false;
}

static bool lift_spare(const struct member_world *w, struct log_change *out)
{
    for (size_t i = 0; i < w->n_members; i++)
        if (w->members[i].role == LOG_SPARE && has_host(w, w->members[i].id))
            return assign(out, &w->members[i], LOG_STANDBY);
    return false;
}

static bool promote(const struct member_world *w, size_t wanted, struct log_change *out)
{
    const struct member_seen *best = NULL;
    size_t alive = 0;

    for (size_t i = 0; i < w->n_members; i++) {
        const struct member_seen *m = &w->members[i];

        if (!is_alive(w, m) || (has_left(w, m->id) && m->id != w->leader))
            continue;
        alive += m->role == LOG_VOTER;
        if (m->role == LOG_STANDBY && has_host(w, m->id) && is_safe(w, m->id, true) &&
            (!best || m->silent < best->silent))
            best = m;
    }
    return best && alive < wanted && assign(out, best, LOG_VOTER);
}

static bool demote(const struct member_world *w, size_t wanted, struct log_change *out)
{
    const struct member_seen *worst = NULL;
    size_t voters = 0;

    for (size_t i = 0; i < w->n_members; i++) {
        const struct member_seen *m = &w->members[i];

        if (m->role != LOG_VOTER)
            continue;
        voters++;
        if (m->id != w->leader && has_host(w, m->id) && is_safe(w, m->id, false) &&
            (!worst || m->silent > worst->silent))
            worst = m;
    }
    return worst && voters > wanted && assign(out, worst, LOG_STANDBY);
}

bool member_plan(const struct member_world *w, struct log_change *out)
{
    size_t hosts = 0, wanted;

    for (size_t i = 0; i < w->n_hosts; i++)
        hosts += !has_left(w, w->hosts[i].id);
    wanted = member_voters(hosts);
    return remove_left(w, out) || add_missing(w, out) || lift_spare(w, out) ||
           promote(w, wanted, out) || demote(w, wanted, out);
}
