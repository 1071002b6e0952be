/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * build.c -- making a domain, and ending one.
 *
 * All or nothing: until the mark is written (mark_complete) the domain is half-built, and whatever
 * fails destroys it.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "libxapi/base/log.h"
#include "xapid/hypervisor/executor/executor.h"
#include "xapid/hypervisor/server/outcome.h"

#define LINE_MAX_BYTES 512

/* libxl's configuration, which owns memory of its own. */
struct xl_config {
    libxl_domain_config c;
    bool held;
};

static void xl_config_release(struct xl_config *config)
{
    if (config->held)
        libxl_domain_config_dispose(&config->c);
}

struct error *config_of(struct request *rq, struct hv_domain_config *out)
{
    struct reader r = reader_of(&rq->arena, json_object_get(rq->args_json, "config"));

    *out = (struct hv_domain_config){0};
    read_config(&r, out);
    return r.bad ? error_internal(&rq->arena, "the configuration's '%s' is missing or wrong", r.bad)
                 : OK;
}

static void destroy_half_built(struct request *rq, const char *uuid)
{
    AUTO(xen) xen = {0};
    struct found d;
    struct error *e = xen_open(&rq->arena, &xen);

    if (!e)
        e = domain_find(rq, &xen, uuid, &d);
    if (!e && d.exists && libxl_domain_destroy(xen.ctx, d.domid, NULL) != 0)
        e = xen_failed(&rq->arena, &xen, "destroying what was built of it", 0);
    if (e)
        log_error("the half-built domain %s may be left over: %s", uuid, error_line(&rq->arena, e));
}

/* By the daemon's figures, of which it has made room: libxl's own has page tables for guests that
 * need none, and is rounded. */
static struct error *check_memory(struct request *rq, struct xen *xen,
                                  const libxl_domain_build_info *b)
{
    uint64_t own = b->type == LIBXL_DOMAIN_TYPE_PV ? 1024 : 2048;

    return memory_need(&rq->arena, xen, (int64_t)(b->target_memkb + b->shadow_memkb + own) * 1024);
}

static int create(struct xen *xen, libxl_domain_config *config, int fd, uint32_t *domid)
{
    libxl_domain_restore_params params;
    int rc;

    if (fd < 0)
        return libxl_domain_create_new(xen->ctx, config, domid, NULL, NULL);
    libxl_domain_restore_params_init(&params);
    params.stream_version = 2; /* what 4.6 and later write */
    rc = libxl_domain_create_restore(xen->ctx, config, domid, fd, -1, &params, NULL, NULL);
    libxl_domain_restore_params_dispose(&params);
    return rc;
}

static void announce(struct executor *x, uint32_t domid, const struct hv_domain_config *config)
{
    json_t *domain = json_object();

    json_object_set_new(domain, "domid", json_integer(domid));
    json_object_set_new(domain, "name", json_text(*config->name ? config->name : config->uuid));
    json_object_set_new(domain, "hvm", json_boolean(strcmp(config->type, "hvm") == 0));
    /* In line before this call's own answer: whoever hears of the domain finds its console. */
    loop_post(x, console_ensure, domain);
}

/* The last line of a log that is not empty; "" if there is none. */
static const char *last_line(struct arena *arena, const char *path)
{
    FILE *f = fopen(path, "re");
    char line[LINE_MAX_BYTES];
    const char *last = "";

    while (f && fgets(line, sizeof line, f)) {
        line[strcspn(line, "\r\n")] = '\0';
        if (line[strspn(line, " ")])
            last = arena_strdup(arena, line);
    }
    if (f)
        fclose(f);
    return last;
}

/* libxl complains of a kernel without naming it, and says no more of its boot loader than where its
 * log is. */
static struct error *build_failed(struct request *rq, struct xen *xen,
                                  const struct hv_domain_config *config, int rc)
{
    const char *what = "building the domain", *why = "";
    const char *loader = xen_said(xen, "bootloader failed"),
               *log = loader ? strchr(loader, '/') : NULL;
    struct error *e;

    if (*config->kernel && xen_said(xen, "Invalid kernel"))
        what = arena_printf(&rq->arena, "%s with %s", what, config->kernel);
    if (log)
        why = last_line(&rq->arena, log);
    e = xen_failed(&rq->arena, xen, what, rc);
    return loader ? error_new(&rq->arena, "BOOTLOADER_FAILED", 2, config->uuid,
                              *why ? why : e->params[0])
                  : e;
}

struct error *build_domain(struct request *rq, struct xen *xen,
                           const struct hv_domain_config *config, int fd, int *domid)
{
    struct executor *x = executor_of(rq);
    struct config_options options = {x->dir, fd >= 0, x->block_script,
                                     host_features(&rq->arena, strcmp(config->type, "pv") == 0)};
    AUTO(xl_config) xl = {.held = true};
    uint32_t id = INVALID_DOMID;
    struct found twin;
    struct error *e;
    int rc;

    TRY(config_translate(&rq->arena, config, &options, &xl.c));
    TRY(domain_find(rq, xen, config->uuid, &twin));
    if (twin.exists)
        return error_new(&rq->arena, "DOMAIN_EXISTS", 2, config->uuid,
                         arena_printf(&rq->arena, "%u", twin.domid));
    TRY(check_memory(rq, xen, &xl.c.b_info));
    /* From here on a domain with this uuid is ours, complete or not. */
    if (rq->outcome)
        TRY(journal_note(&rq->arena, x->journal, rq->outcome->id));
    rc = create(xen, &xl.c, fd, &id);
    e = rc ? build_failed(rq, xen, config, rc) : mark_complete(rq, xen, id, config);
    if (e) {
        destroy_half_built(rq, config->uuid);
        return e;
    }
    *domid = (int)id;
    announce(x, id, config);
    return OK;
}

struct error *run_build(struct request *rq, json_t **result)
{
    struct hv_domain_config config;
    AUTO(hold) hold = {0};
    AUTO(xen) xen = {0};
    int domid;

    TRY(config_of(rq, &config));
    TRY(hold_take(rq, config.uuid, HOLD_BUILD, &hold));
    TRY(xen_open(&rq->arena, &xen));
    TRY(build_domain(rq, &xen, &config, -1, &domid));
    *result = json_pack("{s:i}", "domid", domid);
    return OK;
}

struct error *run_destroy(struct request *rq, json_t **result)
{
    struct executor *x = executor_of(rq);
    char uuid[UUID_TEXT_SIZE];
    AUTO(hold) hold = {0};
    AUTO(xen) xen = {0};
    struct found d;
    int rc;

    (void)result;
    read_uuid(&rq->args, "uuid", false, uuid);
    if (rq->args.bad)
        return request_bad(rq);
    TRY(hold_take(rq, uuid, HOLD_DESTROY, &hold));
    TRY(xen_open(&rq->arena, &xen));
    TRY(domain_find(rq, &xen, uuid, &d));
    if (!d.exists)
        return OK;
    TRY(domain_of(rq, &xen, &d));
    /* A save that waits for the guest takes this for an answer, and then sees it gone: at once, not
     * after the minute that libxl would give it. */
    ask_withdraw(&rq->arena, &xen, d.domid);
    rc = libxl_domain_destroy(xen.ctx, d.domid, NULL);
    if (rc)
        return xen_failed(&rq->arena, &xen, "destroying the domain", rc);
    unlink(config_vnc_path(&rq->arena, x->dir, uuid));
    return OK;
}
