/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "xapid/boot/facts.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <ifaddrs.h>
#include <limits.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netpacket/packet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "libxapi/value/value.h"

#define TEXT_LIMIT 65536

/*** files ***/

/* The beginning of a small file, without white space at its end; "" where it cannot be read. */
static const char *read_text(struct arena *arena, const char *path)
{
    char *text = arena_alloc(arena, TEXT_LIMIT + 1);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    size_t n = 0;
    ssize_t got;

    if (fd < 0)
        return "";
    while (n < TEXT_LIMIT && (got = read(fd, text + n, TEXT_LIMIT - n)) > 0)
        n += (size_t)got;
    close(fd);
    while (n && strchr(" \t\r\n", text[n - 1]))
        n--;
    text[n] = '\0';
    return text;
}

/* The value of a line "key<white space>: value". */
static const char *line_value(struct arena *arena, const char *text, const char *key)
{
    size_t n = strlen(key);

    for (const char *p = text; p && *p; p = strchr(p, '\n'), p = p ? p + 1 : NULL) {
        const char *rest = p + n;

        if (strncmp(p, key, n) != 0)
            continue;
        rest += strspn(rest, " \t");
        if (*rest != ':')
            continue;
        rest++;
        rest += strspn(rest, " \t");
        return arena_strndup(arena, rest, strcspn(rest, "\n"));
    }
    return "";
}

/*** firmware ***/

/* Printable ASCII only, trimmed: other text would not survive in a guest's tables. */
static const char *printable(struct arena *arena, const char *text)
{
    char *copy = arena_strdup(arena, text), *out = copy;

    for (const char *p = copy; *p; p++)
        if (*p >= ' ' && *p < 127)
            *out++ = *p;
    while (out > copy && out[-1] == ' ')
        out--;
    *out = '\0';
    copy += strspn(copy, " ");
    return strcmp(copy, "Not Specified") == 0 ? "" : copy;
}

static struct strmap read_bios(struct arena *arena)
{
    static const struct {
        const char *key, *file;
    } sources[] = {
        {"bios-vendor", "bios_vendor"},
        {"bios-version", "bios_version"},
        {"system-manufacturer", "sys_vendor"},
        {"system-product-name", "product_name"},
        {"system-version", "product_version"},
        {"system-serial-number", "product_serial"},
        {"baseboard-manufacturer", "board_vendor"},
        {"baseboard-product-name", "board_name"},
        {"baseboard-version", "board_version"},
        {"baseboard-serial-number", "board_serial"},
    };
    struct strmap map = {0};

    for (size_t i = 0; i < ARRAY_SIZE(sources); i++) {
        const char *path = arena_printf(arena, "/sys/class/dmi/id/%s", sources[i].file);

        map = strmap_with(arena, map, sources[i].key, printable(arena, read_text(arena, path)));
    }
    map = strmap_with(arena, map, "oem-1", "Xen");
    map = strmap_with(arena, map, "oem-2",
                      "MS_VM_CERT/SHA1/bdbeb6e0a816d43fa6d3fe8aaef04c2bad9d3e3d");
    return strmap_with(arena, map, "hp-rombios", "");
}

/*** network ***/

struct route {
    char name[IFNAMSIZ];
    struct in_addr gateway;
};

static bool default_route(struct arena *arena, struct route *out)
{
    const char *text = read_text(arena, "/proc/net/route");

    for (const char *p = strchr(text, '\n'); p; p = strchr(p + 1, '\n')) {
        unsigned destination, gateway, flags;

        if (sscanf(p + 1, "%15s %x %x %x", out->name, &destination, &gateway, &flags) == 4 &&
            destination == 0 && (flags & 1)) {
            out->gateway.s_addr = gateway;
            return true;
        }
    }
    return false;
}

static const char *address_text(struct arena *arena, const struct sockaddr *address)
{
    char text[INET_ADDRSTRLEN] = "";

    if (address)
        inet_ntop(AF_INET, &((const struct sockaddr_in *)(const void *)address)->sin_addr, text,
                  sizeof text);
    return arena_strdup(arena, text);
}

static const char *name_servers(struct arena *arena)
{
    const char *text = read_text(arena, "/etc/resolv.conf"), *out = "";

    for (const char *p = text; p && *p; p = strchr(p, '\n'), p = p ? p + 1 : NULL) {
        char server[INET6_ADDRSTRLEN];

        if (sscanf(p, "nameserver %45s", server) == 1)
            out = *out ? arena_printf(arena, "%s,%s", out, server) : arena_strdup(arena, server);
    }
    return out;
}

static const char *nic_text(struct arena *arena, const char *nic, const char *file)
{
    return read_text(arena, arena_printf(arena, "/sys/class/net/%s/%s", nic, file));
}

static void read_link(struct arena *arena, struct nic_facts *nic)
{
    char target[PATH_MAX];
    const char *device = arena_printf(arena, "/sys/class/net/%s/device", nic->name);
    const char *speed = nic_text(arena, nic->name, "speed"), *slash;
    ssize_t n = readlink(device, target, sizeof target - 1);

    nic->carrier = strcmp(nic_text(arena, nic->name, "carrier"), "1") == 0;
    nic->duplex = strcmp(nic_text(arena, nic->name, "duplex"), "full") == 0;
    nic->mac = nic_text(arena, nic->name, "address");
    if (!int_from_text(nic_text(arena, nic->name, "mtu"), &nic->mtu))
        nic->mtu = 1500;
    if (!nic->carrier || !int_from_text(speed, &nic->speed) || nic->speed < 0)
        nic->speed = 0;
    if (n <= 0)
        return;
    target[n] = '\0';
    slash = strrchr(target, '/');
    slash = slash ? slash + 1 : target;
    /* Others than PCI devices (of a hypervisor, for example) have names of other forms. */
    if (strlen(slash) == 12 && slash[4] == ':')
        nic->pci_path = arena_strdup(arena, slash);
    nic->vendor_id = nic_text(arena, nic->name, "device/vendor");
    nic->device_id = nic_text(arena, nic->name, "device/device");
}

static void read_nic(struct arena *arena, struct nic_facts *nic)
{
    struct route route = {0};
    bool routed = default_route(arena, &route);
    struct ifaddrs *all = NULL;

    *nic = (struct nic_facts){.name = "",
                              .mac = "",
                              .ip = "",
                              .netmask = "",
                              .gateway = "",
                              .dns = "",
                              .vendor_id = "",
                              .device_id = "",
                              .pci_path = "",
                              .mtu = 1500};
    if (getifaddrs(&all) < 0)
        return;
    for (const struct ifaddrs *i = all; i; i = i->ifa_next) {
        bool wanted = routed && strcmp(i->ifa_name, route.name) == 0;

        if (!i->ifa_addr || i->ifa_addr->sa_family != AF_INET || (i->ifa_flags & IFF_LOOPBACK) ||
            !(i->ifa_flags & IFF_UP) || (*nic->name && !wanted))
            continue;
        nic->name = arena_strdup(arena, i->ifa_name);
        nic->ip = address_text(arena, i->ifa_addr);
        nic->netmask = address_text(arena, i->ifa_netmask);
        if (wanted)
            break;
    }
    freeifaddrs(all);
    if (!*nic->name)
        return;
    if (routed && route.gateway.s_addr && strcmp(nic->name, route.name) == 0) {
        char text[INET_ADDRSTRLEN] = "";

        inet_ntop(AF_INET, &route.gateway, text, sizeof text);
        nic->gateway = arena_strdup(arena, text);
    }
    nic->dns = name_servers(arena);
    read_link(arena, nic);
}

/*** all of it ***/

static const char *read_timezone(struct arena *arena)
{
    static const char base[] = "/zoneinfo/";
    char target[PATH_MAX];
    ssize_t n = readlink("/etc/localtime", target, sizeof target - 1);
    const char *zone;

    if (n <= 0)
        return "UTC";
    target[n] = '\0';
    zone = strstr(target, base);
    return zone ? arena_strdup(arena, zone + sizeof base - 1) : "UTC";
}

void facts_read(struct arena *arena, struct facts *out)
{
    const char *cpu = read_text(arena, "/proc/cpuinfo");
    struct utsname system;
    char name[256] = "";

    *out = (struct facts){0};
    if (gethostname(name, sizeof name - 1) < 0 || !*name)
        strcpy(name, "localhost");
    out->hostname = arena_strdup(arena, name);
    out->kernel = uname(&system) == 0 ? arena_strdup(arena, system.release) : "";
    out->timezone = read_timezone(arena);
    if (!int_from_text(line_value(arena, cpu, "cpu family"), &out->cpu_family))
        out->cpu_family = 0;
    if (!int_from_text(line_value(arena, cpu, "model"), &out->cpu_model))
        out->cpu_model = 0;
    out->cpu_stepping = line_value(arena, cpu, "stepping");
    out->bios_strings = read_bios(arena);
    read_nic(arena, &out->nic);
}
