/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * inventory.h -- what goes into ova.xml: machines and all they stand on, each under a name of its
 * own; written with references among themselves only.
 */
#pragma once

#include "xapid/db/db.h"
#include "xapid/transfer/manifest.h"

struct inventory_options {
    bool snapshots;            /* with the machines' snapshots */
    bool preserve_power_state; /* a suspended machine with its memory */
    bool no_vbd, no_vif, no_vgpu, no_vtpm;
};

struct inventory_entry {
    const struct row *row;
    const char *id;
};

struct inventory {
    struct inventory_options options;
    size_t n, room;
    struct inventory_entry *v;
    size_t n_slots; /* of the hash table over references: numbers into v, plus one */
    uint32_t *slots;
};

/* Adds a machine with everything; in the call's arena, from its snapshot of the database. */
void inventory_add_vm(struct call *call, struct inventory *inv, const struct vm *vm);
/* The id of a row in it, or NULL. */
const char *inventory_id(const struct inventory *inv, ref_t ref);
/* All of ova.xml. */
void inventory_write(struct call *call, const struct inventory *inv, struct buf *out);

/* Disks whose contents belong into the archive, by id; not those of CDs, nor of ISO libraries. */
struct inventory_disk {
    const char *id;
    ref_t vdi, sr;
    int64_t size;
};
size_t inventory_disks(struct call *call, const struct inventory *inv, struct inventory_disk **out);
