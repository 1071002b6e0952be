/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* rrd_text.c -- round-robin databases as XML, JSON and file: there, back, and damaged on the way.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "xapid/stats/rrd.h"

#define assert_near(a, b, by) assert_true(fabs((a) - (b)) <= (by))

static struct rrd *made(void)
{
    struct rrd *rrd = rrd_new(true);
    double raw[2] = {0};

    assert_int_equal(rrd_add_source(rrd, "a<&\"\\b", RRD_DERIVE, 0, INFINITY), 0);
    assert_int_equal(rrd_add_source(rrd, "second", RRD_GAUGE, -INFINITY, 12.5), 1);
    for (int i = 0; i < 2000; i++) {
        raw[0] += i * 0.37;
        raw[1] = i % 7 ? (double)i / 300 : NAN;
        rrd_update(rrd, ((usec_t)1700000000 + 5 * i) * USEC_PER_SEC, raw);
    }
    return rrd;
}

static void assert_close(double a, double b)
{
    if (isnan(a) && isnan(b))
        return;
    if (isinf(a) && a == b)
        return;
    assert_true(fabs(a - b) <= 1e-13 * fmax(fabs(a), 1));
}

static void assert_equal(const struct rrd *a, const struct rrd *b)
{
    assert_int_equal(a->last_update, b->last_update);
    assert_int_equal(a->n_sources, b->n_sources);
    assert_int_equal(a->n_archives, b->n_archives);
    for (size_t s = 0; s < a->n_sources; s++) {
        assert_string_equal(a->sources[s].name, b->sources[s].name);
        assert_int_equal(a->sources[s].type, b->sources[s].type);
        assert_close(a->sources[s].min, b->sources[s].min);
        assert_close(a->sources[s].max, b->sources[s].max);
        assert_close(a->sources[s].last, b->sources[s].last);
        assert_close(a->sources[s].unknown, b->sources[s].unknown);
    }
    for (size_t i = 0; i < a->n_archives; i++) {
        const struct rrd_archive *x = &a->archives[i], *y = &b->archives[i];

        assert_true(x->cf == y->cf && x->steps == y->steps && x->rows == y->rows &&
                    x->xff == y->xff);
        for (size_t s = 0; s < a->n_sources; s++) {
            assert_close(x->partials[s].value, y->partials[s].value);
            assert_int_equal(x->partials[s].unknown, y->partials[s].unknown);
            for (size_t age = 0; age < x->rows; age++)
                assert_close(rrd_value(a, x, age, s), rrd_value(b, y, age, s));
        }
    }
}

static void xml_comes_back_as_it_was(void **state)
{
    struct rrd *rrd = made(), *again;
    struct buf text = {0};
    const char *why;

    (void)state;
    rrd_write_xml(&text, rrd);
    again = rrd_read_xml(text.data, text.len, &why);
    assert_non_null(again);
    assert_equal(rrd, again);
    rrd_free(again);
    rrd_free(rrd);
    buf_release(&text);
}

static void a_file_comes_back_as_it_was_and_goes_on_the_same(void **state)
{
    struct rrd *rrd = made(), *again;
    struct buf bytes = {0};
    double raw[2] = {1e6, 3};
    const char *why;

    (void)state;
    rrd_encode(&bytes, rrd);
    again = rrd_decode(bytes.data, bytes.len, &why);
    assert_non_null(again);
    assert_equal(rrd, again);
    for (int i = 0; i < 500; i++) {
        rrd_update(rrd, rrd->last_update + 4999999, raw);
        rrd_update(again, again->last_update + 4999999, raw);
    }
    assert_equal(rrd, again);
    rrd_free(again);
    rrd_free(rrd);
    buf_release(&bytes);
}

static void a_file_with_a_bit_changed_or_bytes_missing_is_refused(void **state)
{
    struct rrd *rrd = made();
    struct buf bytes = {0};
    const char *why;

    (void)state;
    rrd_encode(&bytes, rrd);
    for (size_t i = 0; i < bytes.len; i += 997) {
        bytes.data[i] ^= 4;
        assert_null(rrd_decode(bytes.data, bytes.len, &why));
        bytes.data[i] ^= 4;
        assert_null(rrd_decode(bytes.data, i, &why));
    }
    rrd_free(rrd);
    buf_release(&bytes);
}

static void json_has_the_same_structure_and_numbers_as_strings(void **state)
{
    struct rrd *rrd = made();
    struct buf text = {0};
    json_t *json, *row;

    (void)state;
    rrd_write_json(&text, rrd);
    json = json_loadb(text.data, text.len, 0, NULL);
    assert_non_null(json);
    assert_string_equal(json_string_value(json_object_get(json, "version")), "0003");
    assert_int_equal(json_integer_value(json_object_get(json, "step")), 5);
    assert_int_equal(json_array_size(json_object_get(json, "ds")), 2);
    assert_string_equal(
        json_string_value(json_object_get(json_array_get(json_object_get(json, "ds"), 0), "max")),
        "Infinity");
    assert_int_equal(json_array_size(json_object_get(json, "rra")), 12);
    row = json_array_get(
        json_object_get(json_array_get(json_object_get(json, "rra"), 0), "database"), 119);
    assert_int_equal(json_array_size(row), 2);
    assert_true(json_is_string(json_array_get(row, 0)));
    json_decref(json);
    rrd_free(rrd);
    buf_release(&text);
}

static void numbers_are_written_as_clients_read_them(void **state)
{
    static const struct {
        double number;
        const char *text;
    } cases[] = {{0, "0.0"},
                 {-0.0, "0.0"},
                 {NAN, "NaN"},
                 {INFINITY, "Infinity"},
                 {-INFINITY, "-Infinity"},
                 {0.1, "0.1"},
                 {1.0 / 3, "0.333333333333333"},
                 {268435456, "268435456"},
                 {1e20, "1e+20"}};

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct buf out = {0};

        rrd_number(&out, cases[i].number);
        assert_string_equal(out.data, cases[i].text);
        buf_release(&out);
    }
}

#define BEFORE "<rrd><step>5</step><lastupdate>1000</lastupdate>"
#define SOURCE "<ds><name>a</name><type>GAUGE</type></ds>"
#define ARCHIVE                                                                                    \
    "<rra><cf>AVERAGE</cf><pdp_per_row>1</pdp_per_row><xff>0.5</xff><database><row><v>1</v></row>" \
    "</database></rra>"

static void uploads_that_make_no_sense_are_refused(void **state)
{
    static const char *const bad[] = {
        "",
        "no XML",
        "<rrd/>",
        "<xport/>",
        BEFORE "</rrd>",
        BEFORE SOURCE "</rrd>",
        "<rrd><step>300</step><lastupdate>1000</lastupdate>" SOURCE ARCHIVE "</rrd>",
        "<rrd><step>5</step><lastupdate>nan</lastupdate>" SOURCE ARCHIVE "</rrd>",
        "<rrd><step>5</step><lastupdate>-4</lastupdate>" SOURCE ARCHIVE "</rrd>",
        BEFORE SOURCE SOURCE ARCHIVE "</rrd>",
        BEFORE SOURCE ARCHIVE SOURCE "</rrd>",
        BEFORE "<ds><name>a</name><type>WHAT</type></ds>" ARCHIVE "</rrd>",
        BEFORE "<ds><type>GAUGE</type></ds>" ARCHIVE "</rrd>",
        BEFORE SOURCE "<rra><cf>AVERAGE</cf><pdp_per_row>0</pdp_per_row><database><row><v>1</v>"
                      "</row></database></rra></rrd>",
        BEFORE SOURCE "<rra><database><row><v>1</v><v>2</v></row></database></rra></rrd>",
        BEFORE SOURCE "<rra><database><row/></database></rra></rrd>",
        BEFORE SOURCE "<rra><database><row><v>x</v></row></database></rra></rrd>",
        BEFORE SOURCE "<rra><database></database></rra></rrd>",
        BEFORE SOURCE "<rra><cf>AVERAGE</cf>",
        "<!DOCTYPE rrd [<!ENTITY a \"1\">]>" BEFORE SOURCE ARCHIVE "</rrd>",
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        const char *why = NULL;

        if (rrd_read_xml(bad[i], strlen(bad[i]), &why))
            fail_msg("was taken: %s", bad[i]);
        assert_non_null(why);
    }
}

static void a_small_upload_with_white_space_and_comments_is_taken(void **state)
{
    static const char text[] = "<?xml version=\"1.0\"?>\n<rrd><!-- one -->\n <step> 5 </step>"
                               "<lastupdate>1000.25</lastupdate>" SOURCE ARCHIVE "</rrd>";
    struct rrd *rrd;
    const char *why;

    (void)state;
    rrd = rrd_read_xml(text, sizeof text - 1, &why);
    assert_non_null(rrd);
    assert_int_equal(rrd->last_update, 1000250000);
    assert_near(rrd_value(rrd, &rrd->archives[0], 0, 0), 1, 0);
    rrd_free(rrd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(xml_comes_back_as_it_was),
        cmocka_unit_test(a_file_comes_back_as_it_was_and_goes_on_the_same),
        cmocka_unit_test(a_file_with_a_bit_changed_or_bytes_missing_is_refused),
        cmocka_unit_test(json_has_the_same_structure_and_numbers_as_strings),
        cmocka_unit_test(numbers_are_written_as_clients_read_them),
        cmocka_unit_test(uploads_that_make_no_sense_are_refused),
        cmocka_unit_test(a_small_upload_with_white_space_and_comments_is_taken),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
