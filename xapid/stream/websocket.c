/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "xapid/stream/websocket.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

#include <openssl/evp.h>
#include <openssl/sha.h>

/*** reading frames ***/

static size_t broken(struct ws_decoder *d, size_t used, enum ws_close_code code,
                     struct ws_event *out)
{
    d->broken = true;
    *out = (struct ws_event){.kind = WS_EVENT_BROKEN, .code = code};
    return used;
}

/* Bytes the header has, as far as can be told from those that are here. */
static size_t head_size(const struct ws_decoder *d)
{
    int length = d->head[1] & 0x7f;

    if (d->n_head < 2)
        return 2;
    return 6 + (length == 126 ? 2 : length == 127 ? 8 : 0);
}

static uint64_t payload_size(const struct ws_decoder *d)
{
    int length = d->head[1] & 0x7f;
    int n = length == 126 ? 2 : length == 127 ? 8 : 0;
    uint64_t size = 0;

    if (!n)
        return (uint64_t)length;
    for (int i = 0; i < n; i++)
        size = size << 8 | d->head[2 + i];
    return size;
}

static const uint8_t *mask_of(const struct ws_decoder *d)
{
    return d->head + head_size(d) - 4;
}

static bool is_control(enum ws_opcode opcode)
{
    return opcode >= WS_CLOSE;
}

/* 0, or why the frame is refused. */
static int begin_frame(struct ws_decoder *d)
{
    uint64_t size = payload_size(d);
    int length = d->head[1] & 0x7f;

    d->opcode = d->head[0] & 0x0f;
    d->final = d->head[0] & 0x80;
    if ((d->head[0] & 0x70) || !(d->head[1] & 0x80))
        return WS_CLOSE_PROTOCOL; /* an extension nobody agreed on, or not masked */
    if ((length == 126 && size < 126) || (length == 127 && size < 65536))
        return WS_CLOSE_PROTOCOL; /* a longer length than needed */
    switch (d->opcode) {
    case WS_CONTINUATION:
        if (!d->in_message)
            return WS_CLOSE_PROTOCOL;
        break;
    case WS_TEXT:
    case WS_BINARY:
        if (d->in_message)
            return WS_CLOSE_PROTOCOL;
        d->message = d->opcode;
        break;
    case WS_CLOSE:
    case WS_PING:
    case WS_PONG:
        if (!d->final || size > WS_CONTROL_MAX)
            return WS_CLOSE_PROTOCOL;
        break;
    default:
        return WS_CLOSE_PROTOCOL;
    }
    if (size > WS_FRAME_MAX)
        return WS_CLOSE_TOO_BIG;
    d->left = size;
    d->masked = 0;
    d->n_control = 0;
    d->in_payload = true;
    return 0;
}

static void unmask(struct ws_decoder *d, uint8_t *bytes, size_t n)
{
    const uint8_t *mask = mask_of(d);

    for (size_t i = 0; i < n; i++)
        bytes[i] ^= mask[(d->masked + i) % 4];
    d->masked += n;
    d->left -= n;
}

static void end_frame(struct ws_decoder *d)
{
    d->in_payload = false;
    d->n_head = 0;
}

/* A control frame is given out whole. */
static size_t take_control(struct ws_decoder *d, uint8_t *bytes, size_t n, struct ws_event *out)
{
    size_t here = MIN((uint64_t)n, d->left);

    unmask(d, bytes, here);
    if (here)
        memcpy(d->control + d->n_control, bytes, here);
    d->n_control += here;
    if (d->left)
        return here;
    *out = (struct ws_event){
        .kind = WS_EVENT_CONTROL, .opcode = d->opcode, .data = d->control, .size = d->n_control};
    end_frame(d);
    return here;
}

static size_t take_data(struct ws_decoder *d, uint8_t *bytes, size_t n, struct ws_event *out)
{
    size_t here = MIN((uint64_t)n, d->left);

    unmask(d, bytes, here);
    *out = (struct ws_event){.kind = WS_EVENT_DATA,
                             .opcode = d->message,
                             .data = bytes,
                             .size = here,
                             .message_end = !d->left && d->final};
    if (!d->left) {
        d->in_message = !d->final;
        end_frame(d);
    }
    return here;
}

size_t ws_decode(struct ws_decoder *d, uint8_t *bytes, size_t n, struct ws_event *out)
{
    size_t used = 0, took;
    int code;

    *out = (struct ws_event){.kind = WS_EVENT_NONE};
    if (d->broken)
        return broken(d, n, WS_CLOSE_PROTOCOL, out);
    while (!d->in_payload) {
        if (d->n_head >= 2 && d->n_head == head_size(d)) {
            code = begin_frame(d);
            if (code)
                return broken(d, used, (enum ws_close_code)code, out);
            break;
        }
        if (used == n)
            return used;
        d->head[d->n_head++] = bytes[used++];
    }
    if (used == n && d->left)
        return used;
    took = is_control(d->opcode) ? take_control(d, bytes + used, n - used, out)
                                 : take_data(d, bytes + used, n - used, out);
    return used + took;
}

/*** writing frames ***/

size_t ws_header(uint8_t out[WS_HEADER_MAX], enum ws_opcode opcode, size_t size)
{
    int n = size < 126 ? 0 : size < 65536 ? 2 : 8;

    out[0] = (uint8_t)(0x80 | opcode);
    out[1] = (uint8_t)(n == 0 ? size : n == 2 ? 126 : 127);
    for (int i = 0; i < n; i++)
        out[2 + i] = (uint8_t)((uint64_t)size >> (8 * (n - 1 - i)));
    return 2 + (size_t)n;
}

/*** the handshake ***/

bool ws_accept(const char *key, char out[WS_ACCEPT_SIZE])
{
    static const char salt[] = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
    char text[24 + sizeof salt];
    uint8_t nonce[24], digest[SHA_DIGEST_LENGTH];
    struct ws_base64 b = {0};

    if (strlen(key) != 24 || ws_base64_decode(&b, (const uint8_t *)key, 24, nonce) != 16 ||
        !ws_base64_end(&b))
        return false;
    snprintf(text, sizeof text, "%s%s", key, salt);
    SHA1((const uint8_t *)text, strlen(text), digest);
    ws_base64_encode(digest, sizeof digest, out);
    return true;
}

bool ws_has_token(const char *header, const char *token)
{
    size_t n = strlen(token);

    while (header && *header) {
        size_t size;

        header += strspn(header, ", \t");
        size = strcspn(header, ", \t");
        if (size == n && strncasecmp(header, token, n) == 0)
            return true;
        header += size;
    }
    return false;
}

/*** base64 ***/

static int digit_of(uint8_t c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    return c == '+' ? 62 : c == '/' ? 63 : -1;
}

/* One character; the number of bytes that became known, or -1. */
static int decode_one(struct ws_base64 *b, uint8_t c, uint8_t *out)
{
    int digit = digit_of(c);

    if (c == '=') {
        b->padding++;
        return b->digits < 2 || b->digits + b->padding > 4 ? -1 : 0;
    }
    if (digit < 0 || b->padding)
        return -1;
    b->bits = (b->bits << 6 | (uint32_t)digit) & 0xffffff;
    b->digits = b->digits % 4 + 1;
    if (b->digits == 1)
        return 0;
    *out = (uint8_t)(b->bits >> (8 - 2 * b->digits));
    return 1;
}

ssize_t ws_base64_decode(struct ws_base64 *b, const uint8_t *text, size_t n, uint8_t *out)
{
    ssize_t size = 0;

    for (size_t i = 0; i < n; i++) {
        int got = decode_one(b, text[i], out + size);

        if (got < 0)
            return -1;
        size += got;
    }
    return size;
}

bool ws_base64_end(struct ws_base64 *b)
{
    /* Padding may be left out, but a single digit is no byte. */
    bool good = b->digits != 1 && (!b->padding || b->digits + b->padding == 4);

    *b = (struct ws_base64){0};
    return good;
}

size_t ws_base64_encode(const uint8_t *bytes, size_t n, char *out)
{
    return (size_t)EVP_EncodeBlock((uint8_t *)out, bytes, (int)n);
}
