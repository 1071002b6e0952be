/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/unit/db/sample.h"
#include "xapid/db/filter.h"

struct fixture {
    struct arena arena;
    struct db_root *root;
    struct vm web, template;
    struct host host;
};

static void put(struct db_root *root, int class_id, const void *source)
{
    root->revision = 1;
    root_put(root, row_new(&api_classes[class_id], source), 1);
}

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);

    f->root = root_new();
    SAMPLE_NEW(host, &f->host);
    SAMPLE_NEW(vm, &f->web);
    SAMPLE_NEW(vm, &f->template);
    f->web.name_label = "web";
    f->web.power_state = VM_RUNNING;
    f->web.is_a_template = false;
    f->web.resident_on = f->host.ref;
    f->web.vcpus_max = 4;
    f->web.tags = (struct strings){2, (const char *const[]){"a", "it's"}};
    f->template.name_label = "template";
    f->template.is_a_template = true;
    put(f->root, CLASS_host, &f->host);
    put(f->root, CLASS_vm, &f->web);
    put(f->root, CLASS_vm, &f->template);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    root_unref(f->root);
    arena_release(&f->arena);
    free(f);
    return 0;
}

/* "w" for the VM web, "t" for the template, "wt", "", or the error. */
static const char *found_with(struct fixture *f, const char *text, const struct codec_env *env)
{
    struct filter *filter;
    struct rows rows;
    struct error *e = filter_parse(&f->arena, &api_classes[CLASS_vm], text, &filter);
    bool web = false, template = false;

    if (!e)
        e = filter_rows(&f->arena, filter, f->root, env, &rows);
    if (e)
        return error_line(&f->arena, e);
    for (size_t i = 0; i < rows.n; i++) {
        web |= ref_equal(((const struct row *)rows.v[i])->ref, f->web.ref);
        template |= ref_equal(((const struct row *)rows.v[i])->ref, f->template.ref);
    }
    assert_int_equal(rows.n, (size_t)web + template);
    return web ? (template ? "wt" : "w") : template ? "t" : "";
}

static const char *found(struct fixture *f, const char *text)
{
    return found_with(f, text, NULL);
}

static void comparisons_are_by_the_databases_text(void **state)
{
    struct fixture *f = *state;

    assert_string_equal(found(f, "field \"name__label\" = \"web\""), "w");
    assert_string_equal(found(f, "\"web\"=field \"name__label\""), "w");
    assert_string_equal(found(f, "field \"name__label\"=\"WEB\""), "");
    assert_string_equal(found(f, "field \"is_a_template\"=\"true\""), "t");
    assert_string_equal(found(f, "field \"is_a_template\"=\"false\""), "w");
    assert_string_equal(found(f, "field \"is_a_template\"=\"1\""), "");
    assert_string_equal(found(f, "field \"power_state\"=\"Running\""), "w");
    assert_string_equal(found(f, "field \"power_state\"=\"running\""), "");
    assert_string_equal(found(f, "field \"VCPUs__max\"=\"4\""), "w");
    assert_string_equal(found(f, "field \"VCPUs__max\"=\"04\""), "");
    assert_string_equal(found(f, "field \"tags\"=\"('a' 'it\\'s')\""), "w");
    assert_string_equal(found(f, "field \"tags\"=\"()\""), "t");
    assert_string_equal(found(f, "field \"resident_on\"=\"OpaqueRef:NULL\""), "t");
    assert_string_equal(found(f, "field \"resident_on\"=\"\""), "");
    assert_string_equal(found(f, arena_printf(&f->arena, "field \"resident_on\"=\"%s\"",
                                              ref_text(&f->arena, f->host.ref))),
                        "w");
    assert_string_equal(found(f, arena_printf(&f->arena, "field \"_ref\"=\"%s\"",
                                              ref_text(&f->arena, f->template.ref))),
                        "t");
    assert_string_equal(found(f, arena_printf(&f->arena, "field \"uuid\"=\"%s\"", f->web.uuid)),
                        "w");
    assert_string_equal(found(f, "field \"snapshot_time\"=\"19700101T00:00:00Z\""), "wt");
    assert_string_equal(found(f, "field \"name__label\"=field \"name__label\""), "wt");
    assert_string_equal(found(f, "field \"name__label\"=field \"name__description\""), "");
    assert_string_equal(found(f, "\"a\"=\"a\""), "wt");
    assert_string_equal(found(f, "\"a\"=\"b\""), "");
}

static void and_and_or_bind_alike_to_the_left_and_not_takes_the_rest(void **state)
{
    struct fixture *f = *state;

    assert_string_equal(found(f, "true or true and false"), "");
    assert_string_equal(found(f, "true or (true and false)"), "wt");
    assert_string_equal(found(f, "false and true or true"), "wt");
    assert_string_equal(found(f, "not false and false"), "wt");
    assert_string_equal(found(f, "(not false) and false"), "");
    assert_string_equal(found(f, "true and not true or true"), "");
    assert_string_equal(found(f, "not not true"), "wt");
    assert_string_equal(found(f, "not field \"name__label\"=\"web\""), "t");
    assert_string_equal(
        found(f, "field \"name__label\"=\"web\"or field \"name__label\"=\"template\""), "wt");
    assert_string_equal(found(f, " \t\n( ( true ) )\n"), "wt");
    assert_string_equal(found(f, "field\"name__label\"=\"web\"and(true)"), "w");
}

static void what_is_no_expression_is_refused(void **state)
{
    static const char *const wrong[] = {
        "",
        " ",
        "field",
        "field \"a",
        "true false",
        "TRUE",
        "field \"name__label\"",
        "field \"name__label\"==\"web\"",
        "field \"name__label\"=web",
        "field \"is_a_template\"=true",
        "(true",
        "true)",
        "and true",
        "true and",
        "not",
        "field \"a\" != \"b\"",
        "\"a\"",
        "'a'='a'",
        "()",
        "true;",
        "field name=\"a\"",
        "\"a\\\"b\"=\"c\"",
        "true\r",
    };
    struct fixture *f = *state;
    struct filter *filter;

    for (size_t i = 0; i < ARRAY_SIZE(wrong); i++) {
        struct error *e = filter_parse(&f->arena, &api_classes[CLASS_vm], wrong[i], &filter);

        if (!error_is(e, "INVALID_VALUE") || e->n_params != 2 ||
            strcmp(e->params[0], wrong[i]) != 0)
            fail_msg("accepted: %s", wrong[i]);
    }
}

static void depth_and_length_have_limits(void **state)
{
    struct fixture *f = *state;
    AUTO(buf) b = {0};

    for (int i = 0; i < 5000; i++)
        buf_puts(&b, "true and ");
    buf_puts(&b, "true");
    assert_string_equal(found(f, b.data), "wt");
    buf_release(&b);
    for (int i = 0; i < 5000; i++)
        buf_puts(&b, i % 2 ? "not " : "(");
    buf_puts(&b, "true");
    assert_non_null(strstr(found(f, b.data), "nested too deeply"));
    buf_release(&b);
    while (b.len <= FILTER_MAX_TEXT)
        buf_puts(&b, "        ");
    buf_puts(&b, "true");
    assert_non_null(strstr(found(f, b.data), "too long"));
}

static void a_field_that_does_not_exist_is_an_error_when_it_is_looked_at(void **state)
{
    struct fixture *f = *state;
    struct filter *filter;
    struct error *e;
    struct rows rows;

    assert_string_equal(found(f, "field \"name_label\"=\"web\""),
                        "INTERNAL_ERROR(missing field, name_label, )");
    assert_string_equal(found(f, "false and field \"nope\"=\"web\""), "");
    assert_string_equal(found(f, "true or field \"nope\"=\"web\""), "wt");
    assert_string_equal(found(f, "field \"uuid\"=\"x\" and field \"nope\"=\"web\""), "");
    assert_string_equal(found(f, "field \"nope\"=\"a\" and field \"uuid\"=\"x\""),
                        "INTERNAL_ERROR(missing field, nope, )");
    e = filter_parse(&f->arena, &api_classes[CLASS_vdi], "field \"nope\"=\"a\"", &filter);
    assert_null(e);
    assert_null(filter_rows(&f->arena, filter, f->root, NULL, &rows));
    assert_int_equal(rows.n, 0);
}

static void a_role_filter_matches_all_roles(void **state)
{
    struct fixture *f = *state;
    struct filter *filter;
    struct rows rows;

    assert_null(filter_parse(&f->arena, &api_classes[CLASS_role], "what (ever", &filter));
    assert_null(filter_rows(&f->arena, filter, f->root, NULL, &rows));
    assert_int_equal(rows.n, f->root->tables[CLASS_role].count);
}

static const void *derived(const struct codec_env *env, const void *row, const struct field_desc *f)
{
    struct refs *refs = arena_new(env->arena, struct refs);
    ref_t *v = arena_array(env->arena, ref_t, 1);

    (void)row;
    assert_int_equal(f->id, FIELD_vm_vbds);
    v[0] = *(ref_t *)env->ctx;
    *refs = (struct refs){1, v};
    return refs;
}

static void derived_fields_come_from_the_callback(void **state)
{
    struct fixture *f = *state;
    ref_t vbd = {0x1111111111111111, 0x2222222222222222};
    struct codec_env env = {.field_value = derived, .ctx = &vbd};
    const char *text =
        arena_printf(&f->arena, "field \"VBDs\"=\"('%s')\"", ref_text(&f->arena, vbd));

    assert_string_equal(found(f, "field \"VBDs\"=\"()\""), "wt");
    assert_string_equal(found(f, text), "");
    assert_string_equal(found_with(f, text, &env), "wt");
    assert_string_equal(found_with(f, "field \"VBDs\"=\"()\"", &env), "");
}

/* The fast comparisons and the indexes give what the texts would. */
static void every_field_is_found_by_its_text(void **state)
{
    struct fixture *f = *state;
    struct db_root *root = root_new();
    uint64_t seed = 3;
    int tried = 0;

    sample_change(root, &seed, 600);
    for (size_t i = 0; i < api_n_fields; i++) {
        const struct field_desc *field = &api_fields[i];
        const struct class_desc *class = &api_classes[field->class_id];
        struct arena arena = {0};
        struct tree_cursor cursor;
        const struct tree_entry *e;

        if (!field_is_stored(field) || (field->flags & FIELD_INTERNAL) ||
            class->flags & CLASS_STATIC)
            continue;
        tree_seek(&root->tables[class->id], NULL, &cursor);
        for (int n = 0; n < 5 && (e = tree_next(&cursor)); n++) {
            const char *text =
                value_filter_text(&arena, field->type, field_in((const void *)e->k[2], field));
            struct filter *filter, *slow;
            struct rows rows, all;

            if (strchr(text, '"'))
                continue;
            assert_null(filter_parse(
                &arena, class, arena_printf(&arena, "field \"%s\"=\"%s\"", field->db_name, text),
                &filter));
            assert_null(filter_parse(
                &arena, class,
                arena_printf(&arena, "not not (\"%s\"=field \"%s\")", text, field->db_name),
                &slow));
            assert_null(filter_rows(&arena, filter, root, NULL, &rows));
            assert_null(filter_rows(&arena, slow, root, NULL, &all));
            assert_true(rows.n > 0);
            assert_int_equal(rows.n, all.n);
            assert_memory_equal(rows.v, all.v, rows.n * sizeof *rows.v);
            tried++;
        }
        arena_release(&arena);
    }
    assert_true(tried > 500);
    root_unref(root);
    (void)f;
}

int main(void)
{
#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(comparisons_are_by_the_databases_text),
        TEST(and_and_or_bind_alike_to_the_left_and_not_takes_the_rest),
        TEST(what_is_no_expression_is_refused),
        TEST(depth_and_length_have_limits),
        TEST(a_field_that_does_not_exist_is_an_error_when_it_is_looked_at),
        TEST(a_role_filter_matches_all_roles),
        TEST(derived_fields_come_from_the_callback),
        TEST(every_field_is_found_by_its_text),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
