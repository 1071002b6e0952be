/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* mirror.h -- within ops/storage: datapath.h's mirrors of disks that are served here, by uuid. */
#pragma once

#include "storage-repos/datapath/datapath.h"
#include "xapid/db/db.h"

/* To the image of that location in 'sr', which is there already. */
MUST_CHECK struct error *vdi_mirror(struct call *call, const char *uuid, ref_t sr, bool top);
MUST_CHECK struct error *vdi_mirror_look(struct call *call, const char *uuid,
                                         struct datapath_mirror *out);
MUST_CHECK struct error *vdi_mirror_hold(struct call *call, const char *uuid, bool *held);
/* Its users go on with the copy; nothing where it has no server. */
MUST_CHECK struct error *vdi_mirror_keep(struct call *call, const char *uuid, ref_t sr);
/* They go on with the disk as it was. */
MUST_CHECK struct error *vdi_mirror_drop(struct call *call, const char *uuid);
