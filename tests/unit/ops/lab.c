/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tests/unit/ops/lab.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "libxapi/base/memory.h"
#include "libxapi/codec/codec.h"
#include "tests/lib/log_memory.h"
#include "xapid/auth/session.h"
#include "xapid/db/ready.h"

static struct error *open_memory(void *ctx, struct arena *arena, const char *dir,
                                 const struct log_fsm *fsm, struct log **out)
{
    (void)ctx, (void)arena, (void)dir;
    *out = log_memory_open(fsm);
    return OK;
}

void lab_must(struct lab *lab, const struct error *e)
{
    if (e)
        fail_msg("%s", error_line(&lab->arena, e));
}

void lab_refused(const struct error *e, const char *code)
{
    assert_non_null(e);
    assert_string_equal(e->code, code);
}

void lab_create(struct lab *lab, int class_id, const void *row)
{
    lab_must(lab, db_update(&lab->call, db_create_txn, &(struct db_create){class_id, row}));
}

size_t lab_count(struct lab *lab, int class_id)
{
    call_refresh(&lab->call);
    return snap_root(lab->call.snap)->tables[class_id].count;
}

static void populate(struct lab *lab)
{
    struct pool pool;
    struct host host;

    row_defaults(&api_classes[CLASS_host], &host);
    host.ref = lab->xapid.host = ref_new();
    host.uuid = "7a0f3c9e-2d0f-4a55-9a55-0f0d6bb6a001";
    host.enabled = true;
    lab_create(lab, CLASS_host, &host);
    row_defaults(&api_classes[CLASS_pool], &pool);
    pool.ref = lab->xapid.pool = ref_new();
    pool.uuid = "7a0f3c9e-2d0f-4a55-9a55-0f0d6bb6a002";
    pool.master = host.ref;
    lab_create(lab, CLASS_pool, &pool);
}

int lab_setup(void **state)
{
    struct lab *lab = xcalloc(1, sizeof *lab);
    struct db_options options = {.open_log = open_memory};

    codec_init();
    strcpy(lab->dir, "/tmp/xapid-ops-XXXXXX");
    assert_non_null(mkdtemp(lab->dir));
    options.dir = lab->dir;
    lab_must(lab, db_open(&lab->arena, &options, &lab->xapid.db));
    lab->xapid.options.state_dir = lab->dir;
    lab->xapid.options.config_dir = lab->dir;
    lab->xapid.options.hypervisor = "sim";
    lab->xapid.sessions = sessions_new(&lab->xapid);
    lab->call = (struct call){.arena = &lab->arena, .xapid = &lab->xapid};
    lab->call.snap = db_snapshot(lab->xapid.db);
    populate(lab);
    *state = lab;
    return 0;
}

int lab_teardown(void **state)
{
    struct lab *lab = *state;
    char command[128];

    call_let_go(&lab->call);
    sessions_free(lab->xapid.sessions);
    db_close(lab->xapid.db);
    snprintf(command, sizeof command, "rm -rf '%s'", lab->dir);
    assert_int_equal(system(command), 0);
    arena_release(&lab->arena);
    free(lab);
    return 0;
}
