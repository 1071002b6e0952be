/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* xapid_chaos.h -- xapid_start on log_chaos; tests/meson.build gives it to main.c under the other
 * name. */
#pragma once

#include "xapid/main/xapid.h"

/* As xapid_start; options->db is replaced. */
MUST_CHECK struct error *xapid_start_on_chaos(struct arena *arena,
                                              const struct xapid_options *options,
                                              struct xapid **out);
