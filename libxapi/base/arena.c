/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "libxapi/base/arena.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "libxapi/base/memory.h"

/* The first block suits a small call; later ones double, so that a large reply costs few blocks. */
#define FIRST_BLOCK 2048
#define LARGEST_STEP (1 << 20)

struct arena_block {
    struct arena_block *next;
    max_align_t data[];
};

void arena_release(struct arena *arena)
{
    struct arena_block *block = arena->blocks;

    while (block) {
        struct arena_block *next = block->next;

        free(block);
        block = next;
    }
    *arena = (struct arena){0};
}

static void arena_grow(struct arena *arena, size_t need)
{
    size_t size = arena->size ? MIN(arena->size * 2, (size_t)LARGEST_STEP) : FIRST_BLOCK;
    struct arena_block *block;

    size = MAX(size, need);
    block = xmalloc(sizeof *block + size);
    block->next = arena->blocks;
    arena->blocks = block;
    arena->size = size;
    arena->used = 0;
}

void *arena_alloc(struct arena *arena, size_t size)
{
    /* Nothing is something too: its address differs from all others. */
    size_t need = (MAX(size, (size_t)1) + sizeof(max_align_t) - 1) & ~(sizeof(max_align_t) - 1);
    void *p;

    if (arena->size - arena->used < need)
        arena_grow(arena, need);
    p = (char *)arena->blocks->data + arena->used;
    arena->used += need;
    arena->total += need;
    return p;
}

void *arena_zalloc(struct arena *arena, size_t size)
{
    return memset(arena_alloc(arena, size), 0, size);
}

void *arena_memdup(struct arena *arena, const void *p, size_t n)
{
    void *copy = arena_alloc(arena, n);

    if (n)
        memcpy(copy, p, n);
    return copy;
}

char *arena_strndup(struct arena *arena, const char *s, size_t n)
{
    char *copy = arena_alloc(arena, n + 1);

    memcpy(copy, s, n);
    copy[n] = '\0';
    return copy;
}

void *arena_room(struct arena *arena, void *items, size_t n, size_t *room, size_t size)
{
    void *more;

    if (n < *room)
        return items;
    *room = MAX((size_t)16, 2 * n);
    more = arena_alloc(arena, *room * size);
    if (n)
        memcpy(more, items, n * size);
    return more;
}

char *arena_strdup(struct arena *arena, const char *s)
{
    return arena_strndup(arena, s, strlen(s));
}

char *arena_vprintf(struct arena *arena, const char *fmt, va_list ap)
{
    va_list again;
    char small[256];
    int n;
    char *s;

    va_copy(again, ap);
    n = vsnprintf(small, sizeof small, fmt, ap);
    s = arena_alloc(arena, (size_t)n + 1);
    vsnprintf(s, (size_t)n + 1, fmt, again);
    va_end(again);
    return s;
}

char *arena_printf(struct arena *arena, const char *fmt, ...)
{
    va_list ap;
    char *s;

    va_start(ap, fmt);
    s = arena_vprintf(arena, fmt, ap);
    va_end(ap);
    return s;
}

struct arena *arena_new_self(void)
{
    return xcalloc(1, sizeof(struct arena));
}

void arena_free_self(struct arena *arena)
{
    arena_release(arena);
    free(arena);
}
