/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "storage-repos/common/sr_error.h"

#include <errno.h>
#include <stdarg.h>
#include <string.h>
#include <sys/statvfs.h>

#include "libxapi/base/arena.h"
#include "libxapi/base/call.h"

#define CODE(n) "SR_BACKEND_FAILURE_" #n

static const struct {
    const char *code, *text;
} failures[] = {
    [SR_FAIL_ARGUMENT] = {CODE(1), "An argument is not valid"},
    [SR_FAIL_LOCK] = {CODE(37), "The storage repository could not be locked"},
    [SR_FAIL_SCAN] = {CODE(40), "The storage repository could not be scanned"},
    [SR_FAIL_VDI_EXISTS] = {CODE(43), "Another VDI has this location"},
    [SR_FAIL_VDI] = {CODE(46), "The VDI is not available"},
    [SR_FAIL_SR] = {CODE(47), "The storage repository is not available"},
    [SR_FAIL_SR_CREATE] = {CODE(61), "The storage repository could not be created"},
    [SR_FAIL_SR_DELETE] = {CODE(63), "The storage repository could not be removed"},
    [SR_FAIL_VDI_REMOVE] = {CODE(64), "The VDI could not be removed"},
    [SR_FAIL_ISCSI_DEVICE] = {CODE(67), "The iSCSI device has not appeared"},
    [SR_FAIL_ISCSI_LOGIN] = {CODE(68), "The iSCSI target has refused the login"},
    [SR_FAIL_ISCSI_LOGOUT] = {CODE(69), "The iSCSI session could not be ended"},
    [SR_FAIL_MOUNT] = {CODE(73), "The network storage could not be mounted"},
    [SR_FAIL_VDI_CREATE] = {CODE(78), "The VDI could not be created"},
    [SR_FAIL_VDI_RESIZE] = {CODE(79), "The VDI could not be resized"},
    [SR_FAIL_VDI_CLONE] = {CODE(81), "The VDI could not be cloned"},
    [SR_FAIL_ISCSI_FIND] = {CODE(83), "The iSCSI target does not say what it has"},
    [SR_FAIL_NO_DEVICE] = {CODE(90), "device_config:device is missing"},
    [SR_FAIL_NO_LOCATION] = {CODE(94), "device_config:location is missing"},
    [SR_FAIL_NO_TARGET] = {CODE(95), "device_config:target is missing"},
    [SR_FAIL_NO_IQN] = {CODE(96), "device_config:targetIQN is missing or wrong"},
    [SR_FAIL_NO_SERVER] = {CODE(100), "device_config:server is missing"},
    [SR_FAIL_NO_SERVERPATH] = {CODE(101), "device_config:serverpath is missing"},
    [SR_FAIL_NO_SCSI_ID] = {CODE(107), "device_config:SCSIid is missing or wrong"},
    [SR_FAIL_NO_NFS] = {CODE(108), "The server does not say what it exports"},
    [SR_FAIL_CHAIN] = {CODE(109), "The chain of snapshots is too long"},
    [SR_FAIL_ISCSI_TARGET] = {CODE(141), "The iSCSI target does not answer"},
    [SR_FAIL_ISO_LOCATION] = {CODE(220), "device_config:location is missing"},
    [SR_FAIL_ISO_NAME] = {CODE(221), "An ISO image's name ends in .iso"},
    [SR_FAIL_ISO_MOUNT] = {CODE(222), "The ISO library could not be mounted"},
    [SR_FAIL_ISO_PATH] = {CODE(226), "The path is not a local directory"},
    [SR_FAIL_CHANGED_BLOCKS] = {CODE(460), "The VDIs cannot be compared"},
};

struct error *sr_failed(struct call *call, enum sr_failure which, const char *fmt, ...)
{
    const char *detail;
    va_list ap;

    va_start(ap, fmt);
    detail = arena_vprintf(call->arena, fmt, ap);
    va_end(ap);
    return error_new(call->arena, failures[which].code, 3, "",
                     arena_printf(call->arena, "%s [opterr=%s]", failures[which].text, detail), "");
}

struct error *sr_failed_errno(struct call *call, enum sr_failure which, int err, const char *what)
{
    if (err == ENOSPC || err == EDQUOT)
        return error_new(call->arena, "SR_FULL", 2, "0", "0");
    return sr_failed(call, which, "%s: %s", what, strerrordesc_np(err));
}

struct error *sr_full(struct call *call, int64_t requested, const char *path)
{
    struct statvfs fs;
    int64_t left = statvfs(path, &fs) == 0 ? (int64_t)fs.f_bavail * (int64_t)fs.f_frsize : 0;

    return error_new(call->arena, "SR_FULL", 2,
                     arena_printf(call->arena, "%lld", (long long)requested),
                     arena_printf(call->arena, "%lld", (long long)left));
}

struct error *vdi_missing(struct call *call, const char *sr_uuid, const char *location)
{
    return error_new(call->arena, "VDI_MISSING", 2, sr_uuid, location);
}

struct error *vdi_in_use(struct call *call, const char *location, const char *operation)
{
    return error_new(call->arena, "VDI_IN_USE", 2, location, operation);
}

struct error *vdi_readonly(struct call *call, const char *location)
{
    return error_new(call->arena, "VDI_READONLY", 1, location);
}
