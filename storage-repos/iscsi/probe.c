/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* probe.c -- what a target has: first its names, then the LUNs behind one of them. */
#include <string.h>

#include "libxapi/base/call.h"
#include "libxapi/base/log.h"
#include "libxapi/value/value.h"
#include "storage-repos/apart/message.h"
#include "storage-repos/common/words.h"
#include "storage-repos/iscsi/iscsi.h"

#define FOUND_MAX 4096
#define REFUSED "SR_BACKEND_FAILURE_68" /* SR_FAIL_ISCSI_LOGIN */

static void add_found(struct call *call, const struct iscsi_place *place, const char *key,
                      const char *value, struct sr_probe *out)
{
    if (out->n < FOUND_MAX)
        out->v[out->n++] = (struct sr_found){
            .uuid = "", .device_config = strmap_with(call->arena, place->config, key, value)};
}

/* The XML stands in the error that asks for the next setting. */
static void answer(struct call *call, enum sr_failure which, const char *what, struct buf *xml,
                   struct sr_probe *out)
{
    out->answer = sr_failed(call, which, "%s", what);
    out->answer->params[2] = sr_take(call, xml);
}

/* ---- names ---- */

/* A line "address:port,group name". */
static void add_name(struct call *call, const struct iscsi_place *place, char *line,
                     struct buf *xml, struct sr_probe *out)
{
    char *save = NULL, *address = strtok_r(line, " ", &save), *iqn = strtok_r(NULL, " ", &save);
    char *group = address ? strrchr(address, ',') : NULL, *port;

    if (!iqn || !group)
        return;
    *group = '\0';
    port = strrchr(address, ':');
    if (!port)
        return;
    *port++ = '\0';
    if (address[0] == '[') {
        address++;
        address[strcspn(address, "]")] = '\0';
    }
    buf_printf(xml, "<TGT><Index>%zu</Index>", out->n);
    sr_element(xml, "IPAddress", address);
    sr_element(xml, "Port", port);
    sr_element(xml, "TargetIQN", iqn);
    buf_puts(xml, "</TGT>");
    add_found(call, place, "targetIQN", arena_strdup(call->arena, iqn), out);
}

#define RECORD(place) "-m", "discoverydb", "-t", "sendtargets", "-p", (place)->portal

/* iscsiadm takes a password from its records alone. */
static struct error *ask_by_record(struct call *call, const struct iscsi_place *place,
                                   const char **text)
{
    const char *const record[] = {RECORD(place), NULL};

    TRY(ISCSIADM(call, place, SR_FAIL_ISCSI_FIND, RECORD(place), "-o", "new"));
    TRY(iscsi_set_login(call, place, SR_FAIL_ISCSI_FIND, record, "discovery.sendtargets"));
    return iscsi_run(
        call, place, SR_FAIL_ISCSI_FIND,
        (const char *const[]){RECORD(place), "--discover", "-o", "nonpersistent", NULL}, text);
}

static struct error *ask_with_password(struct call *call, const struct iscsi_place *place,
                                       const char **text)
{
    struct error *e = ask_by_record(call, place, text);
    struct error *left = ISCSIADM(call, place, SR_FAIL_ISCSI_FIND, RECORD(place), "-o", "delete");

    return e ? e : left;
}

/* Most targets want a password for their LUNs alone, and iscsiadm does not say its own where it is
 * not asked for, but fails. */
static struct error *ask(struct call *call, const struct iscsi_place *place, const char **text)
{
    struct error *e = iscsi_run(call, place, SR_FAIL_ISCSI_FIND,
                                (const char *const[]){"-m", "discovery", "-t", "sendtargets", "-p",
                                                      place->portal, "-o", "nonpersistent", NULL},
                                text);

    if (strmap_get(&place->config, "chapuser") && (e ? error_is(e, REFUSED) : !**text))
        e = ask_with_password(call, place, text);
    return e;
}

static struct error *find_names(struct call *call, const struct iscsi_place *place,
                                struct sr_probe *out)
{
    char *save = NULL;
    struct buf xml = {0};
    const char *text;

    TRY(ask(call, place, &text));
    buf_puts(&xml, "<?xml version=\"1.0\" ?><iscsi-target-iqns>");
    for (char *line = strtok_r(arena_strdup(call->arena, text), "\n", &save); line;
         line = strtok_r(NULL, "\n", &save))
        add_name(call, place, line, &xml, out);
    buf_puts(&xml, "</iscsi-target-iqns>");
    answer(call, SR_FAIL_NO_IQN, "one of the target's names is wanted", &xml, out);
    return OK;
}

/* ---- LUNs ---- */

static void add_lun(struct call *call, const struct iscsi_place *place, const struct iscsi_lun *lun,
                    struct buf *xml, struct sr_probe *out)
{
    if (!lun->scsi_id[0]) {
        log_warning("LUN %s of %s is left out: it has no name of its own", lun->number, place->iqn);
        return;
    }
    buf_puts(xml, "<LUN>");
    sr_element(xml, "vendor", lun->vendor);
    sr_element(xml, "serial", lun->serial);
    sr_element(xml, "LUNid", lun->number);
    buf_printf(xml, "<size>%lld</size>", (long long)lun->size);
    sr_element(xml, "SCSIid", lun->scsi_id);
    buf_puts(xml, "</LUN>");
    add_found(call, place, "SCSIid", lun->scsi_id, out);
}

static struct error *find_luns(struct call *call, const struct apart_request *request,
                               const struct iscsi_place *place, struct sr_probe *out)
{
    struct iscsi_luns luns = {0};
    struct buf xml = {0};
    struct error *e;

    e = iscsi_open(call, place, iscsi_worker(call));
    if (!e)
        e = iscsi_all_luns(call, place, &luns);
    if (e) {
        error_ignore(iscsi_close(call, request, iscsi_worker(call))); /* the first error is told */
        return e;
    }
    TRY(iscsi_close(call, request, iscsi_worker(call)));
    buf_puts(&xml, "<?xml version=\"1.0\" ?><iscsi-target>");
    for (size_t i = 0; i < luns.n; i++)
        add_lun(call, place, &luns.v[i], &xml, out);
    buf_puts(&xml, "</iscsi-target>");
    answer(call, SR_FAIL_NO_SCSI_ID, "one of the target's LUNs is wanted", &xml, out);
    return OK;
}

struct error *iscsi_probe(struct call *call, const struct apart_request *request,
                          const struct iscsi_place *place, struct sr_probe *out, bool *complete)
{
    *out = (struct sr_probe){.xml = "", .v = arena_array(call->arena, struct sr_found, FOUND_MAX)};
    *complete = place->iqn && place->scsi_id;
    if (*complete)
        return OK;
    return place->iqn ? find_luns(call, request, place, out) : find_names(call, place, out);
}
