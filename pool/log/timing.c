/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* timing.c -- the clock of the library.  See timing.h. */
#include "pool/log/timing.h"

#include "libxapi/base/log.h"
#include "pool/log/engine.h"

#define ELECTION_MSEC 300
#define ELECTION_MAX_MSEC 5000
#define SLOW_MSEC 1000 /* worth a word */
#define BEAT_MSEC 50
#define BEATS 6 /* in an election time-out, at least */
#define ALONE_MSEC 50
#define LATE (100 * USEC_PER_MSEC)
#define DELAY_LASTS USEC_PER_SEC   /* at least */
#define DELAY_IS_OVER USEC_PER_SEC /* after that without another long value */

/* What took longer than a second was no delay but a failure; and what took much longer than
 * patience may have been one, so it counts as no more than enough to let patience grow step by
 * step. */
static void add(const struct timing *t, struct timing_estimate *e, usec_t took)
{
    double off;

    if (took > USEC_PER_SEC)
        return;
    off = (double)MIN(took, 2 * (usec_t)t->election * USEC_PER_MSEC) - e->mean;
    e->mean += off / 8;
    e->stray += ((off < 0 ? -off : off) - e->stray) / 4;
}

/*
 * True of what took long once, as where the network was away for a moment: that was a failure, and
 * says nothing of what comes next.  A member that became patient by it would deny others their
 * vote, and the next election would last so much longer.  What goes on for a while is a delay.
 */
static bool was_a_failure(const struct timing *t, struct timing_estimate *e, usec_t took)
{
    usec_t now = clock_mono();

    if (took <= (usec_t)t->election * USEC_PER_MSEC / 2)
        return false;
    if (now - e->long_last > DELAY_IS_OVER)
        e->long_since = now;
    e->long_last = now;
    return now - e->long_since < DELAY_LASTS;
}

static double usual(const struct timing_estimate *e)
{
    return e->mean + 2 * e->stray;
}

static void fade(struct timing_estimate *e)
{
    e->mean *= 0.9;
    e->stray *= 0.9;
}

void timing_round_trip(struct timing *timing, usec_t took)
{
    if (!was_a_failure(timing, &timing->round_trip, took))
        add(timing, &timing->round_trip, took);
}

void timing_gap(struct timing *timing, usec_t took)
{
    if (!was_a_failure(timing, &timing->gap, took))
        add(timing, &timing->gap, took);
}

static double larger(double a, double b)
{
    return a > b ? a : b;
}

/* So that one value among many does little: as many times as what is usual for the mean, and few
 * times for what strays from it. */
static double several(const struct timing_estimate *e, int times)
{
    return larger(times * e->mean, 2 * usual(e));
}

/* What patience should be, in milliseconds. */
static unsigned wanted(const struct timing *t)
{
    double usec = several(&t->round_trip, 10);

    usec = larger(usec, several(&t->append, 4));
    usec = larger(usec, several(&t->gap, 3));
    if (usec / 1000 <= t->base)
        return t->base;
    return (unsigned)MIN(usec / 1000, MAX(t->base, ELECTION_MAX_MSEC));
}

/* Grows at once, shrinks a little at a time; small changes are not worth a new draw of lots. */
static void adapt(struct raft_log *log)
{
    struct timing *t = &log->timing;
    unsigned want = wanted(t), now = t->election;

    t->adapted = clock_mono();
    if (want < now)
        want = MAX(want, now - now / 5);
    if (want > now + now / 10 || want < now - now / 10 || (want == t->base && now != want)) {
        t->election = want;
        raft_set_election_timeout(&log->raft, want);
        if ((want > SLOW_MSEC) != (now > SLOW_MSEC))
            log_info("%s: a leader is missed after %u ms of silence, with the delays of now",
                     log->dir_name, want);
    }
}

static void on_tick(uv_timer_t *timer);

static unsigned next_tick(struct raft_log *log)
{
    unsigned limit = (unsigned)MAX(log->opt.answer_within / 8 / USEC_PER_MSEC, 1), msec;
    uint64_t now = uv_now(&log->loop), due;

    if (log->alone) {
        msec = ALONE_MSEC;
    } else if (raft_state(&log->raft) == RAFT_LEADER) {
        msec = log->timing.beat;
    } else {
        due = raft_timeout(&log->raft);
        msec = due > now ? (unsigned)MIN(due - now, 1000) : 1;
    }
    return MIN(msec, limit);
}

static void arm(struct raft_log *log)
{
    struct timing *t = &log->timing;
    unsigned msec = next_tick(log);

    t->armed_state = raft_state(&log->raft);
    t->armed_term = raft_current_term(&log->raft);
    t->due = clock_mono() + msec * USEC_PER_MSEC;
    uv_timer_start(&t->timer, on_tick, msec, 0);
}

/* The leader's beat goes to everybody, however short ago an entry went: their answers in each
 * interval are what the library counts as being there. */
static void tick(struct raft_log *log)
{
    bool leads = raft_state(&log->raft) == RAFT_LEADER;

    if (leads && !log->alone)
        raft_set_heartbeat_timeout(&log->raft, 1);
    log->net.tick(&log->disk.io);
    if (leads && !log->alone)
        raft_set_heartbeat_timeout(&log->raft, log->timing.beat);
}

/* After a pause of this process messages of the leader may lie in its sockets: they are read before
 * patience is found to be over. */
static bool put_off(struct timing *t)
{
    bool late = clock_mono() - t->due > LATE;

    t->held_back = late && !t->held_back;
    return t->held_back;
}

static void on_tick(uv_timer_t *timer)
{
    struct raft_log *log = timer->data;
    usec_t now = clock_mono();

    if (log->failed || log->raft_closing)
        return;
    if (put_off(&log->timing)) {
        log->timing.due = now;
        uv_timer_start(timer, on_tick, 10, 0);
        return;
    }
    tick(log);
    if (log->failed)
        return;
    if (now - log->timing.checked >= USEC_PER_SEC) {
        log->timing.checked = now;
        adapt(log);
        fade(&log->timing.round_trip);
        fade(&log->timing.append);
        fade(&log->timing.gap);
        net_check(log);
        members_check(log);
    }
    arm(log);
}

void timing_init(struct raft_log *log)
{
    struct timing *t = &log->timing;

    t->base = log->opt.election ? (unsigned)(log->opt.election / USEC_PER_MSEC) : ELECTION_MSEC;
    t->base = MAX(t->base, 10);
    t->election = t->base;
    t->beat = MAX(MIN(BEAT_MSEC, t->base / BEATS), 1);
    raft_set_election_timeout(&log->raft, t->election);
    raft_set_heartbeat_timeout(&log->raft, t->beat);
    uv_timer_init(&log->loop, &t->timer);
    t->timer.data = log;
}

void timing_start(struct raft_log *log)
{
    log->timing.checked = clock_mono();
    arm(log);
}

void timing_turn(struct raft_log *log)
{
    struct timing *t = &log->timing;
    usec_t now;

    if (log->disk.append_took) {
        add(t, &t->append, log->disk.append_took);
        log->disk.append_took = 0;
        now = clock_mono();
        if (!log->alone && several(&t->append, 4) / 1000 > t->election &&
            now - t->adapted > 100 * USEC_PER_MSEC)
            adapt(log);
    }
    if (t->armed_state != (int)raft_state(&log->raft) ||
        t->armed_term != raft_current_term(&log->raft))
        arm(log);
}

void timing_end(struct raft_log *log)
{
    uv_close((uv_handle_t *)&log->timing.timer, NULL);
}
