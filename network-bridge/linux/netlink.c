/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "network-bridge/linux/netlink.h"

#include <errno.h>
#include <linux/netlink.h>
#include <netlink/netlink.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>

#include "libxapi/base/memory.h"

#define DATAGRAM (64 * 1024)    /* the kernel's dumps come in at most 32 KiB */
#define RECEIVE (1024 * 1024)   /* for what comes while nobody reads */
#define ANSWER_SECONDS 30       /* removing a link waits for its last user */
#define DUMP_MESSAGES (1 << 20) /* more than anybody's links, addresses and routes */

bool netlink_open(struct netlink *nl)
{
    struct timeval limit = {.tv_sec = ANSWER_SECONDS};
    int one = 1, fd;

    nl->socket = nl_socket_alloc();
    if (!nl->socket || nl_connect(nl->socket, NETLINK_ROUTE) < 0)
        return false;
    nl->buffer = xmalloc(DATAGRAM);
    nl_socket_set_buffer_size(nl->socket, RECEIVE, 0);
    fd = nl_socket_get_fd(nl->socket);
    /* Without the first two there is less to say about a refusal, and a dump is not filtered. */
    setsockopt(fd, SOL_NETLINK, NETLINK_EXT_ACK, &one, sizeof one);
    setsockopt(fd, SOL_NETLINK, NETLINK_GET_STRICT_CHK, &one, sizeof one);
    return setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit) == 0;
}

void netlink_release(struct netlink *nl)
{
    nl_socket_free(nl->socket);
    free(nl->buffer);
    *nl = (struct netlink){0};
}

static int say(char why[NETLINK_WHY], int err, const char *text)
{
    const char *plain = strerrordesc_np(err);

    snprintf(why, NETLINK_WHY, "%s", text ? text : plain ? plain : "unknown error");
    return err;
}

/* What the kernel says about a refusal, behind the copy of our request. */
static int refusal(const struct nlmsghdr *answer, char why[NETLINK_WHY])
{
    const struct nlmsgerr *e = nlmsg_data(answer);
    struct nlattr *tb[NLMSGERR_ATTR_MAX + 1] = {0};
    size_t skip = sizeof *e;
    const char *text = NULL;

    if (nlmsg_datalen(answer) < (int)sizeof *e)
        return say(why, EPROTO, NULL);
    if (!e->error)
        return 0;
    if (!(answer->nlmsg_flags & NLM_F_CAPPED) && e->msg.nlmsg_len >= sizeof e->msg)
        skip += e->msg.nlmsg_len - sizeof e->msg;
    skip = NLMSG_ALIGN(skip);
    if (answer->nlmsg_flags & NLM_F_ACK_TLVS && skip <= (size_t)nlmsg_datalen(answer) &&
        nla_parse(tb, NLMSGERR_ATTR_MAX, (struct nlattr *)((char *)nlmsg_data(answer) + skip),
                  nlmsg_datalen(answer) - (int)skip, NULL) == 0 &&
        tb[NLMSGERR_ATTR_MSG] && nla_len(tb[NLMSGERR_ATTR_MSG]) > 0 &&
        memchr(nla_data(tb[NLMSGERR_ATTR_MSG]), 0, (size_t)nla_len(tb[NLMSGERR_ATTR_MSG])))
        text = nla_data(tb[NLMSGERR_ATTR_MSG]);
    return say(why, -e->error, text);
}

/* An exchange in progress. */
struct exchange {
    uint32_t sequence;
    bool (*each)(void *ctx, const struct nlmsghdr *message);
    void *ctx;
    size_t seen;
    bool interrupted, refused, done;
    int result;
};

static void take_message(struct exchange *x, const struct nlmsghdr *m, char why[NETLINK_WHY])
{
    if (m->nlmsg_seq != x->sequence) /* the rest of one that was given up */
        return;
    if (m->nlmsg_flags & NLM_F_DUMP_INTR)
        x->interrupted = true;
    if (m->nlmsg_type == NLMSG_ERROR) {
        x->result = refusal(m, why);
        x->done = true;
    } else if (m->nlmsg_type == NLMSG_DONE) {
        x->done = true;
    } else if (x->each && !x->refused) {
        x->refused = ++x->seen > DUMP_MESSAGES || !x->each(x->ctx, m);
    }
}

static int receive(struct netlink *nl, struct exchange *x, char why[NETLINK_WHY])
{
    struct sockaddr_nl from = {0};
    struct iovec part = {nl->buffer, DATAGRAM};
    struct msghdr head = {
        .msg_name = &from, .msg_namelen = sizeof from, .msg_iov = &part, .msg_iovlen = 1};
    ssize_t n = recvmsg(nl_socket_get_fd(nl->socket), &head, 0);
    int left;

    if (n < 0 && errno == EINTR)
        return 0;
    if (n < 0)
        return errno == EAGAIN ? say(why, ETIMEDOUT, "the kernel gives no answer")
                               : say(why, errno, NULL);
    if (head.msg_flags & MSG_TRUNC)
        return say(why, EMSGSIZE, NULL);
    if (from.nl_pid != 0) /* anybody can write to a socket; only the kernel is number 0 */
        return 0;
    left = (int)n;
    for (struct nlmsghdr *m = (struct nlmsghdr *)nl->buffer; nlmsg_ok(m, left) && !x->done;
         m = nlmsg_next(m, &left))
        take_message(x, m, why);
    return 0;
}

static int exchange(struct netlink *nl, struct nl_msg *request, struct exchange *x,
                    char why[NETLINK_WHY])
{
    int err = 0;

    if (!request)
        return say(why, ENOMEM, NULL);
    nl_complete_msg(nl->socket, request);
    x->sequence = nlmsg_hdr(request)->nlmsg_seq;
    if (nl_send(nl->socket, request) < 0)
        err = say(why, errno ? errno : EIO, NULL);
    nlmsg_free(request);
    while (!err && !x->done)
        err = receive(nl, x, why);
    if (!err && x->refused)
        err = say(why, E2BIG, "there are more links, addresses or routes than can be looked at");
    if (!err && x->interrupted)
        err = say(why, EAGAIN, NULL);
    return err ? err : x->result;
}

int netlink_do(struct netlink *nl, struct nl_msg *request, char why[NETLINK_WHY])
{
    struct exchange x = {0};

    if (request)
        nlmsg_hdr(request)->nlmsg_flags |= NLM_F_REQUEST | NLM_F_ACK;
    return exchange(nl, request, &x, why);
}

int netlink_dump(struct netlink *nl, struct nl_msg *request,
                 bool (*each)(void *ctx, const struct nlmsghdr *message), void *ctx,
                 char why[NETLINK_WHY])
{
    struct exchange x = {.each = each, .ctx = ctx};

    if (request)
        nlmsg_hdr(request)->nlmsg_flags |= NLM_F_REQUEST | NLM_F_DUMP;
    return exchange(nl, request, &x, why);
}
