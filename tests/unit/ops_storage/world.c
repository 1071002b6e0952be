/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tests/unit/ops_storage/world.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "libxapi/base/child.h"
#include "tests/lib/log_memory.h"
#include "xapid/db/ready.h"
#include "xapid/db/row.h"
#include "xapid/ops/storage/attach.h"
#include "xapid/task/task.h"

void world_must(struct world *w, struct error *e)
{
    if (e)
        fail_msg("%s", error_line(&w->arena, e));
}

void world_fails(struct world *w, struct error *e, const char *code)
{
    if (!e)
        fail_msg("it succeeded instead of failing with %s", code);
    if (strcmp(e->code, code) != 0)
        fail_msg("%s instead of %s", error_line(&w->arena, e), code);
}

static struct error *open_memory(void *ctx, struct arena *arena, const char *dir,
                                 const struct log_fsm *fsm, struct log **out)
{
    (void)ctx, (void)arena, (void)dir;
    *out = log_memory_open(fsm);
    return OK;
}

static ref_t make_host(struct world *w)
{
    struct db_create create = {.class_id = CLASS_host};
    char uuid[UUID_TEXT_SIZE];
    struct host row;

    row_defaults(&api_classes[CLASS_host], &row);
    row.ref = ref_new();
    row.uuid = uuid_new(uuid);
    row.enabled = true;
    create.row = &row;
    world_must(w, db_update(&w->call, db_create_txn, &create));
    return row.ref;
}

static void make_sr(struct world *w)
{
    const struct strpair config = {"location", w->storage};
    struct sr_create_args args = {.host = w->xapid.host,
                                  .device_config = {1, &config},
                                  .name_label = "local",
                                  .name_description = "",
                                  .type = "file",
                                  .content_type = "user"};

    world_must(w, sr_create(&w->call, &args, &w->sr));
}

void world_open(struct world *w)
{
    struct db_options options = {.open_log = open_memory};

    *w = (struct world){0};
    snprintf(w->dir, sizeof w->dir, "/tmp/xapid-ops-XXXXXX");
    assert_non_null(mkdtemp(w->dir));
    w->storage = arena_printf(&w->arena, "%s/sr", w->dir);
    options.dir = arena_printf(&w->arena, "%s/db", w->dir);
    w->xapid.options = (struct xapid_options){.state_dir = w->dir, .op_wait = USEC_PER_SEC};
    world_must(w, db_open(&w->arena, &options, &w->xapid.db));
    w->xapid.queue = op_queue_new();
    w->xapid.tasks = tasks_new(&w->xapid);
    w->xapid.faults = faults_new(w->dir);
    w->xapid.srs = sr_table_new(&(struct sr_site){.mounts = "/nonexistent"});
    w->call = (struct call){.arena = &w->arena, .xapid = &w->xapid};
    w->call.snap = db_snapshot(w->xapid.db);
    w->xapid.host = make_host(w);
    make_sr(w);
}

void world_close(struct world *w)
{
    const char *const argv[] = {"rm", "-rf", w->dir, NULL};
    struct child_spec spec = {.argv = argv};
    struct child_result result;

    call_let_go(&w->call);
    sr_table_free(w->xapid.srs);
    faults_free(w->xapid.faults);
    tasks_free(w->xapid.tasks);
    op_queue_free(w->xapid.queue);
    db_close(w->xapid.db);
    error_ignore(child_run(&w->arena, &spec, &result)); /* the folder is in /tmp */
    arena_release(&w->arena);
}

void world_restart(struct world *w)
{
    world_fault(w, NULL);
    sr_table_free(w->xapid.srs);
    w->xapid.srs = sr_table_new(&(struct sr_site){.mounts = "/nonexistent"});
    world_must(w, srs_attach_all(&w->call));
    ops_recover(&w->call);
    call_refresh(&w->call);
}

/*** faults ***/

void world_fault(struct world *w, const char *step)
{
    const char *path = arena_printf(&w->arena, "%s/faults", w->dir);
    FILE *f = fopen(path, "w");

    assert_non_null(f);
    if (step)
        fprintf(f, "%s fail\n", step);
    fclose(f);
}

size_t world_steps(struct world *w, const char **out, size_t max)
{
    FILE *f = fopen(arena_printf(&w->arena, "%s/steps", w->dir), "r");
    char line[256];
    size_t n = 0;

    while (f && n < max && fgets(line, sizeof line, f)) {
        line[strcspn(line, "\n")] = '\0';
        out[n++] = arena_strdup(&w->arena, line);
    }
    if (f)
        fclose(f);
    return n;
}

/*** things ***/

ref_t world_vm(struct world *w, const char *name)
{
    struct db_create create = {.class_id = CLASS_vm};
    char uuid[UUID_TEXT_SIZE];
    struct vm row;

    row_defaults(&api_classes[CLASS_vm], &row);
    row.ref = ref_new();
    row.uuid = uuid_new(uuid);
    row.name_label = name;
    create.row = &row;
    world_must(w, db_update(&w->call, db_create_txn, &create));
    return row.ref;
}

ref_t world_disk(struct world *w, const char *name, int64_t size)
{
    struct vdi_create_args args;
    struct vdi row;
    ref_t ref;

    row_defaults(&api_classes[CLASS_vdi], &row);
    row.name_label = name;
    row.sr = w->sr;
    row.virtual_size = size;
    row.type = VDI_TYPE_USER;
    args.args = &row;
    world_must(w, vdi_create(&w->call, &args, &ref));
    return ref;
}

size_t world_count(struct world *w, int class_id)
{
    call_refresh(&w->call);
    return snap_root(w->call.snap)->tables[class_id].count;
}

size_t world_files(struct world *w, const char *ending)
{
    DIR *d = opendir(w->storage);
    struct dirent *entry;
    size_t n = 0;

    while (d && (entry = readdir(d))) {
        size_t length = strlen(entry->d_name), end = strlen(ending);

        n += length > end && strcmp(entry->d_name + length - end, ending) == 0;
    }
    if (d)
        closedir(d);
    return n;
}

void world_is_quiet(struct world *w)
{
    struct db_walk walk;
    const struct vdi *vdi;
    const struct sr *sr;

    assert_int_equal(world_count(w, CLASS_intent), 0);
    db_walk(w->call.snap, CLASS_vdi, &walk);
    while ((vdi = db_walk_next(&walk)))
        assert_int_equal(vdi->current_operations.n, 0);
    db_walk(w->call.snap, CLASS_sr, &walk);
    while ((sr = db_walk_next(&walk)))
        assert_int_equal(sr->current_operations.n, 0);
}
