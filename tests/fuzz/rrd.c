/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Round-robin databases from outside: uploads as XML, and files behind a right checksum.  What was
 * read keeps the rules: it can be updated, written and read again, and stays as it was. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "xapid/stats/alarm.h"
#include "xapid/stats/rrd.h"

#define CHECKSUM 8

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void use(struct rrd *rrd)
{
    double *raw = calloc(rrd->n_sources + 1, sizeof *raw);
    struct buf first = {0}, second = {0};
    struct rrd *again;
    const char *why;

    assert(raw);
    rrd_update(rrd, rrd->last_update + 7654321, raw);
    rrd_update(rrd, rrd->last_update / 2 + 1, raw);
    free(raw);
    assert(rrd_memory(rrd) < (size_t)256 << 20);
    for (size_t i = 0; i < rrd->n_archives; i++)
        for (size_t age = 0; age <= rrd->archives[i].rows; age += 7)
            for (size_t s = 0; s < rrd->n_sources; s += 3)
                rrd_value(rrd, &rrd->archives[i], age, s);
    rrd_encode(&first, rrd);
    again = rrd_decode(first.data, first.len, &why);
    assert(again);
    rrd_encode(&second, again);
    assert(first.len == second.len && memcmp(first.data, second.data, first.len) == 0);
    buf_release(&first);
    buf_release(&second);
    rrd_free(again);
}

static void upload(const uint8_t *data, size_t size)
{
    const char *why = NULL;
    struct rrd *rrd = rrd_read_xml((const char *)data, size, &why);
    struct buf text = {0};

    assert(!rrd == (why != NULL));
    if (!rrd)
        return;
    rrd_write_xml(&text, rrd);
    rrd_write_json(&text, rrd);
    buf_release(&text);
    use(rrd);
    rrd_free(rrd);
}

static void file(const uint8_t *data, size_t size)
{
    char *bytes = malloc(size + CHECKSUM);
    const char *why = NULL;
    struct rrd *rrd;
    XXH64_hash_t sum = XXH64(data, size, 0);

    assert(bytes);
    memcpy(bytes, data, size);
    memcpy(bytes + size, &sum, CHECKSUM);
    rrd = rrd_decode(bytes, size + CHECKSUM, &why);
    free(bytes);
    if (!rrd)
        return;
    use(rrd);
    rrd_free(rrd);
}

static void alarms(const uint8_t *data, size_t size)
{
    char *text = malloc(size + 1);
    struct alarms a = {0};

    assert(text);
    memcpy(text, data, size);
    text[size] = '\0';
    alarms_set(&a, OWNER_VM, text);
    assert(a.n <= ALARMS_MAX);
    alarms_release(&a);
    free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (!size)
        return 0;
    if (data[0] == 'x')
        file(data + 1, size - 1);
    else if (data[0] == 'a')
        alarms(data + 1, size - 1);
    else
        upload(data, size);
    return 0;
}
