/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* lab.h -- as much of a daemon as auth needs: a state directory, sessions, a database in memory. */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "libxapi/base/log.h"
#include "libxapi/base/memory.h"
#include "libxapi/base/seam.h"
#include "tests/lib/log_memory.h"
#include "xapid/auth/audit.h"
#include "xapid/auth/auth.h"
#include "xapid/auth/password.h"
#include "xapid/db/ready.h"
#include "xapid/db/roles.h"
#include "xapid/main/xapid.h"

#define LAB_PATIENCE (30 * USEC_PER_SEC)

struct lab {
    struct arena arena;
    struct xapid xapid;
    struct call call; /* without a session */
    char dir[64], passwords[96], audit_path[96];
};

static inline struct error *lab_open_log(void *ctx, struct arena *arena, const char *dir,
                                         const struct log_fsm *fsm, struct log **out)
{
    (void)ctx, (void)arena, (void)dir;
    *out = log_memory_open(fsm);
    return OK;
}

static inline struct lab *lab_new(void)
{
    struct lab *l = xcalloc(1, sizeof *l);
    struct db_options options = {.open_log = lab_open_log};
    struct audit_options audit = {.path = l->audit_path};

    snprintf(l->dir, sizeof l->dir, "/tmp/xapid-auth-XXXXXX");
    assert_non_null(mkdtemp(l->dir));
    snprintf(l->passwords, sizeof l->passwords, "%s/passwords", l->dir);
    snprintf(l->audit_path, sizeof l->audit_path, "%s/audit.log", l->dir);
    l->xapid.options.state_dir = l->dir;
    l->xapid.options.password_file = l->passwords;
    options.dir = arena_printf(&l->arena, "%s/db", l->dir);
    assert_null(db_open(&l->arena, &options, &l->xapid.db));
    assert_null(audit_open(&l->arena, &audit, &l->xapid.audit));
    l->xapid.sessions = sessions_new(&l->xapid);
    l->call = (struct call){.arena = &l->arena, .xapid = &l->xapid};
    call_refresh(&l->call);
    return l;
}

static inline void lab_auth(struct lab *l, const struct auth_tuning *tuning)
{
    struct error *e = auth_new_tuned(&l->arena, &l->xapid, tuning, &l->xapid.auth);

    if (e)
        fail_msg("%s", error_line(&l->arena, e));
}

static inline void lab_free(struct lab *l)
{
    auth_free(l->xapid.auth);
    call_let_go(&l->call);
    audit_free(l->xapid.audit);
    sessions_free(l->xapid.sessions);
    db_close(l->xapid.db);
    assert_int_equal(system(arena_printf(&l->arena, "rm -r %s", l->dir)), 0);
    arena_release(&l->arena);
    free(l);
}

/* A call by a session with that role; given back with lab_end. */
static inline struct call lab_call(struct lab *l, enum role_id role, bool pool, const char *user)
{
    struct call call = {.arena = &l->arena, .xapid = &l->xapid};
    ref_t ref = session_create(
        l->xapid.sessions, &(struct session_request){.role = role,
                                                     .pool = pool,
                                                     .is_local_superuser = role == ROLE_LOCAL_ROOT,
                                                     .user = user,
                                                     .originator = "test",
                                                     .client = "192.0.2.7"});

    call.session = session_find(l->xapid.sessions, ref);
    call_refresh(&call);
    return call;
}

static inline void lab_end(struct call *call)
{
    call_let_go(call);
    session_unref(call->session);
}

static inline void lab_password(struct lab *l, const char *user, const char *password)
{
    assert_null(password_file_set(&l->arena, l->passwords, user, password));
}

static inline ref_t lab_subject(struct lab *l, const char *name)
{
    struct subject row;
    struct subject_create_args args = {.args = &row};
    ref_t ref;

    row_defaults(&api_classes[CLASS_subject], &row);
    row.subject_identifier = name;
    assert_null(subject_create(&l->call, &args, &ref));
    return ref;
}

/* What was written to the audit log so far. */
static inline const char *lab_audit(struct lab *l)
{
    char *text = arena_zalloc(&l->arena, 1 << 20);
    FILE *f;

    assert_true(audit_flush(l->xapid.audit, LAB_PATIENCE));
    f = fopen(l->audit_path, "r");
    assert_non_null(f);
    text[fread(text, 1, (1 << 20) - 1, f)] = '\0';
    fclose(f);
    return text;
}
