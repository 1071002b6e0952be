/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* dump.c -- the database as XML, read again; another database in place of the one there is. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "tests/unit/db/sample.h"
#include "xapid/db/dump.h"
#include "xapid/db/ready.h"
#include "xapid/db/replace.h"

/*** values ***/

static bool reads_back(struct arena *arena, int field, const char *text)
{
    const struct type *type = api_fields[field].type;
    void *value = arena_zalloc(arena, type->size);

    return dump_value(arena, type, text, value) &&
           strcmp(value_filter_text(arena, type, value), text) == 0;
}

static void values_keep_their_text(void **state)
{
    static const struct {
        int field;
        const char *text;
    } cases[] = {
        {FIELD_vm_name_label, "it's a \\ and \"b\" <c> & \xc3\xa4"},
        {FIELD_vm_name_label, ""},
        {FIELD_vm_is_a_template, "true"},
        {FIELD_vm_memory_target, "-9223372036854775808"},
        {FIELD_vm_power_state, "Running"},
        {FIELD_vm_affinity, "OpaqueRef:NULL"},
        {FIELD_vm_affinity, "OpaqueRef:0926fb0c-1767-40b8-b21d-f961f5937143"},
        {FIELD_vm_other_config, "()"},
        {FIELD_vm_other_config, "(('it\\'s' 'a \\\\') ('' '(\\'b\\' c)'))"},
        {FIELD_vm_tags, "('a' 'b c' '')"},
        {FIELD_vm_blobs, "(('a' 'OpaqueRef:0926fb0c-1767-40b8-b21d-f961f5937143'))"},
        {FIELD_vm_metrics_vcpus_flags, "(('0' ('r' 'b')) ('1' ()))"},
        {FIELD_blob_last_updated, "20260131T00:00:00Z"},
    };
    AUTO(arena) arena = {0};

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
        assert_true(reads_back(&arena, cases[i].field, cases[i].text));
}

static void what_is_no_value_is_refused(void **state)
{
    static const struct {
        int field;
        const char *text;
    } cases[] = {
        {FIELD_vm_is_a_template, "yes"},
        {FIELD_vm_memory_target, "12x"},
        {FIELD_vm_power_state, "Flying"},
        {FIELD_vm_affinity, "nobody"},
        {FIELD_vm_other_config, ""},
        {FIELD_vm_other_config, "("},
        {FIELD_vm_other_config, "(('a'))"},
        {FIELD_vm_other_config, "(('a' 'b')"},
        {FIELD_vm_other_config, "() ()"},
        {FIELD_vm_tags, "('a"},
        {FIELD_vm_tags, "('a\\"},
        {FIELD_vm_tags, "(a)"},
        {FIELD_blob_last_updated, "tomorrow"},
    };
    AUTO(arena) arena = {0};

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
        assert_false(reads_back(&arena, cases[i].field, cases[i].text));
}

/*** databases ***/

static void dump(const struct db_root *root, struct buf *out, size_t want)
{
    struct dump_writer w;

    dump_begin(root, &w);
    while (dump_next(&w, out, want))
        ;
}

static struct error *load(struct arena *arena, const struct buf *text, size_t piece,
                          struct db_root **root)
{
    struct dump_reader *r = dump_reader_new();
    struct error *e;

    for (size_t at = 0; at < text->len; at += piece)
        if (!dump_reader_feed(r, text->data + at, MIN(piece, text->len - at)))
            break;
    e = dump_reader_end(arena, r, root);
    dump_reader_free(r);
    return e;
}

static void a_dump_that_is_read_is_the_same_dump(void **state)
{
    AUTO(arena) arena = {0};

    (void)state;
    for (uint64_t seed = 1; seed < 9; seed++) {
        struct db_root *root = root_new(), *first, *second;
        struct buf a = {0}, b = {0}, c = {0};
        struct error *e;

        sample_change(root, &(uint64_t){seed}, (int)(seed * 40));
        dump(root, &a, 1000);
        e = load(&arena, &a, 4096, &first);
        if (e)
            fail_msg("%s", error_line(&arena, e));
        assert_int_equal(first->tables[CLASS_vm].count, root->tables[CLASS_vm].count);
        assert_int_equal(first->tables[CLASS_task].count, 0);
        assert_int_equal(first->log_index, 0);
        assert_int_equal(sample_faults(first), 0);
        assert_true(first->incarnation != root->incarnation);
        dump(first, &b, 1 << 20);
        assert_null(load(&arena, &b, 17, &second));
        dump(second, &c, 1);
        assert_string_equal(b.data, c.data);
        buf_release(&a);
        buf_release(&b);
        buf_release(&c);
        root_unref(root);
        root_unref(first);
        root_unref(second);
    }
}

static void a_cut_dump_is_refused(void **state)
{
    struct db_root *root = root_new(), *again;
    AUTO(arena) arena = {0};
    struct buf text = {0};
    size_t whole;

    (void)state;
    sample_change(root, &(uint64_t){3}, 40);
    dump(root, &text, 1000);
    whole = text.len - strlen("</database>\n");
    for (size_t n = 0; n < whole; n += 1 + n / 10) {
        text.len = n;
        assert_non_null(load(&arena, &text, 4096, &again));
    }
    buf_release(&text);
    root_unref(root);
}

/*** in place of the one there is ***/

struct place {
    struct arena arena;
    char *top;
    const char *dir;
};

static void place_make(struct place *p)
{
    p->top = sample_dir(&p->arena);
    p->dir = arena_printf(&p->arena, "%s/db", p->top);
    assert_int_equal(mkdir(p->dir, 0700), 0);
    assert_int_equal(mkdir(arena_printf(&p->arena, "%s/raft", p->dir), 0700), 0);
}

static void place_free(struct place *p)
{
    sample_remove_dir(p->top);
    arena_release(&p->arena);
}

static bool has_new(struct place *p)
{
    return access(arena_printf(&p->arena, "%s/xapid.db", p->dir), F_OK) == 0;
}

static void stage(struct place *p)
{
    struct db_root *root = root_new();

    sample_change(root, &(uint64_t){5}, 40);
    root->log_index = 0;
    assert_null(db_replace_stage(&p->arena, p->dir, root));
    root_unref(root);
}

static void what_was_staged_takes_the_place_at_the_next_start(void **state)
{
    struct place p = {0};

    (void)state;
    place_make(&p);
    assert_null(db_replace_settle(&p.arena, p.dir));
    assert_false(has_new(&p));
    stage(&p);
    stage(&p);
    assert_false(has_new(&p));
    assert_null(db_replace_settle(&p.arena, p.dir));
    assert_true(has_new(&p));
    assert_int_equal(access(arena_printf(&p.arena, "%s.before-restore/raft", p.dir), F_OK), 0);
    assert_int_equal(sample_count_files(p.top, "db"), 2);
    place_free(&p);
}

static void a_crash_between_the_renames_is_gone_over(void **state)
{
    struct place p = {0};

    (void)state;
    place_make(&p);
    stage(&p);
    assert_int_equal(rename(p.dir, arena_printf(&p.arena, "%s.before-restore", p.dir)), 0);
    assert_null(db_replace_settle(&p.arena, p.dir));
    assert_true(has_new(&p));
    assert_int_equal(access(arena_printf(&p.arena, "%s.before-restore/raft", p.dir), F_OK), 0);
    /* The next one takes the place of both. */
    stage(&p);
    assert_null(db_replace_settle(&p.arena, p.dir));
    assert_true(has_new(&p));
    assert_int_not_equal(access(arena_printf(&p.arena, "%s.before-restore/raft", p.dir), F_OK), 0);
    place_free(&p);
}

static void one_that_was_not_staged_to_the_end_counts_for_nothing(void **state)
{
    struct place p = {0};

    (void)state;
    place_make(&p);
    assert_int_equal(mkdir(arena_printf(&p.arena, "%s.restore.new", p.dir), 0700), 0);
    assert_null(db_replace_settle(&p.arena, p.dir));
    assert_false(has_new(&p));
    assert_int_equal(sample_count_files(p.top, "db"), 1);
    stage(&p);
    assert_null(db_replace_settle(&p.arena, p.dir));
    assert_true(has_new(&p));
    place_free(&p);
}

static void what_is_taken_back_leaves_the_one_there_is(void **state)
{
    struct place p = {0};

    (void)state;
    place_make(&p);
    assert_null(db_replace_unstage(&p.arena, p.dir));
    stage(&p);
    assert_null(db_replace_unstage(&p.arena, p.dir));
    assert_null(db_replace_settle(&p.arena, p.dir));
    assert_false(has_new(&p));
    assert_int_equal(sample_count_files(p.top, "db"), 1);
    place_free(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(values_keep_their_text),
        cmocka_unit_test(what_is_no_value_is_refused),
        cmocka_unit_test(a_dump_that_is_read_is_the_same_dump),
        cmocka_unit_test(a_cut_dump_is_refused),
        cmocka_unit_test(what_was_staged_takes_the_place_at_the_next_start),
        cmocka_unit_test(a_crash_between_the_renames_is_gone_over),
        cmocka_unit_test(one_that_was_not_staged_to_the_end_counts_for_nothing),
        cmocka_unit_test(what_is_taken_back_leaves_the_one_there_is),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
