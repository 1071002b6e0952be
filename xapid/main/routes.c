/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "xapid/main/routes.h"

#include "xapid/auth/audit.h"
#include "xapid/stream/cli.h"
#include "xapid/stream/files.h"
#include "xapid/join/receive.h"
#include "xapid/main/later.h"
#include "xapid/main/members.h"
#include "xapid/stream/backup.h"
#include "xapid/stream/blob.h"
#include "xapid/stream/console.h"
#include "xapid/stream/database.h"
#include "xapid/stream/screenshot.h"
#include "xapid/stream/status.h"
#include "xapid/transfer/export.h"
#include "xapid/transfer/import.h"
#include "xapid/transfer/raw.h"
#include "xapid/rpc/rpc.h"
#include "xapid/stats/stats.h"

/* A call of the XenAPI: records of a few hundred disks fit, floods do not. */
#define RPC_BODY (4 << 20)

/* The reason is for docs/coverage.md. */
#define LATER(method, path, reason)                                                                \
    {                                                                                              \
        method, path, later_answer, 0                                                              \
    }

const struct http_route http_routes[] = {
    {HTTP_M_POST, "/jsonrpc", rpc_post_json, RPC_BODY},
    {HTTP_M_POST, "/", rpc_post_xml, RPC_BODY}, /* clients use "/", "/RPC2", "/xmlrpc", "/json" */
    {HTTP_M_OPTIONS, "/", files_options, 0},
    {HTTP_M_GET, "/", files_get, 0},

    {HTTP_M_CONNECT, "/console", console_connect, -1},
    {HTTP_M_GET, "/console", console_websocket, -1},
    {HTTP_M_GET, "/vncsnapshot", screenshot_get, 0},
    {HTTP_M_PUT, "/import_raw_vdi", raw_import, -1},
    {HTTP_M_GET, "/export_raw_vdi", raw_export, -1},
    {HTTP_M_GET, "/export", export_vm, -1},
    {HTTP_M_GET, "/export_metadata", export_metadata, -1},
    {HTTP_M_PUT, "/import", import_vm, -1},
    {HTTP_M_PUT, "/import_metadata", import_metadata, -1},
    {HTTP_M_GET, "/audit_log", audit_log_get, 0},
    {HTTP_M_GET, "/system-status", status_get, 0},
    {HTTP_M_GET, "/host_logs_download", status_get_logs, 0},
    {HTTP_M_POST, "/cli", cli_post, CLI_REQUEST_MAX},
    {HTTP_M_GET, "/blob", blob_get, 0},
    {HTTP_M_GET, "/pool/xmldbdump", database_get, 0},
    {HTTP_M_PUT, "/pool/xmldbdump", database_put, -1},
    {HTTP_M_PUT, "/blob", blob_put, -1},
    {HTTP_M_GET, "/host_backup", backup_get, 0},
    {HTTP_M_PUT, "/host_restore", backup_put, -1},
    {HTTP_M_GET, "/host_rrd", stats_get_host, 0},
    {HTTP_M_GET, "/vm_rrd", stats_get_vm, 0},
    {HTTP_M_GET, "/sr_rrd", stats_get_sr, 0},
    {HTTP_M_GET, "/rrd_updates", stats_get_updates, 0},
    {HTTP_M_PUT, "/rrd", stats_put, STATS_PUT_MAX},
    {HTTP_M_GET, "/metrics", stats_get_metrics, 0},
    {HTTP_M_GET, "/internal/pool", members_get, 0},
    {HTTP_M_POST, "/internal/pool", members_post, 4096},
    {HTTP_M_POST, "/internal/join", join_post, -1},

    /* Handlers of the XenAPI that do not exist yet: 501, and the given task fails. */
    LATER(HTTP_M_PUT, "/pool_patch_upload", "updates of the host come from Debian's own tools"),
    LATER(HTTP_M_PUT, "/messages", "messages of another pool are not taken in"),
    LATER(HTTP_M_GET, "/services", "this daemon has no services for other daemons"),
    LATER(HTTP_M_POST, "/services", "this daemon has no services for other daemons"),
    LATER(HTTP_M_PUT, "/services", "this daemon has no services for other daemons"),
    LATER(HTTP_M_GET, "/update", "updates of the host come from Debian's own tools"),
    LATER(HTTP_M_GET, "/updates", "updates of the host come from Debian's own tools"),
    LATER(HTTP_M_GET, "/host_updates", "updates of the host come from Debian's own tools"),
    LATER(HTTP_M_GET, "/repository", "updates of the host come from Debian's own tools"),
    LATER(HTTP_M_PUT, "/bundle", "updates of the host come from Debian's own tools"),
    LATER(HTTP_M_GET, "/wlb_report", "needs a server for workload balancing"),
    LATER(HTTP_M_GET, "/wlb_diagnostics", "needs a server for workload balancing"),
    LATER(HTTP_M_POST, "/remote_db_access", "the members of a pool agree through their log"),
    {HTTP_M_GET, NULL, NULL, 0},
};
