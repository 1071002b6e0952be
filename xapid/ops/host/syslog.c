/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * syslog.c -- host.syslog_reconfigure: where this host's logs go besides its own disk.
 *
 * The key syslog_destination of host.logging becomes a file of rsyslog's configuration.  It takes
 * effect when the call is made, not when the key is set, so a start leaves the file alone.
 */
#include <stdlib.h>
#include <string.h>

#include "libxapi/value/value.h"
#include "xapid/main/xapid.h"
#include "xapid/ops/host/here.h"
#include "xapid/ops/host/system.h"

#define SYSLOG_FILE "/etc/rsyslog.d/xapid-remote.conf"

struct destination {
    const char *host;
    int port;
};

/* "name", "1.2.3.4:5140", "[::1]:5140", "2001:db8::1". */
static bool read_destination(struct arena *arena, const char *text, struct destination *out)
{
    const char *colon = strrchr(text, ':'), *port = NULL;
    char *end;
    long n;

    out->port = 514;
    if (*text == '[') {
        const char *close = strchr(text, ']');

        if (!close || (close[1] && close[1] != ':'))
            return false;
        out->host = arena_strndup(arena, text + 1, (size_t)(close - text - 1));
        port = close[1] ? close + 2 : NULL;
    } else if (colon && strchr(text, ':') == colon) {
        out->host = arena_strndup(arena, text, (size_t)(colon - text));
        port = colon + 1;
    } else {
        out->host = text;
    }
    if (port) {
        n = strtol(port, &end, 10);
        if (!*port || *end || n < 1 || n > 65535)
            return false;
        out->port = (int)n;
    }
    return system_is_address(out->host);
}

static struct error *apply(struct call *call, void *arg)
{
    (void)arg;
    return SYSTEM_RUN(call, NULL, "systemctl", "restart", "rsyslog.service");
}

struct error *host_syslog_reconfigure(struct call *call,
                                      const struct host_syslog_reconfigure_args *args)
{
    struct system_file file = {SYSLOG_FILE, NULL, apply, NULL};
    const struct host *host;
    struct destination to;
    const char *text;

    TRY(host_check_here(call, args->host));
    TRY(DB_GET(call, host, args->host, &host));
    text = strmap_get(&host->logging, "syslog_destination");
    if (text && *text) {
        if (!read_destination(call->arena, text, &to))
            return err_invalid_value(call, "syslog_destination", text);
        file.text = arena_printf(call->arena,
                                 "# xapid: host.logging, syslog_destination\n"
                                 "*.* action(type=\"omfwd\" target=\"%s\" port=\"%d\" "
                                 "protocol=\"udp\")\n",
                                 to.host, to.port);
    }
    return system_configure(call, &file);
}
