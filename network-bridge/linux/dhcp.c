/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include "libxapi/base/buf.h"
#include "libxapi/base/child.h"
#include "network-bridge/linux/linux.h"

#define START_LIMIT (30 * USEC_PER_SEC) /* it goes into the background at once */
#define END_LIMIT_MS 10000

/* What the client is to do: an address, and of the rest only what it was asked for.  The address
 * stays when the client ends, for it is the plan that takes it away.  The lease goes by the MAC, as
 * with any other client that this host may have had before. */
static const char config_head[] = "# Made by xapid.\n"
                                  "clientid \"\"\n"
                                  "persistent\n"
                                  "noipv4ll\n"
                                  "noipv6rs\n"
                                  "metric 0\n"
                                  "nohook hostname, ntp.conf, timesyncd.conf\n"
                                  "require dhcp_server_identifier\n"
                                  "option subnet_mask, routers, domain_name_servers, domain_name, "
                                  "domain_search\n"
                                  "option dhcp6_name_servers, dhcp6_domain_search\n";

static const char *mark_path(const char *run, struct arena *arena, const char *device,
                             const char *ending)
{
    return arena_printf(arena, "%s/%s.%s", run, device, ending);
}

static const char *pid_path(struct arena *arena, const char *device, unsigned clients)
{
    bool v4 = clients & NET_DHCP_V4, v6 = clients & NET_DHCP_V6;

    return arena_printf(arena, "/run/dhcpcd/%s%s.pid", device, v4 && v6 ? "" : v6 ? "-6" : "-4");
}

/* A number in a file; 0 where there is none. */
static long number_in(const char *path)
{
    char line[32] = "";
    FILE *f = fopen(path, "re");

    if (!f)
        return 0;
    if (!fgets(line, sizeof line, f))
        line[0] = '\0';
    fclose(f);
    return strtol(line, NULL, 10);
}

/* A descriptor of the client's process; -1 where it has died, or its number is another's now. */
static int client_open(struct arena *arena, const char *device, unsigned clients)
{
    long pid = number_in(pid_path(arena, device, clients));
    int fd = pid > 1 ? pidfd_open((pid_t)pid, 0) : -1;
    char name[32] = "";
    FILE *f;

    if (fd < 0)
        return -1;
    f = fopen(arena_printf(arena, "/proc/%ld/comm", pid), "re");
    if (f && !fgets(name, sizeof name, f))
        name[0] = '\0';
    if (f)
        fclose(f);
    if (strcmp(name, "dhcpcd\n") == 0)
        return fd;
    close(fd);
    return -1;
}

unsigned dhcp_running(const char *run, struct arena *arena, const char *device)
{
    unsigned clients = (unsigned)number_in(mark_path(run, arena, device, "dhcp"));
    int fd = clients ? client_open(arena, device, clients) : -1;

    if (fd < 0)
        return 0;
    close(fd);
    return clients;
}

static struct error *write_file(struct arena *arena, const char *path, const char *text)
{
    FILE *f = fopen(path, "we");
    bool good = f && fputs(text, f) >= 0;

    if (f && fclose(f) != 0)
        good = false;
    return good
               ? OK
               : error_internal(arena, "%s could not be written: %s", path, strerrordesc_np(errno));
}

/* It is gone when this returns, and its addresses are still there. */
static struct error *client_end(const char *run, struct arena *arena, const char *device)
{
    const char *mark = mark_path(run, arena, device, "dhcp");
    unsigned clients = (unsigned)number_in(mark);
    struct pollfd gone = {.fd = clients ? client_open(arena, device, clients) : -1,
                          .events = POLLIN};
    bool ended = gone.fd < 0;

    if (!ended) {
        pidfd_send_signal(gone.fd, SIGTERM, NULL, 0);
        ended = poll(&gone, 1, END_LIMIT_MS) == 1;
        close(gone.fd);
    }
    if (!ended)
        return error_internal(arena, "the DHCP client of %s does not end", device);
    unlink(mark);
    return OK;
}

static struct error *client_start(const char *run, struct arena *arena, const char *device,
                                  unsigned clients)
{
    bool v4 = clients & NET_DHCP_V4, v6 = clients & NET_DHCP_V6;
    const char *config = mark_path(run, arena, device, "conf");
    const char *argv[] = {"dhcpcd", "-q", "-b", "-f", config, device, NULL, NULL};
    struct child_spec spec = {.argv = argv, .timeout = START_LIMIT};
    struct child_result result;

    if (v4 != v6) {
        argv[5] = v6 ? "-6" : "-4";
        argv[6] = device;
    }
    if (mkdir(run, 0755) < 0 && errno != EEXIST)
        return error_internal(arena, "%s could not be made: %s", run, strerrordesc_np(errno));
    TRY(write_file(arena, config,
                   arena_printf(arena, "%s%s%s%s", config_head, v6 ? "ia_na\n" : "",
                                clients & NET_DHCP_ROUTE ? "" : "nogateway\n",
                                clients & NET_DHCP_DNS ? "" : "nohook resolv.conf\n")));
    TRY(write_file(arena, mark_path(run, arena, device, "dhcp"),
                   arena_printf(arena, "%u\n", clients)));
    TRY(child_run(arena, &spec, &result));
    if (result.status == 0 && !result.timed_out)
        return OK;
    return error_internal(arena, "the DHCP client could not be started: %s",
                          result.timed_out ? "it does not go into the background"
                          : *result.errors ? result.errors
                                           : "it does not say why");
}

struct error *dhcp_set(const char *run, struct arena *arena, const char *device, unsigned clients)
{
    TRY(client_end(run, arena, device));
    return clients ? client_start(run, arena, device, clients) : OK;
}
