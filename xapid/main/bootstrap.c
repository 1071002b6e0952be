/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "xapid/main/bootstrap.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <openssl/sha.h>

#include "libxapi/base/log.h"
#include "libxapi/base/seam.h"
#include "libxapi/value/value.h"
#include "xapid/db/db.h"
#include "xapid/db/row.h"
#include "xapid/hypervisor/hv.h"
#include "xapid/main/facts.h"
#include "xapid/main/members.h"
#include "xapid/main/office.h"
#include "xapid/main/templates.h"
#include "xapid/main/xapid.h"
#include "xapid/ops/host/licence.h"
#include "xapid/ops/network/change.h"
#include "xapid/ops/devices/refresh.h"
#include "xapid/ops/storage/attach.h"
#include "xapid/ops/storage/sm.h"
#include "xapid/ops/vm/checks.h"

/* The interface whose level xapid has, as clients compare it. */
#define API_MAJOR 2
#define API_MINOR 23
#define DB_SCHEMA "5.909"
#define PRODUCT_VERSION "8.3.0"
#define PLATFORM_VERSION "3.4.0"
#define XAPI_VERSION "26.1"

struct boot {
    struct xapid *xapid;
    const char *uuid;   /* of this host */
    const char *member; /* as in host_state.member */
    bool alone; /* no other member: the database is this host's, to be made if it is empty */
    struct facts facts;
    struct hv_host_info hv;
    size_t n_domains;
    const struct hv_domain *domains; /* at the start, without the control domain */
    int64_t control_memory;          /* bytes */
    int64_t control_vcpus;
    int64_t overhead; /* bytes that neither are free nor any domain's: the hypervisor's own */
    /* Filled by the transactions. */
    ref_t host, pool, state;
    const char *address; /* that somebody has set for the management interface, or "" */
};

/*** names that follow from the host's uuid ***/

/* The same at each try, so that what was made outside the database is found again. */
static void digest_of(const struct boot *b, const char *what, uint8_t out[SHA256_DIGEST_LENGTH])
{
    char text[128];
    int n = snprintf(text, sizeof text, "xapid %s %s", what, b->uuid);

    SHA256((const uint8_t *)text, MIN((size_t)n, sizeof text - 1), out);
}

static const char *uuid_for(struct arena *arena, const struct boot *b, const char *what)
{
    uint8_t digest[SHA256_DIGEST_LENGTH];
    char uuid[UUID_TEXT_SIZE];

    digest_of(b, what, digest);
    digest[6] = (uint8_t)((digest[6] & 0x0f) | 0x80);
    digest[8] = (uint8_t)((digest[8] & 0x3f) | 0x80);
    return arena_strdup(arena, uuid_to_text(digest, uuid));
}

static const char *mac_for(struct arena *arena, const struct boot *b)
{
    uint8_t d[SHA256_DIGEST_LENGTH];

    digest_of(b, "mac", d);
    return arena_printf(arena, "02:%02x:%02x:%02x:%02x:%02x", d[0], d[1], d[2], d[3], d[4]);
}

static const char *new_uuid(struct arena *arena)
{
    char uuid[UUID_TEXT_SIZE];

    return arena_strdup(arena, uuid_new(uuid));
}

/*** this host's identity ***/

static struct error *identity_failed(struct arena *arena, const char *path)
{
    return error_internal(arena, "cannot keep this host's identity in %s: %s", path,
                          strerror(errno));
}

/* Complete or absent, also after a power cut. */
static struct error *write_identity(struct arena *arena, const char *dir, const char *path,
                                    const char *uuid)
{
    const char *temp = arena_printf(arena, "%s.tmp", path);
    const char *line = arena_printf(arena, "%s\n", uuid);
    int fd = open(temp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0644);
    bool good;

    if (fd < 0)
        return identity_failed(arena, temp);
    good = write(fd, line, strlen(line)) == (ssize_t)strlen(line) && fsync(fd) == 0;
    close(fd);
    if (!good || rename(temp, path) < 0)
        return identity_failed(arena, path);
    fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    good = fd >= 0 && fsync(fd) == 0;
    if (fd >= 0)
        close(fd);
    return good ? OK : identity_failed(arena, path);
}

/* "" where there is none. */
static struct error *read_identity(struct arena *arena, const char *path, const char **uuid)
{
    char text[64] = "";
    uint8_t bytes[16];
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n;

    *uuid = "";
    if (fd < 0)
        return errno == ENOENT ? OK : identity_failed(arena, path);
    n = read(fd, text, sizeof text - 1);
    close(fd);
    if (n < 0)
        return identity_failed(arena, path);
    text[strcspn(text, "\r\n \t")] = '\0';
    if (!uuid_from_text(text, bytes))
        return error_internal(arena,
                              "%s does not hold a uuid; without it this host does not know "
                              "which of the pool's hosts it is",
                              path);
    *uuid = arena_strdup(arena, text);
    return OK;
}

/* The only host of the database, or NULL. */
static const struct host *only_host(const struct call *call)
{
    struct db_walk walk;
    const struct host *host;

    db_walk(call->snap, CLASS_host, &walk);
    host = db_walk_next(&walk);
    return host && !db_walk_next(&walk) ? host : NULL;
}

/* The host whose daemon is this member of the log, or NULL. */
static const struct host *host_of_member(const struct call *call, const char *member)
{
    const struct host_state *state;
    struct db_walk walk;

    db_walk(call->snap, CLASS_host_state, &walk);
    while (*member && (state = db_walk_next(&walk)))
        if (strcmp(state->member, member) == 0)
            return db_find(call, CLASS_host, state->host);
    return NULL;
}

static struct error *find_identity(struct call *call, struct boot *b)
{
    const char *dir = b->xapid->options.state_dir;
    const char *path = arena_printf(call->arena, "%s/host-uuid", dir);
    const struct host *host = host_of_member(call, b->member);

    TRY(read_identity(call->arena, path, &b->uuid));
    if (*b->uuid && host && strcmp(host->uuid, b->uuid) != 0)
        return error_internal(call->arena,
                              "the database knows this member of the pool as host %s, but %s says "
                              "%s: it belongs to another one, or was changed",
                              host->uuid, path, b->uuid);
    if (*b->uuid)
        return OK;
    if (!host && b->alone)
        host = only_host(call);
    if (host)
        log_warning("%s is missing; taken from the database", path);
    b->uuid = host ? arena_strdup(call->arena, host->uuid) : new_uuid(call->arena);
    return write_identity(call->arena, dir, path, b->uuid);
}

/*** what the hypervisor says ***/

static bool is_simulated(const struct boot *b)
{
    return strcmp(b->hv.hypervisor, "simulator") == 0;
}

/* What is free, a guest's or the control domain's is the whole.  Where the control domain's part is
 * not told, it has what is left. */
static void read_control_domain(struct call *call, struct boot *b)
{
    struct hv_request rq = {.arena = call->arena};
    int64_t rest = b->hv.memory_total - b->hv.memory_free;
    struct hv_stats stats;

    for (size_t i = 0; i < b->n_domains; i++)
        rest -= b->domains[i].memory;
    b->control_memory = rest = MAX(rest, (int64_t)0);
    b->control_vcpus = b->hv.cpu_count;
    if (hv_stats(b->xapid->hv, &rq, &stats))
        return;
    for (size_t i = 0; i < stats.n_domains; i++) {
        const struct hv_usage *u = &stats.domains[i];

        if (u->domid != 0)
            continue;
        b->control_vcpus = (int64_t)MAX(u->vcpus.n, (size_t)1);
        if (u->memory >= 0)
            b->control_memory = MIN(u->memory, rest);
    }
    b->overhead = rest - b->control_memory;
}

static struct error *read_hypervisor(struct call *call, struct boot *b)
{
    struct hv_request rq = {.arena = call->arena};

    TRY(hv_host(b->xapid->hv, &rq, &b->hv));
    TRY(hv_list(b->xapid->hv, &rq, &b->n_domains, &b->domains));
    read_control_domain(call, b);
    if (is_simulated(b)) {
        /* The real processor's numbers would not fit the one the simulator tells of. */
        b->facts.cpu_family = 6;
        b->facts.cpu_model = 85;
        b->facts.cpu_stepping = "7";
    }
    return OK;
}

static struct strings words(struct arena *arena, const char *text)
{
    const char **v = arena_array(arena, const char *, strlen(text) / 2 + 1);
    size_t n = 0;

    while (*(text += strspn(text, " "))) {
        size_t size = strcspn(text, " ");

        v[n++] = arena_strndup(arena, text, size);
        text += size;
    }
    return (struct strings){n, v};
}

static const char *number(struct arena *arena, int64_t n)
{
    return arena_printf(arena, "%lld", (long long)n);
}

static struct strmap map_of(struct arena *arena, const struct strpair *pairs, size_t n)
{
    return (struct strmap){n, arena_memdup(arena, pairs, n * sizeof *pairs)};
}

static struct strmap cpu_info(struct arena *arena, const struct boot *b)
{
    const struct strpair pairs[] = {
        {"cpu_count", number(arena, b->hv.cpu_count)},
        {"socket_count", number(arena, b->hv.socket_count)},
        {"threads_per_core", number(arena, b->hv.threads_per_core)},
        {"nr_nodes", number(arena, b->hv.nr_nodes)},
        {"vendor", b->hv.cpu_vendor},
        {"speed", arena_printf(arena, "%.3f", b->hv.cpu_mhz)},
        {"modelname", b->hv.cpu_model},
        {"family", number(arena, b->facts.cpu_family)},
        {"model", number(arena, b->facts.cpu_model)},
        {"stepping", b->facts.cpu_stepping},
        {"flags", b->hv.cpu_flags},
        {"features_pv", b->hv.features_pv},
        {"features_hvm", b->hv.features_hvm},
        {"features_pv_host", b->hv.features_pv},
        {"features_hvm_host", b->hv.features_hvm},
    };

    return map_of(arena, pairs, ARRAY_SIZE(pairs));
}

static struct strmap software_version(struct arena *arena, const struct boot *b)
{
    const char *api = arena_printf(arena, "%d.%d", API_MAJOR, API_MINOR);
    const struct strpair pairs[] = {
        {"product_version", PRODUCT_VERSION},
        {"product_version_text", PRODUCT_VERSION},
        {"product_version_text_short", PRODUCT_VERSION},
        {"platform_name", "XCP"},
        {"platform_version", PLATFORM_VERSION},
        {"product_brand", "xapid"},
        {"build_number", XAPID_VERSION},
        {"git_id", "local"},
        {"hostname", "localhost"},
        {"date", "2026-01-01"},
        {"xapi", XAPI_VERSION},
        {"xapi_build", "xapid " XAPID_VERSION},
        {"db_schema", DB_SCHEMA},
        {"xen", *b->hv.version ? b->hv.version : "(unknown)"},
        {"linux", *b->facts.kernel ? b->facts.kernel : "(unknown)"},
        {"xencenter_min", "2.0"},
        {"xencenter_max", api},
        {"network_backend", "bridge"},
    };

    return map_of(arena, pairs, ARRAY_SIZE(pairs));
}

/* Seconds with a trailing point: clients parse it as a number and never expect an exponent. */
static const char *time_text(struct arena *arena, usec_t time)
{
    return arena_printf(arena, "%lld.", (long long)(time / USEC_PER_SEC));
}

static const char *address_of(const struct boot *b)
{
    if (*b->address)
        return b->address;
    return *b->facts.nic.ip ? b->facts.nic.ip : "127.0.0.1";
}

/*** the pool and its first host: one write-set ***/

static void add_pool(struct txn *txn, struct boot *b)
{
    static const struct strpair config[] = {{"memory-ratio-hvm", "0.25"},
                                            {"memory-ratio-pv", "0.25"}};
    struct pool pool;

    row_defaults(&api_classes[CLASS_pool], &pool);
    pool.ref = b->pool = ref_new();
    pool.uuid = new_uuid(txn_arena(txn));
    pool.master = b->host;
    pool.other_config = (struct strmap){ARRAY_SIZE(config), config};
    pool.ha_cluster_stack = "xhad";
    txn_create(txn, CLASS_pool, &pool);
}

static ref_t add_vm_metrics(struct txn *txn, const struct boot *b)
{
    struct vm_metrics metrics;

    row_defaults(&api_classes[CLASS_vm_metrics], &metrics);
    metrics.ref = ref_new();
    metrics.uuid = new_uuid(txn_arena(txn));
    metrics.vcpus_number = b->control_vcpus;
    metrics.start_time = b->hv.boot_time;
    metrics.last_updated = clock_wall();
    metrics.current_domain_type = DOMAIN_TYPE_PV;
    txn_create(txn, CLASS_vm_metrics, &metrics);
    return metrics.ref;
}

static ref_t add_control_domain(struct txn *txn, const struct boot *b)
{
    struct arena *arena = txn_arena(txn);
    struct vm vm;

    row_defaults(&api_classes[CLASS_vm], &vm);
    vm.ref = ref_new();
    vm.uuid = uuid_for(arena, b, "control domain");
    vm.name_label = arena_printf(arena, "Control domain on host: %s", b->facts.hostname);
    vm.name_description = "The domain which manages physical devices and manages other domains";
    vm.power_state = VM_RUNNING;
    vm.user_version = 1;
    vm.resident_on = b->host;
    vm.affinity = b->host;
    vm.actions_after_shutdown = ON_EXIT_DESTROY;
    vm.actions_after_reboot = ON_EXIT_DESTROY;
    vm.actions_after_crash = ON_CRASH_DESTROY;
    vm.domid = 0;
    vm.domarch = "x64";
    vm.is_control_domain = true;
    vm.metrics = add_vm_metrics(txn, b);
    vm.domain_type = DOMAIN_TYPE_PV;
    vm.has_vendor_device = false;
    vm.generation_id = "";
    txn_create(txn, CLASS_vm, &vm);
    return vm.ref;
}

static ref_t add_host_metrics(struct txn *txn)
{
    struct host_metrics metrics;

    row_defaults(&api_classes[CLASS_host_metrics], &metrics);
    metrics.ref = ref_new();
    metrics.uuid = new_uuid(txn_arena(txn));
    metrics.live = true;
    metrics.last_updated = clock_wall();
    txn_create(txn, CLASS_host_metrics, &metrics);
    return metrics.ref;
}

static void add_host(struct txn *txn, struct boot *b)
{
    struct host host;

    row_defaults(&api_classes[CLASS_host], &host);
    host.ref = b->host;
    host.uuid = b->uuid;
    host.name_label = b->facts.hostname;
    host.name_description = "Default install";
    host.hostname = b->facts.hostname;
    host.address = address_of(b);
    host.enabled = true;
    host.metrics = add_host_metrics(txn);
    host.control_domain = add_control_domain(txn, b);
    host.ssl_legacy = false;
    host.timezone = b->facts.timezone;
    txn_create(txn, CLASS_host, &host);
}

static void add_host_state(struct txn *txn, struct boot *b)
{
    struct host_state state;

    row_defaults(&api_classes[CLASS_host_state], &state);
    state.ref = b->state = ref_new();
    state.host = b->host;
    state.member = b->member;
    txn_create(txn, CLASS_host_state, &state);
}

static const struct pool *the_pool(const struct db_snap *snap)
{
    struct db_walk walk;

    db_walk(snap, CLASS_pool, &walk);
    return db_walk_next(&walk);
}

/* Finds this host and its pool; makes both in an empty database, and the host in that of a pool it
 * has joined. */
static struct error *settle(struct txn *txn, void *arg)
{
    struct boot *b = arg;
    struct refs hosts = txn_referrers(txn, FIELD_host_uuid, index_key_string(b->uuid));
    const struct pool *pool = the_pool(txn_snap(txn));
    struct refs states;

    if (!pool && !b->alone)
        return error_internal(txn_call(txn)->arena, "the pool's database has no pool");
    if (!pool || (!hosts.n && !b->alone)) {
        b->host = ref_new();
        add_host(txn, b);
        if (!pool)
            add_pool(txn, b);
        else
            b->pool = pool->ref;
        add_host_state(txn, b);
        return OK;
    }
    if (hosts.n != 1)
        return error_internal(txn_call(txn)->arena,
                              "the database knows no host %s: it belongs to another one, or "
                              "host-uuid was changed",
                              b->uuid);
    b->host = hosts.v[0];
    b->pool = pool->ref;
    states = txn_referrers(txn, FIELD_host_state_host, b->host);
    if (states.n)
        b->state = states.v[0];
    else
        add_host_state(txn, b);
    return OK;
}

/*** each start ***/

/* Writes a field only where it differs, so that a restart is not a change of everything. */
static void refresh(struct txn *txn, int field_id, const void *row, const void *value)
{
    const struct field_desc *f = &api_fields[field_id];

    if (!value_equal(f->type, field_in(row, f), value))
        txn_set_value(txn, field_id, ((const struct row *)row)->ref, value);
}

#define REFRESH(txn, class, row, field, ...)                                                       \
    refresh((txn), FIELD_##class##_##field, (row),                                                 \
            &(__typeof__(((struct class *)0)->field)[1]){__VA_ARGS__})

static void refresh_versions(struct txn *txn, const struct boot *b, const struct host *host)
{
    static const char *const bootloaders[] = {"pygrub", "eliloader"};
    static const char *const editions[] = {LICENCE_EDITION};
    static const int64_t platforms[] = {0, 1, 2};
    struct arena *arena = txn_arena(txn);
    const struct strpair iommu = {"iommu", b->hv.iommu ? "true" : "false"};

    REFRESH(txn, host, host, api_version_major, API_MAJOR);
    REFRESH(txn, host, host, api_version_minor, API_MINOR);
    REFRESH(txn, host, host, api_version_vendor, "XenSource");
    REFRESH(txn, host, host, software_version, software_version(arena, b));
    REFRESH(txn, host, host, capabilities, words(arena, b->hv.capabilities));
    REFRESH(txn, host, host, sched_policy, *b->hv.scheduler ? b->hv.scheduler : "credit");
    REFRESH(txn, host, host, supported_bootloaders, {ARRAY_SIZE(bootloaders), bootloaders});
    REFRESH(txn, host, host, virtual_hardware_platform_versions,
            {ARRAY_SIZE(platforms), platforms});
    REFRESH(txn, host, host, license_params, licence_features);
    REFRESH(txn, host, host, edition, LICENCE_EDITION);
    REFRESH(txn, host, host, editions, {ARRAY_SIZE(editions), editions});
    REFRESH(txn, host, host, bios_strings, b->facts.bios_strings);
    REFRESH(txn, host, host, chipset_info, map_of(arena, &iommu, 1));
    REFRESH(txn, host, host, cpu_info, cpu_info(arena, b));
}

/* Without what belongs to the guests that run: their records count it. */
static int64_t host_overhead(struct txn *txn, const struct boot *b)
{
    int64_t bytes = b->overhead;

    for (size_t i = 0; i < b->n_domains; i++) {
        struct refs vms = txn_referrers(txn, FIELD_vm_uuid, index_key_string(b->domains[i].uuid));
        const struct vm *vm = vms.n ? txn_find(txn, CLASS_vm, vms.v[0]) : NULL;

        bytes -= vm ? vm_memory_overhead(vm) : 0;
    }
    return MAX(bytes, (int64_t)0);
}

static struct error *refresh_host(struct txn *txn, const struct boot *b)
{
    struct arena *arena = txn_arena(txn);
    const struct host_state *state = txn_find(txn, CLASS_host_state, b->state);
    const struct host_metrics *metrics;
    const struct host *host;

    TRY(TXN_GET(txn, host, b->host, &host));
    refresh_versions(txn, b, host);
    REFRESH(txn, host, host, memory_overhead, host_overhead(txn, b));
    REFRESH(txn, host, host, address, address_of(b));
    /* The simulator's host only has a name in the records: host.set_hostname_live. */
    if (!is_simulated(b))
        REFRESH(txn, host, host, hostname, b->facts.hostname);
    if (state && state->auto_enable)
        REFRESH(txn, host, host, enabled, true);
    if (state) {
        REFRESH(txn, host_state, state, member, b->member);
        REFRESH(txn, host_state, state, address, members_address(b->xapid->members));
    }
    txn_strmap_put(txn, FIELD_host_other_config, b->host, "agent_start_time",
                   time_text(arena, b->xapid->started));
    txn_strmap_put(txn, FIELD_host_other_config, b->host, "boot_time",
                   time_text(arena, b->hv.boot_time));
    metrics = txn_find(txn, CLASS_host_metrics, host->metrics);
    if (metrics) {
        REFRESH(txn, host_metrics, metrics, memory_total, b->hv.memory_total);
        REFRESH(txn, host_metrics, metrics, live, true);
        TXN_SET(txn, host_metrics, metrics->ref, last_updated, clock_wall());
    }
    return OK;
}

static struct error *refresh_control_domain(struct txn *txn, const struct boot *b)
{
    const struct host *host;
    const struct vm *vm;

    TRY(TXN_GET(txn, host, b->host, &host));
    vm = txn_find(txn, CLASS_vm, host->control_domain);
    if (!vm)
        return OK;
    REFRESH(txn, vm, vm, power_state, VM_RUNNING);
    REFRESH(txn, vm, vm, resident_on, b->host);
    REFRESH(txn, vm, vm, vcpus_max, b->control_vcpus);
    REFRESH(txn, vm, vm, vcpus_at_startup, b->control_vcpus);
    REFRESH(txn, vm, vm, memory_static_max, b->control_memory);
    REFRESH(txn, vm, vm, memory_dynamic_max, b->control_memory);
    REFRESH(txn, vm, vm, memory_dynamic_min, b->control_memory);
    REFRESH(txn, vm, vm, memory_target, b->control_memory);
    if (!ref_is_null(vm->metrics)) {
        TXN_SET(txn, vm_metrics, vm->metrics, memory_actual, b->control_memory);
        TXN_SET(txn, vm_metrics, vm->metrics, vcpus_number, b->control_vcpus);
    }
    return OK;
}

static void fill_cpu(const struct boot *b, int64_t n, struct host_cpu *cpu)
{
    cpu->host = b->host;
    cpu->number = n;
    cpu->vendor = b->hv.cpu_vendor;
    cpu->speed = (int64_t)b->hv.cpu_mhz;
    cpu->modelname = b->hv.cpu_model;
    cpu->family = b->facts.cpu_family;
    cpu->model = b->facts.cpu_model;
    cpu->stepping = b->facts.cpu_stepping;
    cpu->flags = b->hv.cpu_flags;
    cpu->features = b->hv.features_hvm;
}

static bool same_cpu(const struct host_cpu *a, const struct host_cpu *b)
{
    return a->speed == b->speed && a->family == b->family && a->model == b->model &&
           strcmp(a->vendor, b->vendor) == 0 && strcmp(a->modelname, b->modelname) == 0 &&
           strcmp(a->stepping, b->stepping) == 0 && strcmp(a->flags, b->flags) == 0 &&
           strcmp(a->features, b->features) == 0;
}

/* One row for each CPU thread; a changed processor is another one. */
static struct error *refresh_cpus(struct txn *txn, const struct boot *b)
{
    struct refs old = txn_referrers(txn, FIELD_host_cpu_host, b->host);
    bool *have = arena_array(txn_arena(txn), bool, (size_t)b->hv.cpu_count + 1);

    for (size_t i = 0; i < old.n; i++) {
        const struct host_cpu *row;
        struct host_cpu now;

        TRY(TXN_GET(txn, host_cpu, old.v[i], &row));
        fill_cpu(b, row->number, &now);
        if (row->number >= 0 && row->number < b->hv.cpu_count && !have[row->number] &&
            same_cpu(row, &now))
            have[row->number] = true;
        else
            txn_destroy(txn, CLASS_host_cpu, old.v[i]);
    }
    for (int i = 0; i < b->hv.cpu_count; i++) {
        struct host_cpu row;

        if (have[i])
            continue;
        row_defaults(&api_classes[CLASS_host_cpu], &row);
        row.ref = ref_new();
        row.uuid = new_uuid(txn_arena(txn));
        fill_cpu(b, i, &row);
        txn_create(txn, CLASS_host_cpu, &row);
    }
    return OK;
}

/* What the coordinator says of the pool; joining hosts must be compared with it. */
static struct error *refresh_pool(struct txn *txn, const struct boot *b)
{
    struct arena *arena = txn_arena(txn);
    const struct strpair cpu[] = {
        {"vendor", b->hv.cpu_vendor},
        {"cpu_count", number(arena, b->hv.cpu_count)},
        {"socket_count", number(arena, b->hv.socket_count)},
        {"features_pv_host", b->hv.features_pv},
        {"features_hvm_host", b->hv.features_hvm},
        {"features_pv", b->hv.features_pv},
        {"features_hvm", b->hv.features_hvm},
    };
    const struct pool *pool;

    TRY(TXN_GET(txn, pool, b->pool, &pool));
    REFRESH(txn, pool, pool, restrictions, licence_features);
    REFRESH(txn, pool, pool, cpu_info, map_of(arena, cpu, ARRAY_SIZE(cpu)));
    return OK;
}

static const char *console_location(struct arena *arena, const struct boot *b, ref_t console)
{
    int port = b->xapid->options.tls_port;
    const char *where = port > 0 && port != 443 ? arena_printf(arena, ":%d", port) : "";

    return arena_printf(arena, "https://%s%s/console?ref=%s", address_of(b), where,
                        ref_text(arena, console));
}

/* Where the control domain's console is reached. */
static struct error *refresh_console(struct txn *txn, const struct boot *b)
{
    struct arena *arena = txn_arena(txn);
    const struct host *host;
    struct refs consoles;
    struct console row;

    TRY(TXN_GET(txn, host, b->host, &host));
    consoles = txn_referrers(txn, FIELD_console_vm, host->control_domain);
    for (size_t i = 0; i < consoles.n; i++) {
        const struct console *old;

        TRY(TXN_GET(txn, console, consoles.v[i], &old));
        REFRESH(txn, console, old, location, console_location(arena, b, old->ref));
    }
    if (consoles.n || ref_is_null(host->control_domain))
        return OK;
    row_defaults(&api_classes[CLASS_console], &row);
    row.ref = ref_new();
    row.uuid = new_uuid(arena);
    row.protocol = CONSOLE_PROTOCOL_RFB;
    row.location = console_location(arena, b, row.ref);
    row.vm = host->control_domain;
    txn_create(txn, CLASS_console, &row);
    return OK;
}

static const char *set_address(struct txn *txn, const struct boot *b)
{
    struct refs pifs = txn_referrers(txn, FIELD_pif_host, b->host);

    for (size_t i = 0; i < pifs.n; i++) {
        const struct pif *pif = txn_find(txn, CLASS_pif, pifs.v[i]);

        if (pif && pif->management && pif->ip_configuration_mode == IP_CONFIGURATION_MODE_STATIC)
            return arena_strdup(txn_call(txn)->arena, pif->ip);
    }
    return "";
}

static struct error *bring_up_to_date(struct txn *txn, void *arg)
{
    struct boot *b = arg;

    b->address = set_address(txn, b);
    if (db_leads(b->xapid->db)) {
        TRY(txn_office_take(txn, b->host, b->pool));
        TRY(refresh_pool(txn, b));
    }
    TRY(refresh_host(txn, b));
    TRY(refresh_control_domain(txn, b));
    TRY(refresh_cpus(txn, b));
    return refresh_console(txn, b);
}

/*** networks ***/

/* Marks a step of the first start as done, in the write-set that does it. */
static struct error *prepare_once(struct txn *txn, const struct boot *b, const char *step,
                                  bool *needed)
{
    const struct host_state *state;

    TRY(TXN_GET(txn, host_state, b->state, &state));
    *needed = !strings_contain(&state->prepared, step);
    if (*needed)
        txn_set_add(txn, FIELD_host_state_prepared, b->state, &step);
    return OK;
}

static ref_t add_network(struct txn *txn, const char *name, const char *description,
                         const char *bridge, struct strmap other_config)
{
    struct network row;

    row_defaults(&api_classes[CLASS_network], &row);
    row.ref = ref_new();
    row.uuid = new_uuid(txn_arena(txn));
    row.name_label = name;
    row.name_description = description;
    row.bridge = bridge;
    row.mtu = 1500;
    row.managed = true;
    row.other_config = other_config;
    txn_create(txn, CLASS_network, &row);
    return row.ref;
}

static void fill_pif_metrics(const struct boot *b, struct pif_metrics *m)
{
    const struct nic_facts *nic = &b->facts.nic;

    m->carrier = nic->carrier;
    m->vendor_id = nic->vendor_id;
    m->device_id = nic->device_id;
    m->speed = nic->speed;
    m->duplex = nic->duplex;
    m->pci_bus_path = *nic->pci_path ? nic->pci_path : "N/A";
    m->last_updated = clock_wall();
}

static void add_pif(struct txn *txn, const struct boot *b, ref_t network)
{
    const struct nic_facts *nic = &b->facts.nic;
    struct pif_metrics metrics;
    struct pif row;

    row_defaults(&api_classes[CLASS_pif_metrics], &metrics);
    metrics.ref = ref_new();
    metrics.uuid = new_uuid(txn_arena(txn));
    fill_pif_metrics(b, &metrics);
    txn_create(txn, CLASS_pif_metrics, &metrics);
    row_defaults(&api_classes[CLASS_pif], &row);
    row.ref = ref_new();
    row.uuid = new_uuid(txn_arena(txn));
    row.device = "eth0";
    row.network = network;
    row.host = b->host;
    row.mac = *nic->mac ? nic->mac : mac_for(txn_arena(txn), b);
    row.mtu = nic->mtu;
    row.vlan = -1;
    row.metrics = metrics.ref;
    row.physical = true;
    row.currently_attached = true;
    row.management = true;
    row.ip_configuration_mode = *nic->ip ? IP_CONFIGURATION_MODE_DHCP : IP_CONFIGURATION_MODE_NONE;
    row.ip = nic->ip;
    row.netmask = nic->netmask;
    row.gateway = nic->gateway;
    row.dns = nic->dns;
    txn_create(txn, CLASS_pif, &row);
}

/* A network of the pool that an earlier host's start made; null if there is none. */
static ref_t find_network(struct txn *txn, const char *bridge)
{
    const struct network *row;
    struct db_walk walk;

    db_walk(txn_snap(txn), CLASS_network, &walk);
    while ((row = db_walk_next(&walk)))
        if (strcmp(row->bridge, bridge) == 0 && txn_find(txn, CLASS_network, row->ref))
            return row->ref;
    return REF_NULL;
}

static bool is_only_host(struct txn *txn)
{
    return snap_root(txn_snap(txn))->tables[CLASS_host].count <= 1;
}

static struct error *prepare_networks(struct txn *txn, void *arg)
{
    static const struct strpair internal[] = {
        {"is_guest_installer_network", "true"},
        {"is_host_internal_management_network", "true"},
        {"ip_begin", "169.254.0.1"},
        {"ip_end", "169.254.255.254"},
        {"netmask", "255.255.0.0"},
    };
    struct boot *b = arg;
    ref_t network;
    bool needed;

    TRY(prepare_once(txn, b, "networks", &needed));
    if (!needed)
        return OK;
    /* A real host's cards are looked for once it is there (ops/network/scan.h). */
    if (host_network_is_simulated(b->xapid->network)) {
        network = find_network(txn, "xenbr0");
        if (ref_is_null(network))
            network = add_network(txn, "Pool-wide network associated with eth0", "", "xenbr0",
                                  (struct strmap){0});
        add_pif(txn, b, network);
    }
    /* The pool has one, or an administrator did not want it. */
    if (!is_only_host(txn))
        return OK;
    add_network(txn, "Host internal management network",
                "Network on which guests will be assigned a private link-local IP address which "
                "can be used to talk XenAPI",
                "xenapi", (struct strmap){ARRAY_SIZE(internal), internal});
    return OK;
}

/* The present address and link of the machine that a simulated host runs on. */
static struct error *refresh_pifs(struct txn *txn, void *arg)
{
    struct boot *b = arg;
    const struct nic_facts *nic = &b->facts.nic;
    struct refs pifs = txn_referrers(txn, FIELD_pif_host, b->host);

    for (size_t i = 0; i < pifs.n && *nic->name; i++) {
        const struct pif_metrics *old;
        struct pif_metrics metrics;
        const struct pif *pif;

        TRY(TXN_GET(txn, pif, pifs.v[i], &pif));
        if (!pif->physical || strcmp(pif->mac, nic->mac) != 0 ||
            pif->ip_configuration_mode != IP_CONFIGURATION_MODE_DHCP)
            continue;
        REFRESH(txn, pif, pif, ip, nic->ip);
        REFRESH(txn, pif, pif, netmask, nic->netmask);
        REFRESH(txn, pif, pif, gateway, nic->gateway);
        REFRESH(txn, pif, pif, dns, nic->dns);
        old = txn_find(txn, CLASS_pif_metrics, pif->metrics);
        fill_pif_metrics(b, &metrics);
        if (!old)
            continue;
        REFRESH(txn, pif_metrics, old, carrier, metrics.carrier);
        REFRESH(txn, pif_metrics, old, speed, metrics.speed);
        REFRESH(txn, pif_metrics, old, duplex, metrics.duplex);
    }
    return OK;
}

/*** storage ***/

struct new_sr {
    struct boot *boot;
    const char *step, *uuid, *name, *description, *type, *content_type, *i18n;
    struct strmap device_config;
    bool make_default;
};

static struct strmap sr_config(struct arena *arena, const struct new_sr *s)
{
    struct strmap map = {0};

    if (!s->i18n)
        return strmap_with(arena, map, "auto-scan", "true");
    map = strmap_with(arena, map, "i18n-key", s->i18n);
    map = strmap_with(arena, map, "i18n-original-value-name_label", s->name);
    return strmap_with(arena, map, "i18n-original-value-name_description", s->description);
}

static struct error *prepare_sr(struct txn *txn, void *arg)
{
    const struct new_sr *s = arg;
    struct arena *arena = txn_arena(txn);
    struct sr sr;
    struct pbd pbd;
    bool needed;

    TRY(prepare_once(txn, s->boot, s->step, &needed));
    if (!needed || txn_referrers(txn, FIELD_sr_uuid, index_key_string(s->uuid)).n)
        return OK;
    row_defaults(&api_classes[CLASS_sr], &sr);
    sr.ref = ref_new();
    sr.uuid = s->uuid;
    sr.name_label = s->name;
    sr.name_description = s->description;
    sr.type = s->type;
    sr.content_type = s->content_type;
    sr.other_config = sr_config(arena, s);
    txn_create(txn, CLASS_sr, &sr);
    row_defaults(&api_classes[CLASS_pbd], &pbd);
    pbd.ref = ref_new();
    pbd.uuid = new_uuid(arena);
    pbd.host = s->boot->host;
    pbd.sr = sr.ref;
    pbd.device_config = s->device_config;
    pbd.currently_attached = true; /* done right after this, with all others */
    txn_create(txn, CLASS_pbd, &pbd);
    if (s->make_default) {
        TXN_SET(txn, host, s->boot->host, suspend_image_sr, sr.ref);
        TXN_SET(txn, host, s->boot->host, crash_dump_sr, sr.ref);
    }
    if (s->make_default && is_only_host(txn)) {
        TXN_SET(txn, pool, s->boot->pool, default_sr, sr.ref);
        TXN_SET(txn, pool, s->boot->pool, suspend_image_sr, sr.ref);
        TXN_SET(txn, pool, s->boot->pool, crash_dump_sr, sr.ref);
    }
    return OK;
}

static bool is_prepared(const struct call *call, const struct boot *b, const char *step)
{
    const struct host_state *state = db_find(call, CLASS_host_state, b->state);

    return state && strings_contain(&state->prepared, step);
}

/*
 * The directory first, under a uuid that is the same at each try, then the rows.  A directory that
 * cannot be used (it belongs to another installation, perhaps) leaves the host without this
 * repository, and is tried again at the next start.
 */
static struct error *make_sr(struct call *call, struct new_sr *s)
{
    struct sr_handle handle = {0};
    struct error *e;

    if (is_prepared(call, s->boot, s->step))
        return OK;
    e = sr_handle_new(call, s->type, s->uuid, &s->device_config, &handle);
    if (!e)
        e = handle.driver->create(call, &handle, 0);
    if (e) {
        log_error("the repository '%s' cannot be made: %s", s->name, error_line(call->arena, e));
        return OK;
    }
    return db_update(call, prepare_sr, s);
}

static struct error *make_storage(struct call *call, struct boot *b)
{
    const struct strpair place[] = {{"location", b->xapid->options.storage_dir}};
    const char *isos = arena_printf(call->arena, "%s/iso", b->xapid->options.state_dir);
    const struct strpair iso_place[] = {{"location", isos}, {"legacy_mode", "true"}};
    struct new_sr local = {
        .boot = b,
        .step = "local storage",
        .uuid = uuid_for(call->arena, b, "local storage"),
        .name = "Local storage",
        .description = "",
        .type = "ext",
        .content_type = "user",
        .i18n = "local-storage",
        .device_config = {ARRAY_SIZE(place), place},
        .make_default = true,
    };
    struct new_sr library = {
        .boot = b,
        .step = "iso library",
        .uuid = uuid_for(call->arena, b, "iso library"),
        .name = "ISO library",
        .description = "CD images in a directory of this host",
        .type = "iso",
        .content_type = "iso",
        .device_config = {ARRAY_SIZE(iso_place), iso_place},
    };

    if (mkdir(isos, 0755) < 0 && errno != EEXIST)
        log_error("%s cannot be made: %s", isos, strerror(errno));
    TRY(make_sr(call, &local));
    return make_sr(call, &library);
}

/*** templates ***/

/* True where some host has done that step: what it made belongs to the pool. */
static bool is_done_in_pool(struct txn *txn, const char *step)
{
    const struct host_state *state;
    struct db_walk walk;

    db_walk(txn_snap(txn), CLASS_host_state, &walk);
    while ((state = db_walk_next(&walk)))
        if (strings_contain(&state->prepared, step))
            return true;
    return false;
}

static struct error *prepare_templates(struct txn *txn, void *arg)
{
    struct boot *b = arg;
    const char *step = arena_printf(txn_arena(txn), "templates %d", TEMPLATES_VERSION);
    bool done = is_done_in_pool(txn, step), needed;

    TRY(prepare_once(txn, b, step, &needed));
    return needed && !done ? txn_templates_add(txn) : OK;
}

/*** all ***/

static void who_am_i(struct call *call, struct boot *b)
{
    struct log_status status;
    struct log_member *members;
    size_t n;

    db_members(b->xapid->db, call->arena, &n, &members);
    db_status(b->xapid->db, &status);
    b->alone = n <= 1 && db_leads(b->xapid->db);
    b->member = status.id ? arena_printf(call->arena, "%016" PRIx64, status.id) : "";
}

struct error *bootstrap(struct call *call)
{
    struct xapid *xapid = call->xapid;
    struct boot b = {.xapid = xapid, .address = ""};

    who_am_i(call, &b);
    TRY(find_identity(call, &b));
    facts_read(call->arena, &b.facts);
    TRY(read_hypervisor(call, &b));
    TRY(db_update(call, settle, &b));
    /* Always a change: afterwards everything is applied here that was in the log before. */
    TRY(db_update(call, bring_up_to_date, &b));
    xapid->host = b.host;
    xapid->pool = b.pool;
    office_read_epoch(xapid, call->snap);
    TRY(db_update(call, prepare_networks, &b));
    if (host_network_is_simulated(xapid->network))
        TRY(db_update(call, refresh_pifs, &b));
    TRY(devices_refresh(call));
    TRY(sm_rows_refresh(call));
    TRY(make_storage(call, &b));
    return db_update(call, prepare_templates, &b);
}
