/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * driver.c -- runs a fuzz target without libFuzzer: the given files, then each of them damaged in a
 * few thousand ways that are the same in every run.
 *
 *     fuzz-NAME FILE...
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_FILE (1 << 20)
#define DAMAGES 5000

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* xorshift: the same numbers in every run. */
static uint32_t next(uint32_t *x)
{
    *x ^= *x << 13;
    *x ^= *x >> 17;
    *x ^= *x << 5;
    return *x;
}

/* Each copy has exactly its size, so that a read beyond it is found. */
static void feed(const uint8_t *data, size_t size)
{
    uint8_t *copy = calloc(1, size ? size : 1);

    if (!copy)
        abort();
    memcpy(copy, data, size);
    LLVMFuzzerTestOneInput(copy, size);
    free(copy);
}

static size_t damage(uint8_t *data, size_t size, uint32_t *random)
{
    for (uint32_t n = next(random) % 4 + 1; n && size; n--) {
        size_t at = next(random) % size;

        switch (next(random) % 4) {
        case 0:
            data[at] = (uint8_t)next(random);
            break;
        case 1:
            data[at] ^= (uint8_t)(1u << next(random) % 8);
            break;
        case 2:
            memmove(data + at, data + at + 1, size - at - 1);
            size--;
            break;
        default:
            size = at;
        }
    }
    return size;
}

int main(int argc, char **argv)
{
    static uint8_t text[MAX_FILE], damaged[MAX_FILE];
    uint32_t random = 2463534242u;

    feed(text, 0);
    for (int i = 1; i < argc; i++) {
        FILE *f = fopen(argv[i], "rb");
        size_t size;

        if (!f) {
            perror(argv[i]);
            return 1;
        }
        size = fread(text, 1, sizeof text, f);
        fclose(f);
        feed(text, size);
        for (int n = 0; n < DAMAGES; n++) {
            memcpy(damaged, text, size);
            feed(damaged, damage(damaged, size, &random));
        }
    }
    return 0;
}
