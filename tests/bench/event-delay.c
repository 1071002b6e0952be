/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * event-delay.c -- how long after a change a listener has its event.
 *
 *     bench-event PORT PASSWORD ROUNDS
 *
 * On 127.0.0.1 over TLS.  One thread waits in event.from for one VM; the other sets that VM's
 * description and waits until the event with it has come, then for PAUSE, so that each change
 * comes to an idle server.  Prints "key value" lines, in microseconds: from sending the change to
 * its answer, from sending it to the event, and what of that comes after the answer.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "xapi/api.h"

#define PAUSE_USEC 60000
#define MAX_ROUNDS 10000

struct bench {
    struct xapi_options options;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    ref_t vm;
    bool listening;
    int arrived; /* the number of the last change that was heard of */
    double when; /* and the time */
    int rounds;
};

static double now(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (double)ts.tv_sec * 1e6 + (double)ts.tv_nsec / 1e3;
}

static void must(struct xapi_session *session, struct error *e)
{
    if (!e)
        return;
    fprintf(stderr, "bench-event: %s\n", xapi_error_text(session, e));
    exit(1);
}

static void note(struct bench *b, const struct xapi_events *events, double t)
{
    pthread_mutex_lock(&b->lock);
    b->listening = true;
    for (size_t i = 0; i < events->n; i++) {
        const struct vm *vm = events->v[i].snapshot;
        int n = vm ? atoi(vm->name_description) : 0;

        if (n > b->arrived) {
            b->arrived = n;
            b->when = t;
        }
    }
    pthread_cond_signal(&b->changed);
    pthread_mutex_unlock(&b->lock);
}

static void *listen_for_it(void *arg)
{
    struct bench *b = arg;
    struct xapi_session *session;
    char *token = strdup("");
    const char *of[1];

    struct error *e = xapi_connect(&b->options, &session);
    must(session, e);
    while (b->arrived < b->rounds) {
        struct xapi_events events;
        char ref[64];

        snprintf(ref, sizeof ref, "vm/%s", ref_text(xapi_arena(session), b->vm));
        of[0] = ref;
        must(session, xapi_event_from(session, (struct strings){1, of}, token,
                                      *token ? 30 * USEC_PER_SEC : 0, &events));
        note(b, &events, now());
        free(token);
        token = strdup(events.token);
        xapi_results_free(session);
    }
    free(token);
    xapi_disconnect(session);
    return NULL;
}

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return x < y ? -1 : x > y;
}

static void report(const char *name, double *v, int n)
{
    qsort(v, (size_t)n, sizeof *v, by_size);
    printf("%s_p50 %.0f\n%s_max %.0f\n", name, v[n / 2], name, v[n - 1]);
}

int main(int argc, char **argv)
{
    struct bench b = {.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};
    static double answered[MAX_ROUNDS], heard[MAX_ROUNDS], after[MAX_ROUNDS];
    struct xapi_session *session;
    pthread_t thread;
    struct refs vms;

    if (argc != 4 || (b.rounds = atoi(argv[3])) < 1 || b.rounds > MAX_ROUNDS) {
        fprintf(stderr, "usage: bench-event PORT PASSWORD ROUNDS\n");
        return 2;
    }
    b.options = (struct xapi_options){.host = "127.0.0.1",
                                      .port = atoi(argv[1]),
                                      .user = "root",
                                      .password = argv[2],
                                      .timeout = 60 * USEC_PER_SEC};
    struct error *e = xapi_connect(&b.options, &session);
    must(session, e);
    must(session, xapi_vm_get_by_name_label(session, "one of many", &vms));
    if (!vms.n) {
        fprintf(stderr, "bench-event: no VM is called 'one of many'\n");
        return 1;
    }
    b.vm = vms.v[0];
    if (pthread_create(&thread, NULL, listen_for_it, &b))
        return 1;
    pthread_mutex_lock(&b.lock);
    while (!b.listening)
        pthread_cond_wait(&b.changed, &b.lock);
    for (int i = 0; i < b.rounds; i++) {
        double begin, end;
        char text[16];

        pthread_mutex_unlock(&b.lock);
        nanosleep(&(struct timespec){.tv_nsec = PAUSE_USEC * 1000L}, NULL);
        snprintf(text, sizeof text, "%d", i + 1);
        begin = now();
        must(session, xapi_vm_set_name_description(session, b.vm, text));
        end = now();
        pthread_mutex_lock(&b.lock);
        while (b.arrived <= i)
            pthread_cond_wait(&b.changed, &b.lock);
        answered[i] = end - begin;
        heard[i] = b.when - begin;
        after[i] = b.when - end;
        xapi_results_free(session);
    }
    pthread_mutex_unlock(&b.lock);
    pthread_join(thread, NULL);
    xapi_disconnect(session);
    report("answered", answered, b.rounds);
    report("event", heard, b.rounds);
    report("after", after, b.rounds);
    return 0;
}
