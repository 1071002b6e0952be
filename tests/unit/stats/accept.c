/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "xapid/stats/accept.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

static void json_comes_first_where_both_are_wanted_alike(void **state)
{
    (void)state;
    assert_true(accept_prefers_json("*/*"));
    assert_true(accept_prefers_json("application/json"));
    assert_true(accept_prefers_json("text/xml, application/json"));
    assert_true(accept_prefers_json("text/html,application/xml;q=0.9,*/*;q=0.8"));
    assert_true(accept_prefers_json("Application/*"));
}

static void xml_comes_where_it_is_wanted_more_or_neither_is(void **state)
{
    (void)state;
    assert_false(accept_prefers_json("text/xml"));
    assert_false(accept_prefers_json("text/*"));
    assert_false(accept_prefers_json("application/json;q=0.4, text/xml; q=0.5"));
    assert_false(accept_prefers_json("*/*, application/json;q=0"));
    assert_false(accept_prefers_json("image/png"));
    assert_false(accept_prefers_json(""));
}

static void nonsense_is_no_wish(void **state)
{
    char text[1000];

    (void)state;
    memset(text, 'a', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    assert_false(accept_prefers_json(text));
    assert_false(accept_prefers_json("application/json;q=high"));
    assert_false(accept_prefers_json(",;,;q=,/"));
    assert_false(accept_prefers_json("application/json;q=2"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(json_comes_first_where_both_are_wanted_alike),
        cmocka_unit_test(xml_comes_where_it_is_wanted_more_or_neither_is),
        cmocka_unit_test(nonsense_is_no_wish),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
