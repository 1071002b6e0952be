/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The journal of statistics: records behind right sums, as many as there are. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "xapid/stats/journal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The sum of a record that says so many bytes follow it. */
static void put_sum(char *bytes, size_t size)
{
    struct journal_record r;
    size_t n;

    if (size < sizeof r)
        return;
    memcpy(&r, bytes, sizeof r);
    n = r.n * (r.is_sample ? sizeof(double) : sizeof(struct journal_source));
    if (n > size - sizeof r)
        return;
    r.sum =
        XXH64(bytes + sizeof r, n, XXH64((char *)&r + sizeof r.sum, sizeof r - sizeof r.sum, 0));
    memcpy(bytes, &r.sum, sizeof r.sum);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *bytes = malloc(size + 1);
    const char *p = bytes, *end = bytes + size;
    struct journal_record record;
    const void *payload;

    assert(bytes);
    memcpy(bytes, data, size);
    put_sum(bytes, size);
    while (journal_next(&p, end, &record, &payload)) {
        const char *last = (const char *)payload;

        assert(p >= last && p <= end);
        for (; last < p; last++)
            assert(*last == *last);
        put_sum((char *)p, (size_t)(end - p));
    }
    free(bytes);
    return 0;
}
