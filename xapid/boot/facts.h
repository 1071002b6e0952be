/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * facts.h -- what this machine says of itself outside the hypervisor: firmware, kernel, processor
 * numbers and the network interface that carries its address.  Nothing here changes anything.
 */
#pragma once

#include "libxapi/base/arena.h"
#include "libxapi/value/type.h"

/* The interface with the default route, else the first one with an address.  No string is NULL. */
struct nic_facts {
    const char *name; /* "" where there is none */
    const char *mac, *ip, *netmask, *gateway, *dns;
    const char *vendor_id, *device_id, *pci_path; /* "" for one without a PCI device */
    int64_t mtu, speed;                           /* Mb/s, 0 if unknown */
    bool carrier, duplex;
};

struct facts {
    const char *hostname, *kernel, *timezone;
    int64_t cpu_family, cpu_model;
    const char *cpu_stepping;
    struct strmap bios_strings; /* as host.bios_strings */
    struct nic_facts nic;
};

/* Reads them; what cannot be read is empty. */
void facts_read(struct arena *arena, struct facts *out);
