/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * guest.c -- what runs inside a domain: a guest that boots, publishes its agent's keys, obeys, and
 * ends.
 *
 * A guest has one plan at a time (boot, end).  Its time stands still while the domain is paused.
 */
#include <stdio.h>
#include <stdlib.h>

#include "libxapi/base/memory.h"
#include "libxapi/base/seam.h"
#include "xapid/hypervisor/sim/sim.h"

const char *keys_get(const struct keys *keys, const char *key)
{
    for (size_t i = 0; i < keys->n; i++)
        if (strcmp(keys->v[i].key, key) == 0)
            return keys->v[i].value;
    return NULL;
}

static void drop_key(struct keys *keys, size_t i)
{
    free((char *)keys->v[i].key);
    free((char *)keys->v[i].value);
    keys->v[i] = keys->v[--keys->n];
}

void keys_drop(struct keys *keys, const char *key)
{
    for (size_t i = 0; i < keys->n; i++) {
        if (strcmp(keys->v[i].key, key) == 0) {
            drop_key(keys, i);
            return;
        }
    }
}

void keys_set(struct keys *keys, const char *key, const char *value)
{
    keys_drop(keys, key);
    /* A xenstore quota: what does not fit is not written. */
    if (keys->n == SIM_GUEST_KEYS_MAX)
        return;
    keys->v[keys->n].key = xstrdup(key);
    keys->v[keys->n++].value = xstrdup(value);
}

static void drop_prefix(struct keys *keys, const char *prefix)
{
    for (size_t i = keys->n; i > 0; i--)
        if (strncmp(keys->v[i - 1].key, prefix, strlen(prefix)) == 0)
            drop_key(keys, i - 1);
}

void keys_release(struct keys *keys)
{
    while (keys->n)
        drop_key(keys, keys->n - 1);
}

static void setf(struct keys *keys, const char *key, const char *fmt, ...) PRINTF_LIKE(3, 4);
static void setf(struct keys *keys, const char *key, const char *fmt, ...)
{
    char value[256];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(value, sizeof value, fmt, ap);
    va_end(ap);
    keys_set(keys, key, value);
}

/* Addresses that follow from the MAC, so that a test can know them: 10.x.y.z and the link-local
 * one. */
static void write_addresses(struct keys *keys, const struct hv_nic *nic)
{
    unsigned m[6] = {0};
    char key[64];

    if (sscanf(nic->mac, "%2x:%2x:%2x:%2x:%2x:%2x", &m[0], &m[1], &m[2], &m[3], &m[4], &m[5]) != 6)
        return;
    snprintf(key, sizeof key, "attr/vif/%d/ipv4/0", nic->device);
    setf(keys, key, "10.%u.%u.%u", m[3], m[4], m[5]);
    snprintf(key, sizeof key, "attr/eth%d/ip", nic->device);
    setf(keys, key, "10.%u.%u.%u", m[3], m[4], m[5]);
    snprintf(key, sizeof key, "attr/vif/%d/ipv6/0", nic->device);
    setf(keys, key, "fe80::%x:%xff:fe%02x:%x", (m[0] ^ 2) << 8 | m[1], m[2], m[3],
         m[4] << 8 | m[5]);
}

static void write_agent_keys(struct domain *d)
{
    static const char *const always[][2] = {
        {"attr/PVAddons/Installed", "1"},
        {"attr/PVAddons/MajorVersion", "8"},
        {"attr/PVAddons/MinorVersion", "4"},
        {"attr/PVAddons/MicroVersion", "0"},
        {"attr/PVAddons/BuildVersion", "1"},
        {"data/os_name", "Debian GNU/Linux 12 (bookworm)"},
        {"data/os_uname", "6.1.0-18-amd64"},
        {"data/os_distro", "debian"},
        {"data/os_majorver", "12"},
        {"data/os_minorver", "5"},
        {"control/feature-shutdown", "1"},
        {"control/feature-poweroff", "1"},
        {"control/feature-reboot", "1"},
        {"control/feature-suspend", "1"},
        {"control/feature-sysrq", "1"},
        {"control/feature-balloon", "1"},
        {"control/feature-vcpu-hotplug", "1"},
    };
    struct keys *keys = &d->guest;

    for (size_t i = 0; i < ARRAY_SIZE(always); i++)
        keys_set(keys, always[i][0], always[i][1]);
    setf(keys, "data/host_name", "%.60s", *d->config.name ? d->config.name : "localhost");
    setf(keys, "data/meminfo_total", "%lld", (long long)(d->memory / 1024));
    setf(keys, "data/meminfo_free", "%lld", (long long)(d->memory / 1024 / 4 * 3));
    drop_prefix(keys, "attr/vif/");
    drop_prefix(keys, "attr/eth");
    for (size_t i = 0; i < d->n_nics; i++)
        write_addresses(keys, &d->nics[i].d);
    setf(keys, "data/updated", "%lld", (long long)(clock_wall() / USEC_PER_SEC));
}

bool guest_answers(const struct domain *d)
{
    return d->state == HV_RUNNING && d->booted && !d->unresponsive && !d->live.asleep;
}

void guest_refresh(struct domain *d)
{
    /* A paused guest follows when it runs again (guest_resume). */
    if (!guest_answers(d))
        return;
    if (!d->live.uncooperative) {
        d->sim->memory_used -= domain_memory(d);
        d->memory = d->memory_target;
        d->sim->memory_used += domain_memory(d);
    }
    write_agent_keys(d);
}

static void obey(struct domain *d)
{
    enum hv_reason what = d->asked;

    if (what == HV_NONE || !guest_answers(d))
        return;
    d->asked = HV_NONE;
    if (d->plan != GUEST_ENDS)
        guest_will_end(d, what);
    requests_wake(d->sim->server, WAIT_ACK, d, OK, NULL);
}

static void plan_due(struct timer *timer)
{
    struct domain *d = container_of(timer, struct domain, plan_timer);
    enum guest_plan plan = d->plan;

    d->plan = GUEST_IDLE;
    if (plan == GUEST_ENDS) {
        domain_end(d, d->plan_reason);
    } else if (plan == GUEST_BOOTS) {
        d->booted = true;
        guest_refresh(d);
        domain_changed(d);
        obey(d);
    }
}

static void make_plan(struct domain *d, enum guest_plan plan, usec_t after)
{
    d->plan = plan;
    d->plan_left = after;
    if (d->state == HV_RUNNING)
        timer_set(d->sim->loop, &d->plan_timer, loop_now(d->sim->loop) + after, plan_due);
}

void guest_will_boot(struct domain *d)
{
    make_plan(d, GUEST_BOOTS, d->sim->boot_time);
}

void guest_will_end(struct domain *d, enum hv_reason reason)
{
    d->plan_reason = reason;
    make_plan(d, GUEST_ENDS, d->sim->end_time);
}

void guest_resume(struct domain *d)
{
    if (d->plan != GUEST_IDLE)
        make_plan(d, d->plan, d->plan_left);
    guest_refresh(d);
    obey(d);
}

void guest_freeze(struct domain *d)
{
    if (d->plan != GUEST_IDLE && d->plan_timer.loop)
        d->plan_left = MAX(d->plan_timer.at - loop_now(d->sim->loop), 0);
    timer_cancel(&d->plan_timer);
}

void guest_ask(struct domain *d, enum hv_reason what)
{
    d->asked = what;
    obey(d);
}
