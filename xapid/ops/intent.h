/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* intent.h -- the text form of intents in the database: an XML-RPC struct of the declared fields,
 * and a line for each held object. */
#pragma once

#include "xapid/ops/op.h"

const char *intent_to_text(struct arena *arena, enum intent_kind kind, const void *intent);
/* False where the text does not fit the kind. Fields that are missing are empty: they came with a
 * later version. */
bool intent_of_text(struct arena *arena, enum intent_kind kind, const char *text,
                    const void **intent);
bool intent_kind_by_name(const char *name, enum intent_kind *kind);
/* "<task key> <class> <reference> <operation>" each. */
struct strings intent_holds(struct arena *arena, const char *task_key, size_t n,
                            const struct op_hold *holds);
bool intent_read_holds(struct arena *arena, const struct intent *row, struct op *op);
