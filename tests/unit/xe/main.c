/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* main.c -- all tests of xe that need the whole command, in one program. */
#include "tests/unit/xe/mock.h"

int main(void)
{
    int failed = xe_list_tests();

    failed += xe_params_tests();
    failed += xe_commands_tests();
    return failed != 0;
}
