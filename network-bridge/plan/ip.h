/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* ip.h -- addresses in their text form: what lies in which network. */
#pragma once

#include "libxapi/base/base.h"

struct ip {
    int family; /* AF_INET, AF_INET6 */
    int length; /* of the network's part; the whole address where the text has none */
    uint8_t bytes[16];
};

/* Reads "192.0.2.1", "192.0.2.0/24", "2001:db8::1/64"; false for anything else. */
bool ip_parse(const char *text, struct ip *out);
bool ip_is_v6(const char *text);
/* "0.0.0.0/0" or "::/0". */
bool ip_is_default(const char *network);
/* In fe80::/10. */
bool ip_is_link_local(const char *address);
/* Whether 'address' lies in 'network' (whose bits after the length do not matter). */
bool ip_covers(const char *network, const char *address);
