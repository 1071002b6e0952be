/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "xe-cli/run.h"

#include <string.h>
#include <unistd.h>

#include "xe-cli/errors.h"
#include "xe-cli/help.h"
#include "xe-cli/table.h"

int xe_run(struct xe *xe)
{
    struct error *e = OK;
    bool trace = false;

    e = xe_flag(xe, "minimal", false, &xe->out.minimal);
    xe->out.terminal = !xe->out.minimal && isatty(fileno(xe->out.err));
    if (!e && !strcmp(xe->command, "help"))
        help_run(xe);
    else if (!e)
        e = command_run(xe);
    if (!e) {
        out_flush(&xe->out);
        return ferror(xe->out.out) ? 1 : 0;
    }
    /* The command has failed: its exit code says so, whatever --trace was set to. */
    error_ignore(xe_flag(xe, "trace", false, &trace));
    if (trace && !error_is(e, XE_EXIT))
        out_error(&xe->out, "Raised %s\n", error_line(&xe->arena, e));
    return errors_report(xe, e);
}
