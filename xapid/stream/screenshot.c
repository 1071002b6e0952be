/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "xapid/stream/screenshot.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h> /* jpeglib.h wants it */
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include <jpeglib.h>

#include "libxapi/base/log.h"
#include "libxapi/base/seam.h"
#include "xapid/main/xapid.h"
#include "xapid/ops/vm/lifecycle.h"
#include "xapid/stream/console_target.h"
#include "xapid/stream/handover.h"
#include "xapid/stream/rfb_picture.h"
#include "xapid/task/task.h"

#define QUALITY 85
#define BLOCK (64 << 10)

/*** from the screen ***/

static bool send_out(int fd, struct buf *out)
{
    ssize_t n = send(fd, out->data, out->len, MSG_NOSIGNAL);

    if (n < 0)
        return errno == EAGAIN || errno == EINTR;
    memmove(out->data, out->data + n, out->len - (size_t)n);
    out->len -= (size_t)n;
    return true;
}

/* Runs until the picture is done; NULL, or why it never will be. */
static const char *fetch(int fd, struct rfb_picture *picture, uint8_t *block)
{
    usec_t end = clock_mono() + SCREENSHOT_TIME;

    while (!picture->done) {
        short events = (short)(POLLIN | (picture->out.len ? POLLOUT : 0));
        struct pollfd p = {.fd = fd, .events = events};
        usec_t left = end - clock_mono();
        ssize_t n;

        if (left <= 0)
            return "it takes too long";
        poll(&p, 1, (int)(left / USEC_PER_MSEC) + 1);
        if ((p.revents & POLLOUT) && !send_out(fd, &picture->out))
            return "it has gone";
        n = recv(fd, block, BLOCK, 0);
        if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR))
            return "it has gone";
        if (n > 0 && !rfb_picture_feed(picture, block, (size_t)n) && !picture->done)
            return picture->why;
    }
    return NULL;
}

/*** to the client ***/

/* There is no file and no input of others: what fails here is a bug, or memory. */
_Noreturn static void cannot_encode(j_common_ptr jpeg)
{
    char why[JMSG_LENGTH_MAX];

    jpeg->err->format_message(jpeg, why);
    log_error("making a JPEG: %s", why);
    abort();
}

/* The caller frees *out. */
static void encode(const struct rfb_picture *picture, uint8_t **out, unsigned long *size)
{
    struct jpeg_compress_struct jpeg;
    struct jpeg_error_mgr errors;
    size_t stride = 3 * (size_t)picture->width;

    jpeg.err = jpeg_std_error(&errors);
    errors.error_exit = cannot_encode;
    jpeg_create_compress(&jpeg);
    jpeg_mem_dest(&jpeg, out, size);
    jpeg.image_width = (JDIMENSION)picture->width;
    jpeg.image_height = (JDIMENSION)picture->height;
    jpeg.input_components = 3;
    jpeg.in_color_space = JCS_RGB;
    jpeg_set_defaults(&jpeg);
    jpeg_set_quality(&jpeg, QUALITY, TRUE);
    jpeg_start_compress(&jpeg, TRUE);
    while (jpeg.next_scanline < jpeg.image_height) {
        JSAMPROW row = picture->pixels + stride * jpeg.next_scanline;

        jpeg_write_scanlines(&jpeg, &row, 1);
    }
    jpeg_finish_compress(&jpeg);
    jpeg_destroy_compress(&jpeg);
}

static void answer(struct handover *h, const char *name, const struct rfb_picture *picture)
{
    const struct http_pair headers[] = {
        {"Content-Disposition",
         arena_printf(h->call.arena, "attachment; filename=\"%s.jpg\"", name)}};
    struct http_request *request = h->request;
    unsigned long size = 0;
    uint8_t *data = NULL;

    encode(picture, &data, &size);
    h->request = NULL;
    http_reply(request, &(struct http_response){.status = 200,
                                                .content_type = "image/jpeg",
                                                .n_headers = ARRAY_SIZE(headers),
                                                .headers = headers,
                                                .data = (const char *)data,
                                                .size = size});
    free(data);
    task_end(&h->call, OK, "<value></value>");
}

/*** who may have it ***/

static struct refusal check(struct handover *h, struct console_target *target)
{
    struct call *call = &h->call;

    if (!console_target_find(call, h->request, target))
        return refuse(404, err_invalid_value(call, "uuid", "there is no such VM or console"));
    if (target->vm->is_control_domain && call->session->role > ROLE_POOL_ADMIN)
        return refuse(403, error_new(call->arena, "RBAC_PERMISSION_DENIED", 2, h->action,
                                     "The control domain's screen is for pool-admin."));
    if (!console_target_lives(target))
        return refuse(503, err_vm_bad_power_state(call, call_ref(call, target->vm->ref), "running",
                                                  vm_power_state_text(target->vm->power_state)));
    return (struct refusal){0};
}

/* Where the VM runs, unless it is here. */
static const struct host *elsewhere(struct call *call, const struct vm *vm)
{
    const struct host *host = db_find(call, CLASS_host, vm->resident_on);

    return host && !ref_equal(host->ref, call->xapid->host) ? host : NULL;
}

static void run(struct handover *h)
{
    struct rfb_picture *picture = arena_new(h->call.arena, struct rfb_picture);
    struct console_target target;
    struct refusal r = check(h, &target);
    const struct host *other;
    const char *why = "nothing answers";
    int fd;

    if (r.status) {
        handover_refuse(h, r);
        return;
    }
    other = elsewhere(&h->call, target.vm);
    if (other) {
        handover_elsewhere(h, other);
        return;
    }
    target.protocol = CONSOLE_PROTOCOL_RFB; /* a serial line has no picture */
    rfb_picture_init(picture);
    fd = console_target_open(&h->call, &target);
    if (fd >= 0) {
        why = fetch(fd, picture, arena_alloc(h->call.arena, BLOCK));
        close(fd);
    }
    if (why)
        handover_refuse(h, refuse(503, error_internal(h->call.arena, "the VM's screen: %s", why)));
    else
        answer(h, target.vm->uuid, picture);
    rfb_picture_release(picture);
}

void screenshot_get(struct http_request *request, void *ctx)
{
    handover_begin(ctx, request, "get_vncsnapshot", run);
}
