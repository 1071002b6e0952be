/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* request.c -- requests and answers: ours to others, others' to us. */
#include "pool/peer/peers.h"

#include <stdlib.h>

#include "libxapi/base/memory.h"

/* Lists. */

void ask_list_init(struct ask_list *list)
{
    *list = (struct ask_list){.last = NULL};
}

void ask_list_add(struct ask_list *list, struct ask *ask)
{
    ask->next = NULL;
    if (list->first)
        *list->last = ask;
    else
        list->first = ask;
    list->last = &ask->next;
    list->count++;
    list->bytes += ask->size;
}

/* Takes out the one that 'at' points to. */
static struct ask *ask_list_take(struct ask_list *list, struct ask **at)
{
    struct ask *ask = *at;

    *at = ask->next;
    if (!*at)
        list->last = at;
    if (!list->first)
        list->last = NULL;
    list->count--;
    list->bytes -= ask->size;
    return ask;
}

/* Ours. */

static void ask_end(struct ask *ask, enum peer_outcome outcome, const void *data, size_t size)
{
    if (ask->done)
        ask->done(ask->ctx, outcome, data, size);
    free(ask);
}

static void end_all(struct ask_list *list, enum peer_outcome outcome)
{
    while (list->first)
        ask_end(ask_list_take(list, &list->first), outcome, NULL, 0);
}

static void send_ask(struct link *link, struct ask *ask)
{
    ask->number = ++link->peers->next_number;
    ask_list_add(&link->asked, ask);
    link_send(link, FRAME_REQUEST, ask->kind, ask->number, ask->data, ask->size);
}

/* The address of a member of the list; NULL if it is none. */
static const char *address_of(const struct peers *peers, uint64_t id)
{
    for (size_t i = 0; i < peers->n_members; i++)
        if (peers->members[i].id == id)
            return peers->members[i].address;
    return NULL;
}

/* The requests that wait make the link; if there is none to be had, they end. */
static void need_link(struct peers *peers, struct known *known)
{
    const char *address = address_of(peers, known->id);
    uint64_t id = known->id;
    struct link *link;

    if (known->link)
        return;
    link = address ? peer_link_open(peers, LINK_REQUESTS, id, address, NULL) : NULL;
    if (link && link->state != LINK_CLOSED)
        known->link = link;
    else
        end_all(&known->asks, PEER_UNSENT);
}

static bool has_room(const struct known *known, const struct ask *ask)
{
    size_t count = known->asks.count, bytes = known->asks.bytes;

    if (known->link) {
        count += known->link->asked.count;
        bytes += known->link->asked.bytes;
    }
    return count < PEERS_ASK_COUNT && bytes + ask->size <= PEERS_ASK_LIMIT;
}

void request_start(struct peers *peers, struct ask *ask)
{
    struct known *known = peers->ending ? NULL : peers_known(peers, ask->id);

    if (!known || ask->kind >= PEER_KINDS || ask->size > PEER_MESSAGE_MAX ||
        !has_room(known, ask)) {
        ask_end(ask, PEER_UNSENT, NULL, 0);
        return;
    }
    peers_start_clock(peers);
    if (known->link && known->link->state == LINK_UP) {
        send_ask(known->link, ask);
        return;
    }
    ask_list_add(&known->asks, ask);
    need_link(peers, known);
}

void request_link_up(struct link *link)
{
    struct known *known;

    if (!link->outgoing)
        return;
    known = link->known;
    while (known->asks.first && link->state == LINK_UP)
        send_ask(link, ask_list_take(&known->asks, &known->asks.first));
}

static void incoming_unlink(struct incoming *in)
{
    *in->prev = in->next;
    if (in->next)
        in->next->prev = in->prev;
    in->link->n_incoming--;
    in->link->incoming_bytes -= in->request.size;
    in->link = NULL;
}

void request_link_closed(struct link *link)
{
    struct known *known = link->outgoing ? link->known : NULL;

    while (link->incoming)
        incoming_unlink(link->incoming);
    end_all(&link->asked, PEER_LOST);
    if (!known || known->link != link)
        return;
    known->link = NULL;
    end_all(&known->asks, PEER_UNSENT);
}

static bool take_answer(struct link *link, const struct frame *frame)
{
    for (struct ask **at = &link->asked.first; *at; at = &(*at)->next)
        if ((*at)->number == frame->number) {
            struct ask *ask = ask_list_take(&link->asked, at);

            if (frame->type == FRAME_ANSWER)
                ask_end(ask, PEER_ANSWERED, frame->data, frame->size);
            else
                ask_end(ask, PEER_UNSENT, NULL, 0);
            return true;
        }
    return link->outgoing; /* its time may be over */
}

static bool expire_list(struct ask_list *list, usec_t now, enum peer_outcome outcome)
{
    struct ask **at = &list->first;

    while (*at)
        if ((*at)->deadline <= now) {
            ask_end(ask_list_take(list, at), outcome, NULL, 0);
            at = &list->first; /* 'done' may have done anything */
        } else {
            at = &(*at)->next;
        }
    return list->first != NULL;
}

bool request_expire(struct peers *peers, usec_t now)
{
    bool others = false;

    for (size_t i = 0; i < peers->n_known; i++) {
        struct known *known = &peers->known[i];

        others |= expire_list(&known->asks, now, PEER_UNSENT);
        if (known->link)
            others |= expire_list(&known->link->asked, now, PEER_LOST);
    }
    return others;
}

void request_drop(struct peers *peers)
{
    for (size_t i = 0; i < peers->n_known; i++)
        if (!address_of(peers, peers->known[i].id))
            end_all(&peers->known[i].asks, PEER_UNSENT);
}

void request_end(struct peers *peers)
{
    for (size_t i = 0; i < peers->n_known; i++)
        end_all(&peers->known[i].asks, PEER_UNSENT);
}

/* Others'. */

static void free_incoming(struct incoming *in)
{
    struct peers *peers = in->peers;

    free(in);
    peers_unref(peers);
}

static struct incoming *incoming_new(struct link *link, const struct frame *frame)
{
    struct incoming *in = xmalloc(sizeof *in + frame->size);

    if (frame->size)
        memcpy(in->data, frame->data, frame->size);
    in->request = (struct peer_request){.from = link->id,
                                        .kind = (enum peer_kind)frame->kind,
                                        .data = in->data,
                                        .size = frame->size};
    in->peers = link->peers;
    peers_ref(in->peers);
    in->link = link;
    in->number = frame->number;
    in->next = link->incoming;
    if (in->next)
        in->next->prev = &in->next;
    in->prev = &link->incoming;
    link->incoming = in;
    link->n_incoming++;
    link->incoming_bytes += frame->size;
    return in;
}

static void take_request(struct link *link, const struct frame *frame)
{
    struct peers *peers = link->peers;

    if (frame->kind == PEER_PING) {
        link_send(link, FRAME_ANSWER, 0, frame->number, NULL, 0);
        return;
    }
    mutex_lock(&peers->serving);
    if (frame->kind < PEER_KINDS && peers->handlers[frame->kind].serve) {
        struct incoming *in = incoming_new(link, frame);

        peers->handlers[frame->kind].serve(peers->handlers[frame->kind].ctx, &in->request);
    } else {
        link_send(link, FRAME_REFUSED, 0, frame->number, NULL, 0);
    }
    mutex_unlock(&peers->serving);
}

bool request_frame(struct link *link, const struct frame *frame)
{
    switch (frame->type) {
    case FRAME_REQUEST:
        if (link->outgoing)
            return false;
        take_request(link, frame);
        return true;
    case FRAME_ANSWER:
    case FRAME_REFUSED:
        return take_answer(link, frame);
    default:
        return false;
    }
}

void request_reply(struct reply *reply)
{
    struct incoming *in = reply->incoming;
    struct link *link = in->link;

    if (link) {
        link_send(link, FRAME_ANSWER, 0, in->number, reply->data, reply->size);
        if (in->link)
            incoming_unlink(in);
        link_pace(link);
    }
    free_incoming(in);
    free(reply);
}

/* From any thread. */
void peer_answer(struct peer_request *request, const void *data, size_t size)
{
    struct incoming *in = container_of(request, struct incoming, request);
    struct peers *peers = in->peers;
    struct reply *reply;
    bool ended;

    if (size > PEER_MESSAGE_MAX)
        abort();
    reply = xmalloc(sizeof *reply + size);
    reply->incoming = in;
    reply->size = size;
    if (size)
        memcpy(reply->data, data, size);
    mutex_lock(&peers->lock);
    ended = peers->ended;
    if (!ended) {
        reply->next = peers->replies;
        peers->replies = reply;
        peers_wake(peers);
    }
    mutex_unlock(&peers->lock);
    if (!ended)
        return;
    free(reply);
    free_incoming(in);
}

void peers_serve(struct peers *peers, enum peer_kind kind,
                 void (*serve)(void *ctx, struct peer_request *request), void *ctx)
{
    MUTEX_GUARD(&peers->serving);
    peers->handlers[kind].serve = serve;
    peers->handlers[kind].ctx = ctx;
}

void peer_ask(struct peers *peers, uint64_t id, enum peer_kind kind, const void *data, size_t size,
              usec_t within,
              void (*done)(void *ctx, enum peer_outcome outcome, const void *data, size_t size),
              void *ctx)
{
    struct ask *ask = xmalloc(sizeof *ask + size);

    *ask = (struct ask){.id = id,
                        .kind = kind,
                        .deadline = clock_mono() + within,
                        .done = done,
                        .ctx = ctx,
                        .size = size};
    if (size)
        memcpy(ask->data, data, size);
    mutex_lock(&peers->lock);
    *peers->last_ask = ask;
    peers->last_ask = &ask->next;
    peers_wake(peers);
    mutex_unlock(&peers->lock);
}
