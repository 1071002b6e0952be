/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "xapid/join/merge.h"

#include <stdlib.h>
#include <string.h>

#include "libxapi/value/value.h"
#include "xapid/db/write.h"

#define PHYSICAL_BRIDGE "xenbr"

/* What becomes of a row of the host's database. */
enum fate {
    UNDECIDED,
    LEFT, /* the pool has its own, or none */
    SAME, /* is one that the pool has */
    TAKEN,
};

struct merge_found {
    int class_id;
    const struct row *row;
    enum fate fate;
    ref_t same;
    size_t place; /* of TAKEN: among the rows of the plan */
};

struct merger {
    struct arena *arena;
    const struct db_root *host, *pool;
    size_t n;
    struct merge_found *found; /* by reference */
};

/*** what is found again in the pool ***/

static struct db_walk rows_of(const struct db_root *root, int class_id)
{
    struct db_walk walk;

    db_walk((const struct db_snap *)root, class_id, &walk);
    return walk;
}

static const void *by_uuid(const struct db_root *root, const struct class_desc *class,
                           const char *uuid)
{
    struct index_walk walk;
    ref_t ref;

    index_walk(root, &api_fields[class->uuid_field], index_key_string(uuid), &walk);
    return index_next(&walk, &ref) ? root_get(root, class->id, ref) : NULL;
}

static const void *same_uuid(const struct merger *m, const void *row)
{
    const struct class_desc *class = &api_classes[((const struct row *)row)->row_class];

    return by_uuid(m->pool, class,
                   *(const char *const *)field_in(row, &api_fields[class->uuid_field]));
}

static bool is_physical(const struct network *n)
{
    return strncmp(n->bridge, PHYSICAL_BRIDGE, strlen(PHYSICAL_BRIDGE)) == 0;
}

/* Interfaces of the same name hang on the same network on every host; of others the name tells. */
static const void *same_network(const struct merger *m, const void *row)
{
    struct db_walk walk = rows_of(m->pool, CLASS_network);
    const struct network *mine = row, *n;

    while ((n = db_walk_next(&walk)))
        if (is_physical(mine) ? strcmp(n->bridge, mine->bridge) == 0
                              : !is_physical(n) && strcmp(n->name_label, mine->name_label) == 0)
            return n;
    return NULL;
}

static const void *same_gpu_group(const struct merger *m, const void *row)
{
    struct db_walk walk = rows_of(m->pool, CLASS_gpu_group);
    const struct gpu_group *mine = row, *g;

    while ((g = db_walk_next(&walk)))
        if (value_equal(api_fields[FIELD_gpu_group_gpu_types].type, &g->gpu_types,
                        &mine->gpu_types))
            return g;
    return NULL;
}

static const void *same_vgpu_type(const struct merger *m, const void *row)
{
    struct db_walk walk = rows_of(m->pool, CLASS_vgpu_type);
    const struct vgpu_type *mine = row, *t;

    while ((t = db_walk_next(&walk)))
        if (strcmp(t->identifier, mine->identifier) == 0)
            return t;
    return NULL;
}

static const void *same_authority(const struct merger *m, const void *row)
{
    struct db_walk walk = rows_of(m->pool, CLASS_certificate);
    const struct certificate *mine = row, *c;

    while (ref_is_null(mine->host) && (c = db_walk_next(&walk)))
        if (ref_is_null(c->host) && c->type == mine->type &&
            strcmp(c->fingerprint_sha256, mine->fingerprint_sha256) == 0)
            return c;
    return NULL;
}

/* A list of the same name is one of the same authority: the pool's stays. */
static const void *same_trust_file(const struct merger *m, const void *row)
{
    struct db_walk walk = rows_of(m->pool, CLASS_trust_file);
    const struct trust_file *mine = row, *t;

    while (ref_is_null(mine->host) && (t = db_walk_next(&walk)))
        if (ref_is_null(t->host) && t->crl == mine->crl &&
            (strcmp(t->name_label, mine->name_label) == 0 || strcmp(t->pem, mine->pem) == 0))
            return t;
    return NULL;
}

static bool is_no_default_template(const void *row)
{
    return !((const struct vm *)row)->is_default_template;
}

/*** the rules: a class that has none is left ***/

#define ANY (-1)

struct rule {
    int class_id;
    int with;     /* the field of what it belongs to: it comes where that comes or is found; ANY */
    bool if_used; /* it comes where something refers to it that comes */
    const void *(*same)(const struct merger *m, const void *row);
    bool (*wanted)(const void *row);
};

static const struct rule rules[] = {
    {.class_id = CLASS_host, .with = ANY},
    {.class_id = CLASS_host_metrics, .with = ANY, .if_used = true},
    {.class_id = CLASS_host_cpu, .with = FIELD_host_cpu_host},
    {.class_id = CLASS_host_crashdump, .with = FIELD_host_crashdump_host},
    {.class_id = CLASS_host_patch, .with = FIELD_host_patch_host},
    {.class_id = CLASS_feature, .with = FIELD_feature_host},
    {.class_id = CLASS_host_driver, .with = FIELD_host_driver_host},
    {.class_id = CLASS_driver_variant, .with = FIELD_driver_variant_driver},
    {.class_id = CLASS_pci, .with = FIELD_pci_host},
    {.class_id = CLASS_pgpu, .with = FIELD_pgpu_host},
    {.class_id = CLASS_gpu_group, .with = ANY, .if_used = true, .same = same_gpu_group},
    {.class_id = CLASS_vgpu_type, .with = ANY, .if_used = true, .same = same_vgpu_type},
    {.class_id = CLASS_pusb, .with = FIELD_pusb_host},
    {.class_id = CLASS_usb_group, .with = ANY, .if_used = true},
    {.class_id = CLASS_network, .with = ANY, .same = same_network},
    {.class_id = CLASS_pif, .with = FIELD_pif_host},
    {.class_id = CLASS_pif_metrics, .with = ANY, .if_used = true},
    {.class_id = CLASS_vlan, .with = FIELD_vlan_untagged_pif},
    {.class_id = CLASS_sr, .with = ANY, .same = same_uuid},
    {.class_id = CLASS_pbd, .with = FIELD_pbd_host},
    {.class_id = CLASS_vdi, .with = FIELD_vdi_sr, .same = same_uuid},
    {.class_id = CLASS_vm, .with = ANY, .wanted = is_no_default_template},
    {.class_id = CLASS_vm_metrics, .with = ANY, .if_used = true},
    {.class_id = CLASS_vm_guest_metrics, .with = ANY, .if_used = true},
    {.class_id = CLASS_vbd, .with = FIELD_vbd_vm},
    {.class_id = CLASS_vif, .with = FIELD_vif_vm},
    {.class_id = CLASS_vgpu, .with = FIELD_vgpu_vm},
    {.class_id = CLASS_vusb, .with = FIELD_vusb_vm},
    {.class_id = CLASS_vtpm, .with = FIELD_vtpm_vm},
    {.class_id = CLASS_vtpm_contents, .with = FIELD_vtpm_contents_vtpm},
    {.class_id = CLASS_console, .with = FIELD_console_vm},
    {.class_id = CLASS_crashdump, .with = FIELD_crashdump_vm},
    {.class_id = CLASS_vm_appliance, .with = ANY},
    {.class_id = CLASS_vmss, .with = ANY},
    {.class_id = CLASS_vm_group, .with = ANY},
    {.class_id = CLASS_blob, .with = ANY, .if_used = true},
    {.class_id = CLASS_blob_data, .with = FIELD_blob_data_blob},
    {.class_id = CLASS_secret, .with = ANY},
    {.class_id = CLASS_certificate, .with = ANY, .same = same_authority},
    {.class_id = CLASS_trust_file, .with = ANY, .same = same_trust_file},
};

static const struct rule *rule_of(int class_id)
{
    for (size_t i = 0; i < ARRAY_SIZE(rules); i++)
        if (rules[i].class_id == class_id)
            return &rules[i];
    return NULL;
}

/*** references in values ***/

/* Calls fn for each reference; it may change it. */
static void each_reference(const struct type *t, void *value,
                           void (*fn)(void *ctx, int class_id, ref_t *ref), void *ctx)
{
    struct set *set = value;

    if (t->kind == TYPE_REF)
        fn(ctx, t->class_id, value);
    if (t->kind == TYPE_SET && t->elem->kind == TYPE_REF)
        for (size_t i = 0; i < set->n; i++)
            fn(ctx, t->elem->class_id, (ref_t *)set->v + i);
    if (t->kind != TYPE_MAP || (t->key->kind != TYPE_REF && t->elem->kind != TYPE_REF))
        return;
    for (size_t i = 0; i < set->n; i++) {
        char *entry = (char *)set->v + i * t->entry_size;

        if (t->key->kind == TYPE_REF)
            fn(ctx, t->key->class_id, (ref_t *)entry);
        if (t->elem->kind == TYPE_REF)
            fn(ctx, t->elem->class_id, (ref_t *)(entry + t->value_offset));
    }
}

static void each_reference_of_row(const struct class_desc *class, void *row,
                                  void (*fn)(void *ctx, int class_id, ref_t *ref), void *ctx)
{
    for (int i = 0; i < class->n_fields; i++) {
        const struct field_desc *f = &api_fields[class->first_field + i];

        if (field_is_stored(f))
            each_reference(f->type, (char *)row + f->offset, fn, ctx);
    }
}

/*** fates ***/

static int by_reference(const void *a, const void *b)
{
    ref_t x = ((const struct merge_found *)a)->row->ref,
          y = ((const struct merge_found *)b)->row->ref;

    if (x.hi != y.hi)
        return x.hi < y.hi ? -1 : 1;
    return (x.lo > y.lo) - (x.lo < y.lo);
}

static struct merge_found *find(const struct merger *m, ref_t ref)
{
    struct row key_row = {.ref = ref};
    struct merge_found key = {.row = &key_row};

    return ref_is_null(ref) ? NULL : bsearch(&key, m->found, m->n, sizeof *m->found, by_reference);
}

static void collect(struct merger *m)
{
    size_t room = 0;

    for (size_t i = 0; i < ARRAY_SIZE(rules); i++)
        room += m->host->tables[rules[i].class_id].count;
    m->found = arena_array(m->arena, struct merge_found, room + 1);
    for (size_t i = 0; i < ARRAY_SIZE(rules); i++) {
        struct db_walk walk = rows_of(m->host, rules[i].class_id);
        const struct row *row;

        while ((row = db_walk_next(&walk)))
            m->found[m->n++] = (struct merge_found){.class_id = rules[i].class_id, .row = row};
    }
    qsort(m->found, m->n, sizeof *m->found, by_reference);
}

/* True where it is decided now. */
static bool decide(const struct merger *m, struct merge_found *f)
{
    const struct rule *rule = rule_of(f->class_id);
    const struct row *same = rule->same ? rule->same(m, f->row) : NULL;
    const struct merge_found *owner;

    if (same) {
        f->fate = SAME;
        f->same = same->ref;
        return true;
    }
    if (rule->wanted && !rule->wanted(f->row)) {
        f->fate = LEFT;
        return true;
    }
    if (rule->with == ANY) {
        f->fate = rule->if_used ? UNDECIDED : TAKEN;
        return f->fate == TAKEN;
    }
    owner = find(m, *(const ref_t *)field_in(f->row, &api_fields[rule->with]));
    if (owner && owner->fate == UNDECIDED)
        return false;
    f->fate = owner && owner->fate != LEFT ? TAKEN : LEFT;
    return true;
}

static void note_use(void *ctx, int class_id, ref_t *ref)
{
    struct merge_found *f = find(ctx, *ref);

    (void)class_id;
    if (f && f->fate == UNDECIDED && rule_of(f->class_id)->if_used)
        f->fate = TAKEN;
}

/* Owners are decided before what belongs to them, users before what is used. */
static void decide_all(struct merger *m)
{
    bool moved = true;

    while (moved) {
        moved = false;
        for (size_t i = 0; i < m->n; i++)
            if (m->found[i].fate == UNDECIDED)
                moved |= decide(m, &m->found[i]);
        for (size_t i = 0; i < m->n; i++) {
            struct merge_found *f = &m->found[i];

            if (f->fate == TAKEN)
                each_reference_of_row(&api_classes[f->class_id], (void *)f->row, note_use, m);
        }
    }
}

/*** rows as they will be ***/

static void translate(void *ctx, int class_id, ref_t *ref)
{
    const struct merger *m = ctx;
    const struct merge_found *f = find(m, *ref);

    if (f && f->fate == TAKEN)
        return;
    if (f && f->fate == SAME)
        *ref = f->same;
    else if (class_id < 0 || !root_get(m->pool, class_id, *ref))
        *ref = REF_NULL;
}

/* Elements and entries of which nothing is left go. */
static void drop_null(const struct type *t, struct set *set)
{
    size_t stride, n = 0;

    if (t->kind == TYPE_SET && t->elem->kind == TYPE_REF)
        stride = t->elem->size;
    else if (t->kind == TYPE_MAP && (t->key->kind == TYPE_REF || t->elem->kind == TYPE_REF))
        stride = t->entry_size;
    else
        return;
    for (size_t i = 0; i < set->n; i++) {
        char *e = (char *)set->v + i * stride;
        bool gone = t->kind == TYPE_SET ? ref_is_null(*(ref_t *)e)
                                        : (t->key->kind == TYPE_REF && ref_is_null(*(ref_t *)e)) ||
                                              (t->elem->kind == TYPE_REF &&
                                               ref_is_null(*(ref_t *)(e + t->value_offset)));

        if (!gone)
            memmove((char *)set->v + n++ * stride, e, stride);
    }
    set->n = n;
}

static void *translated(const struct merger *m, const struct merge_found *f)
{
    const struct class_desc *class = &api_classes[f->class_id];
    struct row *row = arena_memdup(m->arena, f->row, class->struct_size);

    for (int i = 0; i < class->n_fields; i++) {
        const struct field_desc *field = &api_fields[class->first_field + i];
        void *value = (char *)row + field->offset;

        if (!field_is_stored(field))
            continue;
        value_copy(m->arena, field->type, field_in(f->row, field), value);
        each_reference(field->type, value, translate, (void *)m);
        drop_null(field->type, value);
    }
    return row;
}

static bool bridge_is_taken(const struct merger *m, const char *bridge)
{
    struct db_walk walk = rows_of(m->pool, CLASS_network);
    const struct network *n;

    while ((n = db_walk_next(&walk)))
        if (strcmp(n->bridge, bridge) == 0)
            return true;
    return false;
}

/* What is true of the host only once its daemon has started as a member, and names that the pool
 * has given to something else. */
static void adjust(const struct merger *m, struct merge_row *row, size_t *serial)
{
    if (row->class->id == CLASS_host)
        ((struct host *)row->row)->enabled = false;
    if (row->class->id == CLASS_host_metrics)
        ((struct host_metrics *)row->row)->live = false;
    if (row->class->id == CLASS_network) {
        struct network *n = (struct network *)row->row;

        while (bridge_is_taken(m, n->bridge))
            n->bridge = arena_printf(m->arena, "xapi%zu", ++*serial);
    }
}

/*** batches ***/

static size_t size_of(const struct merge_row *row)
{
    struct write_set w = {0};
    size_t size;

    write_create(&w, row->class, row->row->ref, row->row);
    size = w.ops.len;
    write_release(&w);
    return size;
}

void merge_plan(struct arena *arena, const struct db_root *host, const struct db_root *pool,
                size_t batch_size, struct merge *out)
{
    struct merger m = {.arena = arena, .host = host, .pool = pool};
    struct db_walk states = rows_of(host, CLASS_host_state);
    size_t filled = 0, serial = 0;
    struct merge_row *rows;

    *out = (struct merge){.n_batches = 1, .state = db_walk_next(&states)};
    collect(&m);
    decide_all(&m);
    out->rows = rows = arena_array(arena, struct merge_row, m.n + 1);
    for (size_t i = 0; i < m.n; i++) {
        struct merge_found *f = &m.found[i];
        struct merge_row *row = &rows[out->n];
        size_t size;

        if (f->fate != TAKEN)
            continue;
        *row = (struct merge_row){&api_classes[f->class_id], translated(&m, f), 0};
        adjust(&m, row, &serial);
        size = size_of(row);
        if (filled && filled + size > batch_size) {
            out->n_batches++;
            filled = 0;
        }
        filled += size;
        row->batch = out->n_batches - 1;
        f->place = out->n++;
    }
    out->found = m.found;
    out->n_found = m.n;
}

struct needs {
    const struct merge *merge;
    const struct merger *index;
    size_t batch;
};

static void need(void *ctx, int class_id, ref_t *ref)
{
    struct needs *n = ctx;
    const struct merge_found *f = find(n->index, *ref);

    (void)class_id;
    if (f && f->fate == TAKEN)
        n->batch = MAX(n->batch, n->merge->rows[f->place].batch);
}

/* The first batch with which all exists that a value refers to. */
static size_t batch_of(const struct merge *merge, const struct merge_row *row,
                       const struct field_desc *f)
{
    struct merger index = {.n = merge->n_found, .found = (struct merge_found *)merge->found};
    struct needs n = {merge, &index, row->batch};

    if (!(f->flags & FIELD_UNTRACKED))
        each_reference(f->type, (char *)row->row + f->offset, need, &n);
    return n.batch;
}

void merge_write(struct txn *txn, const struct merge *merge, size_t batch)
{
    for (size_t i = 0; i < merge->n; i++) {
        const struct merge_row *row = &merge->rows[i];
        const struct class_desc *class = row->class;
        char *now = NULL;

        if (row->batch > batch)
            continue;
        if (row->batch == batch)
            now = arena_memdup(txn_arena(txn), row->row, class->struct_size);
        for (int j = 0; j < class->n_fields; j++) {
            const struct field_desc *f = &api_fields[class->first_field + j];
            size_t with = field_is_stored(f) ? batch_of(merge, row, f) : 0;

            if (!field_is_stored(f) || with == row->batch)
                continue;
            if (now)
                value_empty(f->type, now + f->offset);
            else if (with == batch)
                txn_set_value(txn, f->id, row->row->ref, (const char *)row->row + f->offset);
        }
        if (now)
            txn_create(txn, class->id, now);
    }
}

/*** names ***/

struct strings merge_names(struct arena *arena, const struct merge *merge, size_t batch)
{
    const char **v = arena_array(arena, const char *, merge->n + 1);
    size_t n = 0;

    for (size_t i = 0; i < merge->n; i++)
        if (merge->rows[i].batch == batch)
            v[n++] = arena_printf(arena, "%s %s", merge->rows[i].class->name,
                                  ref_text(arena, merge->rows[i].row->ref));
    return (struct strings){n, v};
}

bool merge_name_read(const char *name, int *class_id, ref_t *ref)
{
    size_t n = strcspn(name, " ");
    char class_name[64];
    const struct class_desc *class;

    if (n >= sizeof class_name || name[n] != ' ')
        return false;
    memcpy(class_name, name, n);
    class_name[n] = '\0';
    class = api_class_by_name(class_name);
    *class_id = class ? class->id : 0;
    return class && ref_from_text(name + n + 1, ref);
}
