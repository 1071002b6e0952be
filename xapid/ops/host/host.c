/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* host.c -- messages of class host that read facts or change one record. */
#include <ctype.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "libxapi/base/seam.h"
#include "libxapi/value/value.h"
#include "xapid/db/ready.h"
#include "xapid/db/row.h"
#include "xapid/http/certificate.h"
#include "xapid/hypervisor/hv.h"
#include "xapid/main/xapid.h"
#include "xapid/ops/ha/guard.h"
#include "xapid/ops/host/here.h"
#include "xapid/ops/host/licence.h"
#include "xapid/ops/host/plugin.h"
#include "xapid/ops/host/system.h"

#define HOST_NAME_LIMIT 253
#define LABEL_LIMIT 63

/*** enabled or not ***/

struct switching {
    ref_t host;
    bool enable, auto_enable;
};

static struct error *switch_txn(struct txn *txn, void *arg)
{
    const struct switching *s = arg;
    struct refs states = txn_referrers(txn, FIELD_host_state_host, s->host);
    struct call *call = txn_call(txn);
    const struct host *host;

    TRY(TXN_GET(txn, host, s->host, &host));
    if (s->enable && host->pending_guidances.n)
        return err_host_pending_mandatory_guidance_not_empty(call, call_ref(call, s->host));
    if (!s->enable)
        TRY(txn_ha_check(txn, &(struct ha_change){.without = s->host}));
    TXN_SET(txn, host, s->host, enabled, s->enable);
    for (size_t i = 0; i < states.n; i++)
        TXN_SET(txn, host_state, states.v[i], auto_enable, s->auto_enable);
    return OK;
}

struct error *host_disable(struct call *call, const struct host_disable_args *args)
{
    return db_update(call, switch_txn, &(struct switching){args->host, false, args->auto_enable});
}

struct error *host_enable(struct call *call, const struct host_enable_args *args)
{
    return db_update(call, switch_txn, &(struct switching){args->host, true, true});
}

/* By the administrator's word: what is owed after an update is done, or given up. */
struct error *host_emergency_clear_mandatory_guidance(struct call *call)
{
    return CALL_SET(call, host, call->xapid->host, pending_guidances, {0});
}

/*** what there is ***/

struct error *host_list_methods(struct call *call, struct strings *result)
{
    const char **v = arena_array(call->arena, const char *, api_n_messages);
    size_t n = 0;

    for (size_t i = 0; i < api_n_messages; i++)
        if (!(api_classes[api_messages[i].class_id].flags & CLASS_INTERNAL))
            v[n++] = api_messages[i].full_name;
    *result = (struct strings){n, v};
    return OK;
}

struct error *host_get_servertime(struct call *call, const struct host_get_servertime_args *args,
                                  usec_t *result)
{
    TRY(host_check_here(call, args->host));
    *result = clock_wall();
    return OK;
}

struct error *host_get_server_localtime(struct call *call,
                                        const struct host_get_server_localtime_args *args,
                                        usec_t *result)
{
    usec_t now = clock_wall();
    time_t seconds = (time_t)(now / USEC_PER_SEC);
    struct tm local;

    TRY(host_check_here(call, args->host));
    *result = now + (localtime_r(&seconds, &local) ? local.tm_gmtoff * USEC_PER_SEC : 0);
    return OK;
}

struct error *host_compute_free_memory(struct call *call,
                                       const struct host_compute_free_memory_args *args,
                                       int64_t *result)
{
    struct hv_request rq = {.arena = call->arena};
    struct hv_host_info info;

    TRY(host_check_here(call, args->host));
    TRY(hv_host(call->xapid->hv, &rq, &info));
    *result = info.memory_free;
    return OK;
}

/* What is neither free nor any domain's. */
struct error *host_compute_memory_overhead(struct call *call,
                                           const struct host_compute_memory_overhead_args *args,
                                           int64_t *result)
{
    struct hv_request rq = {.arena = call->arena};
    const struct hv_domain *domains;
    struct hv_host_info info;
    const struct host *host;
    const struct vm *control;
    size_t n;

    TRY(host_check_here(call, args->host));
    TRY(DB_GET(call, host, args->host, &host));
    TRY(hv_host(call->xapid->hv, &rq, &info));
    TRY(hv_list(call->xapid->hv, &rq, &n, &domains));
    *result = info.memory_total - info.memory_free;
    for (size_t i = 0; i < n; i++)
        *result -= domains[i].memory;
    control = db_find(call, CLASS_vm, host->control_domain);
    if (control)
        *result -= control->memory_target;
    *result = MAX(*result, (int64_t)0);
    return OK;
}

struct error *host_get_management_interface(struct call *call,
                                            const struct host_get_management_interface_args *args,
                                            ref_t *result)
{
    struct refs pifs;

    TRY(host_check(call, args->host));
    pifs = db_referrers(call, FIELD_pif_host, args->host);
    for (size_t i = 0; i < pifs.n; i++) {
        const struct pif *pif = db_find(call, CLASS_pif, pifs.v[i]);

        if (pif && pif->management) {
            *result = pif->ref;
            return OK;
        }
    }
    return err_host_has_no_management_ip(call);
}

struct error *host_get_server_certificate(struct call *call,
                                          const struct host_get_server_certificate_args *args,
                                          const char **result)
{
    struct certificate_info info;

    TRY(host_check_here(call, args->host));
    TRY(certificate_read(
        call->arena, arena_printf(call->arena, "%s/xapid-tls.pem", call->xapid->options.state_dir),
        &info));
    *result = info.pem;
    return OK;
}

struct error *host_is_in_emergency_mode(struct call *call, bool *result)
{
    *result = call->xapid->replaced || db_is_cut_off(call->xapid->db);
    return OK;
}

struct error *host_ha_xapi_healthcheck(struct call *call, bool *result)
{
    (void)call;
    *result = true;
    return OK;
}

struct error *host_local_assert_healthy(struct call *call)
{
    (void)call;
    return OK;
}

/* Blobs, messages and the like are in the database, which needs no such help. */
struct error *host_sync_data(struct call *call, const struct host_sync_data_args *args)
{
    return host_check_here(call, args->host);
}

/* There are no packs: what is installed is the system's matter. */
struct error *host_refresh_pack_info(struct call *call,
                                     const struct host_refresh_pack_info_args *args)
{
    return host_check_here(call, args->host);
}

struct error *host_retrieve_wlb_evacuate_recommendations(
    struct call *call, const struct host_retrieve_wlb_evacuate_recommendations_args *args,
    struct map *result)
{
    (void)result;
    TRY(host_check(call, args->self));
    return err_wlb_not_initialized(call);
}

struct error *host_has_extension(struct call *call, const struct host_has_extension_args *args,
                                 bool *result)
{
    TRY(host_check_here(call, args->host));
    *result = extension_exists(call, args->name);
    return OK;
}

/*** licence ***/

/* Nothing here reads licence files. */
struct error *host_license_add(struct call *call, const struct host_license_add_args *args)
{
    TRY(host_check(call, args->host));
    return err_license_processing_error(call);
}

/* The edition without a licence is in effect already. */
struct error *host_license_remove(struct call *call, const struct host_license_remove_args *args)
{
    return host_check(call, args->host);
}

struct error *licence_check_edition(struct call *call, const char *edition)
{
    if (strcmp(edition, LICENCE_EDITION) != 0 && strcmp(edition, "free") != 0)
        return err_invalid_edition(call, edition);
    return OK;
}

struct error *host_apply_edition(struct call *call, const struct host_apply_edition_args *args)
{
    TRY(host_check(call, args->host));
    return licence_check_edition(call, args->edition);
}

/*** one record ***/

/* Letters, digits and hyphens in labels between dots; no empty label, none that begins or ends with
 * a hyphen. */
static const char *bad_host_name(const char *name)
{
    size_t label = 0;

    if (!*name)
        return "the name is empty";
    if (strlen(name) > HOST_NAME_LIMIT)
        return "the name is too long";
    for (const char *p = name;; p++) {
        if (*p == '.' || !*p) {
            if (!label || p[-1] == '-')
                return "a part of the name is empty or ends with a hyphen";
            label = 0;
        } else if (!isalnum((unsigned char)*p) && (*p != '-' || !label)) {
            return "the name may only have letters, digits, hyphens and dots";
        } else if (++label > LABEL_LIMIT) {
            return "a part of the name is too long";
        }
        if (!*p)
            return NULL;
    }
}

/* The system's own name; the simulator's host has none.  Needs no intent: each start copies the
 * system's name into the record. */
static struct error *set_system_name(struct call *call, const char *name)
{
    if (system_is_simulated(call) && !system_program(call, "hostnamectl"))
        return OK;
    return SYSTEM_RUN(call, NULL, "hostnamectl", "set-hostname", "--", name);
}

struct error *host_set_hostname_live(struct call *call,
                                     const struct host_set_hostname_live_args *args)
{
    const char *bad = bad_host_name(args->hostname);

    TRY(host_check_here(call, args->host));
    if (bad)
        return err_host_name_invalid(call, bad);
    TRY(set_system_name(call, args->hostname));
    return CALL_SET(call, host, args->host, hostname, args->hostname);
}

struct power_on {
    ref_t host;
    const char *mode;
    struct strmap config;
};

static struct error *power_on_txn(struct txn *txn, void *arg)
{
    const struct power_on *p = arg;
    const struct host *host;

    TRY(TXN_GET(txn, host, p->host, &host));
    TXN_SET(txn, host, p->host, power_on_mode, p->mode);
    TXN_SET(txn, host, p->host, power_on_config, p->config);
    return OK;
}

struct error *host_set_power_on_mode(struct call *call,
                                     const struct host_set_power_on_mode_args *args)
{
    return db_update(call, power_on_txn,
                     &(struct power_on){args->self, args->power_on_mode, args->power_on_config});
}

struct error *host_set_ssl_legacy(struct call *call, const struct host_set_ssl_legacy_args *args)
{
    TRY(host_check(call, args->self));
    if (args->value)
        return err_value_not_supported(call, "value", "true",
                                       "versions of TLS before 1.2 are not spoken");
    return OK;
}

struct error *host_set_uefi_certificates(struct call *call,
                                         const struct host_set_uefi_certificates_args *args)
{
    TRY(host_check(call, args->host));
    return err_operation_not_allowed(call, "The certificates are those of the pool: "
                                           "pool.set_custom_uefi_certificates changes them.");
}

struct error *host_set_numa_affinity_policy(struct call *call,
                                            const struct host_set_numa_affinity_policy_args *args)
{
    TRY(host_check(call, args->self));
    return CALL_SET(call, host, args->self, numa_affinity_policy, args->value);
}

/* Clients and storage drivers of before look for both settings in other_config. */
static struct error *iscsi_iqn_txn(struct txn *txn, void *arg)
{
    const struct host_set_iscsi_iqn_args *args = arg;
    const struct host *host;

    TRY(TXN_GET(txn, host, args->host, &host));
    TXN_SET(txn, host, args->host, iscsi_iqn, args->value);
    txn_strmap_put(txn, FIELD_host_other_config, args->host, "iscsi_iqn", args->value);
    return OK;
}

struct error *host_set_iscsi_iqn(struct call *call, const struct host_set_iscsi_iqn_args *args)
{
    TRY(host_check(call, args->host));
    /* RFC 3720: at most 223 bytes; the three forms of names that there are. */
    if (strlen(args->value) > 223 ||
        (strncmp(args->value, "iqn.", 4) != 0 && strncmp(args->value, "eui.", 4) != 0 &&
         strncmp(args->value, "naa.", 4) != 0) ||
        strpbrk(args->value, " \t\r\n"))
        return err_invalid_value(call, "value", args->value);
    return db_update(call, iscsi_iqn_txn, (void *)args);
}

static struct error *multipathing_txn(struct txn *txn, void *arg)
{
    const struct host_set_multipathing_args *args = arg;
    const struct host *host;

    TRY(TXN_GET(txn, host, args->host, &host));
    TXN_SET(txn, host, args->host, multipathing, args->value);
    txn_strmap_put(txn, FIELD_host_other_config, args->host, "multipathing",
                   args->value ? "true" : "false");
    return OK;
}

struct error *host_set_multipathing(struct call *call,
                                    const struct host_set_multipathing_args *args)
{
    return db_update(call, multipathing_txn, (void *)args);
}
