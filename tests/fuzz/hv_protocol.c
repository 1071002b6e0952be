/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* hv_protocol.c -- fuzz target: whatever the other side sends is refused or read; what was read
 * survives being written and read again. */
#include <assert.h>
#include <stdlib.h>

#include "xapid/hypervisor/protocol.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define JOURNEY(read, write, type, message)                                                        \
    do {                                                                                           \
        struct type first = {0}, second = {0};                                                     \
        struct reader r = reader_of(&arena, message);                                              \
        json_t *written, *again;                                                                   \
        read(&r, &first);                                                                          \
        if (r.bad)                                                                                 \
            break;                                                                                 \
        written = write(&first);                                                                   \
        r = reader_of(&arena, written);                                                            \
        read(&r, &second);                                                                         \
        again = write(&second);                                                                    \
        assert(!r.bad && json_equal(written, again));                                              \
        json_decref(written);                                                                      \
        json_decref(again);                                                                        \
    } while (0)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    AUTO(arena) arena = {0};
    size_t done = 0, used = 0;
    const char *why = NULL;
    json_t *message = NULL;

    while (frame_take((const char *)data + done, size - done, PROTOCOL_REQUEST_MAX, &used, &message,
                      &why) == FRAME_READY) {
        assert(used > 4 && used <= size - done);
        done += used;
        JOURNEY(read_config, write_config, hv_domain_config, message);
        JOURNEY(read_domain, write_domain, hv_domain, message);
        JOURNEY(read_host, write_host, hv_host_info, message);
        JOURNEY(read_stats, write_stats, hv_stats, message);
        JOURNEY(read_disk, write_disk, hv_disk, message);
        JOURNEY(read_nic, write_nic, hv_nic, message);
        error_ignore(read_error(&arena, message)); /* only that it can be read matters */
        json_decref(message);
    }
    return 0;
}
