/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * failing.h -- of the calls by which programs look at and change files of a folder the n-th fails.
 *
 * failing.c has functions of its own in the place of the C library's.  It is part of the program
 * that plans the failure, and, as a library that is loaded before others, of xapid-storage and
 * qemu-nbd, wherever those are started by a program that has it.  All of them count together, in
 * memory that they share.
 */
#pragma once

#include <stdbool.h>

struct failing {
    char folder[256]; /* "": nothing fails */
    int nth, seen;
    int wanted;    /* errno that it fails with, where it is one that the call can have */
    int err;       /* the one that it had */
    char what[32]; /* the call that failed; "": none has */
};

/* Begins: the n-th call from now on fails. */
void failing_arm(const char *folder, int nth, int err);
/* Ends it.  What happened is valid until the next failing_arm; 'what' is empty where nothing did.
 */
const struct failing *failing_disarm(void);
