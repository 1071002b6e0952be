/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "libxapi/base/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "libxapi/base/seam.h"

void log_write(enum log_level level, const char *fmt, ...)
{
    char line[2048];
    usec_t now = clock_wall();
    time_t sec = (time_t)(now / USEC_PER_SEC);
    struct tm tm;
    va_list ap;
    size_t n;
    int m;

    if (level == LOG_LEVEL_DEBUG && !getenv("XAPID_DEBUG"))
        return;
    gmtime_r(&sec, &tm);
    n = (size_t)snprintf(line, sizeof line, "<%d>%02d:%02d:%02d.%03d ", level, tm.tm_hour,
                         tm.tm_min, tm.tm_sec, (int)(now % USEC_PER_SEC / 1000));
    va_start(ap, fmt);
    m = vsnprintf(line + n, sizeof line - n - 1, fmt, ap);
    va_end(ap);
    n = MIN(n + (size_t)MAX(m, 0), sizeof line - 2);
    line[n++] = '\n';
    /* One write, so that lines of several threads do not mix; a full log is no reason to fail. */
    if (write(STDERR_FILENO, line, n) < 0)
        return;
}
