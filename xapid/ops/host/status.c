/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "xapid/ops/host/status.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "libxapi/base/seam.h"
#include "libxapi/codec/codec.h"
#include "libxapi/value/value.h"
#include "xapid/hypervisor/hv.h"
#include "xapid/main/xapid.h"
#include "xapid/ops/host/redact.h"
#include "xapid/ops/host/system.h"
#include "xapid/ops/host/upload.h"
#include "xapid/task/task.h"
#include "xapid/trace/trace.h"
#include "xapid/ops/host/here.h"

/* Of one file of the report; of a log its end is kept. */
#define PART_LIMIT ((size_t)8 << 20)
/* Of one program: together they may take minutes. */
#define COMMAND_TIME (30 * USEC_PER_SEC)
#define WORDS_MAX 8

/*** what can be in it ***/

/* One file of the report: another file's end, or what a program prints, or what a function says. */
struct part {
    const char *name;
    const char *path;
    const char *argv[WORDS_MAX];
    struct error *(*tell)(struct call *call, struct buf *out);
};

struct entry {
    const char *key;
    bool by_default, log, private_data;
    struct part parts[10]; /* ends with one without a name */
};

static struct error *tell_database(struct call *call, struct buf *out);
static struct error *tell_messages(struct call *call, struct buf *out);
static struct error *tell_traces(struct call *call, struct buf *out);

static const struct entry entries[] = {
    {"xapid-logs",
     true,
     true,
     true,
     {{.name = "xapid.log",
       .argv = {"journalctl", "--no-pager", "--quiet", "--unit=xapid*", "--lines=50000"}}}},
    {"system-logs",
     true,
     true,
     true,
     {{.name = "journal.log",
       .argv = {"journalctl", "--no-pager", "--quiet", "--boot", "--lines=50000"}},
      {.name = "syslog", .path = "/var/log/syslog"},
      {.name = "messages", .path = "/var/log/messages"},
      {.name = "kern.log", .path = "/var/log/kern.log"},
      {.name = "daemon.log", .path = "/var/log/daemon.log"}}},
    {"xen-info",
     true,
     true,
     false,
     {{.name = "xen-messages", .tell = tell_messages},
      {.name = "xl-info", .argv = {"xl", "info"}},
      {.name = "xl-list", .argv = {"xl", "list", "--verbose"}},
      {.name = "xl-vcpu-list", .argv = {"xl", "vcpu-list"}}}},
    {"xapid-db", true, false, false, {{.name = "database", .tell = tell_database}}},
    {"xapid-traces", true, false, true, {{.name = "traces.ndjson", .tell = tell_traces}}},
    {"kernel-info",
     true,
     false,
     false,
     {{.name = "version", .path = "/proc/version"},
      {.name = "cmdline", .path = "/proc/cmdline"},
      {.name = "modules", .path = "/proc/modules"},
      {.name = "interrupts", .path = "/proc/interrupts"},
      {.name = "meminfo", .path = "/proc/meminfo"},
      {.name = "dmesg", .argv = {"dmesg"}}}},
    {"hardware-info",
     true,
     false,
     false,
     {{.name = "cpuinfo", .path = "/proc/cpuinfo"},
      {.name = "lspci", .argv = {"lspci", "-nnvv"}},
      {.name = "lsusb", .argv = {"lsusb"}},
      {.name = "dmidecode", .argv = {"dmidecode"}}}},
    {"disk-info",
     true,
     false,
     false,
     {{.name = "df", .argv = {"df", "--all", "--human-readable"}},
      {.name = "lsblk", .argv = {"lsblk", "--output-all"}},
      {.name = "mounts", .path = "/proc/mounts"},
      {.name = "diskstats", .path = "/proc/diskstats"},
      {.name = "pvs", .argv = {"pvs"}},
      {.name = "vgs", .argv = {"vgs"}},
      {.name = "lvs", .argv = {"lvs"}}}},
    {"process-list",
     true,
     false,
     true,
     {{.name = "ps", .argv = {"ps", "-eo", "pid,ppid,user,stat,rss,vsz,wchan:20,etime,args"}}}},
    {"network-status",
     true,
     false,
     true,
     {{.name = "addresses", .argv = {"ip", "-details", "-statistics", "address"}},
      {.name = "routes", .argv = {"ip", "route", "show", "table", "all"}},
      {.name = "bridges", .argv = {"bridge", "link"}},
      {.name = "sockets", .argv = {"ss", "-tunap"}},
      {.name = "firewall", .argv = {"nft", "list", "ruleset"}}}},
    {"network-config",
     true,
     false,
     true,
     {{.name = "interfaces", .path = "/etc/network/interfaces"},
      {.name = "resolv.conf", .path = "/etc/resolv.conf"},
      {.name = "hosts", .path = "/etc/hosts"},
      {.name = "hostname", .path = "/etc/hostname"}}},
    {"time",
     true,
     false,
     false,
     {{.name = "timedatectl", .argv = {"timedatectl"}},
      {.name = "chrony", .argv = {"chronyc", "sources"}}}},
    {"packages", false, false, false, {{.name = "dpkg", .argv = {"dpkg", "--list"}}}},
};

const char *status_capabilities(struct arena *arena)
{
    struct buf text = {0};
    const char *xml;

    buf_puts(&text, "<?xml version=\"1.0\" ?>\n<system-status-capabilities>\n");
    for (size_t i = 0; i < ARRAY_SIZE(entries); i++)
        buf_printf(&text,
                   "    <capability content-type=\"text/plain\" default-checked=\"%s\" key=\"%s\" "
                   "max-size=\"%zu\" min-size=\"0\" max-time=\"%d\" min-time=\"0\" pii=\"%s\"/>\n",
                   entries[i].by_default ? "yes" : "no", entries[i].key,
                   PART_LIMIT * ARRAY_SIZE(entries[i].parts),
                   (int)(COMMAND_TIME / USEC_PER_SEC) * 2, entries[i].private_data ? "yes" : "no");
    buf_puts(&text, "</system-status-capabilities>\n");
    xml = arena_strndup(arena, text.data, text.len);
    buf_release(&text);
    return xml;
}

static uint64_t entries_where(bool (*wanted)(const struct entry *e))
{
    uint64_t bits = 0;

    for (size_t i = 0; i < ARRAY_SIZE(entries); i++)
        if (wanted(&entries[i]))
            bits |= (uint64_t)1 << i;
    return bits;
}

static bool is_default(const struct entry *e)
{
    return e->by_default;
}

static bool is_log(const struct entry *e)
{
    return e->log;
}

uint64_t status_logs(void)
{
    return entries_where(is_log);
}

/* -1 where there is none. */
static int entry_of(const char *name, size_t n)
{
    for (size_t i = 0; i < ARRAY_SIZE(entries); i++)
        if (strlen(entries[i].key) == n && memcmp(entries[i].key, name, n) == 0)
            return (int)i;
    return -1;
}

struct error *status_entries(struct call *call, const char *list, uint64_t *out)
{
    *out = *list ? 0 : entries_where(is_default);
    while (*list) {
        size_t n = strcspn(list, ",");
        int i = entry_of(list, n);

        if (n && i < 0)
            return err_invalid_value(call, "entries", arena_strndup(call->arena, list, n));
        if (n)
            *out |= (uint64_t)1 << i;
        list += n + (list[n] == ',');
    }
    return OK;
}

/*** what is in it ***/

/* How many objects of each class there are; what they hold may be nobody's business. */
static struct error *tell_database(struct call *call, struct buf *out)
{
    const struct db_root *root = snap_root(call->snap);
    struct log_status status;

    db_status(call->xapid->db, &status);
    buf_printf(out, "revision %llu, applied index %llu of %llu, term %llu, %s\n",
               (unsigned long long)root->revision, (unsigned long long)status.applied_index,
               (unsigned long long)status.last_index, (unsigned long long)status.term,
               status.writable ? "writable" : "not writable");
    for (int i = 0; i < CLASS_COUNT; i++)
        if (root->tables[i].count)
            buf_printf(out, "%s %llu\n", api_classes[i].name,
                       (unsigned long long)root->tables[i].count);
    return OK;
}

static struct error *tell_traces(struct call *call, struct buf *out)
{
    traces_tell(call, out, PART_LIMIT);
    return OK;
}

static struct error *tell_messages(struct call *call, struct buf *out)
{
    struct hv_request rq = {.arena = call->arena};
    const char *text;

    TRY(hv_messages(call->xapid->hv, &rq, false, &text));
    buf_puts(out, text);
    return OK;
}

/* The end of a plain file; files of /proc have no size. */
static struct error *tell_file(struct call *call, const char *path, struct buf *out)
{
    int fd = open(system_path(call, path), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOFOLLOW);
    struct stat st;
    char piece[16384];
    ssize_t n = 0;

    if (fd < 0)
        return error_internal(call->arena, "%s: %s", path, strerror(errno));
    if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode)) {
        if (st.st_size > (off_t)PART_LIMIT)
            lseek(fd, st.st_size - (off_t)PART_LIMIT, SEEK_SET);
        while (out->len < PART_LIMIT && (n = read(fd, piece, sizeof piece)) > 0)
            buf_add(out, piece, (size_t)n);
    }
    close(fd);
    return n < 0 ? error_internal(call->arena, "%s: %s", path, strerror(errno)) : OK;
}

static struct error *tell_program(struct call *call, const char *const *argv, struct buf *out)
{
    struct child_spec spec = {.argv = argv, .output_limit = PART_LIMIT, .timeout = COMMAND_TIME};
    struct child_result result = {0};
    struct error *e = system_run(call, &spec, &result);

    /* Also what was printed before it went wrong. */
    if (result.output)
        buf_add(out, result.output, result.output_size);
    return e;
}

static struct error *tell(struct call *call, const struct part *p, struct buf *out)
{
    if (p->tell)
        return p->tell(call, out);
    return p->path ? tell_file(call, p->path, out) : tell_program(call, p->argv, out);
}

static struct error *write_part(struct call *call, const struct entry *entry, const struct part *p,
                                struct archive *a)
{
    struct buf text = {0};
    struct error *e = tell(call, p, &text);
    bool good;

    if (e && !error_is(e, "TASK_CANCELLED"))
        buf_printf(&text, "(%s)\n", error_line(call->arena, e));
    redact(text.data, text.len);
    good = archive_add(a, arena_printf(call->arena, "%s/%s", entry->key, p->name),
                       text.len ? text.data : "", text.len);
    buf_release(&text);
    if (error_is(e, "TASK_CANCELLED"))
        return e;
    return good ? task_check(call)
                : err_system_status_retrieval_failed(call, "the report could not be written");
}

struct error *status_write(struct call *call, uint64_t wanted, struct archive *a)
{
    for (size_t i = 0; i < ARRAY_SIZE(entries); i++)
        for (size_t p = 0; wanted & ((uint64_t)1 << i) && p < ARRAY_SIZE(entries[i].parts); p++)
            if (entries[i].parts[p].name)
                TRY(write_part(call, &entries[i], &entries[i].parts[p], a));
    if (!archive_end(a))
        return err_system_status_retrieval_failed(call, "the report could not be written");
    return OK;
}

/*** messages ***/

struct error *host_get_system_status_capabilities(
    struct call *call, const struct host_get_system_status_capabilities_args *args,
    const char **result)
{
    (void)args; /* the same for every host */
    *result = status_capabilities(call->arena);
    return OK;
}

static bool write_spool(void *ctx, const void *data, size_t size)
{
    const struct upload_spool *spool = ctx;

    return write(spool->fd, data, size) == (ssize_t)size;
}

struct error *host_bugreport_upload(struct call *call,
                                    const struct host_bugreport_upload_args *args)
{
    AUTO(upload_spool) spool = {0};
    AUTO(archive) a = {.format = ARCHIVE_TAR, .write = write_spool, .ctx = &spool};
    uint64_t wanted;

    TRY(host_check_here(call, args->host));
    TRY(upload_check_url(call, args->url));
    TRY(status_entries(call, "", &wanted));
    TRY(upload_spool_make(call, "bugreport", &spool));
    a.time = clock_wall();
    TRY(status_write(call, wanted, &a));
    return upload_file(call, spool.path, args->url, &args->options);
}
