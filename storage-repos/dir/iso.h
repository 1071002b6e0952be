/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * iso.h -- a directory of *.iso files that others put there: read only, and nothing of ours is ever
 * written into it.  The location of an image is its file name; its uuid follows from the
 * repository's uuid and that name, so that it stays the same.
 */
#pragma once

#include "storage-repos/sr.h"

extern const struct sr_driver sr_iso; /* device_config: location (a local directory), legacy_mode */
