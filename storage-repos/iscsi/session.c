/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* session.c -- who uses a target: marks, login, logout. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "libxapi/base/call.h"
#include "libxapi/base/log.h"
#include "libxapi/base/seam.h"
#include "storage-repos/apart/message.h"
#include "storage-repos/common/lock.h"
#include "storage-repos/iscsi/iscsi.h"

#define MARK ".iscsi"
#define WORK "work-"
#define OWN "own "
#define FOREIGN "foreign "
#define MARK_MAX 512

/* ---- marks ---- */

bool iscsi_is_mark(const char *ending)
{
    return strcmp(ending, MARK) == 0;
}

const char *iscsi_worker(struct call *call)
{
    return arena_printf(call->arena, WORK "%ld", (long)getpid());
}

static const char *mark_path(struct call *call, const char *mounts, const char *user)
{
    return arena_printf(call->arena, "%s/%s" MARK, mounts, user);
}

/* What a mark says; the iqn is NULL where it says nothing. */
struct mark {
    const char *iqn;
    bool own; /* the session was made by one of us */
};

static struct mark read_mark(struct call *call, const char *path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    char *text = arena_zalloc(call->arena, MARK_MAX + 1);
    ssize_t n = fd < 0 ? 0 : read(fd, text, MARK_MAX);

    if (fd >= 0)
        close(fd);
    if (n <= 0 || text[n - 1] != '\n')
        return (struct mark){0};
    text[n - 1] = '\0';
    if (strncmp(text, OWN, strlen(OWN)) == 0)
        return (struct mark){text + strlen(OWN), true};
    if (strncmp(text, FOREIGN, strlen(FOREIGN)) == 0)
        return (struct mark){text + strlen(FOREIGN), false};
    return (struct mark){0};
}

/* A mark that a kill has cut short says nothing, and no login was begun under it. */
static struct error *write_mark(struct call *call, const char *path, const struct mark *mark)
{
    const char *text = arena_printf(call->arena, "%s%s\n", mark->own ? OWN : FOREIGN, mark->iqn);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
    ssize_t n = fd < 0 ? -1 : write(fd, text, strlen(text));
    int err = errno;

    if (fd >= 0)
        close(fd);
    return n == (ssize_t)strlen(text)
               ? OK
               : sr_failed_errno(call, SR_FAIL_SR, n < 0 ? err : ENOSPC, path);
}

static bool is_dead(const char *user)
{
    long pid = strncmp(user, WORK, strlen(WORK)) == 0 ? strtol(user + strlen(WORK), NULL, 10) : 0;

    return pid > 0 && kill((pid_t)pid, 0) < 0 && errno == ESRCH;
}

/* The user of a mark, or NULL where the file is none. */
static const char *user_of(struct call *call, const char *name)
{
    size_t n = strlen(name), m = strlen(MARK);

    return n > m && iscsi_is_mark(name + n - m) ? arena_strndup(call->arena, name, n - m) : NULL;
}

/* What the marks of a target say together; that of 'self' counts for ownership alone. */
struct users {
    bool others, own;
};

static struct users users_of(struct call *call, const char *mounts, const char *iqn,
                             const char *self)
{
    struct users users = {0};
    DIR *d = opendir(mounts);
    struct dirent *entry;

    while (d && (entry = readdir(d)) != NULL) {
        const char *user = user_of(call, entry->d_name);
        struct mark mark = user ? read_mark(call, mark_path(call, mounts, user)) : (struct mark){0};

        if (!mark.iqn || strcmp(mark.iqn, iqn) != 0)
            continue;
        users.own |= mark.own;
        users.others |= strcmp(user, self) != 0 && !is_dead(user);
    }
    if (d)
        closedir(d);
    return users;
}

/* ---- login and logout ---- */

#define NODE(place) "-m", "node", "-T", (place)->iqn, "-p", (place)->portal

static struct error *log_out(struct call *call, const struct iscsi_place *place)
{
    const char *session = iscsi_session(call, place->system_root, place->iqn);

    if (session)
        TRY(ISCSIADM(call, place, SR_FAIL_ISCSI_LOGOUT, "-m", "session", "-r",
                     session + strcspn(session, "0123456789"), "--logout"));
    return ISCSIADM(call, place, SR_FAIL_ISCSI_LOGOUT, "-m", "node", "-T", place->iqn, "-o",
                    "delete");
}

/* Nobody but us logs in by this record: not the host when it boots.  The daemon tries again, so
 * iscsid does not. */
static struct error *log_in(struct call *call, const struct iscsi_place *place)
{
    const char *const record[] = {NODE(place), NULL};

    TRY(ISCSIADM(call, place, SR_FAIL_ISCSI_LOGIN, NODE(place), "-o", "new"));
    TRY(iscsi_set(call, place, SR_FAIL_ISCSI_LOGIN, record, "node.startup", "manual"));
    TRY(iscsi_set(call, place, SR_FAIL_ISCSI_LOGIN, record, "node.session.initial_login_retry_max",
                  "1"));
    TRY(iscsi_set_login(call, place, SR_FAIL_ISCSI_LOGIN, record, "node.session"));
    return ISCSIADM(call, place, SR_FAIL_ISCSI_LOGIN, NODE(place), "--login");
}

/* What was mapped since the login is found, or not there. */
static struct error *rescan(struct call *call, const struct iscsi_place *place, const char *session)
{
    return ISCSIADM(call, place, SR_FAIL_ISCSI_FIND, "-m", "session", "-r",
                    session + strcspn(session, "0123456789"), "--rescan");
}

static const char *lock_path(struct call *call, const char *mounts, const char *iqn)
{
    return arena_printf(call->arena, "%s/%s.iscsi-lock", mounts, iqn);
}

/* The target's lock is held. */
static struct error *close_locked(struct call *call, const struct iscsi_place *place,
                                  const char *user, const struct users *users)
{
    const char *path = mark_path(call, place->mounts, user);

    if (!users->others && users->own)
        TRY(log_out(call, place));
    return unlink(path) < 0 && errno != ENOENT ? sr_failed_errno(call, SR_FAIL_SR, errno, path)
                                               : OK;
}

static struct error *close_place(struct call *call, const struct iscsi_place *place,
                                 const char *user)
{
    const char *path = lock_path(call, place->mounts, place->iqn);
    struct users users;
    struct error *e;
    int lock;

    TRY(sr_lock(call, path, place->iqn, &lock));
    users = users_of(call, place->mounts, place->iqn, user);
    e = close_locked(call, place, user, &users);
    sr_unlock(lock, path, !e && !users.others);
    return e;
}

/* 'place' has folders and the deadline; the rest is in the mark. */
static struct error *close_user(struct call *call, struct iscsi_place place, const char *user)
{
    const char *path = mark_path(call, place.mounts, user);
    struct mark mark = read_mark(call, path);

    if (!mark.iqn) {
        unlink(path);
        return OK;
    }
    place.iqn = place.portal = mark.iqn;
    return close_place(call, &place, user);
}

struct error *iscsi_close(struct call *call, const struct apart_request *request, const char *user)
{
    const struct iscsi_place place = {.system_root = request->system_root,
                                      .mounts = request->mounts,
                                      .deadline = clock_mono() + (usec_t)request->patience / 4 * 3};

    return close_user(call, place, user);
}

/* What processes have left that were killed. */
static void sweep(struct call *call, const struct iscsi_place *place)
{
    DIR *d = opendir(place->mounts);
    struct dirent *entry;

    while (d && (entry = readdir(d)) != NULL) {
        const char *user = user_of(call, entry->d_name);
        struct error *e = user && is_dead(user) ? close_user(call, *place, user) : OK;

        if (e)
            log_warning("a session stays behind: %s", error_line(call->arena, e));
    }
    if (d)
        closedir(d);
}

static struct error *open_locked(struct call *call, const struct iscsi_place *place,
                                 const char *user)
{
    struct users users = users_of(call, place->mounts, place->iqn, user);
    const char *session = iscsi_session(call, place->system_root, place->iqn);
    struct mark mark = {place->iqn, !session || users.own};

    TRY(write_mark(call, mark_path(call, place->mounts, user), &mark));
    if (!session) {
        TRY(log_in(call, place));
        session = iscsi_session(call, place->system_root, place->iqn);
    }
    if (!session)
        return sr_failed(call, SR_FAIL_ISCSI_LOGIN, "%s: iscsiadm is done, and there is no session",
                         place->portal);
    return rescan(call, place, session);
}

struct error *iscsi_open(struct call *call, const struct iscsi_place *place, const char *user)
{
    const char *path = lock_path(call, place->mounts, place->iqn);
    struct error *e;
    int lock;

    sweep(call, place);
    TRY(sr_lock(call, path, place->iqn, &lock));
    e = open_locked(call, place, user);
    sr_unlock(lock, path, false);
    return e;
}
