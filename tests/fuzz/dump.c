/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A dump that somebody wants restored; what is read can be dumped, and is read again. */
#include <stdlib.h>

#include "libxapi/base/buf.h"
#include "xapid/db/dump.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool load(struct arena *arena, const char *text, size_t size, struct db_root **root)
{
    struct dump_reader *r = dump_reader_new();
    bool good;

    dump_reader_feed(r, text, size / 2);
    dump_reader_feed(r, text + size / 2, size - size / 2);
    good = dump_reader_end(arena, r, root) == OK;
    dump_reader_free(r);
    return good;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    AUTO(arena) arena = {0};
    struct db_root *root, *again;
    struct dump_writer w;
    struct buf out = {0};

    if (!load(&arena, (const char *)data, size, &root))
        return 0;
    dump_begin(root, &w);
    while (dump_next(&w, &out, 1000))
        ;
    if (!load(&arena, out.data, out.len, &again))
        abort();
    root_unref(again);
    root_unref(root);
    buf_release(&out);
    return 0;
}
