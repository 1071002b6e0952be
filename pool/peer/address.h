/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* address.h -- takes addresses of members apart: "HOST:PORT/FINGERPRINT".  Pure. */
#pragma once

#include "pool/peer/peer.h"

#define ADDRESS_HOST_MAX 256

struct address {
    char host[ADDRESS_HOST_MAX]; /* "" of a fingerprint alone */
    int port;
    char fingerprint[PEER_FINGERPRINT_SIZE]; /* in small letters */
};

/* False if it is no address. */
bool address_parse(const char *text, struct address *out);
/* The same, or a fingerprint alone. */
bool address_parse_partial(const char *text, struct address *out);
/* 32 bytes as text. */
void fingerprint_to_text(const uint8_t digest[32], char out[PEER_FINGERPRINT_SIZE]);
