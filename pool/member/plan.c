/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "pool/member/plan.h"

size_t member_voters(size_t hosts, bool witness)
{
    return hosts >= 7 ? 5 : hosts >= 3 || (hosts == 2 && witness) ? 3 : 1;
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

static const struct member_host *host_of(const struct member_world *w, uint64_t id)
{
    for (size_t i = 0; i < w->n_hosts; i++)
        if (w->hosts[i].id == id && !has_left(w, id))
            return &w->hosts[i];
    return NULL;
}

static bool has_host(const struct member_world *w, uint64_t id)
{
    return host_of(w, id) != NULL;
}

static bool is_witness(const struct member_world *w, uint64_t id)
{
    const struct member_host *host = host_of(w, id);

    return host && host->witness;
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

/* Hosts before the witness, then who was heard last. */
static bool is_better(const struct member_world *w, const struct member_seen *a,
                      const struct member_seen *b)
{
    if (is_witness(w, a->id) != is_witness(w, b->id))
        return is_witness(w, b->id);
    return a->silent < b->silent;
}

/* Who is silent, then the witness, then who was heard least lately. */
static bool is_worse(const struct member_world *w, const struct member_seen *a,
                     const struct member_seen *b)
{
    return is_alive(w, a) != is_alive(w, b) ? is_alive(w, b) : is_better(w, b, a);
}

/* A witness is no substitute for a third host that is there. */
static bool promote(const struct member_world *w, size_t hosts, size_t wanted,
                    struct log_change *out)
{
    const struct member_seen *best = NULL;
    size_t alive = 0;

    for (size_t i = 0; i < w->n_members; i++) {
        const struct member_seen *m = &w->members[i];

        if (!is_alive(w, m) || has_left(w, m->id))
            continue;
        alive += m->role == LOG_VOTER && !(hosts > 2 && is_witness(w, m->id));
        if (m->role == LOG_STANDBY && has_host(w, m->id) && is_safe(w, m->id, true) &&
            (!best || is_better(w, m, best)))
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
            (!worst || is_worse(w, m, worst)))
            worst = m;
    }
    return worst && voters > wanted && assign(out, worst, LOG_STANDBY);
}

/* The leader has left, and was elected because it still votes: another voter is to lead, which
 * there may have to be first. */
static bool hand_on(const struct member_world *w, struct log_change *out)
{
    const struct member_seen *best = NULL;

    for (size_t i = 0; i < w->n_members; i++) {
        const struct member_seen *m = &w->members[i];

        if (m->role == LOG_SPARE || !has_host(w, m->id) || !is_alive(w, m))
            continue;
        if (!best || m->role > best->role || (m->role == best->role && is_better(w, m, best)))
            best = m;
    }
    if (!best)
        return false;
    if (best->role != LOG_VOTER)
        return assign(out, best, LOG_VOTER);
    out->what = LOG_TRANSFER;
    out->id = best->id;
    return true;
}

/* One that is to be added counts only once it is heard. */
static bool has_witness(const struct member_world *w)
{
    for (size_t i = 0; i < w->n_members; i++)
        if (is_witness(w, w->members[i].id) && is_alive(w, &w->members[i]) &&
            w->members[i].role != LOG_SPARE)
            return true;
    return false;
}

bool member_plan(const struct member_world *w, struct log_change *out)
{
    size_t hosts = 0, wanted;

    for (size_t i = 0; i < w->n_hosts; i++)
        hosts += !w->hosts[i].witness && !has_left(w, w->hosts[i].id);
    if (has_left(w, w->leader))
        return hand_on(w, out);
    wanted = member_voters(hosts, has_witness(w));
    return remove_left(w, out) || add_missing(w, out) || lift_spare(w, out) ||
           promote(w, hosts, wanted, out) || demote(w, wanted, out);
}
