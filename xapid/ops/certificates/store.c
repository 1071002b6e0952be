/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "xapid/ops/certificates/store.h"

#include <dirent.h>
#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "libxapi/base/buf.h"
#include "xapid/auth/file.h"
#include "xapid/http/certificate.h"
#include "xapid/main/xapid.h"
#include "xapid/ops/certificates/check.h"

struct file {
    const char *name, *text;
};

struct folder {
    const char *path;
    size_t n;
    struct file *files;
};

enum { CA, PINNED, CRL, N_FOLDERS };

/* All there should be. */
struct wanted {
    struct folder folders[N_FOLDERS];
    struct buf bundle, lists;
};

static void wanted_release(struct wanted *w)
{
    buf_release(&w->bundle);
    buf_release(&w->lists);
}

static void add_row(const struct call *call, struct wanted *w, const struct trust_file *row)
{
    const struct certificate *cert = db_find(call, CLASS_certificate, row->certificate);
    bool pinned = cert && cert->type == CERTIFICATE_TYPE_PINNED;
    struct folder *folder = &w->folders[row->crl ? CRL : pinned ? PINNED : CA];

    folder->files[folder->n++] = (struct file){row->name_label, row->pem};
    if (row->crl)
        buf_puts(&w->lists, row->pem);
    else if (!pinned && (!cert || !cert->purpose.n))
        buf_puts(&w->bundle, row->pem);
}

static void collect(const struct call *call, const char *top, struct wanted *w)
{
    static const char *const names[N_FOLDERS] = {"ca", "pinned", "crl"};
    size_t most = snap_root(call->snap)->tables[CLASS_trust_file].count;
    const struct trust_file *row;
    struct db_walk walk;

    for (int i = 0; i < N_FOLDERS; i++) {
        w->folders[i].path = arena_printf(call->arena, "%s/%s", top, names[i]);
        w->folders[i].files = arena_array(call->arena, struct file, most);
    }
    db_walk(call->snap, CLASS_trust_file, &walk);
    while ((row = db_walk_next(&walk)))
        if (ref_is_null(row->host) || ref_equal(row->host, call->xapid->host))
            add_row(call, w, row);
}

/*** the files ***/

static struct error *make_folder(struct arena *arena, const char *path)
{
    if (mkdir(path, 0700) < 0 && errno != EEXIST)
        return error_internal(arena, "cannot make directory %s: %s", path, strerror(errno));
    return OK;
}

static struct error *write_if_different(struct arena *arena, const char *path, const char *text,
                                        size_t size)
{
    struct stat st;
    size_t there;
    char *old;

    if (stat(path, &st) == 0 && st.st_size == (off_t)size) {
        TRY(secret_file_read(arena, path, size, &old, &there));
        if (old && there == size && memcmp(old, text, size) == 0)
            return OK;
    }
    return secret_file_replace(arena, path, text, size);
}

static bool is_wanted(const struct folder *folder, const char *name)
{
    for (size_t i = 0; i < folder->n; i++)
        if (strcmp(folder->files[i].name, name) == 0)
            return true;
    return false;
}

/* What does not go now goes at the next look. */
static void remove_others(struct arena *arena, const struct folder *folder)
{
    DIR *dir = opendir(folder->path);
    const struct dirent *d;

    while (dir && (d = readdir(dir)))
        if (strcmp(d->d_name, ".") != 0 && strcmp(d->d_name, "..") != 0 &&
            !is_wanted(folder, d->d_name))
            unlink(arena_printf(arena, "%s/%s", folder->path, d->d_name));
    if (dir)
        closedir(dir);
}

static struct error *write_folder(struct arena *arena, const struct folder *folder)
{
    TRY(make_folder(arena, folder->path));
    for (size_t i = 0; i < folder->n; i++)
        TRY(write_if_different(arena,
                               arena_printf(arena, "%s/%s", folder->path, folder->files[i].name),
                               folder->files[i].text, strlen(folder->files[i].text)));
    remove_others(arena, folder);
    return OK;
}

/*** clients ***/

static struct error *tell_server(struct call *call, const struct wanted *w)
{
    const struct pool *pool;

    TRY(DB_GET(call, pool, call->xapid->pool, &pool));
    if (!pool->client_certificate_auth_enabled)
        return xapid_trust_clients(call->arena, call->xapid, NULL);
    return xapid_trust_clients(
        call->arena, call->xapid,
        &(struct certificate_trust){.authorities = w->bundle.data ? w->bundle.data : "",
                                    .revoked = w->lists.data ? w->lists.data : "",
                                    .name = pool->client_certificate_auth_name});
}

struct error *certificates_write(struct call *call)
{
    struct arena *arena = call->arena;
    const char *top = arena_printf(arena, "%s/certificates", call->xapid->options.state_dir);
    const char *bundle = arena_printf(arena, "%s/ca-bundle.pem", top);
    AUTO(wanted) w = {0};
    AUTO(file_lock) lock = {0};

    TRY(make_folder(arena, top));
    TRY(file_lock_take(arena, bundle, &lock));
    /* Whoever writes last has seen all that was to be written before. */
    call_refresh(call);
    collect(call, top, &w);
    for (int i = 0; i < N_FOLDERS; i++)
        TRY(write_folder(arena, &w.folders[i]));
    TRY(write_if_different(arena, bundle, w.bundle.data ? w.bundle.data : "", w.bundle.len));
    return tell_server(call, &w);
}
