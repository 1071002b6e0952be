/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* wake.h -- wake-on-LAN's packet. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#define WAKE_PACKET_SIZE 102

/* Six bytes of ones, then the address sixteen times.  False if 'mac' is no MAC address. */
bool wake_packet(const char *mac, uint8_t out[WAKE_PACKET_SIZE]);
