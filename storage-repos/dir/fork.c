/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * fork.c -- snapshot and clone: one image becomes a hidden base with two images on top.
 *
 * Names: L is the disk, B the base to be, C the new disk.  Each line is durable before the next
 * begins:
 *
 *   1. temporary files: L' and C', empty images whose parent is "B.qcow2" (which need not exist
 * yet)
 *   2. B.json, which marks B as hidden
 *   3. link:   B.qcow2 is a second name of L's file
 *   4. rename: L' becomes L.qcow2.  L always exists; before, it is the whole disk, after, an empty
 * image on B
 *   5. C.json
 *   6. rename: C' becomes C.qcow2
 *
 * How far an interrupted fork came is read from the files alone:
 *
 *   C exists, with parent B or L's parent      done, for C comes last
 *   L's parent is B                            4 is done: B is frozen, only C is missing
 *   L and B are one file                       3 is done
 *   B does not exist                           nothing that matters has happened
 *   anything else                              B or C is not ours: refused
 *
 * Why no data can be lost and none written twice: B is never written, for until 4 it is L itself,
 * and from 4 on L is another file.  C appears only after that, so nothing ever lies on a file that
 * L still writes to.  B cannot be removed as unneeded between 3 and 4, for it has two names, nor
 * later, for L refers to it.  If instead of a repeat C and B are deleted, then until 4 L is as
 * before, and after it L keeps B as its parent, which holds its data.
 *
 * An L that is empty has nothing to freeze: then C is made on L's own parent, and that is all (5
 * and 6).  So chains do not grow where one snapshot is cloned, or gone back to, again and again.
 *
 * A process that has L open for writing would go on writing to what is B from 4 on.  So the fork is
 * refused while the lock that qemu holds on an image it writes says that there is one, unless that
 * is the data path (datapath.h), which can be told:
 *
 *   4a. the data path goes on with the file that is L now: what was acknowledged before is in B,
 *       durably, and what comes after in L
 *
 * Between 4 and 4a it writes to B.  That is right, for L is empty until 4a and so has B's content,
 * whatever that becomes; and nothing else lies on B, for C comes later.  Were 4a done before 4, a
 * crash between them would leave the guest's writes in a file without a name.  Whoever repeats the
 * fork, and whoever forks L next, begins with 4a; a server that has died opens what is L when it is
 * started again.  So also if the fork is undone instead.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "libxapi/base/call.h"
#include "storage-repos/datapath/datapath.h"
#include "storage-repos/dir/image.h"

enum reached { NOTHING, LINKED, FROZEN, DONE };

struct fork {
    struct call *call;
    const struct dir_state *st;
    struct dir_list list;
    const struct dir_image *disk;
    const char *location, *base;
    const struct vdi_spec *spec;
    struct datapath *served; /* writes to the disk; NULL: nobody does */
    bool hidden;             /* the disk is none: others lie on it */
    bool empty;              /* the disk's own image: nothing is frozen */
    char leaf_temp[DIR_NAME_SIZE], new_temp[DIR_NAME_SIZE];
    char disk_name[DIR_NAME_SIZE], base_name[DIR_NAME_SIZE], new_name[DIR_NAME_SIZE];
    char parent_name[DIR_NAME_SIZE]; /* of the new image: the base, or the disk's parent */
};

/* A broken file also has a name that is taken; of one that cannot be asked for it is not known. */
static struct error *name_taken(const struct fork *f, const char *name, bool *out)
{
    struct stat s;

    *out = fstatat(f->st->fd, name, &s, AT_SYMLINK_NOFOLLOW) == 0;
    return *out || errno == ENOENT ? OK : sr_failed_errno(f->call, SR_FAIL_VDI, errno, name);
}

static struct error *check_free(const struct fork *f, const char *name, const char *location)
{
    bool taken;

    TRY(name_taken(f, name, &taken));
    return taken ? sr_failed(f->call, SR_FAIL_VDI_EXISTS, "%s", location) : OK;
}

static struct error *find_reached(const struct fork *f, enum reached *out)
{
    const struct dir_image *base = dir_find(&f->list, f->base);
    const struct dir_image *new = dir_find(&f->list, f->spec->location);

    *out = DONE;
    if (new &&strcmp(new->parent, f->base) == 0 && base)
        return OK;
    if (new && !base &&new->parent[0] && strcmp(new->parent, f->disk->parent) == 0)
        return OK;
    TRY(check_free(f, f->new_name, f->spec->location));
    *out = NOTHING;
    if (base && strcmp(f->disk->parent, f->base) == 0)
        *out = FROZEN;
    else if (base && base->inode == f->disk->inode)
        *out = LINKED;
    else
        TRY(check_free(f, f->base_name, f->base));
    return OK;
}

static struct error *make_temp(const struct fork *f, const char *temp)
{
    TRY(dir_make_temp(f->call, f->st, temp, f->disk->virtual_size, f->parent_name));
    TRY(dir_sync_file(f->call, f->st, temp));
    dir_step(f->st, "new image prepared");
    return OK;
}

/* Steps 1 to 4. */
static struct error *freeze(const struct fork *f, enum reached reached)
{
    struct dir_meta hidden = {.name_label = "base copy", .name_description = "", .hidden = true};

    TRY(make_temp(f, f->leaf_temp));
    if (reached < LINKED) {
        TRY(dir_meta_write(f->call, f->st, f->base, &hidden));
        if (linkat(f->st->fd, f->disk_name, f->st->fd, f->base_name, 0) < 0)
            return sr_failed_errno(f->call, SR_FAIL_VDI_CLONE, errno, f->base_name);
        dir_step(f->st, "base linked");
    }
    TRY(dir_sync(f->call, f->st));
    dir_step(f->st, "base durable");
    TRY(dir_publish(f->call, f->st, f->leaf_temp, f->disk_name));
    dir_step(f->st, "disk on base");
    return OK;
}

/* Step 4a. */
static struct error *switch_writer(const struct fork *f)
{
    if (!f->served)
        return OK;
    TRY(datapath_follow(f->call, f->served, dir_path(f->call, f->st, f->disk_name)));
    dir_step(f->st, "writer on disk");
    return OK;
}

static struct error *carry_out(const struct fork *f, enum reached reached)
{
    struct dir_meta meta = {.name_label = f->spec->name_label ? f->spec->name_label : "",
                            .name_description =
                                f->spec->name_description ? f->spec->name_description : "",
                            .sm_config = f->spec->sm_config};

    /* What an earlier try renamed may not be durable yet. */
    TRY(dir_sync(f->call, f->st));
    /* Before anything changes: there may be no room for it. */
    TRY(make_temp(f, f->new_temp));
    if (reached < FROZEN && !f->empty)
        TRY(freeze(f, reached));
    TRY(switch_writer(f));
    TRY(dir_meta_write(f->call, f->st, f->spec->location, &meta));
    TRY(dir_publish(f->call, f->st, f->new_temp, f->new_name));
    dir_step(f->st, "new image in place");
    return OK;
}

static struct error *check(const struct fork *f, enum reached reached)
{
    size_t length = dir_chain_length(&f->list, f->disk);

    if (reached >= FROZEN)
        return OK;
    TRY(dir_check_chain(f->call, &f->list, f->disk));
    if (length >= DIR_CHAIN_MAX && !f->empty)
        return sr_failed(f->call, SR_FAIL_CHAIN, "%s: %zu images", f->location, length);
    if (f->disk->children || f->hidden)
        return vdi_readonly(f->call, f->location);
    return f->served ? OK : dir_check_unwritten(f->call, f->st, f->location, "snapshot");
}

static void set_names(struct fork *f)
{
    dir_temp_name(f->base, "leaf", f->leaf_temp);
    dir_temp_name(f->spec->location, "new", f->new_temp);
    dir_image_name(f->location, f->disk_name);
    dir_image_name(f->base, f->base_name);
    dir_image_name(f->base, f->parent_name);
    dir_image_name(f->spec->location, f->new_name);
}

/* Whether there is nothing to freeze; nobody may write to it meanwhile. */
static struct error *is_empty(const struct fork *f, bool *out)
{
    bool changing;
    int fd;

    *out = false;
    if (f->served || !f->disk->parent[0])
        return OK;
    TRY(dir_is_changing(f->call, f->st, f->disk->parent, &changing));
    if (changing)
        return OK;
    fd = openat(f->st->fd, f->disk_name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    *out = fd >= 0 && !qcow2_has_writer(fd) && qcow2_is_empty(fd);
    if (fd >= 0)
        close(fd);
    return OK;
}

/* After a failure that was no crash; what was reached stays, for a repeat or an undo. */
static void clean_up(const struct fork *f)
{
    char name[DIR_NAME_SIZE];
    bool taken;

    dir_remove_temps(f->st, f->base);
    dir_remove_temps(f->st, f->spec->location);
    dir_meta_name(f->base, name);
    if (name_taken(f, f->base_name, &taken) == OK && !taken)
        error_ignore(
            dir_unlink(f->call, f->st, name)); /* a sidecar without an image does no harm */
}

static struct error *answer(const struct fork *f, struct sr_handle *sr, struct vdi_info *info)
{
    TRY(dir_sync(f->call, f->st));
    return dir_vdi_stat(f->call, sr, f->spec->location, info);
}

/*
 * The images that matter, and no others, for there may be many thousands.  Whether any of those
 * lies on the disk is what its sidecar says, which is durable before one can; a disk without one is
 * looked for among the parents of all.
 */
static struct error *find_images(struct fork *f, const struct sr_handle *sr)
{
    const char *const needed[] = {f->location, f->base, f->spec->location};
    struct dir_image *disk;
    struct dir_meta meta;

    TRY(dir_meta_read(f->call, f->st, f->location, &meta));
    f->hidden = meta.hidden;
    if (meta.found)
        TRY(dir_list_some(f->call, f->st, ARRAY_SIZE(needed), needed, &f->list));
    else
        TRY(dir_list(f->call, f->st, false, &f->list));
    TRY(dir_get(f->call, sr, &f->list, f->location, &disk));
    f->disk = disk;
    return OK;
}

struct error *dir_vdi_fork(struct call *call, struct sr_handle *sr, const char *location,
                           const char *base, const struct vdi_spec *spec, struct vdi_info *info)
{
    struct fork f = {
        .call = call, .st = sr->state, .location = location, .base = base, .spec = spec};
    AUTO(dir_lock) lock = {0};
    enum reached reached = NOTHING;
    struct error *e;

    TRY(dir_check_location(call, sr, location));
    if (!dir_location_ok(base) || !dir_location_ok(spec->location) ||
        strcmp(base, spec->location) == 0 || strcmp(base, location) == 0 ||
        strcmp(spec->location, location) == 0)
        return sr_failed(call, SR_FAIL_ARGUMENT, "%s and %s: three different uuids are needed",
                         base, spec->location);
    set_names(&f);
    TRY(dir_check_there(call, sr));
    TRY(dir_lock(call, f.st, &lock));
    TRY(find_images(&f, sr));
    TRY(find_reached(&f, &reached));
    if (reached < DONE) {
        f.served = dir_served(call, sr, location);
        TRY(switch_writer(&f)); /* as an earlier fork may have left it */
        if (reached == NOTHING)
            TRY(is_empty(&f, &f.empty));
        if (f.empty)
            dir_image_name(f.disk->parent, f.parent_name);
        TRY(check(&f, reached));
        e = carry_out(&f, reached);
        if (e) {
            clean_up(&f);
            return e;
        }
    }
    return answer(&f, sr, info);
}
