/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "xapid/ops/storage/attach.h"

#include <dirent.h>
#include <stdlib.h>
#include <string.h>

#include "libxapi/base/log.h"
#include "libxapi/base/memory.h"
#include "libxapi/value/value.h"
#include "storage-repos/apart/apart.h"
#include "storage-repos/datapath/datapath.h"
#include "xapid/db/ready.h"
#include "xapid/main/xapid.h"
#include "xapid/ops/storage/check.h"
#include "xapid/ops/storage/coalesce.h"
#include "xapid/ops/storage/shared.h"
#include "xapid/task/task.h"

/* A disk that somebody reaches through a path. */
struct disk {
    struct disk *next;
    ref_t vdi;
    char *location, *path, *format;
    char uuid[UUID_TEXT_SIZE]; /* its name in the data path */
    bool served;               /* by the data path */
    bool remote;               /* as in struct vdi_path */
    bool reported;             /* that its server has died */
    bool writable, busy;       /* busy: the driver is being asked */
    int count;
};

struct sr_entry {
    struct sr_entry *next;
    ref_t sr;
    struct arena arena; /* of the handle */
    struct sr_handle handle;
    int uses;
    bool busy; /* being attached or detached */
    bool in_turn;
    struct disk *disks;
};

struct sr_table {
    struct mutex lock;
    struct cond changed; /* some 'busy' ended */
    struct sr_entry *entries;
    struct datapath *datapath; /* NULL: the hypervisor gets images as they are */
    struct sr_site site;
};

/*** the table ***/

static void disk_free(struct disk *d)
{
    free(d->location);
    free(d->path);
    free(d->format);
    free(d);
}

static void entry_free(struct sr_entry *e)
{
    while (e->disks) {
        struct disk *next = e->disks->next;

        disk_free(e->disks);
        e->disks = next;
    }
    arena_release(&e->arena);
    free(e);
}

struct sr_table *sr_table_new(const struct sr_site *site)
{
    struct sr_table *t = xcalloc(1, sizeof *t);

    t->site = *site;
    mutex_init(&t->lock);
    cond_init(&t->changed);
    return t;
}

void sr_table_serve(struct sr_table *t, const char *dir, enum datapath_kind kind)
{
    if (kind != DATAPATH_NONE)
        t->datapath = datapath_new(dir, kind);
}

void sr_table_free(struct sr_table *t)
{
    struct arena arena = {0};
    struct call call = {.arena = &arena};

    if (!t)
        return;
    while (t->entries) {
        struct sr_entry *e = t->entries;

        t->entries = e->next;
        /* Disks of running domains stay as they are, servers too; the next daemon finds them. */
        e->handle.driver->detach(&call, &e->handle);
        entry_free(e);
    }
    arena_release(&arena);
    datapath_free(t->datapath);
    cond_release(&t->changed);
    mutex_release(&t->lock);
    free(t);
}

/* The entry once nobody is attaching or detaching it, or NULL.  The lock is held. */
static struct sr_entry *find_settled(struct sr_table *t, ref_t sr)
{
    struct sr_entry *e = t->entries;

    while (e && (!ref_equal(e->sr, sr) || e->busy)) {
        if (ref_equal(e->sr, sr)) {
            cond_wait(&t->changed, &t->lock);
            e = t->entries;
        } else {
            e = e->next;
        }
    }
    return e;
}

static void remove_entry(struct sr_table *t, struct sr_entry *gone)
{
    struct sr_entry **p = &t->entries;

    while (*p != gone)
        p = &(*p)->next;
    *p = gone->next;
    entry_free(gone);
}

/*** attaching repositories ***/

/* The driver gets what a secret holds under the key without "_secret". */
static struct error *resolve_secrets(struct call *call, const struct strmap *config,
                                     struct strmap *out)
{
    static const char suffix[] = "_secret";

    *out = *config;
    for (size_t i = 0; i < config->n; i++) {
        const char *key = config->v[i].key;
        size_t n = strlen(key), m = sizeof suffix - 1;
        const struct secret *secret;
        ref_t ref;

        if (n <= m || strcmp(key + n - m, suffix) != 0)
            continue;
        TRY(db_by_uuid(call, CLASS_secret, config->v[i].value, &ref));
        TRY(DB_GET(call, secret, ref, &secret));
        *out = strmap_with(call->arena, *out, arena_strndup(call->arena, key, n - m),
                           arena_strdup(call->arena, secret->value));
    }
    return OK;
}

static void handle_init(struct arena *arena, const struct sr_table *t,
                        const struct sr_driver *driver, const char *uuid,
                        const struct strmap *config, struct sr_handle *out)
{
    *out = (struct sr_handle){
        .driver = driver,
        .site = &t->site,
        .uuid = arena_strdup(arena, uuid),
        .state = arena_zalloc(arena, MAX(driver->state_size, (size_t)1)),
    };
    value_copy(arena, api_fields[FIELD_pbd_device_config].type, config, &out->device_config);
}

struct error *sr_handle_new(struct call *call, const char *type, const char *uuid,
                            const struct strmap *device_config, struct sr_handle *out)
{
    const struct sr_driver *driver = sr_driver_for(type, device_config);
    struct strmap config;

    if (!driver)
        return err_sr_unknown_driver(call, type);
    TRY(resolve_secrets(call, device_config, &config));
    handle_init(call->arena, call->xapid->srs, driver, uuid, &config, out);
    return OK;
}

static struct error *driver_attach(struct call *call, struct sr_table *t, struct sr_entry *entry)
{
    const struct sr_driver *driver = entry->handle.driver;
    struct error *e = driver->remains && driver->remains(call, &entry->handle)
                          ? OK
                          : driver->attach(call, &entry->handle);

    MUTEX_GUARD(&t->lock);
    if (e)
        remove_entry(t, entry);
    else
        entry->busy = false;
    cond_broadcast(&t->changed);
    return e;
}

struct error *sr_attach_as(struct call *call, ref_t ref, const char *type, const char *uuid,
                           bool shared, const struct strmap *device_config)
{
    const struct sr_driver *driver = sr_driver_for(type, device_config);
    struct sr_table *t = call->xapid->srs;
    struct sr_entry *entry;
    struct strmap config;

    if (!driver)
        return err_sr_unknown_driver(call, type);
    TRY(resolve_secrets(call, device_config, &config));
    mutex_lock(&t->lock);
    if (find_settled(t, ref)) {
        mutex_unlock(&t->lock);
        return OK;
    }
    entry = xcalloc(1, sizeof *entry);
    entry->sr = ref;
    entry->busy = true;
    handle_init(&entry->arena, t, driver, uuid, &config, &entry->handle);
    entry->handle.datapath = t->datapath;
    entry->handle.shared = shared;
    entry->next = t->entries;
    t->entries = entry;
    mutex_unlock(&t->lock);
    return driver_attach(call, t, entry);
}

struct error *sr_attach(struct call *call, ref_t ref, const struct strmap *device_config)
{
    const struct sr *sr;

    TRY(DB_GET(call, sr, ref, &sr));
    return sr_attach_as(call, ref, sr->type, sr->uuid, sr->shared, device_config);
}

struct error *sr_detach(struct call *call, ref_t sr)
{
    struct sr_table *t = call->xapid->srs;
    struct sr_entry *entry;

    mutex_lock(&t->lock);
    entry = find_settled(t, sr);
    if (entry && entry->uses) {
        ref_t vdi = entry->disks ? entry->disks->vdi : sr;

        mutex_unlock(&t->lock);
        return vdi_used_error(call, call->snap, vdi, "unplug");
    }
    if (entry)
        entry->busy = true;
    mutex_unlock(&t->lock);
    if (!entry)
        return OK;
    entry->handle.driver->detach(call, &entry->handle);
    if (entry->handle.driver->leave)
        entry->handle.driver->leave(call, &entry->handle);
    mutex_lock(&t->lock);
    remove_entry(t, entry);
    cond_broadcast(&t->changed);
    mutex_unlock(&t->lock);
    return OK;
}

struct error *sr_turn_enter(struct call *call, ref_t sr)
{
    struct sr_table *t = call->xapid->srs;
    struct sr_entry *entry;
    struct error *e = OK;

    MUTEX_GUARD(&t->lock);
    while (!e && (entry = find_settled(t, sr)) && entry->in_turn) {
        cond_wait_until(&t->changed, &t->lock, clock_mono() + USEC_PER_SEC);
        e = task_check(call);
    }
    if (!e && entry)
        entry->in_turn = true;
    return e;
}

void sr_turn_exit(struct call *call, ref_t sr)
{
    struct sr_table *t = call->xapid->srs;

    MUTEX_GUARD(&t->lock);
    for (struct sr_entry *e = t->entries; e; e = e->next)
        if (ref_equal(e->sr, sr))
            e->in_turn = false;
    cond_broadcast(&t->changed);
}

bool sr_is_attached(struct xapid *xapid, ref_t sr)
{
    MUTEX_GUARD(&xapid->srs->lock);
    return find_settled(xapid->srs, sr) != NULL;
}

struct error *sr_use(struct call *call, ref_t sr, struct sr_use *out)
{
    struct sr_table *t = call->xapid->srs;
    struct sr_entry *entry;

    mutex_lock(&t->lock);
    entry = find_settled(t, sr);
    if (entry)
        entry->uses++;
    mutex_unlock(&t->lock);
    if (!entry)
        TRY(sr_is_here(call, call->snap, sr));
    if (!entry)
        return db_referrers(call, FIELD_pbd_sr, sr).n
                   ? err_sr_not_attached(call, call_ref(call, sr))
                   : err_sr_has_no_pbds(call, call_ref(call, sr));
    *out = (struct sr_use){&entry->handle, entry, t};
    return OK;
}

void sr_use_release(struct sr_use *use)
{
    if (!use->entry)
        return;
    mutex_lock(&use->table->lock);
    use->entry->uses--;
    mutex_unlock(&use->table->lock);
    *use = (struct sr_use){0};
}

/*** sizes ***/

/* All disks' sizes together, as their records say: the storage would have to look at each image. */
static int64_t virtual_allocation(struct call *call, ref_t sr)
{
    struct refs vdis = db_referrers(call, FIELD_vdi_sr, sr);
    int64_t sum = 0;

    for (size_t i = 0; i < vdis.n; i++) {
        const struct vdi *vdi = db_find(call, CLASS_vdi, vdis.v[i]);

        if (vdi && vdi->managed && !vdi->missing && vdi->type != VDI_TYPE_CBT_METADATA)
            sum += vdi->virtual_size;
    }
    return sum;
}

struct error *sr_refresh_sizes(struct call *call, ref_t ref)
{
    AUTO(sr_use) use = {0};
    struct sr_stat_info stat;
    const struct sr *sr;
    int64_t allocation;

    TRY(sr_use(call, ref, &use));
    if (!(use.handle->driver->features & SR_F_STATS))
        return OK;
    TRY(use.handle->driver->stat(call, use.handle, &stat));
    call_refresh(call);
    sr = db_find(call, CLASS_sr, ref);
    if (!sr)
        return OK;
    allocation = virtual_allocation(call, ref);
    if (sr->physical_size != stat.physical_size)
        db_set_lazily(call->xapid->db, FIELD_sr_physical_size, ref, &stat.physical_size);
    if (sr->physical_utilisation != stat.physical_utilisation)
        db_set_lazily(call->xapid->db, FIELD_sr_physical_utilisation, ref,
                      &stat.physical_utilisation);
    if (sr->virtual_allocation != allocation)
        db_set_lazily(call->xapid->db, FIELD_sr_virtual_allocation, ref, &allocation);
    return OK;
}

/* The PBDs of this host. */
static struct refs own_pbds(struct call *call)
{
    call_refresh(call);
    return db_referrers(call, FIELD_pbd_host, call->xapid->host);
}

/* Whether it may keep whoever asks waiting. */
static bool is_far(struct call *call, const struct pbd *pbd)
{
    const struct sr *sr = db_find(call, CLASS_sr, pbd->sr);
    const struct sr_driver *driver = sr ? sr_driver_for(sr->type, &pbd->device_config) : NULL;

    return driver && driver->remains;
}

void srs_refresh_sizes(struct call *call)
{
    struct refs pbds = own_pbds(call);

    for (size_t i = 0; i < pbds.n; i++) {
        const struct pbd *pbd = db_find(call, CLASS_pbd, pbds.v[i]);
        struct error *e;

        if (!pbd || !pbd->currently_attached || is_far(call, pbd))
            continue;
        e = sr_refresh_sizes(call, pbd->sr);
        if (e && !error_is(e, "SR_NOT_ATTACHED"))
            log_warning("the size of a storage repository is not known: %s",
                        error_line(call->arena, e));
    }
}

/*** at start ***/

/* One repository that is attached at start. */
struct attaching {
    struct thread thread;
    struct xapid *xapid;
    ref_t pbd;
    struct error *e; /* that its failure could not be recorded */
    struct arena arena;
};

static struct error *attach_recorded(struct call *call, ref_t ref)
{
    const struct pbd *pbd = db_find(call, CLASS_pbd, ref);
    struct error *e = pbd ? sr_attach(call, pbd->sr, &pbd->device_config) : OK;

    return e ? pbd_failed(call, ref, e) : OK;
}

static void *attach_thread(void *arg)
{
    struct attaching *a = arg;
    struct call call;

    call_init_internal(&call, a->xapid, &a->arena);
    a->e = attach_recorded(&call, a->pbd);
    call_release(&call);
    return NULL;
}

/* All at once: each may take as long as storage may take to answer. */
static struct error *attach_far(struct call *call, size_t n, struct attaching *v)
{
    struct error *e = OK;

    for (size_t i = 0; i < n; i++)
        thread_start(&v[i].thread, "attach", attach_thread, &v[i]);
    for (size_t i = 0; i < n; i++) {
        thread_join(&v[i].thread);
        if (v[i].e && !e)
            e = error_copy(call->arena, v[i].e);
        arena_release(&v[i].arena);
    }
    call_refresh(call);
    return e;
}

/* What is mounted or active for a repository that this host has no more: it has left a pool, or the
 * SR was forgotten while its daemon was away. */
static void leave_unknown(struct call *call)
{
    static const struct strmap nothing = {0};
    DIR *d = opendir(call->xapid->srs->site.mounts);
    char uuid[UUID_TEXT_SIZE];
    struct dirent *entry;

    while (d && (entry = readdir(d)) != NULL) {
        const char *type = apart_left(entry->d_name, uuid);
        struct sr_handle handle;
        ref_t sr;

        if (!type || (!db_by_uuid(call, CLASS_sr, uuid, &sr) && sr_is_attached(call->xapid, sr)))
            continue;
        log_info("the storage of SR %s is not this host's any more", uuid);
        if (!sr_handle_new(call, type, uuid, &nothing, &handle))
            handle.driver->leave(call, &handle);
    }
    if (d)
        closedir(d);
}

struct error *srs_attach_all(struct call *call)
{
    struct refs pbds = own_pbds(call);
    struct attaching *far = arena_array(call->arena, struct attaching, pbds.n + 1);
    size_t n = 0;

    for (size_t i = 0; i < pbds.n; i++) {
        const struct pbd *pbd = db_find(call, CLASS_pbd, pbds.v[i]);

        if (!pbd || !pbd->currently_attached)
            continue;
        if (is_far(call, pbd))
            far[n++] = (struct attaching){.xapid = call->xapid, .pbd = pbd->ref};
        else
            TRY(attach_recorded(call, pbd->ref));
    }
    TRY(attach_far(call, n, far));
    leave_unknown(call);
    srs_refresh_sizes(call);
    return OK;
}

/*** disks ***/

/* The disk once the driver is not being asked about it, or NULL.  The lock is held. */
static struct disk *disk_settled(struct sr_table *t, struct sr_entry *entry, ref_t vdi)
{
    struct disk *d = entry->disks;

    while (d && (!ref_equal(d->vdi, vdi) || d->busy)) {
        if (ref_equal(d->vdi, vdi)) {
            cond_wait(&t->changed, &t->lock);
            d = entry->disks;
        } else {
            d = d->next;
        }
    }
    return d;
}

static void disk_remove(struct sr_entry *entry, struct disk *gone)
{
    struct disk **p = &entry->disks;

    while (*p != gone)
        p = &(*p)->next;
    *p = gone->next;
    disk_free(gone);
    entry->uses--;
}

enum claim { READY, ASK, REFUSED };

/* A disk that is ready and counted, or one that this caller must ask the driver about.  What users
 * of a served disk hold cannot become writable under them: REFUSED. */
static struct disk *disk_claim(struct sr_use *use, const struct vdi *vdi, bool writable,
                               enum claim *out)
{
    struct sr_table *t = use->table;
    struct disk *d;

    MUTEX_GUARD(&t->lock);
    d = disk_settled(t, use->entry, vdi->ref);
    if (d && (!writable || d->writable)) {
        *out = READY;
        d->count++;
        return d;
    }
    *out = d && d->served ? REFUSED : ASK;
    if (*out == REFUSED)
        return d;
    if (!d) {
        d = xcalloc(1, sizeof *d);
        d->vdi = vdi->ref;
        d->location = xstrdup(vdi->location);
        memcpy(d->uuid, vdi->uuid, MIN(strlen(vdi->uuid), sizeof d->uuid - 1));
        d->next = use->entry->disks;
        use->entry->disks = d;
        use->entry->uses++;
    }
    d->busy = true;
    return d;
}

static void disk_answered(struct sr_use *use, struct disk *d, const struct vdi_path *path,
                          bool writable, bool served)
{
    MUTEX_GUARD(&use->table->lock);
    d->busy = false;
    if (path) {
        free(d->path);
        free(d->format);
        d->path = xstrdup(path->path);
        d->format = xstrdup(path->format);
        d->writable |= writable;
        d->served = served;
        d->remote = path->remote;
        d->count++;
    } else if (!d->count) {
        disk_remove(use->entry, d);
    }
    cond_broadcast(&use->table->changed);
}

/* A raw image that is only read is one already.  (libxl changes an HVM guest's CD only for another
 * file; a guest without a device model would need a device instead.) */
static bool needs_server(const struct sr_table *t, const struct vdi_path *image, bool writable)
{
    return t->datapath && (writable || strcmp(image->format, "raw") != 0);
}

/* Whoever waits for the server shall not wait for ever. */
static void report_death(struct call *call, struct sr_table *t, const char *uuid)
{
    struct error *e = datapath_give_up(call, t->datapath, uuid);

    log_error("the process that serves disk %s has died: a domain that has the disk gets errors "
              "until it is started again",
              uuid);
    if (e)
        log_error("disk %s: %s", uuid, error_line(call->arena, e));
}

static struct error *serve(struct call *call, struct sr_use *use, const struct disk *d,
                           bool writable, bool adopt, struct vdi_path *path)
{
    const struct sr_driver *driver = use->handle->driver;
    struct sr_table *t = use->table;
    struct datapath_disk disk = {
        .name = d->uuid, .image = path->path, .format = path->format, .writable = writable};
    bool alive = true;

    if (!adopt && driver->vdi_serve)
        return driver->vdi_serve(call, use->handle, &disk, path);
    if (!adopt)
        return datapath_attach(call, t->datapath, &disk, path);
    TRY(datapath_adopt(call, t->datapath, &disk, &alive, path));
    if (!alive)
        report_death(call, t, d->uuid);
    return OK;
}

/* The disk is busy: no one else asks about it. */
static struct error *ask_driver(struct call *call, struct sr_use *use, struct disk *d,
                                bool writable, bool adopt, struct vdi_path *out)
{
    const struct sr_driver *driver = use->handle->driver;
    struct error *e;
    bool served;

    /* A disk in use is found by its name, whether its storage answers or not. */
    if (adopt && driver->vdi_serve && use->table->datapath)
        *out = (struct vdi_path){.path = "", .format = "qcow2", .remote = true};
    else
        TRY(driver->vdi_attach(call, use->handle, d->location, writable, out));
    served = needs_server(use->table, out, writable);
    e = served ? serve(call, use, d, writable, adopt, out) : OK;
    if (e)
        driver->vdi_detach(call, use->handle, d->location);
    else
        disk_answered(use, d, out, writable, served);
    return e;
}

static struct error *path_attach(struct call *call, ref_t ref, bool writable, bool adopt,
                                 struct vdi_path *out)
{
    AUTO(sr_use) use = {0};
    const struct vdi *vdi;
    enum claim claim;
    struct error *e;
    struct disk *d;
    ref_t sr;

    TRY(DB_GET(call, vdi, ref, &vdi));
    sr = vdi->sr;
    TRY(sr_use(call, sr, &use));
    d = disk_claim(&use, vdi, writable, &claim);
    if (claim == REFUSED)
        return vdi_used_error(call, call->snap, ref, "attach");
    if (claim == READY) {
        MUTEX_GUARD(&use.table->lock);
        *out = (struct vdi_path){.path = arena_strdup(call->arena, d->path),
                                 .format = arena_strdup(call->arena, d->format),
                                 .remote = d->remote};
        return OK;
    }
    e = ask_driver(call, &use, d, writable, adopt, out);
    if (e)
        disk_answered(&use, d, NULL, writable, false);
    return vdi_error(call, e, sr, ref);
}

struct error *vdi_path_attach(struct call *call, ref_t vdi, bool writable, struct vdi_path *out)
{
    return path_attach(call, vdi, writable, false, out);
}

struct error *vdi_path_read(struct call *call, ref_t ref, struct vdi_path *out)
{
    const struct vdi *vdi;

    TRY(path_attach(call, ref, false, false, out));
    vdi = db_find(call, CLASS_vdi, ref);
    if (vdi && vdi_is_served(call, ref))
        datapath_source(call, call->xapid->srs->datapath, vdi->uuid, out);
    return OK;
}

static struct error *flush(struct call *call, const struct vdi_path *path)
{
    struct vdi_io *io;
    struct error *e;

    TRY(vdi_io_open(call, path, true, &io));
    e = vdi_io_flush(call, io);
    vdi_io_close(io);
    return e;
}

struct error *vdi_flush(struct call *call, ref_t vdi)
{
    struct vdi_path path;
    struct error *e;

    if (!vdi_is_served(call, vdi))
        return OK;
    TRY(vdi_path_read(call, vdi, &path));
    e = flush(call, &path);
    vdi_path_detach(call, vdi);
    return e;
}

struct error *vdi_path_adopt(struct call *call, ref_t vdi, bool writable)
{
    struct vdi_path path;

    return path_attach(call, vdi, writable, true, &path);
}

static void driver_detach(struct call *call, struct sr_table *t, struct sr_entry *entry,
                          const struct disk *d)
{
    struct error *e = d->served ? datapath_detach(call, t->datapath, d->uuid) : OK;

    if (e)
        log_error("disk %s is not let go of: %s", d->uuid, error_line(call->arena, e));
    entry->handle.driver->vdi_detach(call, &entry->handle, d->location);
}

void vdi_path_detach(struct call *call, ref_t ref)
{
    struct sr_table *t = call->xapid->srs;
    struct disk *d = NULL;
    struct sr_entry *entry;

    mutex_lock(&t->lock);
    for (entry = t->entries; entry; entry = entry->next) {
        if (entry->busy)
            continue;  /* nothing of it is in use */
        entry->uses++; /* it stays while the lock is given up to wait */
        d = disk_settled(t, entry, ref);
        entry->uses--;
        if (d)
            break;
    }
    if (!d || --d->count > 0) {
        mutex_unlock(&t->lock);
        return;
    }
    d->busy = true;
    mutex_unlock(&t->lock);
    driver_detach(call, t, entry, d);
    coalescer_kick(call->xapid->coalescer, entry->sr, false);
    mutex_lock(&t->lock);
    disk_remove(entry, d);
    cond_broadcast(&t->changed);
    mutex_unlock(&t->lock);
}

/* The lock is held. */
static const struct disk *disk_by_ref(const struct sr_table *t, ref_t vdi)
{
    for (const struct sr_entry *entry = t->entries; entry; entry = entry->next)
        for (const struct disk *d = entry->disks; d; d = d->next)
            if (ref_equal(d->vdi, vdi))
                return d;
    return NULL;
}

bool vdi_is_attached(struct call *call, ref_t vdi)
{
    MUTEX_GUARD(&call->xapid->srs->lock);
    return disk_by_ref(call->xapid->srs, vdi) != NULL;
}

bool vdi_is_served(struct call *call, ref_t vdi)
{
    const struct disk *d;

    MUTEX_GUARD(&call->xapid->srs->lock);
    d = disk_by_ref(call->xapid->srs, vdi);
    return d && d->served && !d->busy;
}

struct datapath *srs_datapath(struct xapid *xapid)
{
    return xapid->srs->datapath;
}

/* Takes it out of the repository's disks, or gives NULL.  The lock is held. */
static struct disk *disk_take(struct sr_entry *entry, ref_t vdi)
{
    for (struct disk **p = &entry->disks; *p; p = &(*p)->next) {
        struct disk *d = *p;

        if (!ref_equal(d->vdi, vdi))
            continue;
        *p = d->next;
        entry->uses--;
        return d;
    }
    return NULL;
}

void vdi_path_moved(struct call *call, ref_t vdi, ref_t sr, const char *location)
{
    struct sr_table *t = call->xapid->srs;
    struct sr_entry *entry, *to;
    struct disk *d = NULL;

    MUTEX_GUARD(&t->lock);
    to = find_settled(t, sr);
    for (entry = t->entries; to && entry && !d; entry = entry->next)
        d = entry == to ? NULL : disk_take(entry, vdi);
    if (!d)
        return;
    free(d->location);
    d->location = xstrdup(location);
    d->next = to->disks;
    to->disks = d;
    to->uses++;
}

void vdi_prefer(struct call *call, ref_t vdi, int priority)
{
    struct sr_table *t = call->xapid->srs;
    char uuid[UUID_TEXT_SIZE] = "";
    const struct disk *d;
    struct error *e;

    if (!priority)
        return;
    mutex_lock(&t->lock);
    d = disk_by_ref(t, vdi);
    if (d && d->served)
        memcpy(uuid, d->uuid, sizeof uuid);
    mutex_unlock(&t->lock);
    e = *uuid ? datapath_prefer(call, t->datapath, uuid, priority) : OK;
    if (e)
        log_warning("disk %s has no priority: %s", uuid, error_line(call->arena, e));
}

/*** servers ***/

/* The disk a server belongs to, or NULL.  The lock is held. */
static struct disk *disk_by_uuid(struct sr_table *t, const char *uuid)
{
    for (struct sr_entry *entry = t->entries; entry; entry = entry->next)
        for (struct disk *d = entry->disks; d; d = d->next)
            if (strcmp(d->uuid, uuid) == 0)
                return d;
    return NULL;
}

void srs_end_servers(struct call *call)
{
    struct sr_table *t = call->xapid->srs;
    struct datapath_state *v;
    struct error *e;
    size_t n = 0;

    if (!t->datapath)
        return;
    e = datapath_list(call, t->datapath, &n, &v);
    for (size_t i = 0; i < n && !e; i++) {
        bool used;

        mutex_lock(&t->lock);
        used = disk_by_uuid(t, v[i].name) != NULL;
        mutex_unlock(&t->lock);
        if (!used)
            e = datapath_detach(call, t->datapath, v[i].name);
    }
    if (e)
        log_error("disks that nobody uses are still served: %s", error_line(call->arena, e));
}

/* Once for each that has died under its users. */
static bool is_news(struct sr_table *t, const struct datapath_state *s)
{
    struct disk *d;

    MUTEX_GUARD(&t->lock);
    d = disk_by_uuid(t, s->name);
    if (s->alive || !d || d->busy || !d->served || d->reported)
        return false;
    d->reported = true;
    return true;
}

void srs_check_servers(struct call *call)
{
    struct sr_table *t = call->xapid->srs;
    struct datapath_state *v;
    struct error *e;
    size_t n = 0;

    if (!t->datapath)
        return;
    e = datapath_list(call, t->datapath, &n, &v);
    if (e)
        log_warning("the servers of disks cannot be looked at: %s", error_line(call->arena, e));
    for (size_t i = 0; i < n && !e; i++)
        if (is_news(t, &v[i]))
            report_death(call, t, v[i].name);
}

/*** errors ***/

struct error *vdi_error(struct call *call, struct error *e, ref_t sr, ref_t vdi)
{
    static const char *const with_vdi[] = {"VDI_READONLY", "VDI_TOO_SMALL", "VDI_TOO_LARGE"};

    if (error_is(e, "VDI_MISSING"))
        return err_vdi_missing(call, call_ref(call, sr), call_ref(call, vdi));
    if (error_is(e, "VDI_IN_USE") && e->n_params > 1)
        return vdi_used_error(call, call->snap, vdi, e->params[1]);
    for (size_t i = 0; i < ARRAY_SIZE(with_vdi); i++) {
        struct error *copy;

        if (!error_is(e, with_vdi[i]) || !e->n_params)
            continue;
        copy = error_copy(call->arena, e);
        copy->params[0] = call_ref(call, vdi);
        return copy;
    }
    return e;
}

/*** for people ***/

void srs_describe(struct call *call, struct buf *out)
{
    struct sr_table *t = call->xapid->srs;

    MUTEX_GUARD(&t->lock);
    for (const struct sr_entry *e = t->entries; e; e = e->next) {
        buf_printf(out, "SR %s (%s): in use %d times%s\n", e->handle.uuid, e->handle.driver->type,
                   e->uses, e->busy ? ", being attached or detached" : "");
        for (const struct disk *d = e->disks; d; d = d->next)
            buf_printf(out, "    %s as %s (%s, %s): %d users%s%s\n", d->location,
                       d->path ? d->path : "-", d->format ? d->format : "-",
                       d->writable ? "read and write" : "read only", d->count,
                       d->served ? ", through the data path" : "",
                       d->busy ? ", being attached or detached" : "");
    }
}
