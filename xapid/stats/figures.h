/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * figures.h -- what is measured: of the host, of each VM and of each storage repository, under the
 * names and in the units that clients of the XenAPI know.
 *
 * A kind of figure is a row of one table; an instance says of which processor or device.
 */
#pragma once

#include "xapid/db/db.h"
#include "xapid/hypervisor/hv.h"
#include "xapid/stats/rrd.h"

enum stats_owner { OWNER_HOST, OWNER_VM, OWNER_SR };
extern const char *const stats_owner_names[]; /* "host", "vm", "sr", ends with NULL */

struct figure_kind {
    const char *name; /* "vif_%s_rx": %s is the instance */
    const char *units, *description;
    enum rrd_type type;
    double max;
    bool standard; /* recorded without being asked for */
    /* In /metrics: "xapid_vm_network_receive_bytes", and the label the instance is the value of. */
    const char *family, *label;
};

#define FIGURE_INSTANCE_SIZE 20

struct figure {
    const struct figure_kind *kind;
    char instance[FIGURE_INSTANCE_SIZE];
    double raw;   /* as measured: of a DERIVE the counter */
    double value; /* its rate; NaN: unknown yet */
};

/* All kinds there are. */
const struct figure_kind *figure_kinds(size_t *n);
/* The name under which it is recorded. */
void figure_name(const struct figure *figure, char out[RRD_NAME_MAX + 1]);
/* The source as which it would be recorded, without name and state. */
struct rrd_source figure_source(const struct figure_kind *kind);

/* What one owner gives, in an arena. */
struct figures {
    enum stats_owner owner;
    const char *uuid;
    struct strmap other_config; /* of its row */
    size_t n, room;
    struct figure *v;
};

/* What repositories have had to do, summed up as long as the daemon lives: a VM that leaves takes
 * nothing away. */
struct sr_totals {
    size_t n;
    struct sr_total *v;
};
void sr_totals_release(struct sr_totals *totals);

/*
 * The figures of everything on this host, in the call's arena: the host first.  'before' is the
 * sample before this one, or NULL.
 */
void figures_collect(struct call *call, const struct hv_stats *now, const struct hv_stats *before,
                     struct sr_totals *totals, size_t *n, struct figures **out);
