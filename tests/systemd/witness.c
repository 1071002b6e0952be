/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * witness.c -- stands where the daemon looks for a program, writes down which descriptors it was
 * started with, and becomes that program ("<own path>.real"; without one it ends with status 0).
 *
 * One line is added to witness.log beside it:
 *   NAME parent=N [FD=TARGET]... [SHARED:FD=PARENTFD]... [end]
 * N is the number of descriptors its parent has.  SHARED is an open file that both have, the parent
 * under PARENTFD: the kernel is asked (kcmp), names can deceive.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/kcmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define MANY 4096

/* The descriptors of a process but 'but'; their count, -1 where it cannot be looked at. */
static int list(const char *pid, int but, int *out)
{
    char path[64];
    struct dirent *entry;
    int n = 0;
    DIR *dir;

    snprintf(path, sizeof path, "/proc/%s/fd", pid);
    dir = opendir(path);
    if (!dir)
        return -1;
    while ((entry = readdir(dir)) && n < MANY) {
        int fd = atoi(entry->d_name);

        if (entry->d_name[0] != '.' && fd != but && (but < 0 || fd != dirfd(dir)))
            out[n++] = fd;
    }
    closedir(dir);
    return n;
}

static void say_targets(FILE *out, const int *fds, int n)
{
    for (int i = 0; i < n; i++) {
        char path[64], target[512];
        ssize_t len;

        snprintf(path, sizeof path, "/proc/self/fd/%d", fds[i]);
        len = readlink(path, target, sizeof target - 1);
        for (ssize_t c = 0; c < len; c++)
            if (target[c] == ' ')
                target[c] = '_';
        fprintf(out, " %d=%.*s", fds[i], (int)(len > 0 ? len : 0), target);
    }
}

static void say_shared(FILE *out, const int *mine, int n, const int *others, int n_others)
{
    for (int i = 0; i < n; i++)
        for (int j = 0; j < n_others; j++) {
            long same = syscall(SYS_kcmp, getpid(), getppid(), KCMP_FILE, (unsigned long)mine[i],
                                (unsigned long)others[j]);

            if (same == 0)
                fprintf(out, " SHARED:%d=%d", mine[i], others[j]);
            else if (same < 0 && errno != EBADF) /* EBADF: closed meanwhile */
                fprintf(out, " UNKNOWN:%d=%d:%s", mine[i], others[j], strerror(errno));
        }
}

int main(int argc, char **argv)
{
    static int mine[MANY], others[MANY];
    char self[512], path[600], parent[32], *line = NULL, *name;
    ssize_t len = readlink("/proc/self/exe", self, sizeof self - 1);
    int log, n, n_others;
    size_t size = 0;
    FILE *text;

    (void)argc;
    if (len < 0)
        return 127;
    self[len] = '\0';
    name = strrchr(self, '/');
    snprintf(parent, sizeof parent, "%d", (int)getppid());
    snprintf(path, sizeof path, "%.*s/witness.log", (int)(name - self), self);
    log = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    n = list("self", log, mine);
    n_others = list(parent, -1, others);
    text = open_memstream(&line, &size);
    if (log < 0 || !text || n < 0 || n_others < 0)
        return 127;
    fprintf(text, "%s parent=%d", name + 1, n_others);
    say_targets(text, mine, n);
    say_shared(text, mine, n, others, n_others);
    fprintf(text, " end\n");
    fclose(text);
    if (write(log, line, size) != (ssize_t)size)
        return 127;
    snprintf(path, sizeof path, "%s.real", self);
    if (access(path, X_OK) < 0)
        return 0;
    execv(path, argv);
    return 127;
}
