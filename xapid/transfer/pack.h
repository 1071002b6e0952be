/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* pack.h -- gzip and zstd, in and out, in little memory. */
#pragma once

#include "xapid/transfer/flow.h"

enum packing { PACK_NONE, PACK_GZIP, PACK_ZSTD };

/* What "use_compression" asks for: "true" and "gzip", "zstd"; anything else is none. */
enum packing packing_named(const char *text);

/* Compresses what is written to it, into another sink.  Zero holds nothing. */
struct packer {
    struct sink sink;
    struct sink *to;
    struct packer_state *state;
};
/* The sink to write to is packer_sink: 'to' itself where nothing is compressed. */
MUST_CHECK struct error *packer_open(struct call *call, enum packing packing, struct sink *to,
                                     struct packer *out);
struct sink *packer_sink(struct packer *p);
/* Writes the end. */
MUST_CHECK struct error *packer_finish(struct call *call, struct packer *p);
void packer_release(struct packer *p);

/* A source that reads plain, gzip or zstd data, told apart by its first bytes.  Zero holds
 * nothing. */
struct unpacker {
    struct source source;
    struct source *from;
    struct unpacker_state *state;
};
/* IMPORT_ERROR_PREMATURE_EOF where there is not a byte. */
MUST_CHECK struct error *unpacker_open(struct call *call, struct source *from,
                                       struct unpacker *out);
void unpacker_release(struct unpacker *u);
