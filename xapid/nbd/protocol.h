/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* protocol.h -- within xapid/nbd: the numbers of the NBD protocol, and what both phases share. */
#pragma once

#include "libxapi/base/base.h"

#define NBD_MAGIC 0x4e42444d41474943ull
#define NBD_OPTION_MAGIC 0x49484156454f5054ull
#define NBD_REPLY_MAGIC 0x0003e889045565a9ull
#define NBD_REQUEST_MAGIC 0x25609513u
#define NBD_SIMPLE_MAGIC 0x67446698u
#define NBD_STRUCTURED_MAGIC 0x668e33efu

/* What a client may ask to read at once: what it may assume where nothing is said. */
#define NBD_REQUEST_MAX (32u << 20)
#define NBD_REQUEST_GOOD (2u << 20)

/* Flags of the handshake, the same from both sides. */
enum { NBD_FIXED_NEWSTYLE = 1 << 0, NBD_NO_ZEROES = 1 << 1 };

enum nbd_option {
    NBD_OPT_EXPORT_NAME = 1,
    NBD_OPT_ABORT = 2,
    NBD_OPT_LIST = 3,
    NBD_OPT_STARTTLS = 5,
    NBD_OPT_INFO = 6,
    NBD_OPT_GO = 7,
    NBD_OPT_STRUCTURED_REPLY = 8,
    NBD_OPT_LIST_META_CONTEXT = 9,
    NBD_OPT_SET_META_CONTEXT = 10,
};

#define NBD_REP_ERROR 0x80000000u
enum {
    NBD_REP_ACK = 1,
    NBD_REP_INFO = 3,
    NBD_REP_META_CONTEXT = 4,
};
#define NBD_REP_ERR_UNSUP (NBD_REP_ERROR | 1)
#define NBD_REP_ERR_POLICY (NBD_REP_ERROR | 2)
#define NBD_REP_ERR_INVALID (NBD_REP_ERROR | 3)
#define NBD_REP_ERR_TLS_REQD (NBD_REP_ERROR | 5)
#define NBD_REP_ERR_UNKNOWN (NBD_REP_ERROR | 6)
#define NBD_REP_ERR_TOO_BIG (NBD_REP_ERROR | 9)

enum { NBD_INFO_EXPORT = 0, NBD_INFO_BLOCK_SIZE = 3 };

/* Flags of an export. */
enum {
    NBD_HAS_FLAGS = 1 << 0,
    NBD_READ_ONLY = 1 << 1,
    NBD_SEND_DF = 1 << 7,
    NBD_CAN_MULTI_CONN = 1 << 8,
};

enum nbd_command {
    NBD_CMD_READ = 0,
    NBD_CMD_WRITE = 1,
    NBD_CMD_DISC = 2,
    NBD_CMD_FLUSH = 3,
    NBD_CMD_TRIM = 4,
    NBD_CMD_WRITE_ZEROES = 6,
    NBD_CMD_BLOCK_STATUS = 7,
};
enum { NBD_CMD_FLAG_REQ_ONE = 1 << 3 };

enum { NBD_REPLY_FLAG_DONE = 1 << 0 };
enum nbd_chunk {
    NBD_CHUNK_NONE = 0,
    NBD_CHUNK_DATA = 1,
    NBD_CHUNK_HOLE = 2,
    NBD_CHUNK_STATUS = 5,
    NBD_CHUNK_ERROR = 0x8001,
};

/* Errors of requests; Linux' numbers. */
enum nbd_error { NBD_OK = 0, NBD_EPERM = 1, NBD_EIO = 5, NBD_EINVAL = 22, NBD_EOVERFLOW = 75 };

/* The context base:allocation, as it is called in replies, and its states. */
#define NBD_CONTEXT_ID 1
enum { NBD_STATE_HOLE = 1 << 0, NBD_STATE_ZERO = 1 << 1 };

/* A connection as both phases use it. */
struct nbd_wire {
    /* All n bytes; false for good once the other side has gone or took too long. */
    MUST_CHECK bool (*read)(struct nbd_wire *wire, void *out, size_t n);
    MUST_CHECK bool (*write)(struct nbd_wire *wire, const void *p, size_t n);
    /* TLS from here on.  NULL where it is spoken already, or cannot be. */
    MUST_CHECK bool (*secure)(struct nbd_wire *wire);
};

/* What is read over it. */
struct nbd_disk {
    int64_t size;
    bool still; /* nobody writes to it */
    enum nbd_error (*read)(struct nbd_disk *disk, int64_t at, void *out, size_t n);
    /* The first run from 'at' to 'limit' that may hold other than zeroes, as vdi_io_data. */
    enum nbd_error (*data)(struct nbd_disk *disk, int64_t at, int64_t limit, int64_t *start,
                           int64_t *end);
};

/* Big-endian numbers. */
static inline uint8_t *nbd_put16(uint8_t *p, unsigned v)
{
    p[0] = (uint8_t)(v >> 8);
    p[1] = (uint8_t)v;
    return p + 2;
}

static inline uint8_t *nbd_put32(uint8_t *p, uint32_t v)
{
    return nbd_put16(nbd_put16(p, v >> 16), v & 0xffff);
}

static inline uint8_t *nbd_put64(uint8_t *p, uint64_t v)
{
    return nbd_put32(nbd_put32(p, (uint32_t)(v >> 32)), (uint32_t)v);
}

static inline unsigned nbd_get16(const uint8_t *p)
{
    return (unsigned)p[0] << 8 | p[1];
}

static inline uint32_t nbd_get32(const uint8_t *p)
{
    return (uint32_t)nbd_get16(p) << 16 | nbd_get16(p + 2);
}

static inline uint64_t nbd_get64(const uint8_t *p)
{
    return (uint64_t)nbd_get32(p) << 32 | nbd_get32(p + 4);
}
