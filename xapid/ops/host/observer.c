/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * observer.c -- class Observer: who wants spans of which calls, on which hosts.
 *
 * The rows are all there is to it: every host reads them with each call (xapid/trace).
 */
#include <string.h>

#include "libxapi/value/value.h"
#include "xapid/db/ready.h"
#include "xapid/db/row.h"
#include "xapid/ops/host/here.h"
#include "xapid/ops/rows.h"
#include "xapid/trace/trace.h"

#define TEXT_LIMIT 256
#define ATTRIBUTES_LIMIT 64

/*** what may be set ***/

static struct error *check_hosts(struct call *call, const struct refs *hosts)
{
    for (size_t i = 0; i < hosts->n; i++)
        TRY(host_check(call, hosts->v[i]));
    return OK;
}

static struct error *check_attributes(struct call *call, const struct strmap *attributes)
{
    if (attributes->n > ATTRIBUTES_LIMIT)
        return err_invalid_value(call, "attributes", "more than 64");
    for (size_t i = 0; i < attributes->n; i++)
        if (!*attributes->v[i].key || strlen(attributes->v[i].key) > TEXT_LIMIT ||
            strlen(attributes->v[i].value) > TEXT_LIMIT)
            return err_invalid_value(call, "attributes", attributes->v[i].key);
    return OK;
}

/* Of names there is only one that means something here. */
static struct error *check_only(struct call *call, const char *field, const struct strings *values,
                                const char *only, const char *why)
{
    for (size_t i = 0; i < values->n; i++)
        if (strcmp(values->v[i], only) != 0)
            return err_value_not_supported(call, field, values->v[i], why);
    return OK;
}

/* No collector is spoken to. */
static struct error *check_endpoints(struct call *call, const struct strings *endpoints)
{
    return check_only(call, "endpoints", endpoints, TRACE_ENDPOINT,
                      "spans go to files only: " TRACE_ENDPOINT);
}

static struct error *check_components(struct call *call, const struct strings *components)
{
    return check_only(call, "components", components, TRACE_COMPONENT,
                      "spans come from calls only: " TRACE_COMPONENT);
}

/*** records ***/

static struct error *create_txn(struct txn *txn, void *arg)
{
    TRY(txn_take_turns(txn));
    if (snap_root(txn_snap(txn))->tables[CLASS_observer].count >= OBSERVERS_MAX)
        return err_operation_not_allowed(txn_call(txn), "There are as many observers as can be.");
    txn_create(txn, CLASS_observer, arg);
    return OK;
}

struct error *observer_create(struct call *call, const struct observer_create_args *args,
                              ref_t *result)
{
    const struct observer *given = args->args;
    char uuid[UUID_TEXT_SIZE];
    struct observer row;

    TRY(check_hosts(call, &given->hosts));
    TRY(check_attributes(call, &given->attributes));
    TRY(check_endpoints(call, &given->endpoints));
    TRY(check_components(call, &given->components));
    row_defaults(&api_classes[CLASS_observer], &row);
    row.ref = ref_new();
    row.uuid = uuid_new(uuid);
    row.name_label = given->name_label;
    row.name_description = given->name_description;
    row.hosts = given->hosts;
    row.attributes = given->attributes;
    row.endpoints = given->endpoints;
    row.components = given->components;
    row.enabled = given->enabled;
    TRY(db_update(call, create_txn, &row));
    *result = row.ref;
    return OK;
}

struct error *observer_destroy(struct call *call, const struct observer_destroy_args *args)
{
    return db_update(call, db_destroy_txn, &(struct db_destroy){CLASS_observer, args->self});
}

struct error *observer_set_hosts(struct call *call, const struct observer_set_hosts_args *args)
{
    struct refs hosts = {args->value.n, args->value.v};

    TRY(check_hosts(call, &hosts));
    return CALL_SET(call, observer, args->self, hosts, hosts);
}

struct error *observer_set_enabled(struct call *call, const struct observer_set_enabled_args *args)
{
    return CALL_SET(call, observer, args->self, enabled, args->value);
}

struct error *observer_set_attributes(struct call *call,
                                      const struct observer_set_attributes_args *args)
{
    TRY(check_attributes(call, &args->value));
    return CALL_SET(call, observer, args->self, attributes, args->value);
}

struct error *observer_set_endpoints(struct call *call,
                                     const struct observer_set_endpoints_args *args)
{
    TRY(check_endpoints(call, &args->value));
    return CALL_SET(call, observer, args->self, endpoints, args->value);
}

struct error *observer_set_components(struct call *call,
                                      const struct observer_set_components_args *args)
{
    TRY(check_components(call, &args->value));
    return CALL_SET(call, observer, args->self, components, args->value);
}

/*** telling a host: it knows by the row ***/

static struct error *check_both(struct call *call, ref_t observer, ref_t host)
{
    const struct observer *row;

    TRY(DB_GET(call, observer, observer, &row));
    return host_check(call, host);
}

struct error *observer_register(struct call *call, const struct observer_register_args *args)
{
    return check_both(call, args->self, args->host);
}

struct error *observer_unregister(struct call *call, const struct observer_unregister_args *args)
{
    return check_both(call, args->self, args->host);
}
