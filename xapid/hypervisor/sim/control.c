/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* control.c -- what tests tell the simulator; README.md lists the commands. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "libxapi/base/memory.h"
#include "xapid/hypervisor/sim/sim.h"

#define MS_MAX ((int64_t)24 * 3600 * 1000)
#define GUEST_IO_MAX 4096
#define LOAD_MAX ((int64_t)1 << 36) /* bytes a second */

/* The command, and its values by key. */
struct command {
    struct request *rq;
    struct strmap map;
};

static const char *value_of(const struct command *c, const char *key)
{
    for (size_t i = 0; i < c->map.n; i++)
        if (strcmp(c->map.v[i].key, key) == 0)
            return c->map.v[i].value;
    return NULL;
}

static const char *text_of(const struct command *c, const char *key)
{
    const char *value = value_of(c, key);

    return value ? value : "";
}

static struct error *number_of(const struct command *c, const char *key, int64_t max, int64_t *out)
{
    const char *text = text_of(c, key);
    char *end;

    errno = 0;
    *out = strtoll(text, &end, 10);
    if (errno || end == text || *end || *out < 0 || *out > max)
        return error_internal(&c->rq->arena, "control: '%s' wants a number from 0 to %lld", key,
                              (long long)max);
    return OK;
}

static struct error *domain_named(const struct command *c, const char *key, struct domain **out)
{
    *out = domain_find(sim_of(c->rq), text_of(c, key));
    return *out ? OK : error_internal(&c->rq->arena, FAILURE_NO_DOMAIN "%s", text_of(c, key));
}

static struct error *fault_named(const struct command *c, const char *key, struct call_fault **out)
{
    *out = call_fault_of(c->rq->server, text_of(c, key));
    return *out ? OK
                : error_internal(&c->rq->arena, "control: there is no call '%s'", text_of(c, key));
}

static struct error *do_crash(const struct command *c, json_t *answer)
{
    struct domain *d;

    (void)answer;
    TRY(domain_named(c, "crash", &d));
    domain_end(d, HV_CRASH);
    return OK;
}

static struct error *do_unresponsive(const struct command *c, json_t *answer)
{
    struct domain *d;

    (void)answer;
    TRY(domain_named(c, "guest-unresponsive", &d));
    d->unresponsive = true;
    domain_changed(d);
    return OK;
}

static struct error *do_responsive(const struct command *c, json_t *answer)
{
    struct domain *d;

    (void)answer;
    TRY(domain_named(c, "guest-responsive", &d));
    d->unresponsive = false;
    guest_ask(d, d->asked);
    domain_changed(d);
    return OK;
}

static struct error *set_cooperative(const struct command *c, const char *key, bool cooperative)
{
    struct domain *d;

    TRY(domain_named(c, key, &d));
    d->live.uncooperative = !cooperative;
    guest_refresh(d);
    domain_changed(d);
    return OK;
}

static struct error *do_uncooperative(const struct command *c, json_t *answer)
{
    (void)answer;
    return set_cooperative(c, "uncooperative", false);
}

static struct error *do_cooperative(const struct command *c, json_t *answer)
{
    (void)answer;
    return set_cooperative(c, "cooperative", true);
}

static struct error *do_inspect(const struct command *c, json_t *answer)
{
    struct domain *d;
    json_t *live;

    TRY(domain_named(c, "inspect", &d));
    live = live_json(d);
    json_object_update(answer, live);
    json_decref(live);
    return OK;
}

static struct error *do_screen(const struct command *c, json_t *answer)
{
    struct domain *d;
    json_t *screen;

    TRY(domain_named(c, "screen", &d));
    screen = console_json(d);
    json_object_update(answer, screen);
    json_decref(screen);
    return OK;
}

/* The devices of the host that a domain has, each list in one text. */
static struct error *do_devices(const struct command *c, json_t *answer)
{
    const char *pcis = "", *usbs = "";
    struct arena *arena = &c->rq->arena;
    struct domain *d;

    TRY(domain_named(c, "devices", &d));
    for (size_t i = 0; i < d->n_pcis; i++)
        pcis = arena_printf(arena, "%s%s%s", pcis, i ? "," : "", d->pcis[i]);
    for (size_t i = 0; i < d->n_usbs; i++)
        usbs = arena_printf(arena, "%s%s%d.%d", usbs, i ? "," : "", d->usbs[i].bus,
                            d->usbs[i].address);
    json_object_set_new(answer, "pcis", json_text(pcis));
    json_object_set_new(answer, "usbs", json_text(usbs));
    return OK;
}

static struct error *do_show(const struct command *c, json_t *answer)
{
    struct domain *d;
    const char *value;

    TRY(domain_named(c, "show", &d));
    value = keys_get(&d->guest, text_of(c, "key"));
    if (value)
        json_object_set_new(answer, "data", json_text(value));
    return OK;
}

static struct error *end_itself(const struct command *c, const char *key, enum hv_reason reason)
{
    struct domain *d;

    TRY(domain_named(c, key, &d));
    if (d->state != HV_RUNNING)
        return error_internal(&c->rq->arena, "control: the guest does not run");
    guest_will_end(d, reason);
    return OK;
}

static struct error *do_poweroff(const struct command *c, json_t *answer)
{
    (void)answer;
    return end_itself(c, "poweroff", HV_POWEROFF);
}

static struct error *do_reboot(const struct command *c, json_t *answer)
{
    (void)answer;
    return end_itself(c, "reboot", HV_REBOOT);
}

static struct error *do_soft_reboot(const struct command *c, json_t *answer)
{
    (void)answer;
    return end_itself(c, "soft-reboot", HV_SOFT_REBOOT);
}

static struct error *do_fail(const struct command *c, json_t *answer)
{
    struct call_fault *f;

    (void)answer;
    TRY(fault_named(c, "fail", &f));
    free(f->fail_text);
    free(f->fail_code);
    f->fail_text = xstrdup(text_of(c, "text"));
    f->fail_code = xstrdup(text_of(c, "code"));
    return OK;
}

static struct error *do_delay(const struct command *c, json_t *answer)
{
    struct call_fault *f;
    int64_t ms;

    (void)answer;
    TRY(fault_named(c, "delay", &f));
    TRY(number_of(c, "ms", MS_MAX, &ms));
    f->delay = ms * USEC_PER_MSEC;
    return OK;
}

static struct error *do_lose_request(const struct command *c, json_t *answer)
{
    struct call_fault *f;

    (void)answer;
    TRY(fault_named(c, "lose-request", &f));
    f->lose_request = true;
    return OK;
}

static struct error *do_lose_answer(const struct command *c, json_t *answer)
{
    struct call_fault *f;

    (void)answer;
    TRY(fault_named(c, "lose-answer", &f));
    f->lose_answer = true;
    return OK;
}

static struct error *do_drop(const struct command *c, json_t *answer)
{
    (void)answer;
    server_drop_others(c->rq->server, c->rq->connection);
    return OK;
}

static struct error *do_boot_ms(const struct command *c, json_t *answer)
{
    int64_t ms;

    (void)answer;
    TRY(number_of(c, "boot-ms", MS_MAX, &ms));
    sim_of(c->rq)->boot_time = ms * USEC_PER_MSEC;
    return OK;
}

static struct error *do_cpu_features(const struct command *c, json_t *answer)
{
    struct sim *sim = sim_of(c->rq);
    const char *words = value_of(c, "cpu-features");

    (void)answer;
    free(sim->cpu_features);
    sim->cpu_features = xstrdup(words);
    return OK;
}

static struct error *do_end_ms(const struct command *c, json_t *answer)
{
    int64_t ms;

    (void)answer;
    TRY(number_of(c, "end-ms", MS_MAX, &ms));
    sim_of(c->rq)->end_time = ms * USEC_PER_MSEC;
    return OK;
}

static struct error *do_advance(const struct command *c, json_t *answer)
{
    int64_t ms;

    (void)answer;
    TRY(number_of(c, "advance-ms", MS_MAX, &ms));
    loop_advance(c->rq->server->loop, ms * USEC_PER_MSEC);
    sim_of(c->rq)->advanced += ms * USEC_PER_MSEC;
    /* Callers wait by their own clocks, which have not moved. */
    for (struct request *rq = c->rq->server->requests; rq; rq = rq->next) {
        rq->deadline += ms * USEC_PER_MSEC;
        if (rq->timer.loop && rq->wait != WAIT_DELAY)
            rq->timer.at += ms * USEC_PER_MSEC;
    }
    return OK;
}

static struct error *do_set_key(const struct command *c, json_t *answer)
{
    struct domain *d;

    (void)answer;
    TRY(domain_named(c, "guest-key", &d));
    if (value_of(c, "value"))
        keys_set(&d->guest, text_of(c, "key"), text_of(c, "value"));
    else
        keys_drop(&d->guest, text_of(c, "key"));
    domain_changed(d);
    return OK;
}

/* What is not named stays as it was. */
static struct error *do_load(const struct command *c, json_t *answer)
{
    struct sim_load load;
    const struct {
        const char *key;
        int64_t max, *to;
    } parts[] = {{"cpu", 100, &load.cpu},
                 {"read", LOAD_MAX, &load.read},
                 {"write", LOAD_MAX, &load.write},
                 {"rx", LOAD_MAX, &load.rx},
                 {"tx", LOAD_MAX, &load.tx}};
    struct domain *d;

    (void)answer;
    TRY(domain_named(c, "guest-load", &d));
    load = d->load;
    for (size_t i = 0; i < ARRAY_SIZE(parts); i++)
        if (value_of(c, parts[i].key))
            TRY(number_of(c, parts[i].key, parts[i].max, parts[i].to));
    domain_settle(d);
    d->load = load;
    return OK;
}

/* The open medium of a running guest's disk, raw. */
static struct error *guest_disk(const struct command *c, const char *key, struct sim_disk **out)
{
    struct domain *d;

    TRY(domain_named(c, key, &d));
    *out = disk_find(d, text_of(c, "device"));
    if (d->state != HV_RUNNING || !*out || (*out)->fd < 0)
        return error_internal(&c->rq->arena, "control: no running guest with a disk '%s'",
                              text_of(c, "device"));
    if (strcmp((*out)->d.format, "raw") != 0)
        return error_internal(&c->rq->arena, "control: the disk's format is %s, not raw",
                              (*out)->d.format);
    return OK;
}

static struct error *do_guest_write(const struct command *c, json_t *answer)
{
    const char *data = text_of(c, "data");
    struct sim_disk *disk;
    int64_t offset;

    (void)answer;
    TRY(guest_disk(c, "guest-write", &disk));
    TRY(number_of(c, "offset", INT64_MAX / 2, &offset));
    if (disk->d.mode != HV_DISK_RW)
        return error_internal(&c->rq->arena, "control: the disk is read-only");
    if (pwrite(disk->fd, data, strlen(data), offset) != (ssize_t)strlen(data) ||
        fdatasync(disk->fd) < 0)
        return error_internal(&c->rq->arena, "control: writing: %s", strerrordesc_np(errno));
    return OK;
}

static struct error *do_guest_read(const struct command *c, json_t *answer)
{
    char data[GUEST_IO_MAX + 1];
    struct sim_disk *disk;
    int64_t offset, length;
    ssize_t n;

    TRY(guest_disk(c, "guest-read", &disk));
    TRY(number_of(c, "offset", INT64_MAX / 2, &offset));
    TRY(number_of(c, "length", GUEST_IO_MAX, &length));
    n = pread(disk->fd, data, (size_t)length, offset);
    if (n < 0)
        return error_internal(&c->rq->arena, "control: reading: %s", strerrordesc_np(errno));
    data[n] = '\0'; /* the answer is text: it ends at the first zero byte */
    json_object_set_new(answer, "data", json_text(data));
    return OK;
}

static struct error *do_pending(const struct command *c, json_t *answer)
{
    const char *call = text_of(c, "pending");
    char count[16];
    int n = 0;

    for (struct request *rq = c->rq->server->requests; rq; rq = rq->next)
        n += rq->wait != WAIT_NOTHING && strcmp(rq->handler->call, call) == 0;
    snprintf(count, sizeof count, "%d", n);
    json_object_set_new(answer, "data", json_text(count));
    return OK;
}

/* The guest's memory: how much, how busily it is written, a text in a page; answers what is in it.
 */
static struct error *do_memory(const struct command *c, json_t *answer)
{
    int64_t pages = 0, rate = 0, page = 0;
    struct domain *d;

    TRY(domain_named(c, "guest-memory", &d));
    if (value_of(c, "pages")) {
        TRY(number_of(c, "pages", SIM_PAGES_MAX, &pages));
        ram_size(d, (size_t)MAX(pages, 1));
    }
    ram_catch_up(d);
    if (value_of(c, "rate"))
        TRY(number_of(c, "rate", LOAD_MAX, &rate));
    if (value_of(c, "rate"))
        d->ram.rate = rate;
    if (value_of(c, "page")) {
        TRY(number_of(c, "page", SIM_PAGES_MAX, &page));
        if (!ram_page(d, (size_t)page))
            return error_internal(&c->rq->arena, "control: the domain has no such page");
        snprintf(ram_page(d, (size_t)page), SIM_PAGE, "%s", text_of(c, "data"));
        d->ram.dirty[page] = true;
    }
    json_object_set_new(answer, "data", json_text(ram_digest(&c->rq->arena, d)));
    json_object_set_new(
        answer, "writes",
        json_text(arena_printf(&c->rq->arena, "%llu", (unsigned long long)d->ram.writes)));
    return OK;
}

static struct error *do_migrate_rate(const struct command *c, json_t *answer)
{
    (void)answer;
    return number_of(c, "migrate-rate", USEC_PER_SEC, &sim_of(c->rq)->migrate_rate);
}

static struct error *do_migrate_break(const struct command *c, json_t *answer)
{
    (void)answer;
    return number_of(c, "migrate-break", SIM_PAGES_MAX, &sim_of(c->rq)->migrate_break);
}

struct error *run_control(struct request *rq, json_t **result)
{
    static const struct {
        const char *key;
        struct error *(*run)(const struct command *c, json_t *answer);
    } commands[] = {
        {"crash", do_crash},
        {"guest-unresponsive", do_unresponsive},
        {"guest-responsive", do_responsive},
        {"poweroff", do_poweroff},
        {"reboot", do_reboot},
        {"soft-reboot", do_soft_reboot},
        {"uncooperative", do_uncooperative},
        {"cooperative", do_cooperative},
        {"inspect", do_inspect},
        {"screen", do_screen},
        {"devices", do_devices},
        {"show", do_show},
        {"fail", do_fail},
        {"delay", do_delay},
        {"lose-request", do_lose_request},
        {"lose-answer", do_lose_answer},
        {"drop-connections", do_drop},
        {"pending", do_pending},
        {"boot-ms", do_boot_ms},
        {"cpu-features", do_cpu_features},
        {"end-ms", do_end_ms},
        {"advance-ms", do_advance},
        {"guest-key", do_set_key},
        {"guest-load", do_load},
        {"guest-write", do_guest_write},
        {"guest-read", do_guest_read},
        {"guest-memory", do_memory},
        {"migrate-rate", do_migrate_rate},
        {"migrate-break", do_migrate_break},
    };
    struct command c = {rq, read_strmap(&rq->args, "command")};
    json_t *answer;
    struct error *e = OK;

    if (rq->args.bad)
        return OK; /* the caller reports it */
    for (size_t i = 0; i < ARRAY_SIZE(commands); i++) {
        if (!value_of(&c, commands[i].key))
            continue;
        answer = json_object();
        e = commands[i].run(&c, answer);
        *result = json_pack("{s:o}", "answer", answer);
        return e;
    }
    return error_internal(&rq->arena, "control: no such command");
}
