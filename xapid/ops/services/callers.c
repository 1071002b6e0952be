/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* callers.c -- records of clients whose calls are counted, and of the limits they are held to. */
#include <math.h>
#include <string.h>

#include "libxapi/value/value.h"
#include "xapid/auth/callers.h"
#include "xapid/db/ready.h"
#include "xapid/db/row.h"
#include "xapid/main/xapid.h"
#include "xapid/ops/rows.h"

/* Each request is compared with all of them. */
#define CALLERS_LIMIT 256
#define TEXT_LIMIT 1024
#define GROUPS_LIMIT 64

/*** Caller ***/

static struct error *create_caller_txn(struct txn *txn, void *arg)
{
    const struct caller *row = arg, *other;
    struct call *call = txn_call(txn);
    struct db_walk walk;

    TRY(txn_take_turns(txn));
    if (snap_root(txn_snap(txn))->tables[CLASS_caller].count >= CALLERS_LIMIT)
        return err_operation_not_allowed(call, "There are too many objects of class Caller.");
    db_walk(txn_snap(txn), CLASS_caller, &walk);
    while ((other = db_walk_next(&walk)))
        if (strcmp(row->user_agent, other->user_agent) == 0 &&
            strcmp(row->client_ip, other->client_ip) == 0)
            return err_db_uniqueness_constraint_violation(
                call, "Caller", "user_agent,client_ip",
                arena_printf(call->arena, "%s,%s", row->user_agent, row->client_ip));
    txn_create(txn, CLASS_caller, row);
    return OK;
}

struct error *caller_create(struct call *call, const struct caller_create_args *args, ref_t *result)
{
    const struct caller *given = args->args;
    char uuid[UUID_TEXT_SIZE];
    struct caller row;

    if (!*given->user_agent && !*given->client_ip)
        return err_invalid_value(call, "user_agent", given->user_agent);
    if (strlen(given->user_agent) > TEXT_LIMIT)
        return err_invalid_value(call, "user_agent", "too long");
    if (*given->client_ip && !is_ip_address(given->client_ip))
        return err_invalid_ip_address_specified(call, "client_ip");
    row_defaults(&api_classes[CLASS_caller], &row);
    row.ref = ref_new();
    row.uuid = uuid_new(uuid);
    row.name_label = given->name_label;
    row.name_description = given->name_description;
    row.user_agent = given->user_agent;
    row.client_ip = given->client_ip;
    TRY(db_update(call, create_caller_txn, &row));
    *result = row.ref;
    return OK;
}

struct error *caller_destroy(struct call *call, const struct caller_destroy_args *args)
{
    return db_update(call, db_destroy_txn, &(struct db_destroy){CLASS_caller, args->self});
}

static struct error *add_group_txn(struct txn *txn, void *arg)
{
    const struct caller_add_group_args *a = arg;
    struct call *call = txn_call(txn);
    const struct caller *row;

    TRY(TXN_GET(txn, caller, a->self, &row));
    if (!*a->group || strlen(a->group) > TEXT_LIMIT)
        return err_invalid_value(call, "group", a->group);
    if (row->groups.n >= GROUPS_LIMIT)
        return err_operation_not_allowed(call, "The caller is in too many groups.");
    txn_set_add(txn, FIELD_caller_groups, a->self, &a->group);
    return OK;
}

struct error *caller_add_group(struct call *call, const struct caller_add_group_args *args)
{
    return db_update(call, add_group_txn, (void *)args);
}

struct error *caller_remove_group(struct call *call, const struct caller_remove_group_args *args)
{
    return db_update(call, db_set_remove_txn,
                     &(struct db_member){FIELD_caller_groups, args->self, &args->group, NULL});
}

/*** what was used ***/

static struct error *usage(struct call *call, ref_t caller, struct caller_usage *out)
{
    const struct caller *row;

    TRY(DB_GET(call, caller, caller, &row));
    *out = callers_usage(call->xapid->callers, caller);
    return OK;
}

struct error *caller_query_token_usage(struct call *call,
                                       const struct caller_query_token_usage_args *args,
                                       double *result)
{
    struct caller_usage used;

    TRY(usage(call, args->self, &used));
    *result = used.tokens;
    return OK;
}

struct error *caller_query_call_count(struct call *call,
                                      const struct caller_query_call_count_args *args,
                                      int64_t *result)
{
    struct caller_usage used;

    TRY(usage(call, args->self, &used));
    *result = used.calls;
    return OK;
}

static struct caller_usage group_usage(struct call *call, const char *group)
{
    struct caller_usage sum = {0};
    const struct caller *row;
    struct db_walk walk;

    db_walk(call->snap, CLASS_caller, &walk);
    while ((row = db_walk_next(&walk))) {
        struct caller_usage used = callers_usage(call->xapid->callers, row->ref);

        if (!strings_contain(&row->groups, group))
            continue;
        sum.calls += used.calls;
        sum.tokens += used.tokens;
    }
    return sum;
}

struct error *caller_query_group_token_usage(struct call *call,
                                             const struct caller_query_group_token_usage_args *args,
                                             double *result)
{
    *result = group_usage(call, args->group).tokens;
    return OK;
}

struct error *caller_query_group_call_count(struct call *call,
                                            const struct caller_query_group_call_count_args *args,
                                            int64_t *result)
{
    *result = group_usage(call, args->group).calls;
    return OK;
}

/* uuid, name, user agent, address, calls, tokens. */
static struct strings usage_row(struct call *call, const struct caller *row)
{
    struct caller_usage used = callers_usage(call->xapid->callers, row->ref);
    const char **v = arena_array(call->arena, const char *, 6);
    char calls[INT_TEXT_SIZE], tokens[DOUBLE_TEXT_SIZE];

    int_to_text(used.calls, calls);
    double_to_text(used.tokens, 16, tokens);
    v[0] = row->uuid;
    v[1] = row->name_label;
    v[2] = row->user_agent;
    v[3] = row->client_ip;
    v[4] = arena_strdup(call->arena, calls);
    v[5] = arena_strdup(call->arena, tokens);
    return (struct strings){6, v};
}

struct error *caller_query_all_usage(struct call *call, struct set *result)
{
    size_t count = snap_root(call->snap)->tables[CLASS_caller].count, n = 0;
    struct strings *rows = arena_array(call->arena, struct strings, count + 1);
    const struct caller *row;
    struct db_walk walk;

    db_walk(call->snap, CLASS_caller, &walk);
    while ((row = db_walk_next(&walk)))
        rows[n++] = usage_row(call, row);
    *result = (struct set){n, rows};
    return OK;
}

/*** Rate_limit ***/

static struct error *check_positive(struct call *call, const char *field, double value)
{
    char text[DOUBLE_TEXT_SIZE];

    if (isfinite(value) && value > 0)
        return OK;
    double_to_text(value, 16, text);
    return err_invalid_value(call, field, arena_strdup(call->arena, text));
}

struct error *rate_limit_create(struct call *call, const struct rate_limit_create_args *args,
                                ref_t *result)
{
    const struct rate_limit *given = args->args;
    char uuid[UUID_TEXT_SIZE];
    struct rate_limit row;

    TRY(check_positive(call, "burst_size", given->burst_size));
    TRY(check_positive(call, "fill_rate", given->fill_rate));
    TRY(check_room(call, CLASS_rate_limit));
    row_defaults(&api_classes[CLASS_rate_limit], &row);
    row.ref = ref_new();
    row.uuid = uuid_new(uuid);
    row.name_label = given->name_label;
    row.name_description = given->name_description;
    row.burst_size = given->burst_size;
    row.fill_rate = given->fill_rate;
    TRY(db_update(call, db_create_txn, &(struct db_create){CLASS_rate_limit, &row}));
    *result = row.ref;
    return OK;
}

/* Its callers have no limit then. */
struct error *rate_limit_destroy(struct call *call, const struct rate_limit_destroy_args *args)
{
    return db_update(call, db_destroy_txn, &(struct db_destroy){CLASS_rate_limit, args->self});
}

static struct error *add_caller_txn(struct txn *txn, void *arg)
{
    const struct rate_limit_add_caller_args *a = arg;
    const struct rate_limit *limit;
    const struct caller *caller;

    TRY(TXN_GET(txn, rate_limit, a->self, &limit));
    TRY(TXN_GET(txn, caller, a->caller, &caller));
    TXN_SET(txn, caller, a->caller, rate_limit, a->self);
    return OK;
}

struct error *rate_limit_add_caller(struct call *call,
                                    const struct rate_limit_add_caller_args *args)
{
    return db_update(call, add_caller_txn, (void *)args);
}

static struct error *remove_caller_txn(struct txn *txn, void *arg)
{
    const struct rate_limit_remove_caller_args *a = arg;
    const struct rate_limit *limit;
    const struct caller *caller;

    TRY(TXN_GET(txn, rate_limit, a->self, &limit));
    TRY(TXN_GET(txn, caller, a->caller, &caller));
    if (ref_equal(caller->rate_limit, a->self))
        TXN_SET(txn, caller, a->caller, rate_limit, REF_NULL);
    return OK;
}

struct error *rate_limit_remove_caller(struct call *call,
                                       const struct rate_limit_remove_caller_args *args)
{
    return db_update(call, remove_caller_txn, (void *)args);
}

struct error *rate_limit_set_burst_size(struct call *call,
                                        const struct rate_limit_set_burst_size_args *args)
{
    TRY(check_positive(call, "burst_size", args->value));
    return CALL_SET(call, rate_limit, args->self, burst_size, args->value);
}

struct error *rate_limit_set_fill_rate(struct call *call,
                                       const struct rate_limit_set_fill_rate_args *args)
{
    TRY(check_positive(call, "fill_rate", args->value));
    return CALL_SET(call, rate_limit, args->self, fill_rate, args->value);
}
