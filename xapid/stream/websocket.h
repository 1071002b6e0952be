/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * websocket.h -- the frames of WebSocket (RFC 6455), server side: bytes in, events out; no sockets,
 * no allocation.
 *
 * Payload is handed on in the pieces it arrives in, so nothing is ever collected but a control
 * frame's at most 125 bytes.
 */
#pragma once

#include "libxapi/base/base.h"

/* Bytes of one frame's payload: nobody types or pastes more at a console. */
#define WS_FRAME_MAX (16 << 20)
#define WS_CONTROL_MAX 125
/* Bytes before the payload of a frame of ours. */
#define WS_HEADER_MAX 10

enum ws_opcode {
    WS_CONTINUATION = 0,
    WS_TEXT = 1,
    WS_BINARY = 2,
    WS_CLOSE = 8,
    WS_PING = 9,
    WS_PONG = 10,
};

/* Reasons to close. */
enum ws_close_code {
    WS_CLOSE_NORMAL = 1000,
    WS_CLOSE_GOING_AWAY = 1001,
    WS_CLOSE_PROTOCOL = 1002,
    WS_CLOSE_BAD_DATA = 1007,
    WS_CLOSE_TOO_BIG = 1009,
};

enum ws_event_kind {
    WS_EVENT_NONE,    /* more bytes are needed */
    WS_EVENT_DATA,    /* a piece of a message; may be empty at its end */
    WS_EVENT_CONTROL, /* a whole WS_PING, WS_PONG or WS_CLOSE */
    WS_EVENT_BROKEN,  /* the client broke the protocol: close with 'code', decode no more */
};

struct ws_event {
    enum ws_event_kind kind;
    enum ws_opcode opcode; /* WS_TEXT or WS_BINARY; of a control frame its own */
    const uint8_t *data;   /* unmasked; inside the bytes given, or the decoder */
    size_t size;
    bool message_end;
    enum ws_close_code code;
};

/* Zeroed is at the beginning of a connection. */
struct ws_decoder {
    uint8_t head[14], control[WS_CONTROL_MAX];
    size_t n_head, n_control;
    uint64_t left; /* of the payload */
    size_t masked; /* bytes of it unmasked so far */
    enum ws_opcode opcode, message;
    bool in_payload, final, in_message, broken;
};

/* Takes some of the n bytes (which it unmasks in place), fills one event, and returns how many it
 * took; all of them for WS_EVENT_NONE. */
size_t ws_decode(struct ws_decoder *d, uint8_t *bytes, size_t n, struct ws_event *out);

/* The header of an unmasked, unfragmented frame; returns its length. */
size_t ws_header(uint8_t out[WS_HEADER_MAX], enum ws_opcode opcode, size_t size);

/* Sec-WebSocket-Accept for the client's key; false if that is none (24 characters of base64). */
#define WS_ACCEPT_SIZE 29
bool ws_accept(const char *key, char out[WS_ACCEPT_SIZE]);
/* True where a comma-separated header has the token, without regard to case. */
bool ws_has_token(const char *header, const char *token);

/*** sub-protocol base64: every message is a whole base64 text ***/

/* Zeroed is at the beginning of a message. */
struct ws_base64 {
    uint32_t bits;
    int digits;  /* of the group so far */
    int padding; /* '=' seen */
};

/*
 * Decodes n characters into 'out' (at least n bytes).  Returns the number of bytes, or -1 for what
 * is not base64.
 */
ssize_t ws_base64_decode(struct ws_base64 *b, const uint8_t *text, size_t n, uint8_t *out);
/* At the end of a message: true if it was complete; ready for the next one. */
bool ws_base64_end(struct ws_base64 *b);
/* Encodes n bytes into 'out' (at least WS_BASE64_SIZE(n) bytes); returns the length. */
#define WS_BASE64_SIZE(n) (((n) + 2) / 3 * 4 + 1)
size_t ws_base64_encode(const uint8_t *bytes, size_t n, char *out);
