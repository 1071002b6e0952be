/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * faults.h -- how tests make an operation fail or kill the daemon at a step.
 *
 * Only with --enable-faults.  Every step that is reached is appended, once, to <state_dir>/steps as
 * "<intent>/<step>", so that tests enumerate them by running operations.  The file
 * <state_dir>/faults holds lines "<intent>/<step> fail" or "... kill".
 */
#pragma once

#include "xapid/ops/op.h"

/* OK, an error to be returned, or no return at all. */
MUST_CHECK struct error *faults_step(struct call *call, const char *intent, const char *step);
/* Microseconds that the clock of schedules is ahead: <state_dir>/clock holds seconds.  0 without
 * --enable-faults. */
usec_t faults_clock(struct xapid *xapid);
/* After the point of no return: may only kill. */
void faults_step_ignored(struct call *call, const char *intent, const char *step);
/* The same where no call is at work. */
void faults_at(struct xapid *xapid, const char *intent, const char *step);
/* The same of a program that is no daemon; nothing happens where 'faults' is NULL. */
void faults_in(struct faults *faults, const char *intent, const char *step);
