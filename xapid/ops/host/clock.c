/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * clock.c -- time zone, time servers and the clock of this host: through timedatectl, and a
 * configuration file of our own for systemd-timesyncd.
 *
 * The time zone is the system's: each start copies it into the record.  The time servers are the
 * record's: each start brings the file up to it.  So nothing here needs an intent.
 */
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "libxapi/base/log.h"
#include "libxapi/value/value.h"
#include "xapid/db/ready.h"
#include "xapid/main/xapid.h"
#include "xapid/ops/host/here.h"
#include "xapid/ops/host/settle.h"
#include "xapid/ops/host/system.h"

#define ZONES_LIMIT 4096
#define SERVERS_LIMIT 16
#define NTP_FILE "/etc/systemd/timesyncd.conf.d/xapid.conf"

/*** time zone ***/

/* The lines of a text that are not empty. */
static struct strings lines(struct call *call, const char *text, size_t limit)
{
    const char **v = arena_array(call->arena, const char *, limit);
    size_t n = 0;

    while (*(text += strspn(text, " \r\n")) && n < limit) {
        size_t len = strcspn(text, "\r\n");

        v[n++] = arena_strndup(call->arena, text, len);
        text += len;
    }
    return (struct strings){n, v};
}

static struct error *zones(struct call *call, struct strings *out)
{
    const char *text;

    TRY(SYSTEM_RUN(call, &text, "timedatectl", "--no-pager", "list-timezones"));
    *out = lines(call, text, ZONES_LIMIT);
    return OK;
}

struct error *host_list_timezones(struct call *call, const struct host_list_timezones_args *args,
                                  struct strings *result)
{
    TRY(host_check_here(call, args->self));
    return zones(call, result);
}

struct error *host_set_timezone(struct call *call, const struct host_set_timezone_args *args)
{
    struct strings known;

    TRY(host_check_here(call, args->self));
    TRY(zones(call, &known));
    if (!strings_contain(&known, args->value))
        return err_invalid_value(call, "timezone", args->value);
    TRY(SYSTEM_RUN(call, NULL, "timedatectl", "set-timezone", args->value));
    return CALL_SET(call, host, args->self, timezone, args->value);
}

/* "" where the system does not say. */
static const char *system_zone(struct call *call)
{
    static const char folder[] = "/zoneinfo/";
    char target[1024];
    ssize_t n = readlink(system_path(call, "/etc/localtime"), target, sizeof target - 1);
    const char *zone;

    if (n < 0)
        return "";
    target[n] = '\0';
    zone = strstr(target, folder);
    return zone ? arena_strdup(call->arena, zone + sizeof folder - 1) : "";
}

/*** time servers ***/

static const char *ntp_text(struct call *call, enum host_ntp_mode mode,
                            const struct strings *servers)
{
    const char *text = "[Time]\nNTP=";

    /* What the distribution set, or nothing at all: no file of ours. */
    if (mode == HOST_NTP_MODE_FACTORY || mode == HOST_NTP_MODE_DISABLED)
        return NULL;
    for (size_t i = 0; mode == HOST_NTP_MODE_CUSTOM && i < servers->n; i++)
        text = arena_printf(call->arena, "%s%s%s", text, i ? " " : "", servers->v[i]);
    /* Without those of the distribution to fall back to; with DHCP the link's are left. */
    return arena_printf(call->arena, "%s\nFallbackNTP=\n", text);
}

static struct error *apply_ntp(struct call *call, void *arg)
{
    enum host_ntp_mode mode = *(enum host_ntp_mode *)arg;

    if (mode == HOST_NTP_MODE_DISABLED)
        return SYSTEM_RUN(call, NULL, "timedatectl", "set-ntp", "false");
    TRY(SYSTEM_RUN(call, NULL, "timedatectl", "set-ntp", "true"));
    if (system_program(call, "chronyd"))
        return OK;
    return SYSTEM_RUN(call, NULL, "systemctl", "restart", "systemd-timesyncd.service");
}

static struct error *set_ntp(struct call *call, enum host_ntp_mode mode,
                             const struct strings *servers)
{
    if (mode == HOST_NTP_MODE_CUSTOM && !servers->n)
        return err_invalid_ntp_config(call, "There are no time servers in ntp_custom_servers.");
    if ((mode == HOST_NTP_MODE_CUSTOM || mode == HOST_NTP_MODE_DHCP) &&
        system_program(call, "chronyd"))
        return err_operation_not_allowed(
            call, "This host keeps time with chrony, whose servers are its own configuration's; "
                  "xapid sets those of systemd-timesyncd only.");
    return system_configure(
        call, &(struct system_file){NTP_FILE, ntp_text(call, mode, servers), apply_ntp, &mode});
}

struct error *host_set_ntp_mode(struct call *call, const struct host_set_ntp_mode_args *args)
{
    const struct host *host;

    TRY(host_check_here(call, args->self));
    TRY(DB_GET(call, host, args->self, &host));
    TRY(set_ntp(call, args->value, &host->ntp_custom_servers));
    return CALL_SET(call, host, args->self, ntp_mode, args->value);
}

struct error *host_set_ntp_custom_servers(struct call *call,
                                          const struct host_set_ntp_custom_servers_args *args)
{
    const struct host *host;

    TRY(host_check_here(call, args->self));
    TRY(DB_GET(call, host, args->self, &host));
    if (args->value.n > SERVERS_LIMIT)
        return err_invalid_ntp_config(call, "There are more than 16 time servers.");
    for (size_t i = 0; i < args->value.n; i++)
        if (!system_is_address(args->value.v[i]))
            return err_invalid_ntp_config(call, arena_printf(call->arena,
                                                             "'%s' is no host name and no address.",
                                                             args->value.v[i]));
    if (host->ntp_mode == HOST_NTP_MODE_CUSTOM)
        TRY(set_ntp(call, host->ntp_mode, &args->value));
    return CALL_SET(call, host, args->self, ntp_custom_servers, args->value);
}

struct error *host_get_ntp_synchronized(struct call *call,
                                        const struct host_get_ntp_synchronized_args *args,
                                        bool *result)
{
    const char *text;

    TRY(host_check_here(call, args->self));
    TRY(SYSTEM_RUN(call, &text, "timedatectl", "show", "--property=NTPSynchronized", "--value"));
    *result = strncmp(text, "yes", 3) == 0;
    return OK;
}

/* What chronyc's letters mean. */
static const char *chrony_state(char letter)
{
    switch (letter) {
    case '*':
        return "selected";
    case '+':
        return "combined";
    case '-':
        return "not combined";
    case 'x':
        return "false ticker";
    case '~':
        return "too variable";
    default:
        return "unreachable";
    }
}

/* Lines "mode,state,name,...". */
static struct strmap chrony_servers(struct call *call, const char *text)
{
    struct strings all = lines(call, text, SERVERS_LIMIT * 4);
    struct strmap out = {0};

    for (size_t i = 0; i < all.n; i++) {
        const char *line = all.v[i];

        if (line[0] && line[1] == ',' && line[2] && line[3] == ',')
            out = strmap_with(call->arena, out,
                              arena_strndup(call->arena, line + 4, strcspn(line + 4, ",")),
                              chrony_state(line[2]));
    }
    return out;
}

/* systemd-timesyncd talks to one server at a time. */
static struct strmap timesyncd_servers(struct call *call, const struct host *host,
                                       const char *current)
{
    struct strmap out = {0};

    for (size_t i = 0; host->ntp_mode == HOST_NTP_MODE_CUSTOM && i < host->ntp_custom_servers.n;
         i++)
        out = strmap_with(call->arena, out, host->ntp_custom_servers.v[i], "not in use");
    return *current ? strmap_with(call->arena, out, current, "selected") : out;
}

struct error *host_get_ntp_servers_status(struct call *call,
                                          const struct host_get_ntp_servers_status_args *args,
                                          struct strmap *result)
{
    const struct host *host;
    const char *text;

    TRY(host_check_here(call, args->self));
    TRY(DB_GET(call, host, args->self, &host));
    *result = (struct strmap){0};
    if (host->ntp_mode == HOST_NTP_MODE_DISABLED)
        return OK;
    if (system_program(call, "chronyc")) {
        TRY(SYSTEM_RUN(call, &text, "chronyc", "-c", "sources"));
        *result = chrony_servers(call, text);
        return OK;
    }
    TRY(SYSTEM_RUN(call, &text, "timedatectl", "show-timesync", "--property=ServerName",
                   "--value"));
    *result =
        timesyncd_servers(call, host, arena_strndup(call->arena, text, strcspn(text, "\r\n")));
    return OK;
}

/*** the clock ***/

struct error *host_set_servertime(struct call *call, const struct host_set_servertime_args *args)
{
    time_t seconds = (time_t)(args->value / USEC_PER_SEC);
    const struct host *host;
    char text[64];
    struct tm utc;

    TRY(host_check_here(call, args->self));
    TRY(DB_GET(call, host, args->self, &host));
    if (host->ntp_mode != HOST_NTP_MODE_DISABLED)
        return err_not_allowed_when_ntp_is_enabled(call, call_ref(call, args->self));
    if (!gmtime_r(&seconds, &utc) || !strftime(text, sizeof text, "%Y-%m-%d %H:%M:%S UTC", &utc))
        return err_invalid_value(call, "value", "not a time");
    return SYSTEM_RUN(call, NULL, "timedatectl", "set-time", text);
}

/*** at start ***/

void clock_settle(struct call *call)
{
    const struct host *host = host_here(call);
    const char *zone = system_zone(call);
    enum host_ntp_mode mode = host->ntp_mode;
    struct error *e;

    system_settle(call,
                  &(struct system_file){NTP_FILE, ntp_text(call, mode, &host->ntp_custom_servers),
                                        apply_ntp, &mode});
    if (!*zone || strcmp(zone, host->timezone) == 0)
        return;
    e = CALL_SET(call, host, host->ref, timezone, zone);
    if (e)
        log_error("this host's time zone is not recorded: %s", error_line(call->arena, e));
}
