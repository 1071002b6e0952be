/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* iscsi.c -- the settings, and the program iscsiadm. */
#include "storage-repos/iscsi/iscsi.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "libxapi/base/call.h"
#include "libxapi/base/child.h"
#include "libxapi/base/seam.h"
#include "libxapi/value/value.h"
#include "storage-repos/apart/message.h"
#include "storage-repos/common/program.h"
#include "storage-repos/common/sr_error.h"
#include "storage-repos/common/words.h"

#define NAME_MAX_SIZE 223 /* of an iSCSI name */
#define SECRET_MAX 255
#define PORT "3260"
#define OUTPUT_MAX ((size_t)1024 * 1024)
/* What clears away gets that long when the time is over. */
#define LEAST_TIME (5 * USEC_PER_SEC)
#define WORDS_MAX 20
/* What iscsiadm ends with. */
#define STATUS_TRANSPORT 4
#define STATUS_TRANSPORT_TIMEOUT 8
#define STATUS_NOTHING_FOUND 21
#define STATUS_LOGIN_REFUSED 24

/* ---- settings ---- */

static const struct {
    const char *key, *record; /* of device_config, and of iscsiadm */
} credentials[] = {
    {"chapuser", "username"},
    {"chappassword", "password"},
    {"incoming_chapuser", "username_in"},
    {"incoming_chappassword", "password_in"},
};

bool iscsi_serves(const char *type)
{
    return strcmp(type, "lvmoiscsi") == 0;
}

static const char *setting(const struct strmap *config, const char *key)
{
    const char *value = strmap_get(config, key);

    return value && *value ? value : NULL;
}

const char *iscsi_name(struct call *call, const struct strmap *config)
{
    const char *target = setting(config, "target"), *iqn = setting(config, "targetIQN");

    return arena_printf(call->arena, "%s%s%s", target ? target : "the iSCSI target", iqn ? " " : "",
                        iqn ? iqn : "");
}

static struct error *check_target(struct call *call, const char *target)
{
    if (!target)
        return sr_failed(call, SR_FAIL_NO_TARGET, "the target's name or address is wanted");
    if (strchr(target, ','))
        return sr_failed(call, SR_FAIL_ARGUMENT,
                         "target: '%s': one address is wanted, for there is no multipathing",
                         target);
    if (!sr_host_ok(target))
        return sr_failed(call, SR_FAIL_ARGUMENT, "target: '%s' is no name of a host", target);
    return OK;
}

static struct error *check_port(struct call *call, const char *port)
{
    if (strlen(port) > 5 || strspn(port, "0123456789") != strlen(port) || atoi(port) < 1 ||
        atoi(port) > 65535)
        return sr_failed(call, SR_FAIL_ARGUMENT, "port: '%s' is no port", port);
    return OK;
}

/* It becomes an argument of iscsiadm, and a part of a file's name. */
static struct error *check_iqn(struct call *call, const char *iqn)
{
    bool good = strncmp(iqn, "iqn.", 4) == 0 || strncmp(iqn, "eui.", 4) == 0 ||
                strncmp(iqn, "naa.", 4) == 0;

    if (strcmp(iqn, "*") == 0)
        return sr_failed(call, SR_FAIL_ARGUMENT,
                         "targetIQN: one target is wanted, for there is no multipathing");
    for (const char *p = iqn; *p; p++)
        good &= isalnum((unsigned char)*p) || strchr(".:-_", *p);
    if (!good || strlen(iqn) > NAME_MAX_SIZE)
        return sr_failed(call, SR_FAIL_ARGUMENT, "targetIQN: '%s' is no iSCSI name", iqn);
    return OK;
}

/* iscsiadm keeps them in lines of a file. */
static struct error *check_credentials(struct call *call, const struct strmap *config)
{
    for (size_t i = 0; i < ARRAY_SIZE(credentials); i++) {
        const char *value = setting(config, credentials[i].key);

        for (const char *p = value; p && *p; p++)
            if (iscntrl((unsigned char)*p) || p - value >= SECRET_MAX)
                return sr_failed(call, SR_FAIL_ARGUMENT,
                                 "%s: it is too long or has control characters",
                                 credentials[i].key);
    }
    if (!setting(config, "chapuser") != !setting(config, "chappassword"))
        return sr_failed(call, SR_FAIL_ARGUMENT, "chapuser and chappassword go together");
    return OK;
}

struct error *iscsi_place(struct call *call, const struct apart_request *request,
                          struct iscsi_place *out)
{
    const struct strmap *config = &request->device_config;
    const char *target = setting(config, "target"), *port = setting(config, "port");

    *out = (struct iscsi_place){.system_root = request->system_root,
                                .mounts = request->mounts,
                                .iqn = setting(config, "targetIQN"),
                                .scsi_id = setting(config, "SCSIid"),
                                .config = *config,
                                .deadline = clock_mono() + (usec_t)request->patience / 4 * 3};
    TRY(check_target(call, target));
    port = port ? port : PORT;
    TRY(check_port(call, port));
    if (out->iqn)
        TRY(check_iqn(call, out->iqn));
    out->portal = arena_printf(call->arena, "%s:%s", sr_host_word(call, target), port);
    return check_credentials(call, config);
}

struct error *iscsi_is_complete(struct call *call, const struct iscsi_place *place)
{
    if (!place->iqn)
        return sr_failed(call, SR_FAIL_NO_IQN, "one of the target's names is wanted");
    if (!place->scsi_id)
        return sr_failed(call, SR_FAIL_NO_SCSI_ID, "the SCSI id of a LUN is wanted");
    return OK;
}

/* ---- the program ---- */

static struct error *judge(struct call *call, const struct iscsi_place *place,
                           enum sr_failure which, const struct child_result *r)
{
    if (r->timed_out)
        return sr_failed(call, SR_FAIL_ISCSI_TARGET, "%s: no answer in time", place->portal);
    /* That what is to go is gone, or what is listed is nothing, is no error. */
    if (r->status == 0 || r->status == STATUS_NOTHING_FOUND)
        return OK;
    if (r->status == STATUS_LOGIN_REFUSED)
        which = SR_FAIL_ISCSI_LOGIN;
    if (r->status == STATUS_TRANSPORT || r->status == STATUS_TRANSPORT_TIMEOUT)
        which = SR_FAIL_ISCSI_TARGET;
    return sr_failed(call, which, "%s: %s", place->portal,
                     r->errors[0] ? r->errors
                                  : arena_printf(call->arena, "iscsiadm ended with %d", r->status));
}

struct error *iscsi_run(struct call *call, const struct iscsi_place *place, enum sr_failure which,
                        const char *const *words, const char **output)
{
    usec_t now = clock_mono();
    const char *argv[WORDS_MAX] = {sr_program(call, place->system_root, "iscsiadm")};
    struct child_spec spec = {.argv = argv, .output_limit = OUTPUT_MAX};
    struct child_result r;

    if (!argv[0])
        return sr_failed(call, SR_FAIL_SR,
                         "this host has no iscsiadm program (Debian: open-iscsi)");
    for (size_t i = 0; words[i]; i++) {
        if (i + 2 == ARRAY_SIZE(argv))
            return error_internal(call->arena, "iscsiadm: too many arguments");
        argv[i + 1] = words[i];
    }
    spec.timeout = MAX(place->deadline > now ? place->deadline - now : 0, LEAST_TIME);
    TRY(child_run(call->arena, &spec, &r));
    if (output)
        *output = r.output;
    return judge(call, place, which, &r);
}

struct error *iscsi_set(struct call *call, const struct iscsi_place *place, enum sr_failure which,
                        const char *const *record, const char *name, const char *value)
{
    const char *words[WORDS_MAX] = {0};
    size_t n = 0;

    for (; record[n]; n++)
        words[n] = record[n];
    memcpy(words + n, (const char *[]){"-o", "update", "-n", name, "-v", value}, 6 * sizeof *words);
    return iscsi_run(call, place, which, words, NULL);
}

struct error *iscsi_set_login(struct call *call, const struct iscsi_place *place,
                              enum sr_failure which, const char *const *record, const char *prefix)
{
    if (!setting(&place->config, "chapuser"))
        return OK;
    TRY(iscsi_set(call, place, which, record,
                  arena_printf(call->arena, "%s.auth.authmethod", prefix), "CHAP"));
    for (size_t i = 0; i < ARRAY_SIZE(credentials); i++) {
        const char *value = setting(&place->config, credentials[i].key);

        if (value)
            TRY(iscsi_set(call, place, which, record,
                          arena_printf(call->arena, "%s.auth.%s", prefix, credentials[i].record),
                          value));
    }
    return OK;
}
