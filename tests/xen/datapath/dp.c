/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * dp.c -- the data path and a repository of images by hand, for measurements in the dom0 of a test
 * host.
 *
 *     dp create FOLDER BYTES                     a repository and a disk in it; prints the disk
 *     dp attach fuse|nbd STATE FOLDER DISK       prints the path for the hypervisor
 *     dp snapshot fuse|nbd STATE FOLDER DISK     prints the snapshot's image and how long it took
 *     dp resize fuse|nbd STATE FOLDER DISK BYTES
 *     dp detach fuse|nbd STATE FOLDER DISK
 *     dp give-up fuse|nbd STATE FOLDER DISK      lets the users of a dead server fail
 *     dp list STATE
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "libxapi/base/call.h"
#include "libxapi/base/seam.h"
#include "storage-repos/datapath/datapath.h"
#include "storage-repos/dir/dir.h"

#define SR_UUID "00000000-0000-4000-8000-000000000001"

struct work {
    struct arena arena;
    struct call call;
    struct sr_handle sr;
    struct dir_state state;
    struct strpair config;
};

static void must(struct work *w, struct error *e)
{
    if (!e)
        return;
    fprintf(stderr, "%s\n", error_line(&w->arena, e));
    exit(1);
}

static void open_sr(struct work *w, const char *folder)
{
    w->config = (struct strpair){"location", folder};
    w->sr = (struct sr_handle){.driver = &sr_ext,
                               .uuid = SR_UUID,
                               .device_config = {1, &w->config},
                               .state = &w->state,
                               .datapath = w->sr.datapath};
    must(w, sr_ext.create(&w->call, &w->sr, 0));
    must(w, sr_ext.attach(&w->call, &w->sr));
}

static const char *new_uuid(struct work *w)
{
    return uuid_new(arena_alloc(&w->arena, UUID_TEXT_SIZE));
}

static void create(struct work *w, int64_t bytes)
{
    struct vdi_spec spec = {.location = new_uuid(w), .name_label = "disk", .virtual_size = bytes};
    struct vdi_info info;

    must(w, sr_ext.vdi_create(&w->call, &w->sr, &spec, &info));
    puts(spec.location);
}

static void attach(struct work *w, const char *disk)
{
    struct datapath_disk d = {.name = disk, .writable = true};
    struct vdi_path path;

    must(w, sr_ext.vdi_attach(&w->call, &w->sr, disk, true, &path));
    d.image = path.path;
    d.format = path.format;
    must(w, datapath_attach(&w->call, w->sr.datapath, &d, &path));
    puts(path.path);
}

static void snapshot(struct work *w, const char *folder, const char *disk)
{
    struct vdi_spec spec = {.location = new_uuid(w), .name_label = "snapshot"};
    usec_t began = clock_mono();
    struct vdi_info info;

    must(w, sr_ext.vdi_fork(&w->call, &w->sr, disk, new_uuid(w), &spec, &info));
    printf("%s/%s.qcow2 %lld us\n", folder, spec.location, (long long)(clock_mono() - began));
}

static void list(struct work *w)
{
    struct datapath_state *v;
    size_t n;

    must(w, datapath_list(&w->call, w->sr.datapath, &n, &v));
    for (size_t i = 0; i < n; i++)
        printf("%s %s pid=%d %s\n", v[i].name, v[i].alive ? "alive" : "dead", (int)v[i].pid,
               v[i].image);
}

int main(int argc, char **argv)
{
    enum datapath_kind kind = DATAPATH_FUSE;
    struct work w = {0};
    struct vdi_info info;

    w.call.arena = &w.arena;
    if (argc == 4 && strcmp(argv[1], "create") == 0) {
        open_sr(&w, argv[2]);
        create(&w, atoll(argv[3]));
        return 0;
    }
    if (argc == 3 && strcmp(argv[1], "list") == 0) {
        w.sr.datapath = datapath_new(argv[2], kind);
        list(&w);
        return 0;
    }
    if (argc < 6 || !datapath_kind_from_text(argv[2], &kind)) {
        fprintf(stderr, "see the head of dp.c\n");
        return 2;
    }
    w.sr.datapath = datapath_new(argv[3], kind);
    open_sr(&w, argv[4]);
    if (strcmp(argv[1], "attach") == 0)
        attach(&w, argv[5]);
    else if (strcmp(argv[1], "snapshot") == 0)
        snapshot(&w, argv[4], argv[5]);
    else if (strcmp(argv[1], "resize") == 0 && argc == 7)
        must(&w, sr_ext.vdi_resize(&w.call, &w.sr, argv[5], atoll(argv[6]), &info));
    else if (strcmp(argv[1], "give-up") == 0)
        must(&w, datapath_give_up(&w.call, w.sr.datapath, argv[5]));
    else if (strcmp(argv[1], "detach") == 0)
        must(&w, datapath_detach(&w.call, w.sr.datapath, argv[5]));
    return 0;
}
