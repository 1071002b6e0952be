/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* wake.c -- host.power_on: switches a machine on from afar, by wake-on-LAN or by a script. */
#include "xapid/ops/host/wake.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "libxapi/value/value.h"
#include "xapid/ops/host/here.h"
#include "xapid/ops/host/plugin.h"

#define PORT 9 /* discard */

bool wake_packet(const char *mac, uint8_t out[WAKE_PACKET_SIZE])
{
    unsigned b[6];
    char rest;

    if (sscanf(mac, "%2x:%2x:%2x:%2x:%2x:%2x%c", &b[0], &b[1], &b[2], &b[3], &b[4], &b[5], &rest) !=
        6)
        return false;
    memset(out, 0xff, 6);
    for (int i = 6; i < WAKE_PACKET_SIZE; i++)
        out[i] = (uint8_t)b[i % 6];
    return true;
}

/* The address of the interface that the host is managed by; "" where there is none. */
static const char *management_mac(struct call *call, ref_t host)
{
    struct refs pifs = db_referrers(call, FIELD_pif_host, host);

    for (size_t i = 0; i < pifs.n; i++) {
        const struct pif *pif = db_find(call, CLASS_pif, pifs.v[i]);

        if (pif && pif->management)
            return pif->mac;
    }
    return "";
}

static struct error *failed(struct call *call, const char *address)
{
    return error_internal(call->arena, "the wake-on-LAN packet was not sent to %s: %s", address,
                          strerror(errno));
}

/* To everybody on the network, or where power_on_ip says: the broadcast address of another one. */
static struct error *wake(struct call *call, const struct host *host)
{
    const char *address = strmap_get(&host->power_on_config, "power_on_ip");
    const char *mac = management_mac(call, host->ref);
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(PORT)};
    uint8_t packet[WAKE_PACKET_SIZE];
    ssize_t sent;
    int fd;

    if (!wake_packet(mac, packet))
        return err_host_has_no_management_ip(call);
    if (!address || !*address)
        address = "255.255.255.255";
    if (inet_pton(AF_INET, address, &to.sin_addr) != 1)
        return err_invalid_value(call, "power_on_ip", address);
    fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return failed(call, address);
    setsockopt(fd, SOL_SOCKET, SO_BROADCAST, &(int){1}, sizeof(int));
    sent = sendto(fd, packet, sizeof packet, MSG_NOSIGNAL, (struct sockaddr *)&to, sizeof to);
    close(fd);
    return sent == sizeof packet ? OK : failed(call, address);
}

/* What speaks DRAC and the like is a program of the administrator's. */
static struct error *run_plugin(struct call *call, const struct host *host)
{
    struct strmap args = host->power_on_config;
    const char *answer = "";

    args = strmap_with(call->arena, args, "remote_host_uuid", host->uuid);
    args = strmap_with(call->arena, args, "power_on_mode", host->power_on_mode);
    TRY(plugin_run(call, "plugins", "power-on-host", "main", &args, &answer));
    return strcmp(answer, "True") == 0
               ? OK
               : error_internal(call->arena, "the plug-in power-on-host said: %s", answer);
}

struct error *host_power_on(struct call *call, const struct host_power_on_args *args)
{
    const struct host *host;

    TRY(DB_GET(call, host, args->host, &host));
    if (!*host->power_on_mode)
        return err_host_power_on_mode_disabled(call);
    return strcmp(host->power_on_mode, "wake-on-lan") == 0 ? wake(call, host)
                                                           : run_plugin(call, host);
}
