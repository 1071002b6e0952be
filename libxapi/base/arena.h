/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* arena.h -- memory that ends all at once.  Out of memory aborts: nothing here returns NULL. */
#pragma once

#include <stdarg.h>

#include "libxapi/base/base.h"

struct arena_block;

/* Zeroed is empty and ready for use. */
struct arena {
    struct arena_block *blocks;
    size_t used, size; /* in the newest block */
    size_t total;      /* bytes handed out so far, for limits */
};

/* Frees everything and leaves the arena empty. */
void arena_release(struct arena *arena);
/* Uninitialised memory, aligned for anything. */
void *arena_alloc(struct arena *arena, size_t size) __attribute__((malloc, alloc_size(2)));
/* Zeroed memory. */
void *arena_zalloc(struct arena *arena, size_t size) __attribute__((malloc, alloc_size(2)));
#define arena_new(arena, type) ((type *)arena_zalloc((arena), sizeof(type)))
#define arena_array(arena, type, n) ((type *)arena_zalloc((arena), (n) * sizeof(type)))
/* An array of 'n' items of 'size' bytes that has room for one more: 'items' itself, or a copy with
 * twice the room (NULL and 0 at first). */
void *arena_room(struct arena *arena, void *items, size_t n, size_t *room, size_t size);
char *arena_strdup(struct arena *arena, const char *s);
char *arena_strndup(struct arena *arena, const char *s, size_t n);
void *arena_memdup(struct arena *arena, const void *p, size_t n);
char *arena_printf(struct arena *arena, const char *fmt, ...) PRINTF_LIKE(2, 3);
char *arena_vprintf(struct arena *arena, const char *fmt, va_list ap)
    __attribute__((format(printf, 2, 0), nonnull(2)));

/* An arena that is itself allocated, for what outlives the call that made it. */
struct arena *arena_new_self(void);
/* Frees everything in it and itself. */
void arena_free_self(struct arena *arena);
