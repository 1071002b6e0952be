/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "xapid/ops/message.h"

#include <stdlib.h>
#include <string.h>

#include "libxapi/base/seam.h"
#include "tests/unit/ops/lab.h"

static ref_t create(struct lab *lab, const char *name, const char *body)
{
    struct message_create_args args = {.name = name,
                                       .priority = 3,
                                       .cls = CLS_POOL,
                                       .obj_uuid = "7a0f3c9e-2d0f-4a55-9a55-0f0d6bb6a002",
                                       .body = body};
    ref_t ref;

    lab_must(lab, message_create(&lab->call, &args, &ref));
    return ref;
}

static void a_message_is_found_by_reference_uuid_object_and_time(void **state)
{
    struct lab *lab = *state;
    usec_t before = clock_wall() - USEC_PER_SEC;
    ref_t ref = create(lab, "HELLO", "body"), found;
    const struct message *record;
    struct map map;

    lab_must(lab, message_get_record(&lab->call, &(struct message_get_record_args){ref}, &record));
    assert_string_equal(record->name, "HELLO");
    assert_string_equal(record->body, "body");
    assert_int_equal(record->priority, 3);
    lab_must(lab, message_get_by_uuid(&lab->call, &(struct message_get_by_uuid_args){record->uuid},
                                      &found));
    assert_true(ref_equal(ref, found));
    lab_must(lab,
             message_get(&lab->call, &(struct message_get_args){CLS_POOL, record->obj_uuid, before},
                         &map));
    assert_int_equal(map.n, 1);
    lab_must(lab, message_get_since(&lab->call, &(struct message_get_since_args){record->timestamp},
                                    &map));
    assert_int_equal(map.n, 0);
}

static void a_filter_selects_messages_and_an_unknown_field_none(void **state)
{
    struct lab *lab = *state;
    struct message_get_all_records_where_args args = {"field \"name\" = \"B\""};
    struct map map;

    create(lab, "A", "");
    create(lab, "B", "");
    lab_must(lab, message_get_all_records_where(&lab->call, &args, &map));
    assert_int_equal(map.n, 1);
    args.expr = "field \"colour\" = \"B\"";
    lab_must(lab, message_get_all_records_where(&lab->call, &args, &map));
    assert_int_equal(map.n, 0);
}

static void a_message_about_nothing_is_refused(void **state)
{
    struct lab *lab = *state;
    struct message_create_args args = {
        .name = "X", .cls = CLS_VM, .obj_uuid = "7a0f3c9e-2d0f-4a55-9a55-0f0d6bb6a002", .body = ""};
    struct error *e;
    ref_t ref;

    e = message_create(&lab->call, &args, &ref);
    lab_refused(e, "UUID_INVALID");
    assert_string_equal(e->params[0], "VM");
    args.cls = CLS_VMPP;
    lab_refused(message_create(&lab->call, &args, &ref), "UUID_INVALID");
}

static void a_body_that_is_too_long_is_refused_from_clients_and_cut_for_the_daemon(void **state)
{
    struct lab *lab = *state;
    size_t n = MESSAGE_BODY_MAX + 10;
    char *body = arena_alloc(&lab->arena, n + 1);
    struct message_create_args args = {.name = "X",
                                       .cls = CLS_POOL,
                                       .obj_uuid = "7a0f3c9e-2d0f-4a55-9a55-0f0d6bb6a002",
                                       .body = body};
    struct map map;
    ref_t ref;

    memset(body, 'x', n);
    body[n] = '\0';
    lab_refused(message_create(&lab->call, &args, &ref), "INVALID_VALUE");
    alert_create(&lab->call, "X", CLS_POOL, args.obj_uuid, body);
    lab_must(lab, message_get_all_records(&lab->call, &map));
    assert_int_equal(map.n, 1);
}

static void an_alert_has_the_priority_of_its_name(void **state)
{
    struct lab *lab = *state;
    struct map map;
    const struct {
        ref_t ref;
        const struct message *record;
    } * entries;

    alert_create(&lab->call, "VM_CRASHED", CLS_VM, "no matter", "");
    lab_must(lab, message_get_all_records(&lab->call, &map));
    assert_int_equal(map.n, 1);
    entries = map.v;
    assert_int_equal(entries[0].record->priority, 2);
}

static void destroying_many_destroys_all_or_none(void **state)
{
    struct lab *lab = *state;
    ref_t v[4] = {create(lab, "A", ""), create(lab, "B", ""), ref_new(), REF_NULL};
    struct message_destroy_many_args args = {{3, v}};

    lab_refused(message_destroy_many(&lab->call, &args), "HANDLE_INVALID");
    assert_int_equal(lab_count(lab, CLASS_message), 2);
    v[2] = v[0]; /* named twice */
    lab_must(lab, message_destroy_many(&lab->call, &args));
    assert_int_equal(lab_count(lab, CLASS_message), 0);
}

static void destroy_all_obeys_its_filters_and_refuses_those_it_does_not_know(void **state)
{
    struct lab *lab = *state;
    struct strpair pair = {"name", "A"};
    struct message_destroy_all_args args = {{1, &pair}};

    create(lab, "A", "");
    create(lab, "B", "");
    lab_must(lab, message_destroy_all(&lab->call, &args));
    assert_int_equal(lab_count(lab, CLASS_message), 1);
    pair.key = "nmae";
    lab_refused(message_destroy_all(&lab->call, &args), "INVALID_VALUE");
    assert_int_equal(lab_count(lab, CLASS_message), 1);
    args.filters.n = 0;
    lab_must(lab, message_destroy_all(&lab->call, &args));
    assert_int_equal(lab_count(lab, CLASS_message), 0);
}

static struct error *fill(struct txn *txn, void *arg)
{
    struct message row;
    char uuid[UUID_TEXT_SIZE];

    (void)arg;
    for (int i = 0; i < 1000; i++) {
        row_defaults(&api_classes[CLASS_message], &row);
        row.ref = ref_new();
        row.uuid = uuid_new(uuid);
        txn_create(txn, CLASS_message, &row);
    }
    return OK;
}

static void the_oldest_message_goes_when_there_are_too_many(void **state)
{
    struct lab *lab = *state;
    ref_t first = create(lab, "FIRST", ""), last;

    for (int i = 0; i < MESSAGES_MAX / 1000 - 1; i++)
        lab_must(lab, db_update(&lab->call, fill, NULL));
    for (int i = 0; i < 999; i++)
        last = create(lab, "MORE", "");
    assert_int_equal(lab_count(lab, CLASS_message), MESSAGES_MAX);
    assert_non_null(db_find(&lab->call, CLASS_message, first));
    last = create(lab, "LAST", "");
    assert_int_equal(lab_count(lab, CLASS_message), MESSAGES_MAX);
    assert_null(db_find(&lab->call, CLASS_message, first));
    assert_non_null(db_find(&lab->call, CLASS_message, last));
}

#define IN_LAB(test) cmocka_unit_test_setup_teardown(test, lab_setup, lab_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_LAB(a_message_is_found_by_reference_uuid_object_and_time),
        IN_LAB(a_filter_selects_messages_and_an_unknown_field_none),
        IN_LAB(a_message_about_nothing_is_refused),
        IN_LAB(a_body_that_is_too_long_is_refused_from_clients_and_cut_for_the_daemon),
        IN_LAB(an_alert_has_the_priority_of_its_name),
        IN_LAB(destroying_many_destroys_all_or_none),
        IN_LAB(destroy_all_obeys_its_filters_and_refuses_those_it_does_not_know),
        IN_LAB(the_oldest_message_goes_when_there_are_too_many),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
