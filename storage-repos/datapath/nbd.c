/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "storage-repos/datapath/nbd.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <libnbd.h>
#include <linux/genetlink.h>
#include <linux/nbd-netlink.h>
#include <linux/netlink.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "libxapi/base/call.h"
#include "libxapi/base/seam.h"

#define CONNECT_TIMEOUT (30 * USEC_PER_SEC)
#define ANSWER_TIMEOUT (30 * USEC_PER_SEC)
#define BLOCK_SIZE 512 /* what Xen's disks are made of */
/* Seconds without a connection after which requests fail.  Nobody makes a new one (datapath.h). */
#define DEAD_TIMEOUT 1

/* Transmission flags of the protocol that the kernel knows. */
enum {
    HAS_FLAGS = 1 << 0,
    READ_ONLY = 1 << 1,
    SEND_FLUSH = 1 << 2,
    SEND_FUA = 1 << 3,
    SEND_TRIM = 1 << 5
};

/* ---- which device ---- */

static bool has_id(const char *device, const char *id)
{
    char path[300], text[128] = "";
    ssize_t n;
    int fd;

    snprintf(path, sizeof path, "/sys/block/%.64s/backend", device);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    n = read(fd, text, sizeof text - 1);
    close(fd);
    if (n < 0)
        return false;
    text[n] = '\0';
    text[strcspn(text, "\n")] = '\0';
    return strcmp(text, id) == 0;
}

int nbd_device_find(const char *id)
{
    DIR *d = opendir("/sys/block");
    struct dirent *entry;
    int found = -1;

    if (!d)
        return -1;
    while (found < 0 && (entry = readdir(d)) != NULL)
        if (strncmp(entry->d_name, "nbd", 3) == 0 && has_id(entry->d_name, id))
            found = atoi(entry->d_name + 3);
    closedir(d);
    return found;
}

void nbd_device_path(int device, char out[NBD_DEVICE_SIZE])
{
    snprintf(out, NBD_DEVICE_SIZE, "/dev/nbd%d", device);
}

/* ---- netlink ---- */

struct message {
    union {
        struct nlmsghdr head;
        char bytes[1024];
    };
};

static void put(struct message *m, int type, const void *data, size_t n)
{
    struct nlattr *a = (struct nlattr *)(m->bytes + m->head.nlmsg_len);

    a->nla_type = (uint16_t)type;
    a->nla_len = (uint16_t)(NLA_HDRLEN + n);
    memcpy((char *)a + NLA_HDRLEN, data, n);
    m->head.nlmsg_len += NLA_ALIGN((uint32_t)(NLA_HDRLEN + n));
}

static void put_u32(struct message *m, int type, uint32_t v)
{
    put(m, type, &v, sizeof v);
}

static void put_u64(struct message *m, int type, uint64_t v)
{
    put(m, type, &v, sizeof v);
}

static void begin(struct message *m, int family, int command, int version)
{
    struct genlmsghdr *g;

    memset(m, 0, sizeof *m);
    m->head.nlmsg_type = (uint16_t)family;
    m->head.nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK;
    m->head.nlmsg_len = NLMSG_LENGTH(sizeof *g);
    g = NLMSG_DATA(&m->head);
    g->cmd = (uint8_t)command;
    g->version = (uint8_t)version;
}

/* One attribute of a generic netlink message; NULL if there is none. */
static const void *find(const struct nlmsghdr *h, int type, size_t size)
{
    const char *p = (const char *)h + NLMSG_LENGTH(sizeof(struct genlmsghdr));
    const char *end = (const char *)h + h->nlmsg_len;

    while (end - p >= NLA_HDRLEN) {
        const struct nlattr *a = (const struct nlattr *)p;

        if (a->nla_len < NLA_HDRLEN || a->nla_len > end - p)
            return NULL;
        if ((a->nla_type & NLA_TYPE_MASK) == type && a->nla_len >= NLA_HDRLEN + size)
            return p + NLA_HDRLEN;
        p += NLA_ALIGN(a->nla_len);
    }
    return NULL;
}

static struct error *failed(struct call *call, const char *what, int err)
{
    return sr_failed(call, SR_FAIL_VDI, "NBD: %s: %s", what, strerrordesc_np(err));
}

struct netlink {
    int fd;
};

static void netlink_release(struct netlink *n)
{
    if (n->fd)
        close(n->fd);
}

/* Sends and takes answers until the acknowledgement; '*value' is the 'size' bytes of the attribute
 * 'type', if one came and 'size' is not 0. */
static struct error *exchange(struct call *call, struct netlink *n, struct message *m,
                              const char *what, int type, void *value, size_t size)
{
    usec_t deadline = clock_mono() + ANSWER_TIMEOUT;
    struct message in;

    if (send(n->fd, m->bytes, m->head.nlmsg_len, 0) < 0)
        return failed(call, what, errno);
    for (;;) {
        struct pollfd p = {.fd = n->fd, .events = POLLIN};
        ssize_t got;

        if (clock_mono() > deadline)
            return failed(call, what, ETIMEDOUT);
        if (poll(&p, 1, 1000) <= 0)
            continue;
        got = recv(n->fd, in.bytes, sizeof in.bytes, MSG_DONTWAIT);
        if (got < 0 && errno != EAGAIN && errno != EINTR)
            return failed(call, what, errno);
        if (got < (ssize_t)sizeof in.head || !NLMSG_OK(&in.head, (size_t)got))
            continue;
        if (in.head.nlmsg_type == NLMSG_ERROR) {
            int err = -((struct nlmsgerr *)NLMSG_DATA(&in.head))->error;

            return err ? failed(call, what, err) : OK;
        }
        if (size) {
            const void *v = find(&in.head, type, size);

            if (v)
                memcpy(value, v, size);
        }
    }
}

static struct error *open_netlink(struct call *call, struct netlink *n, int *family)
{
    int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_GENERIC);
    uint16_t id = 0;
    struct message m;

    if (fd < 0)
        return failed(call, "netlink", errno);
    n->fd = fd;
    begin(&m, GENL_ID_CTRL, CTRL_CMD_GETFAMILY, 1);
    put(&m, CTRL_ATTR_FAMILY_NAME, NBD_GENL_FAMILY_NAME, sizeof NBD_GENL_FAMILY_NAME);
    TRY(exchange(call, n, &m, "is the kernel's module nbd loaded?", CTRL_ATTR_FAMILY_ID, &id,
                 sizeof id));
    *family = id;
    return id ? OK : failed(call, "the kernel's module nbd", ENOENT);
}

/* ---- the server's side ---- */

struct connection {
    struct nbd_handle *nbd;
};

/* Closes our copy of the socket; the server is not told, for the kernel goes on with it. */
static void connection_release(struct connection *c)
{
    if (c->nbd)
        nbd_close(c->nbd);
}

static struct error *shake_hands(struct call *call, const char *socket_path, struct connection *c)
{
    usec_t deadline = clock_mono() + CONNECT_TIMEOUT;
    struct nbd_handle *h = nbd_create();

    c->nbd = h;
    /* The kernel understands simple replies only. */
    if (!h || nbd_set_export_name(h, "disk") < 0 ||
        nbd_set_request_structured_replies(h, false) < 0 ||
        nbd_aio_connect_unix(h, socket_path) < 0)
        return sr_failed(call, SR_FAIL_VDI, "%s: %s", socket_path, nbd_get_error());
    while (!nbd_aio_is_ready(h)) {
        usec_t left = deadline - clock_mono();

        if (left <= 0 || nbd_aio_is_dead(h) || nbd_aio_is_closed(h) ||
            nbd_poll(h, (int)(left / USEC_PER_MSEC) + 1) < 0)
            return sr_failed(call, SR_FAIL_VDI, "%s: %s", socket_path,
                             left <= 0 ? "no answer in time" : nbd_get_error());
    }
    return OK;
}

static uint64_t flags_of(struct nbd_handle *h)
{
    return HAS_FLAGS | (nbd_is_read_only(h) > 0 ? READ_ONLY : 0) |
           (nbd_can_flush(h) > 0 ? SEND_FLUSH : 0) | (nbd_can_fua(h) > 0 ? SEND_FUA : 0) |
           (nbd_can_trim(h) > 0 ? SEND_TRIM : 0);
}

/* A list of one socket. */
static void put_socket(struct message *m, int fd)
{
    struct message item = {.head = {.nlmsg_len = 0}};
    struct message list = {.head = {.nlmsg_len = 0}};
    char *at = (char *)&item;
    struct nlattr *sock = (struct nlattr *)at;
    uint32_t n = (uint32_t)fd;

    sock->nla_type = NBD_SOCK_FD;
    sock->nla_len = NLA_HDRLEN + sizeof n;
    memcpy(at + NLA_HDRLEN, &n, sizeof n);
    sock = (struct nlattr *)&list;
    sock->nla_type = NBD_SOCK_ITEM | NLA_F_NESTED;
    sock->nla_len = NLA_HDRLEN + NLA_HDRLEN + sizeof n;
    memcpy((char *)&list + NLA_HDRLEN, at, NLA_HDRLEN + sizeof n);
    put(m, NBD_ATTR_SOCKETS | NLA_F_NESTED, &list, NLA_HDRLEN + NLA_HDRLEN + sizeof n);
}

struct error *nbd_device_connect(struct call *call, const char *socket_path, const char *id,
                                 int *device)
{
    AUTO(connection) c = {0};
    AUTO(netlink) n = {0};
    uint32_t index = UINT32_MAX;
    struct message m;
    int family;

    TRY(open_netlink(call, &n, &family));
    TRY(shake_hands(call, socket_path, &c));
    begin(&m, family, NBD_CMD_CONNECT, NBD_GENL_VERSION);
    put_u64(&m, NBD_ATTR_SIZE_BYTES, (uint64_t)nbd_get_size(c.nbd));
    put_u64(&m, NBD_ATTR_BLOCK_SIZE_BYTES, BLOCK_SIZE);
    put_u64(&m, NBD_ATTR_SERVER_FLAGS, flags_of(c.nbd));
    put_u64(&m, NBD_ATTR_DEAD_CONN_TIMEOUT, DEAD_TIMEOUT);
    put_socket(&m, nbd_aio_get_fd(c.nbd));
    put(&m, NBD_ATTR_BACKEND_IDENTIFIER, id, strlen(id) + 1);
    TRY(exchange(call, &n, &m, "connecting a device", NBD_ATTR_INDEX, &index, sizeof index));
    if (index > INT32_MAX)
        return failed(call, "connecting a device", EPROTO);
    *device = (int)index;
    return OK;
}

struct error *nbd_device_disconnect(struct call *call, int device)
{
    AUTO(netlink) n = {0};
    struct message m;
    int family;

    TRY(open_netlink(call, &n, &family));
    begin(&m, family, NBD_CMD_DISCONNECT, NBD_GENL_VERSION);
    put_u32(&m, NBD_ATTR_INDEX, (uint32_t)device);
    return exchange(call, &n, &m, "disconnecting a device", 0, NULL, 0);
}

struct error *nbd_device_resize(struct call *call, int device, int64_t size)
{
    AUTO(netlink) n = {0};
    struct message m;
    int family;

    TRY(open_netlink(call, &n, &family));
    begin(&m, family, NBD_CMD_RECONFIGURE, NBD_GENL_VERSION);
    put_u32(&m, NBD_ATTR_INDEX, (uint32_t)device);
    put_u64(&m, NBD_ATTR_SIZE_BYTES, (uint64_t)size);
    return exchange(call, &n, &m, "growing a device", 0, NULL, 0);
}
