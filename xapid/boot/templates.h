/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * templates.h -- the default templates: a table, and the VM rows made from it.
 *
 * A template's uuid follows from its reference label, so that it is the same in every pool.
 */
#pragma once

#include "xapid/db/db.h"

enum template_base { TEMPLATE_OTHER, TEMPLATE_LINUX_BIOS, TEMPLATE_LINUX_UEFI, TEMPLATE_WINDOWS };

struct template_desc {
    const char *label; /* VM.reference_label */
    const char *name;
    enum template_base base;
    int64_t memory_mib; /* static minimum; twice that is the maximum */
    int disk_gib;       /* 0: no disk */
    int vcpus;
    bool uefi_only, vtpm;
};

/* In the order clients list them; ends with a NULL label. */
extern const struct template_desc default_templates[];

/* Changes whenever templates are added: a pool that has an older number gets what it lacks. */
#define TEMPLATES_VERSION 1

/* The template's uuid. */
const char *template_uuid(struct arena *arena, const struct template_desc *t);
/* The whole row, but for its reference. */
void template_row(struct arena *arena, const struct template_desc *t, struct vm *out);
/* Creates those templates that no row has the uuid of. */
MUST_CHECK struct error *txn_templates_add(struct txn *txn);
