/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* timetable.h -- when a snapshot schedule wants its snapshots.  Pure, but for the host's time zone.
 */
#pragma once

#include "api_types.h"
#include "libxapi/base/base.h"

/*
 * The last time at or before 'now' (wall clock) that the schedule names, in the host's local time;
 * 0 where it names none, which a schedule that was checked (host/vmss.c) never does.
 */
usec_t timetable_last(const struct vmss *vmss, usec_t now);
