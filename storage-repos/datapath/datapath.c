/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * datapath.c -- attaching, finding and ending servers.
 *
 * The lock is what the life of a server is read from.  It is taken here and inherited by the server
 * (such a lock belongs to the open file, not to a process), so there is no moment at which a
 * server may exist and the lock is free: not even when we are killed while one is starting.
 */
#include "storage-repos/datapath/datapath.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/ioprio.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/pidfd.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "libxapi/base/call.h"
#include "libxapi/base/child.h"
#include "libxapi/base/log.h"
#include "libxapi/base/memory.h"
#include "libxapi/base/seam.h"
#include "storage-repos/datapath/nbd.h"
#include "storage-repos/datapath/qmp.h"
#include "storage-repos/datapath/server.h"

#define START_TIMEOUT (60 * USEC_PER_SEC)
#define COMMAND_TIMEOUT (60 * USEC_PER_SEC)
#define QUIT_TIMEOUT (60 * USEC_PER_SEC) /* it flushes */
#define UNLOCK_TIMEOUT (3 * USEC_PER_SEC)
#define DEATH_TIMEOUT (10 * USEC_PER_SEC)
#define PATIENCE (20 * USEC_PER_SEC)
#define LOOK_AGAIN (10 * USEC_PER_MSEC)
#define NAME_SIZE_MAX 64
#define SMALL_FILE 16384
#define FUSE_MAGIC 0x65735546

struct datapath {
    char *dir;
    enum datapath_kind kind;
    usec_t patience; /* see datapath_set_patience */
};

struct datapath *datapath_new(const char *dir, enum datapath_kind kind)
{
    struct datapath *dp = xcalloc(1, sizeof *dp);

    dp->dir = xstrdup(dir);
    dp->kind = kind;
    dp->patience = PATIENCE;
    return dp;
}

void datapath_set_patience(struct datapath *dp, usec_t patience)
{
    dp->patience = patience;
}

void datapath_free(struct datapath *dp)
{
    if (!dp)
        return;
    free(dp->dir);
    free(dp);
}

static const char *const kinds[] = {[DATAPATH_NONE] = "none",
                                    [DATAPATH_FUSE] = "fuse",
                                    [DATAPATH_NBD] = "nbd",
                                    [DATAPATH_SOCKET] = "socket"};

const char *datapath_dir(const struct datapath *dp)
{
    return dp->dir;
}

const char *datapath_kind_text(const struct datapath *dp)
{
    return kinds[dp->kind];
}

bool datapath_kind_from_text(const char *text, enum datapath_kind *out)
{
    for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
        if (strcmp(kinds[i], text) == 0) {
            *out = (enum datapath_kind)i;
            return true;
        }
    }
    return false;
}

/* Whether servers have a socket where the disk is reached by NBD. */
static bool has_socket(const struct datapath *dp)
{
    return dp->kind == DATAPATH_NBD || dp->kind == DATAPATH_SOCKET;
}

/* ---- one folder ---- */

/* A server's folder; paths are the arena's. */
struct place {
    const char *name, *dir, *lock, *disk, *pid, *qmp, *nbd, *serves;
};

static const char *in(struct call *call, const char *dir, const char *name)
{
    return arena_printf(call->arena, "%s/%s", dir, name);
}

static struct place place_of(struct call *call, const struct datapath *dp, const char *name)
{
    const char *dir = in(call, dp->dir, name);

    return (struct place){
        .name = arena_strdup(call->arena, name),
        .dir = dir,
        .lock = in(call, dir, "lock"),
        .disk = in(call, dir, "disk"),
        .pid = in(call, dir, "pid"),
        .qmp = in(call, dir, "qmp"),
        .nbd = in(call, dir, "nbd"),
        .serves = in(call, dir, "serves"),
    };
}

static bool name_is_good(const char *name)
{
    size_t n = strlen(name);

    return n > 0 && n < NAME_SIZE_MAX && name[0] != '.' && !strchr(name, '/');
}

static struct error *make_dir(struct call *call, const char *path)
{
    return mkdir(path, 0700) < 0 && errno != EEXIST
               ? sr_failed_errno(call, SR_FAIL_VDI, errno, path)
               : OK;
}

/* A small file as text, "" if there is none; never NULL. */
static const char *read_small(struct call *call, const char *path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    char *text = arena_zalloc(call->arena, SMALL_FILE);
    ssize_t n;

    if (fd < 0)
        return "";
    n = read(fd, text, SMALL_FILE - 1);
    close(fd);
    return n < 0 ? "" : text;
}

/* ---- what it serves ---- */

struct serves {
    const char *image, *format;
    bool writable;
};

static void serves_read(struct call *call, const struct place *p, struct serves *out)
{
    json_error_t where;
    json_t *root = json_loads(read_small(call, p->serves), 0, &where);
    const char *image = json_string_value(json_object_get(root, "image"));
    const char *format = json_string_value(json_object_get(root, "format"));

    *out = (struct serves){
        .image = arena_strdup(call->arena, image ? image : ""),
        .format = arena_strdup(call->arena, format ? format : ""),
        .writable = json_is_true(json_object_get(root, "writable")),
    };
    json_decref(root);
}

/* Written before the server is started: what cannot be read belongs to nothing that lives. */
static struct error *serves_write(struct call *call, const struct place *p,
                                  const struct datapath_disk *disk)
{
    const char *temp = arena_printf(call->arena, "%s.tmp", p->serves);
    json_t *root = json_pack("{s:s,s:s,s:b}", "image", disk->image, "format", disk->format,
                             "writable", disk->writable);
    char *text = root ? json_dumps(root, JSON_INDENT(2)) : NULL;
    int fd = open(temp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
    struct error *e = OK;

    if (!text)
        e = sr_failed(call, SR_FAIL_VDI, "%s: not UTF-8", disk->image);
    else if (fd < 0 || write(fd, text, strlen(text)) != (ssize_t)strlen(text) ||
             rename(temp, p->serves) < 0)
        e = sr_failed_errno(call, SR_FAIL_VDI, errno, p->serves);
    if (fd >= 0)
        close(fd);
    free(text);
    json_decref(root);
    return e;
}

/* ---- whether it lives ---- */

/* The lock of a folder; zero is not held. */
struct server_lock {
    int fd;
};

static void server_lock_release(struct server_lock *l)
{
    if (l->fd)
        close(l->fd);
    l->fd = 0;
}

/* *held: ours now, so no server lives, nor starts. */
static struct error *try_lock(struct call *call, const struct place *p, struct server_lock *out,
                              bool *held)
{
    struct flock whole = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    int fd = open(p->lock, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);

    *held = false;
    if (fd < 0)
        return sr_failed_errno(call, SR_FAIL_VDI, errno, p->lock);
    out->fd = fd;
    *held = fcntl(fd, F_OFD_SETLK, &whole) == 0;
    if (!*held && errno != EAGAIN && errno != EACCES)
        return sr_failed_errno(call, SR_FAIL_VDI, errno, p->lock);
    if (!*held)
        server_lock_release(out);
    return OK;
}

/* Asks without taking it, for a moment's lock of ours would be in the way of whoever starts one. */
static bool is_alive(const struct place *p)
{
    struct flock whole = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    int fd = open(p->lock, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
    bool alive;

    if (fd < 0)
        return false;
    alive = fcntl(fd, F_OFD_GETLK, &whole) == 0 && whole.l_type != F_UNLCK;
    close(fd);
    return alive;
}

/* A process by descriptor; zero is none. */
struct process {
    int fd;
    pid_t pid;
};

static void process_release(struct process *p)
{
    if (p->fd)
        close(p->fd);
    p->fd = 0;
}

static bool has_argument(const char *text, size_t n, const char *argument)
{
    size_t want = strlen(argument) + 1;

    for (size_t at = 0; at + want <= n; at += strnlen(text + at, n - at) + 1)
        if (memcmp(text + at, argument, want) == 0)
            return true;
    return false;
}

/*
 * The server's process.  Its number may be another's by now; who it is shows in its arguments,
 * which name the file that has the number.  The descriptor is taken first, so that what is looked
 * at is what will be killed.
 */
static bool find_process(struct call *call, const struct place *p, struct process *out)
{
    long pid = strtol(read_small(call, p->pid), NULL, 10);
    char *text = arena_alloc(call->arena, SMALL_FILE);
    ssize_t n = -1;
    int fd;

    if (pid <= 1 || pid > INT_MAX)
        return false;
    fd = pidfd_open((pid_t)pid, 0);
    if (fd < 0)
        return false;
    *out = (struct process){fd, (pid_t)pid};
    fd = open(arena_printf(call->arena, "/proc/%ld/cmdline", pid), O_RDONLY | O_CLOEXEC);
    if (fd >= 0) {
        n = read(fd, text, SMALL_FILE);
        close(fd);
    }
    if (n > 0 && has_argument(text, (size_t)n, p->pid))
        return true;
    process_release(out);
    return false;
}

static bool wait_dead(const struct place *p, usec_t timeout)
{
    usec_t deadline = clock_mono() + timeout;

    while (is_alive(p)) {
        if (clock_mono() > deadline)
            return false;
        clock_sleep(LOOK_AGAIN);
    }
    return true;
}

/* ---- ending ---- */

/* False where it did not agree to: it hangs, or is still starting. */
static bool ask_to_quit(struct call *call, const struct place *p)
{
    AUTO(qmp) qmp = {0};
    bool refused;
    struct error *e = qmp_open(call, p->qmp, COMMAND_TIMEOUT, &qmp, &refused);

    if (!e)
        e = qmp_command(call, &qmp, "quit", NULL, QUIT_TIMEOUT, NULL);
    if (e && !refused && is_alive(p))
        log_warning("the server of disk %s does not take its leave and is killed: %s", p->name,
                    error_line(call->arena, e));
    return !e;
}

/* One that is still starting has no number yet: it is waited for. */
static struct error *kill_server(struct call *call, const struct place *p)
{
    usec_t deadline = clock_mono() + START_TIMEOUT;
    AUTO(process) process = {0};

    while (is_alive(p) && !find_process(call, p, &process)) {
        if (clock_mono() > deadline)
            return sr_failed(call, SR_FAIL_VDI, "%s: its server cannot be found", p->dir);
        clock_sleep(LOOK_AGAIN);
    }
    if (process.fd)
        pidfd_send_signal(process.fd, SIGKILL, NULL, 0);
    return wait_dead(p, DEATH_TIMEOUT)
               ? OK
               : sr_failed(call, SR_FAIL_VDI, "%s: its server does not die", p->dir);
}

static struct error *drop_device(struct call *call, const struct place *p)
{
    int device = nbd_device_find(p->name);

    return device < 0 ? OK : nbd_device_disconnect(call, device);
}

static struct error *end_server(struct call *call, const struct place *p)
{
    TRY(drop_device(call, p)); /* first: what it still holds is written through the server */
    if (!is_alive(p))
        return OK;
    return ask_to_quit(call, p) && wait_dead(p, QUIT_TIMEOUT) ? OK : kill_server(call, p);
}

/* What a dead server left.  The lock is ours, or nobody starts one meanwhile. */
static struct error *clean_up(struct call *call, const struct place *p)
{
    const char *const files[] = {
        p->disk, p->pid, p->qmp, p->nbd, arena_printf(call->arena, "%s.tmp", p->serves), p->serves};

    TRY(drop_device(call, p));
    while (umount2(p->disk, MNT_DETACH | UMOUNT_NOFOLLOW) == 0)
        ;
    for (size_t i = 0; i < ARRAY_SIZE(files); i++)
        if (unlink(files[i]) < 0 && errno != ENOENT)
            return sr_failed_errno(call, SR_FAIL_VDI, errno, files[i]);
    return OK;
}

/* Nothing is left of a server that has ended. */
static struct error *remove_place(struct call *call, const struct place *p)
{
    AUTO(server_lock) lock = {0};
    bool held;

    TRY(try_lock(call, p, &lock, &held));
    if (!held)
        return sr_failed(call, SR_FAIL_VDI, "%s: its server lives unexpectedly", p->dir);
    TRY(clean_up(call, p));
    if ((unlink(p->lock) < 0 && errno != ENOENT) || (rmdir(p->dir) < 0 && errno != ENOENT))
        return sr_failed_errno(call, SR_FAIL_VDI, errno, p->dir);
    return OK;
}

/* ---- starting ---- */

/* Nodes carry the number of their file: so it shows which one is on top. */
static const char *node_name(struct call *call, const char *kind, const struct stat *st)
{
    return arena_printf(call->arena, "%s%llx-%llx", kind, (unsigned long long)st->st_dev,
                        (unsigned long long)st->st_ino);
}

static const char *driver_of(const char *format)
{
    return strcmp(format, "vhd") == 0 ? "vpc" : format;
}

/* The host's cache is gone around where the file system can do that: it would hold everything
 * twice, and other hosts would not see what is in it. */
static bool can_direct(const char *image)
{
    int fd = open(image, O_RDONLY | O_DIRECT | O_CLOEXEC | O_NONBLOCK);

    if (fd < 0)
        return false;
    close(fd);
    return true;
}

/*
 * Not auto-read-only: for that qemu opens the file once more, by its name, when nobody writes to it
 * any more.  After datapath_follow the name is another file's: every read from the parent would be
 * wrong, and with it every block that is only partly written.
 */
static json_t *file_node(struct call *call, const char *image, const struct stat *st, bool writable)
{
    bool direct = can_direct(image);

    return json_pack(
        "{s:s,s:s,s:s,s:{s:b,s:b},s:s,s:b,s:b,s:s,s:s}", "node-name", node_name(call, "f", st),
        "driver", S_ISBLK(st->st_mode) ? "host_device" : "file", "filename", image, "cache",
        "direct", direct, "no-flush", false, "aio", direct ? "native" : "threads", "auto-read-only",
        false, "read-only", !writable, "locking", "on", "discard", "unmap");
}

static json_t *image_node(struct call *call, const struct datapath_disk *disk,
                          const struct stat *st)
{
    return json_pack("{s:s,s:s,s:s,s:{s:b,s:b},s:b,s:s,s:s}", "node-name", node_name(call, "i", st),
                     "driver", driver_of(disk->format), "file", node_name(call, "f", st), "cache",
                     "direct", can_direct(disk->image), "no-flush", false, "read-only",
                     !disk->writable, "discard", "unmap", "detect-zeroes",
                     disk->writable ? "unmap" : "off");
}

static json_t *export_of(struct call *call, const struct datapath *dp, const struct place *p,
                         const struct datapath_disk *disk, const struct stat *st)
{
    const char *node = node_name(call, "i", st);

    return has_socket(dp) ? json_pack("{s:s,s:s,s:s,s:s,s:b}", "id", "disk", "type", "nbd",
                                      "node-name", node, "name", "disk", "writable", disk->writable)
                          : json_pack("{s:s,s:s,s:s,s:s,s:b,s:b}", "id", "disk", "type", "fuse",
                                      "node-name", node, "mountpoint", p->disk, "writable",
                                      disk->writable, "growable", false);
}

/* As text in the arena; NULL if a path is not UTF-8. */
static const char *text_of(struct call *call, json_t *value)
{
    char *text = value ? json_dumps(value, JSON_COMPACT) : NULL;
    const char *copy = text ? arena_strdup(call->arena, text) : NULL;

    free(text);
    json_decref(value);
    return copy;
}

/* A comma separates options where no JSON is taken; in a path it is doubled. */
static const char *option(struct call *call, const char *before, const char *path,
                          const char *after)
{
    char *text = arena_alloc(call->arena, 2 * strlen(path) + 1), *to = text;

    for (; *path; *to++ = *path++)
        if (*path == ',')
            *to++ = ',';
    *to = '\0';
    return arena_printf(call->arena, "%s%s%s", before, text, after);
}

/* A process that has just died may hold the image for a moment longer than its lock. */
static bool is_locked_still(const struct child_result *r, usec_t deadline)
{
    if (!strstr(r->errors, "lock") || clock_mono() > deadline)
        return false;
    clock_sleep(LOOK_AGAIN);
    return true;
}

/* qemu repeats the option before it says what is wrong with it. */
static const char *words_of(const struct child_result *r)
{
    const char *option_end = strstr(r->errors, "}: ");

    if (!r->errors[0])
        return "the server of the disk did not start";
    return option_end ? option_end + strlen("}: ") : r->errors;
}

/* One try, with the file that has the name just now. */
static struct error *try_server(struct call *call, const struct datapath *dp, const struct place *p,
                                const struct datapath_disk *disk, int lock, struct stat *file,
                                struct child_result *r)
{
    const char *argv[20] = {"qemu-storage-daemon", "--daemonize", "--pidfile", p->pid};
    struct child_spec spec = {.argv = argv, .timeout = START_TIMEOUT, .listen_fd = lock};
    struct stat st;
    size_t n = 4;

    if (stat(disk->image, &st) < 0)
        return sr_failed_errno(call, SR_FAIL_VDI, errno, disk->image);
    *file = st;
    argv[n++] = "--chardev";
    argv[n++] = option(call, "socket,id=qmp,server=on,wait=off,path=", p->qmp, "");
    argv[n++] = "--monitor";
    argv[n++] = "chardev=qmp";
    argv[n++] = "--blockdev";
    argv[n++] = text_of(call, file_node(call, disk->image, &st, disk->writable));
    argv[n++] = "--blockdev";
    argv[n++] = text_of(call, image_node(call, disk, &st));
    if (has_socket(dp)) {
        argv[n++] = "--nbd-server";
        argv[n++] = option(call, "addr.type=unix,addr.path=", p->nbd, "");
    }
    argv[n++] = "--export";
    argv[n++] = text_of(call, export_of(call, dp, p, disk, &st));
    if (!argv[9] || !argv[11] || !argv[n - 1])
        return sr_failed(call, SR_FAIL_VDI, "%s: not UTF-8", disk->image);
    return child_run(call->arena, &spec, r);
}

/* 'file' is what had the name when it was started. */
static struct error *run_server(struct call *call, const struct datapath *dp, const struct place *p,
                                const struct datapath_disk *disk, int lock, struct stat *file)
{
    usec_t deadline = clock_mono() + UNLOCK_TIMEOUT;
    struct child_result r;

    do
        TRY(try_server(call, dp, p, disk, lock, file, &r));
    while (!r.timed_out && r.status && is_locked_still(&r, deadline));
    if (r.timed_out)
        return sr_failed(call, SR_FAIL_VDI, "the server of the disk took too long to start");
    if (r.status)
        return sr_failed(call, SR_FAIL_VDI, "%s", words_of(&r));
    return OK;
}

static struct error *make_mount_point(struct call *call, const struct place *p)
{
    int fd = open(p->disk, O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);

    if (fd < 0)
        return sr_failed_errno(call, SR_FAIL_VDI, errno, p->disk);
    close(fd);
    return OK;
}

/* What users are given; "" while it is not there. */
static const char *user_path(struct call *call, const struct datapath *dp, const struct place *p)
{
    int device = dp->kind == DATAPATH_NBD ? nbd_device_find(p->name) : -1;
    struct statfs fs;

    if (dp->kind == DATAPATH_NBD) {
        char *path = arena_alloc(call->arena, NBD_DEVICE_SIZE);

        nbd_device_path(device, path);
        return device < 0 ? "" : path;
    }
    if (dp->kind == DATAPATH_SOCKET)
        return p->nbd;
    return statfs(p->disk, &fs) == 0 && fs.f_type == FUSE_MAGIC ? p->disk : "";
}

static const char *user_format(const struct datapath *dp)
{
    return dp->kind == DATAPATH_SOCKET ? "nbd" : "raw";
}

static struct error *answer(struct call *call, const struct datapath *dp, const struct place *p,
                            struct vdi_path *out)
{
    int device;

    if (dp->kind == DATAPATH_NBD && nbd_device_find(p->name) < 0)
        TRY(nbd_device_connect(call, p->nbd, p->name, &device));
    *out = (struct vdi_path){.path = user_path(call, dp, p), .format = user_format(dp)};
    return out->path[0] ? OK : sr_failed(call, SR_FAIL_VDI, "%s: it shows no disk", p->dir);
}

/*
 * Where images become one (dir/coalesce.c) the name may have become another file's between our look
 * at it and the server's, or between the server's opening it and its lock on it.  Then the server
 * writes to a file that nobody finds any more, or its nodes have the wrong names.  Once it has its
 * lock nobody does that, so one look afterwards is enough.
 */
static struct error *check_name(struct call *call, const struct datapath_disk *disk,
                                const struct stat *file, bool *moved)
{
    struct stat now;

    if (stat(disk->image, &now) < 0)
        return sr_failed_errno(call, SR_FAIL_VDI, errno, disk->image);
    *moved = now.st_dev != file->st_dev || now.st_ino != file->st_ino;
    return *moved ? sr_failed(call, SR_FAIL_VDI, "%s: it is another file by now", disk->image) : OK;
}

static struct error *start_once(struct call *call, const struct datapath *dp, const struct place *p,
                                const struct datapath_disk *disk, struct vdi_path *out, bool *moved)
{
    AUTO(server_lock) lock = {0};
    struct stat file = {0};
    struct error *e;
    bool held;

    TRY(make_dir(call, p->dir));
    TRY(try_lock(call, p, &lock, &held));
    if (!held)
        return sr_failed(call, SR_FAIL_VDI, "%s: its server lives unexpectedly", p->dir);
    TRY(clean_up(call, p));
    TRY(serves_write(call, p, disk));
    if (dp->kind == DATAPATH_FUSE)
        TRY(make_mount_point(call, p));
    e = run_server(call, dp, p, disk, lock.fd, &file);
    server_lock_release(&lock); /* the server's alone from here */
    if (!e)
        e = check_name(call, disk, &file, moved);
    if (!e)
        e = answer(call, dp, p, out);
    if (e) {
        error_ignore(end_server(call, p)); /* the first error says more */
        if (!is_alive(p))
            error_ignore(remove_place(call, p));
    }
    return e;
}

static struct error *start(struct call *call, const struct datapath *dp, const struct place *p,
                           const struct datapath_disk *disk, struct vdi_path *out)
{
    usec_t deadline = clock_mono() + UNLOCK_TIMEOUT;
    struct error *e;
    bool moved;

    do {
        moved = false;
        e = start_once(call, dp, p, disk, out, &moved);
    } while (moved && clock_mono() < deadline);
    return e;
}

/* ---- attach, adopt, detach ---- */

static bool fits(const struct serves *s, const struct datapath_disk *disk)
{
    return strcmp(s->image, disk->image) == 0 && strcmp(s->format, disk->format) == 0 &&
           (s->writable || !disk->writable);
}

/* It has the lock; that it also answers tells that its start came to its end. */
static bool is_well(struct call *call, const struct place *p)
{
    AUTO(qmp) qmp = {0};

    return qmp_open(call, p->qmp, COMMAND_TIMEOUT, &qmp, NULL) == OK;
}

struct error *datapath_attach(struct call *call, struct datapath *dp,
                              const struct datapath_disk *disk, struct vdi_path *out)
{
    struct place p = place_of(call, dp, disk->name);
    struct serves s;

    if (!name_is_good(disk->name) || disk->image[0] != '/')
        return sr_failed(call, SR_FAIL_ARGUMENT, "%s: no name for a disk", disk->name);
    TRY(make_dir(call, dp->dir));
    if (is_alive(&p)) {
        serves_read(call, &p, &s);
        if (fits(&s, disk) && is_well(call, &p) && !answer(call, dp, &p, out))
            return OK;
        TRY(end_server(call, &p));
    }
    return start(call, dp, &p, disk, out);
}

struct error *datapath_adopt(struct call *call, struct datapath *dp,
                             const struct datapath_disk *disk, bool *alive, struct vdi_path *out)
{
    struct place p = place_of(call, dp, disk->name);
    const char *path;

    *alive = is_alive(&p);
    path = *alive ? user_path(call, dp, &p) : "";
    *alive = *path != '\0';
    *out = (struct vdi_path){.path = *path ? path : p.disk, .format = user_format(dp)};
    return OK;
}

void datapath_source(struct call *call, struct datapath *dp, const char *name,
                     struct vdi_path *path)
{
    if (has_socket(dp))
        *path = (struct vdi_path){.path = place_of(call, dp, name).nbd, .format = "nbd"};
}

struct error *datapath_prefer(struct call *call, struct datapath *dp, const char *name,
                              int priority)
{
    struct place p = place_of(call, dp, name);
    AUTO(process) process = {0};
    const struct dirent *entry;
    struct error *e = OK;
    DIR *tasks;

    if (!find_process(call, &p, &process))
        return sr_failed(call, SR_FAIL_VDI, "%s: its server cannot be found", p.dir);
    tasks = opendir(arena_printf(call->arena, "/proc/%d/task", (int)process.pid));
    if (!tasks)
        return sr_failed_errno(call, SR_FAIL_VDI, errno, p.dir);
    while (!e && (entry = readdir(tasks)))
        if (entry->d_name[0] != '.' &&
            syscall(SYS_ioprio_set, IOPRIO_WHO_PROCESS, atoi(entry->d_name), priority) < 0 &&
            errno != ESRCH) /* a thread that has ended */
            e = sr_failed_errno(call, SR_FAIL_VDI, errno, "the priority of I/O");
    closedir(tasks);
    return e;
}

struct error *datapath_give_up(struct call *call, struct datapath *dp, const char *name)
{
    struct place p = place_of(call, dp, name);

    return is_alive(&p) ? OK : drop_device(call, &p);
}

struct error *datapath_detach(struct call *call, struct datapath *dp, const char *name)
{
    struct place p = place_of(call, dp, name);

    if (!name_is_good(name) || access(p.dir, F_OK) < 0)
        return OK;
    TRY(end_server(call, &p));
    return remove_place(call, &p);
}

/* ---- all of them ---- */

static void look_at(struct call *call, struct datapath *dp, const char *name,
                    struct datapath_state *out)
{
    struct place p = place_of(call, dp, name);
    AUTO(process) process = {0};
    struct serves s;

    serves_read(call, &p, &s);
    *out = (struct datapath_state){
        .name = p.name, .image = s.image, .writable = s.writable, .alive = is_alive(&p)};
    if (out->alive && find_process(call, &p, &process))
        out->pid = process.pid;
}

struct error *datapath_list(struct call *call, struct datapath *dp, size_t *n,
                            struct datapath_state **out)
{
    DIR *d = opendir(dp->dir);
    size_t room = 16;
    struct dirent *entry;

    *n = 0;
    *out = arena_array(call->arena, struct datapath_state, room);
    if (!d)
        return errno == ENOENT ? OK : sr_failed_errno(call, SR_FAIL_VDI, errno, dp->dir);
    while ((entry = readdir(d)) != NULL) {
        if (!name_is_good(entry->d_name))
            continue;
        if (*n == room) {
            struct datapath_state *more = arena_array(call->arena, struct datapath_state, room * 2);

            memcpy(more, *out, room * sizeof *more);
            *out = more;
            room *= 2;
        }
        look_at(call, dp, entry->d_name, &(*out)[(*n)++]);
    }
    closedir(d);
    return OK;
}

/* The disk whose server has the image open for writing. */
static struct error *find_writer(struct call *call, struct datapath *dp, const char *image,
                                 struct place *out, bool *found)
{
    struct datapath_state *v;
    size_t n;

    *found = false;
    TRY(datapath_list(call, dp, &n, &v));
    for (size_t i = 0; i < n && !*found; i++) {
        *found = v[i].alive && v[i].writable && strcmp(v[i].image, image) == 0;
        if (*found)
            *out = place_of(call, dp, v[i].name);
    }
    return OK;
}

bool datapath_writes(struct call *call, struct datapath *dp, const char *image)
{
    struct place p;
    bool found;

    return !find_writer(call, dp, image, &p, &found) && found;
}

/* ---- changes below a guest ---- */

struct error *server_top(struct call *call, struct qmp *qmp, const char **out)
{
    json_t *list, *entry;
    size_t i;

    *out = NULL;
    TRY(qmp_command(call, qmp, "query-block-exports", NULL, COMMAND_TIMEOUT, &list));
    json_array_foreach(list, i, entry)
    {
        const char *id = json_string_value(json_object_get(entry, "id"));
        const char *node = json_string_value(json_object_get(entry, "node-name"));

        if (id && node && strcmp(id, "disk") == 0)
            *out = arena_strdup(call->arena, node);
    }
    json_decref(list);
    return *out ? OK : sr_failed(call, SR_FAIL_VDI, "%s: it exports nothing", qmp->who);
}

static struct error *has_node(struct call *call, struct qmp *qmp, const char *name, bool *out)
{
    json_t *list, *entry;
    size_t i;

    *out = false;
    TRY(qmp_command(call, qmp, "query-named-block-nodes", json_pack("{s:b}", "flat", true),
                    COMMAND_TIMEOUT, &list));
    json_array_foreach(list, i, entry)
    {
        const char *node = json_string_value(json_object_get(entry, "node-name"));

        *out |= node && strcmp(node, name) == 0;
    }
    json_decref(list);
    return OK;
}

static struct error *add_node(struct call *call, struct qmp *qmp, const char *name, json_t *args)
{
    bool there;
    struct error *e = has_node(call, qmp, name, &there);

    if (e || there) {
        json_decref(args);
        return e;
    }
    return qmp_command(call, qmp, "blockdev-add", args, COMMAND_TIMEOUT, NULL);
}

/* The image without its parent, which is the node that is on top so far. */
static struct error *add_overlay(struct call *call, struct qmp *qmp, const char *image,
                                 const struct stat *st)
{
    struct datapath_disk disk = {.image = image, .format = "qcow2", .writable = true};
    json_t *node = image_node(call, &disk, st);

    json_object_set_new(node, "backing", json_null());
    TRY(add_node(call, qmp, node_name(call, "f", st), file_node(call, image, st, true)));
    return add_node(call, qmp, node_name(call, "i", st), node);
}

static struct error *follow(struct call *call, const struct place *p, const char *image)
{
    AUTO(qmp) qmp = {0};
    const char *top, *want;
    struct stat st;
    bool refused;
    struct error *e = qmp_open(call, p->qmp, COMMAND_TIMEOUT, &qmp, &refused);

    TRY(e);
    if (stat(image, &st) < 0)
        return sr_failed_errno(call, SR_FAIL_VDI, errno, image);
    want = node_name(call, "i", &st);
    TRY(server_top(call, &qmp, &top));
    if (strcmp(top, want) == 0)
        return OK;
    TRY(add_overlay(call, &qmp, image, &st));
    return qmp_command(call, &qmp, "blockdev-snapshot",
                       json_pack("{s:s,s:s}", "node", top, "overlay", want), COMMAND_TIMEOUT, NULL);
}

struct error *datapath_follow(struct call *call, struct datapath *dp, const char *image)
{
    struct error *e;
    struct place p;
    bool found;

    TRY(find_writer(call, dp, image, &p, &found));
    if (!found)
        return OK;
    e = follow(call, &p, image);
    /* One that died or was ended meanwhile writes no more: whoever opens the image next opens the
     * new file. */
    return e && wait_dead(&p, 0) ? OK : e;
}

static struct error *resize(struct call *call, const struct place *p, int64_t size)
{
    AUTO(qmp) qmp = {0};
    const char *top;

    TRY(qmp_open(call, p->qmp, COMMAND_TIMEOUT, &qmp, NULL));
    TRY(server_top(call, &qmp, &top));
    return qmp_command(call, &qmp, "block_resize",
                       json_pack("{s:s,s:I}", "node-name", top, "size", (json_int_t)size),
                       COMMAND_TIMEOUT, NULL);
}

struct error *datapath_resize(struct call *call, struct datapath *dp, const char *image,
                              int64_t size)
{
    struct place p;
    bool found;
    int device;

    /* The file that has the name is the one to grow. */
    TRY(datapath_follow(call, dp, image));
    TRY(find_writer(call, dp, image, &p, &found));
    if (!found)
        return sr_failed(call, SR_FAIL_VDI_RESIZE, "%s: nobody serves it", image);
    TRY(resize(call, &p, size));
    device = nbd_device_find(p.name);
    return device < 0 ? OK : nbd_device_resize(call, device, size);
}

/* ---- for mirrors (server.h) ---- */

struct error *server_open(struct call *call, const struct datapath *dp, const char *name,
                          struct qmp *out, bool *dead)
{
    struct place p = place_of(call, dp, name);
    struct error *e = OK;

    *dead = !is_alive(&p);
    if (!*dead)
        e = qmp_open(call, p.qmp, COMMAND_TIMEOUT, out, NULL);
    if (e && !is_alive(&p))
        *dead = true;
    return *dead ? OK : e;
}

struct error *server_add_image(struct call *call, struct qmp *qmp, const struct datapath_disk *disk,
                               const char **node)
{
    struct stat st;

    if (stat(disk->image, &st) < 0)
        return sr_failed_errno(call, SR_FAIL_VDI, errno, disk->image);
    TRY(add_node(call, qmp, node_name(call, "f", &st), file_node(call, disk->image, &st, true)));
    *node = node_name(call, "i", &st);
    return add_node(call, qmp, *node, image_node(call, disk, &st));
}

struct error *server_now_serves(struct call *call, const struct datapath *dp,
                                const struct datapath_disk *disk)
{
    struct place p = place_of(call, dp, disk->name);

    return serves_write(call, &p, disk);
}

usec_t server_patience(const struct datapath *dp)
{
    return dp->patience;
}

bool server_can_mirror(const struct datapath *dp)
{
    return has_socket(dp);
}
