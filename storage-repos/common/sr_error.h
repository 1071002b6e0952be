/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* sr_error.h -- the errors of storage drivers, with the numbers that storage managers of the XenAPI
 * have always used. */
#pragma once

#include "libxapi/base/base.h"

struct call;

enum sr_failure {
    SR_FAIL_ARGUMENT,       /* 1 */
    SR_FAIL_LOCK,           /* 37 */
    SR_FAIL_SCAN,           /* 40 */
    SR_FAIL_VDI_EXISTS,     /* 43 */
    SR_FAIL_VDI,            /* 46: the VDI is not available */
    SR_FAIL_SR,             /* 47: the SR is not available */
    SR_FAIL_SR_CREATE,      /* 61 */
    SR_FAIL_SR_DELETE,      /* 63 */
    SR_FAIL_VDI_REMOVE,     /* 64 */
    SR_FAIL_ISCSI_DEVICE,   /* 67: no such device came */
    SR_FAIL_ISCSI_LOGIN,    /* 68 */
    SR_FAIL_ISCSI_LOGOUT,   /* 69 */
    SR_FAIL_MOUNT,          /* 73 */
    SR_FAIL_VDI_CREATE,     /* 78 */
    SR_FAIL_VDI_RESIZE,     /* 79 */
    SR_FAIL_VDI_CLONE,      /* 81 */
    SR_FAIL_ISCSI_FIND,     /* 83: what the target has is not known */
    SR_FAIL_NO_DEVICE,      /* 90 */
    SR_FAIL_NO_LOCATION,    /* 94 */
    SR_FAIL_NO_TARGET,      /* 95 */
    SR_FAIL_NO_IQN,         /* 96 */
    SR_FAIL_NO_SERVER,      /* 100 */
    SR_FAIL_NO_SERVERPATH,  /* 101 */
    SR_FAIL_NO_SCSI_ID,     /* 107 */
    SR_FAIL_NO_NFS,         /* 108: no NFS service there */
    SR_FAIL_CHAIN,          /* 109: too many images on top of each other */
    SR_FAIL_ISCSI_TARGET,   /* 141: nobody answers there */
    SR_FAIL_ISO_LOCATION,   /* 220 */
    SR_FAIL_ISO_NAME,       /* 221 */
    SR_FAIL_ISO_MOUNT,      /* 222 */
    SR_FAIL_ISO_PATH,       /* 226 */
    SR_FAIL_CHANGED_BLOCKS, /* 460 */
};

/* SR_BACKEND_FAILURE_<n>("", sentence with the formatted detail, ""). */
MUST_CHECK struct error *sr_failed(struct call *call, enum sr_failure which, const char *fmt, ...)
    PRINTF_LIKE(3, 4);
/* The same with what errno means; SR_FULL(0, 0) where 'err' says that there is no room. */
MUST_CHECK struct error *sr_failed_errno(struct call *call, enum sr_failure which, int err,
                                         const char *what);
/* SR_FULL(requested, maximum), in bytes; the maximum is what the file system of 'path' has left. */
MUST_CHECK struct error *sr_full(struct call *call, int64_t requested, const char *path);
/* Codes that take the VDI, here its location. */
MUST_CHECK struct error *vdi_missing(struct call *call, const char *sr_uuid, const char *location);
MUST_CHECK struct error *vdi_in_use(struct call *call, const char *location, const char *operation);
MUST_CHECK struct error *vdi_readonly(struct call *call, const char *location);
