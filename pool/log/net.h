/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * net.h -- a filter between the library's consensus part and the others.  Every message passes
 * here, both ways.
 *
 * What it is for (all seen in libraft 0.22.1):
 * - A snapshot that comes while one is taken is lost with a crash: it waits here.
 * - The answer to an older term's message carries bytes that were never set; if its sender has
 *   become leader of the newer term meanwhile, they would count as an acknowledgement.  They are
 *   set to what nobody acts on.
 * - The answer to an election that is over may raise the term for nothing: it is dropped.
 * - A leader is protected from candidates by who takes it for alive, longer than need be.
 * - The term sent with a snapshot may be that of an older one.
 * - A snapshot that cannot be read crashes its sender: it is tried again.
 * - An error anywhere below a received message aborts the process: none is returned.
 * - Messages to a member that does not read pile up without limit.
 * - Followers learn that an entry is committed with the next message only: if there is none at
 *   hand, one is sent.
 */
#pragma once

#include "libxapi/base/buf.h" /* before the library: its headers define MIN and MAX too */

#include <raft.h>

#define NET_MAX_DESTS 64

struct raft_log;

/* Another member, as a place to send to. */
struct net_dest {
    uint64_t id;
    unsigned n_out; /* messages the library's sender has not got rid of */
    size_t bytes_out;
    bool snapshot_out;
    uint64_t term, told; /* in this term it was told that entries up to 'told' are committed */
    usec_t heard;        /* when its last answer came; 0: never */
    usec_t asked;        /* when a heartbeat went out that is not answered; 0: none */
};

struct net_get;

/* All of it belongs to the log's thread. */
struct net {
    struct raft_io below; /* only for the functions that were replaced */
    raft_io_recv_cb recv;
    raft_io_tick_cb tick;
    struct net_dest dests[NET_MAX_DESTS];
    unsigned n_dests;
    bool stale; /* the message being handled is of an older term */
    bool have_held;
    struct raft_message held; /* a snapshot that waits */
    struct net_get *failed_gets;
    uint64_t got_index, got_term; /* of the snapshot read last */
    uint64_t leader_term;         /* when the last message of that term's leader came: */
    usec_t leader_heard;
    usec_t led_before; /* that of the leader of an earlier term than leader_term */
    usec_t contact;    /* when a pause in net_led_at ended last */
};

/* For log_status: led_at, led_before. */
usec_t net_led_at(struct raft_log *log);
usec_t net_led_before(const struct raft_log *log);
/* After disk_init. */
void net_init(struct raft_log *log);
/* At the end of a turn: hands over what waited. */
void net_turn(struct raft_log *log);
/* The leader tells what was committed, where no entry has told it. */
void net_tell(struct raft_log *log);
/* About once a second. */
void net_check(struct raft_log *log);
/* Before raft_close. */
void net_end(struct raft_log *log);
