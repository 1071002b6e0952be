/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What a storage process answers, and what it is asked. */
#include "storage-repos/apart/message.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    AUTO(arena) arena = {0};
    struct apart_request request;
    struct apart_reply reply;

    if (apart_reply_read(&arena, (const char *)data, size, &reply))
        (void)apart_reply_write(&arena, &reply);
    if (apart_request_read(&arena, (const char *)data, size, &request))
        (void)apart_request_write(&arena, &request);
    return 0;
}
