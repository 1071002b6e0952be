/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* dump_text.h -- what the writer and the reader of dumps share; for them only. */
#pragma once

#include "xapid/db/dump.h"

/* Of the reference's tables. */
#define DUMP_SCHEMA_MAJOR 5
#define DUMP_SCHEMA_MINOR 909

/* Classes that stand in a dump, and those of them whose rows do. */
bool dump_has_table(const struct class_desc *class);
bool dump_has_rows(const struct class_desc *class);
