/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * disks_xml.h -- the disks a template asks for: other_config "disks",
 * <provision><disk device="0" size="10737418240" sr="<uuid>" bootable="true"
 * type="system"/></provision>.  Pure.
 */
#pragma once

#include "api_types.h"
#include "libxapi/base/arena.h"

#define DISKS_XML_MAX_BYTES 65536
#define DISKS_XML_MAX 255

struct disk_wanted {
    const char *device; /* userdevice: a number */
    int64_t size;       /* bytes */
    const char *sr;     /* uuid, as given */
    bool bootable;
    enum vdi_type type;
};

/* Reads the text into the arena.  False, and why, for anything malformed. */
bool disks_xml_read(struct arena *arena, const char *text, size_t *n, struct disk_wanted **out,
                    const char **why);
