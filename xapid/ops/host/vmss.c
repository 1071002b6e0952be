/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* vmss.c -- schedules of snapshots: the records and the rules they obey. */
#include <string.h>

#include "libxapi/value/value.h"
#include "xapid/db/ready.h"
#include "xapid/db/row.h"

#define SCHEDULES_LIMIT 1000
#define RETAINED_MAX 10

/*** the timetable ***/

static const char *const days[] = {"Monday", "Tuesday",  "Wednesday", "Thursday",
                                   "Friday", "Saturday", "Sunday"};

/* What each key has where nothing was said: all three are always there. */
static const struct strpair defaults[] = {{"min", "0"}, {"hour", "0"}, {"days", "Monday"}};

static const char *default_of(const char *key)
{
    for (size_t i = 0; i < ARRAY_SIZE(defaults); i++)
        if (strcmp(defaults[i].key, key) == 0)
            return defaults[i].value;
    return NULL;
}

static bool is_day(const char *text, size_t n)
{
    for (size_t i = 0; i < ARRAY_SIZE(days); i++)
        if (strlen(days[i]) == n && strncmp(days[i], text, n) == 0)
            return true;
    return false;
}

static bool are_days(const char *text)
{
    for (;;) {
        size_t n = strcspn(text, ",");

        if (!is_day(text, n))
            return false;
        text += n;
        if (!*text)
            return true;
        text += 1 + strspn(text + 1, " ");
    }
}

static struct error *check_entry(struct call *call, const char *key, const char *value)
{
    int64_t number = -1;
    bool is_number = strspn(value, "0123456789") == strlen(value) && strlen(value) <= 2 &&
                     int_from_text(value, &number);
    bool good;

    if (!default_of(key))
        return err_invalid_value(call, "schedule", key);
    if (strcmp(key, "days") == 0)
        good = are_days(value);
    else if (strcmp(key, "hour") == 0)
        good = is_number && number <= 23;
    else
        good = is_number && number <= 45 && number % 15 == 0;
    return good ? OK
                : err_invalid_value(call, arena_printf(call->arena, "schedule:%s", key), value);
}

static struct error *check_schedule(struct call *call, struct strmap *schedule)
{
    for (size_t i = 0; i < schedule->n; i++)
        TRY(check_entry(call, schedule->v[i].key, schedule->v[i].value));
    for (size_t i = 0; i < ARRAY_SIZE(defaults); i++)
        if (!strmap_get(schedule, defaults[i].key))
            *schedule = strmap_with(call->arena, *schedule, defaults[i].key, defaults[i].value);
    return OK;
}

/*** other fields ***/

static struct error *check_retained(struct call *call, int64_t n)
{
    if (n >= 1 && n <= RETAINED_MAX)
        return OK;
    return err_invalid_value(call, "retained_snapshots",
                             arena_printf(call->arena, "%lld", (long long)n));
}

static struct error *check_type(struct call *call, enum vmss_type type)
{
    if (type != VMSS_TYPE_SNAPSHOT_WITH_QUIESCE)
        return OK;
    return err_value_not_supported(call, "type", "snapshot_with_quiesce",
                                   "guests cannot be quiesced any more");
}

static struct error *check_vmss(struct call *call, ref_t ref)
{
    const struct vmss *vmss;

    return DB_GET(call, vmss, ref, &vmss);
}

/*** messages ***/

struct error *vmss_create(struct call *call, const struct vmss_create_args *args, ref_t *result)
{
    const struct vmss *wanted = args->args;
    struct strmap schedule = wanted->schedule;
    char uuid[UUID_TEXT_SIZE];
    struct vmss row;

    if (snap_root(call->snap)->tables[CLASS_vmss].count >= SCHEDULES_LIMIT)
        return err_operation_not_allowed(call, "There are too many snapshot schedules.");
    TRY(check_type(call, wanted->type));
    TRY(check_retained(call, wanted->retained_snapshots));
    TRY(check_schedule(call, &schedule));
    row_defaults(&api_classes[CLASS_vmss], &row);
    row.ref = ref_new();
    row.uuid = uuid_new(uuid);
    row.name_label = wanted->name_label;
    row.name_description = wanted->name_description;
    row.enabled = wanted->enabled;
    row.type = wanted->type;
    row.retained_snapshots = wanted->retained_snapshots;
    row.frequency = wanted->frequency;
    row.schedule = schedule;
    TRY(db_update(call, db_create_txn, &(struct db_create){CLASS_vmss, &row}));
    *result = row.ref;
    return OK;
}

static struct error *destroy_txn(struct txn *txn, void *arg)
{
    ref_t ref = *(const ref_t *)arg;
    const struct vmss *row;

    TRY(TXN_GET(txn, vmss, ref, &row));
    if (txn_referrers(txn, FIELD_vm_snapshot_schedule, ref).n)
        return err_vmss_has_vm(txn_call(txn));
    txn_destroy(txn, CLASS_vmss, ref);
    return OK;
}

struct error *vmss_destroy(struct call *call, const struct vmss_destroy_args *args)
{
    ref_t self = args->self;

    return db_update(call, destroy_txn, &self);
}

struct error *vmss_set_retained_snapshots(struct call *call,
                                          const struct vmss_set_retained_snapshots_args *args)
{
    TRY(check_vmss(call, args->self));
    TRY(check_retained(call, args->value));
    return CALL_SET(call, vmss, args->self, retained_snapshots, args->value);
}

/* The timetable always has what each frequency needs. */
struct error *vmss_set_frequency(struct call *call, const struct vmss_set_frequency_args *args)
{
    TRY(check_vmss(call, args->self));
    return CALL_SET(call, vmss, args->self, frequency, args->value);
}

struct error *vmss_set_schedule(struct call *call, const struct vmss_set_schedule_args *args)
{
    struct strmap schedule = args->value;

    TRY(check_vmss(call, args->self));
    TRY(check_schedule(call, &schedule));
    return CALL_SET(call, vmss, args->self, schedule, schedule);
}

struct entry {
    ref_t vmss;
    const char *key, *value;
};

static struct error *entry_txn(struct txn *txn, void *arg)
{
    const struct entry *e = arg;
    const struct vmss *row;

    TRY(TXN_GET(txn, vmss, e->vmss, &row));
    txn_strmap_put(txn, FIELD_vmss_schedule, e->vmss, e->key, e->value);
    return OK;
}

/* Every key has a value already, so that to add one is to replace it. */
struct error *vmss_add_to_schedule(struct call *call, const struct vmss_add_to_schedule_args *args)
{
    TRY(check_vmss(call, args->self));
    TRY(check_entry(call, args->key, args->value));
    return db_update(call, entry_txn, &(struct entry){args->self, args->key, args->value});
}

struct error *vmss_remove_from_schedule(struct call *call,
                                        const struct vmss_remove_from_schedule_args *args)
{
    const char *value = default_of(args->key);

    TRY(check_vmss(call, args->self));
    if (!value)
        return err_invalid_value(call, "schedule", args->key);
    return db_update(call, entry_txn, &(struct entry){args->self, args->key, value});
}

struct error *vmss_set_last_run_time(struct call *call,
                                     const struct vmss_set_last_run_time_args *args)
{
    TRY(check_vmss(call, args->self));
    return CALL_SET(call, vmss, args->self, last_run_time, args->value);
}

struct error *vmss_set_type(struct call *call, const struct vmss_set_type_args *args)
{
    TRY(check_vmss(call, args->self));
    TRY(check_type(call, args->value));
    return CALL_SET(call, vmss, args->self, type, args->value);
}
