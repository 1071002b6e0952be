/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* host.c -- a believable host: what the simulator says of the machine it pretends to be. */
#include "xapid/hypervisor/sim/sim.h"

#include <stdio.h>

#include "libxapi/base/log.h"
#include "libxapi/base/seam.h"

#define CPU_FLAGS                                                                                  \
    "fpu de tsc msr pae mce cx8 apic sep mca cmov pat clflush acpi mmx fxsr sse sse2 ss ht "       \
    "syscall nx rdtscp lm constant_tsc rep_good nopl nonstop_tsc cpuid pni pclmulqdq monitor "     \
    "est ssse3 fma cx16 sse4_1 sse4_2 movbe popcnt aes xsave avx f16c rdrand hypervisor "          \
    "lahf_lm abm 3dnowprefetch ibrs ibpb stibp fsgsbase bmi1 avx2 bmi2 erms rdseed adx "           \
    "clflushopt xsaveopt xsavec xgetbv1 md_clear arch_capabilities"

#define FEATURES_PV                                                                                \
    "17c9cbf5-f6f83203-2191cbf5-00000123-00000001-000c0b39-00000000-00000000-00001000-8c000000-"   \
    "00000000-00000000-00000000-00000000-00000000-00000000-00000000-00000000"
#define FEATURES_HVM                                                                               \
    "17cbfbff-f7fa3223-2d93fbff-00000123-00000001-001c0fbb-00000000-00000000-00001000-9c000400-"   \
    "00000000-00000000-00000000-00000000-00000000-00000000-00000000-00000000"

void host_info(const struct sim *sim, struct hv_host_info *out)
{
    int cpus = sim->options.cpus;

    *out = (struct hv_host_info){
        .hypervisor = "simulator",
        .version = "4.17.5",
        .scheduler = "credit2",
        .memory_total = sim->options.memory,
        .memory_free = sim->options.memory - sim->memory_used,
        .cpu_count = cpus,
        .socket_count = cpus % 2 == 0 && cpus > 8 ? 2 : 1,
        .threads_per_core = cpus % 2 == 0 ? 2 : 1,
        .nr_nodes = 1,
        .cpu_vendor = "GenuineIntel",
        .cpu_model = "Simulated x86-64 Processor @ 2.60GHz",
        .cpu_flags = CPU_FLAGS,
        .capabilities = "xen-3.0-x86_64 hvm-3.0-x86_32 hvm-3.0-x86_32p hvm-3.0-x86_64",
        .features_pv = sim->cpu_features ? sim->cpu_features : FEATURES_PV,
        .features_hvm = sim->cpu_features ? sim->cpu_features : FEATURES_HVM,
        .cpu_mhz = 2600,
        .boot_time = sim->start_wall,
        .boot_id = sim->boot_id,
        .iommu = true,
    };
}

/* As large as Xen's own by default. */
#define MESSAGES_MAX ((size_t)16 << 10)

struct error *run_messages(struct request *rq, json_t **result)
{
    struct buf *messages = &sim_of(rq)->messages;

    *result = json_pack("{s:o}", "text", json_text(messages->len ? messages->data : ""));
    if (read_bool(&rq->args, "clear"))
        messages->len = 0;
    return OK;
}

struct error *run_debug_keys(struct request *rq, json_t **result)
{
    const char *keys = read_text(&rq->args, "keys", PROTOCOL_KEYS_MAX);
    struct buf *messages = &sim_of(rq)->messages;

    (void)result;
    for (const char *p = keys; *p; p++)
        buf_printf(messages, "(XEN) '%c' pressed\n", *p);
    if (messages->len > MESSAGES_MAX) {
        size_t n = messages->len - MESSAGES_MAX;

        memmove(messages->data, messages->data + n, MESSAGES_MAX + 1);
        messages->len = MESSAGES_MAX;
    }
    return OK;
}

/*** the watchdog ***/

/* When it was, for tests: microseconds of the wall clock. */
static void note_fenced(const struct sim *sim)
{
    AUTO(arena) arena = {0};
    FILE *f = fopen(arena_printf(&arena, "%s/fenced", sim->options.dir), "we");

    if (!f)
        return;
    fprintf(f, "%lld\n", (long long)clock_wall());
    fclose(f);
}

/* The machine is gone, and with it whatever ran on it. */
static void watchdog_bites(struct timer *timer)
{
    struct sim *sim = (struct sim *)((char *)timer - offsetof(struct sim, watchdog));

    log_error("the watchdog was not told anew: all %zu domains end", sim->n_domains);
    account_fenced(sim);
    while (sim->domains)
        domain_destroy(sim->domains);
    note_fenced(sim);
}

struct error *run_watchdog(struct request *rq, json_t **result)
{
    int64_t ms = read_watchdog(&rq->args);
    struct sim *sim = sim_of(rq);

    (void)result;
    timer_cancel(&sim->watchdog);
    if (ms)
        timer_set(sim->loop, &sim->watchdog, loop_now(sim->loop) + ms * USEC_PER_MSEC,
                  watchdog_bites);
    return OK;
}
