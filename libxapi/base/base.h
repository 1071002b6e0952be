/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * base.h -- the few things every file of xapid needs: references, errors, guards.
 *
 * Ownership in one place: memory made during a call lives in the call's arena and ends with it;
 * resources are declared with AUTO and released at the end of their scope; shared objects are
 * counted (x_ref, x_unref).
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define MUST_CHECK __attribute__((warn_unused_result))
#define PRINTF_LIKE(fmt, args) __attribute__((format(printf, fmt, args)))
#define UNUSED __attribute__((unused))
#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))
#ifndef MIN /* libuv and sys/param.h have the same two */
#define MIN(a, b) ((a) < (b) ? (a) : (b))
#define MAX(a, b) ((a) > (b) ? (a) : (b))
#endif
#define container_of(ptr, type, member) ((type *)((char *)(ptr)-offsetof(type, member)))

/* Declares a guard: 'type_release' runs at the end of the scope.  Zero means "nothing held". */
#define AUTO(type) __attribute__((cleanup(type##_release))) struct type

/* Time in microseconds: since the epoch for dates, since boot for the monotonic clock. */
typedef int64_t usec_t;
#define USEC_PER_SEC ((usec_t)1000000)
#define USEC_PER_MSEC ((usec_t)1000)

struct arena;

/*
 * A reference to an object: 16 random bytes, all zero for null.  Its text form "OpaqueRef:..."
 * exists only on the wire.
 */
typedef struct ref {
    uint64_t hi;
    uint64_t lo;
} ref_t;

#define REF_NULL ((ref_t){0, 0})
#define REF_TEXT_SIZE 48 /* "OpaqueRef:" + 36 characters + NUL, rounded up */

static inline bool ref_is_null(ref_t r)
{
    return r.hi == 0 && r.lo == 0;
}

static inline bool ref_equal(ref_t a, ref_t b)
{
    return a.hi == b.hi && a.lo == b.lo;
}

/* A new random reference. */
ref_t ref_new(void);
/* Writes the text form, "OpaqueRef:NULL" for null; returns 'out'. */
char *ref_to_text(ref_t r, char out[REF_TEXT_SIZE]);
/* The same in an arena. */
const char *ref_text(struct arena *arena, ref_t r);
/* Reads the text form; the empty string reads as null.  False if it is no reference, with *out set
 * to null. */
bool ref_from_text(const char *text, ref_t *out);

#define UUID_TEXT_SIZE 37
/* Writes a new random uuid in its 36-character form; returns 'out'. */
char *uuid_new(char out[UUID_TEXT_SIZE]);
/* The uuid form of 16 bytes that were chosen otherwise (for example by a hash). */
char *uuid_to_text(const uint8_t bytes[16], char out[UUID_TEXT_SIZE]);
/* Reads a 36-character uuid into 16 bytes; false if it is none. */
bool uuid_from_text(const char *text, uint8_t out[16]);

/*
 * An error of the XenAPI: a code and parameters in the order schema/errors.api declares them.  Made
 * only by the generated err_... functions (and error_new below, for code that has an arena but no
 * call); lives in that arena.
 */
struct error {
    const char *code; /* as the XenAPI spells it, "VM_BAD_POWER_STATE" */
    size_t n_params;
    const char *params[];
};

#define OK ((struct error *)NULL)

/* Passes an error on to the caller.  The only macro that leaves a function. */
#define TRY(expr)                                                                                  \
    do {                                                                                           \
        struct error *try_error_ = (expr);                                                         \
        if (try_error_)                                                                            \
            return try_error_;                                                                     \
    } while (0)

/* An error with 'n' string parameters, copied into the arena. */
MUST_CHECK struct error *error_new(struct arena *arena, const char *code, size_t n, ...);
/* INTERNAL_ERROR with a formatted text: a bug, or a failure nobody planned for. */
MUST_CHECK struct error *error_internal(struct arena *arena, const char *fmt, ...)
    PRINTF_LIKE(2, 3);
/* A copy in another arena. */
MUST_CHECK struct error *error_copy(struct arena *arena, const struct error *e);
bool error_is(const struct error *e, const char *code);
/* One line for logs: CODE(param, param). */
const char *error_line(struct arena *arena, const struct error *e);
/* Drops an error on purpose; say why in a comment beside the call. */
static inline void error_ignore(struct error *e)
{
    (void)e;
}
