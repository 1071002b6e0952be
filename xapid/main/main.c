/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* main.c -- the xapid program: options, signals, the life of one daemon. */
#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "libxapi/base/log.h"
#include "libxapi/codec/codec.h"
#include "xapid/main/xapid.h"

static const char usage[] =
    "usage: xapid [options]\n"
    "  --state DIR            database, certificate, secrets (default /var/lib/xapid)\n"
    "  --config DIR           configuration and plug-ins (default /etc/xapid)\n"
    "  --sysfs DIR            the host's devices (default /sys; with the simulator <state>/sysfs)\n"
    "  --storage DIR          where the local storage repository lives (default <state>/storage)\n"
    "  --storage-wait SECONDS  how long network storage may take to answer (default 60)\n"
    "  --datapath fuse|nbd|none  how the hypervisor gets disks (default: nbd with Xen, none with "
    "sim)\n"
    "  --network linux|ovs|none  whose network is changed: the kernel's bridges or Open vSwitch's "
    "(default: linux with Xen, none with sim: a simulated one)\n"
    "  --network-trial SECONDS  how long a change of the management interface may take to prove "
    "itself (default: 60, none with sim)\n"
    "  --socket PATH          Unix socket for local programs (default /var/lib/xcp/xapi; '' for "
    "none)\n"
    "  --listen ADDRESS       address for TLS (default ::)\n"
    "  --tls-port PORT        default 443; 0 picks one, -1 for none\n"
    "  --plain-port PORT      without TLS, on loopback only; default 80; 0 picks one, -1 for none\n"
    "  --nbd-port PORT        for disks that are read over NBD; default 10809; 0 picks one, -1 for "
    "none\n"
    "  --hypervisor sim|xen   what runs the domains; without Xen, sim must be asked for\n"
    "  --sim-program PATH     the simulator (default: beside this program)\n"
    "  --cli-program PATH     xe, which serves other programs called xe through /cli (default: the "
    "installed one)\n"
    "  --storage-program PATH xapid-storage, which asks network storage (default: beside this "
    "program)\n"
    "  --password-file FILE   lines user:hash instead of PAM (xapid-passwd makes them)\n"
    "  --web-root DIR         static files for GET /\n"
    "  --system-root DIR      before the paths of the host's own programs and configuration files\n"
    "                         (default: none; with the simulator <state>/system)\n"
    "  --ready-fd N           writes the bound ports there once calls are answered, and closes it\n"
    "  --op-wait SECONDS      how long an operation waits in line for a busy object (default "
    "1200)\n"
    "  --end-wait SECONDS     how long a guest may take to shut down or reboot once it has heard "
    "(default 1200)\n"
    "  --pool-address HOST:PORT  where the other hosts of a pool reach this one (default: the "
    "management interface's address)\n"
    "  --pool-port PORT       the port there (default 7400; 0 for none: the host stays alone)\n"
    "  --manual-members       for tests: who is a member of the log is said by /internal/pool "
    "only\n"
    "  --joining              a new state directory waits to be added to a pool\n"
    "  --pool-trust LIST      members to be talked to before that: addresses or fingerprints, "
    "between commas\n"
    "  --level N              for tests: understand no more of the database than an older version\n"
    "  --enable-faults        for tests: operations fail or die at steps named in <state>/faults\n"
    "  --version, --help\n";

enum {
    OPT_STATE = 256,
    OPT_CONFIG,
    OPT_STORAGE,
    OPT_STORAGE_WAIT,
    OPT_DATAPATH,
    OPT_NETWORK,
    OPT_NETWORK_TRIAL,
    OPT_SOCKET,
    OPT_LISTEN,
    OPT_TLS_PORT,
    OPT_PLAIN_PORT,
    OPT_NBD_PORT,
    OPT_HYPERVISOR,
    OPT_SIM_PROGRAM,
    OPT_CLI_PROGRAM,
    OPT_STORAGE_PROGRAM,
    OPT_PASSWORD_FILE,
    OPT_WEB_ROOT,
    OPT_SYSTEM_ROOT,
    OPT_READY_FD,
    OPT_SYSFS,
    OPT_OP_WAIT,
    OPT_END_WAIT,
    OPT_POOL_ADDRESS,
    OPT_POOL_PORT,
    OPT_MANUAL_MEMBERS,
    OPT_JOINING,
    OPT_POOL_TRUST,
    OPT_LEVEL,
    OPT_FAULTS,
    OPT_VERSION,
    OPT_HELP
};

static const struct option long_options[] = {
    {"state", required_argument, NULL, OPT_STATE},
    {"config", required_argument, NULL, OPT_CONFIG},
    {"storage", required_argument, NULL, OPT_STORAGE},
    {"storage-wait", required_argument, NULL, OPT_STORAGE_WAIT},
    {"sysfs", required_argument, NULL, OPT_SYSFS},
    {"datapath", required_argument, NULL, OPT_DATAPATH},
    {"network", required_argument, NULL, OPT_NETWORK},
    {"network-trial", required_argument, NULL, OPT_NETWORK_TRIAL},
    {"socket", required_argument, NULL, OPT_SOCKET},
    {"listen", required_argument, NULL, OPT_LISTEN},
    {"tls-port", required_argument, NULL, OPT_TLS_PORT},
    {"plain-port", required_argument, NULL, OPT_PLAIN_PORT},
    {"nbd-port", required_argument, NULL, OPT_NBD_PORT},
    {"hypervisor", required_argument, NULL, OPT_HYPERVISOR},
    {"sim-program", required_argument, NULL, OPT_SIM_PROGRAM},
    {"cli-program", required_argument, NULL, OPT_CLI_PROGRAM},
    {"storage-program", required_argument, NULL, OPT_STORAGE_PROGRAM},
    {"password-file", required_argument, NULL, OPT_PASSWORD_FILE},
    {"web-root", required_argument, NULL, OPT_WEB_ROOT},
    {"system-root", required_argument, NULL, OPT_SYSTEM_ROOT},
    {"ready-fd", required_argument, NULL, OPT_READY_FD},
    {"op-wait", required_argument, NULL, OPT_OP_WAIT},
    {"end-wait", required_argument, NULL, OPT_END_WAIT},
    {"pool-address", required_argument, NULL, OPT_POOL_ADDRESS},
    {"pool-port", required_argument, NULL, OPT_POOL_PORT},
    {"manual-members", no_argument, NULL, OPT_MANUAL_MEMBERS},
    {"joining", no_argument, NULL, OPT_JOINING},
    {"pool-trust", required_argument, NULL, OPT_POOL_TRUST},
    {"level", required_argument, NULL, OPT_LEVEL},
    {"enable-faults", no_argument, NULL, OPT_FAULTS},
    {"version", no_argument, NULL, OPT_VERSION},
    {"help", no_argument, NULL, OPT_HELP},
    {NULL, 0, NULL, 0},
};

struct settings {
    struct xapid_options options;
    int ready_fd;
};

static void set_option(struct settings *s, int c)
{
    struct xapid_options *o = &s->options;

    switch (c) {
    case OPT_STATE:
        o->state_dir = optarg;
        break;
    case OPT_CONFIG:
        o->config_dir = optarg;
        break;
    case OPT_SYSFS:
        o->sysfs_dir = optarg;
        break;
    case OPT_STORAGE:
        o->storage_dir = optarg;
        break;
    case OPT_STORAGE_WAIT:
        o->storage_wait = atoll(optarg) * USEC_PER_SEC;
        break;
    case OPT_DATAPATH:
        o->datapath = optarg;
        break;
    case OPT_NETWORK:
        o->network = optarg;
        break;
    case OPT_NETWORK_TRIAL:
        o->network_trial = atoll(optarg) * USEC_PER_SEC;
        break;
    case OPT_SOCKET:
        o->unix_socket = optarg;
        break;
    case OPT_LISTEN:
        o->listen_address = optarg;
        break;
    case OPT_TLS_PORT:
        o->tls_port = atoi(optarg);
        break;
    case OPT_PLAIN_PORT:
        o->plain_port = atoi(optarg);
        break;
    case OPT_NBD_PORT:
        o->nbd_port = atoi(optarg);
        break;
    case OPT_HYPERVISOR:
        o->hypervisor = optarg;
        break;
    case OPT_SIM_PROGRAM:
        o->sim_program = optarg;
        break;
    case OPT_CLI_PROGRAM:
        o->cli_program = optarg;
        break;
    case OPT_STORAGE_PROGRAM:
        o->storage_program = optarg;
        break;
    case OPT_PASSWORD_FILE:
        o->password_file = optarg;
        break;
    case OPT_WEB_ROOT:
        o->web_root = optarg;
        break;
    case OPT_SYSTEM_ROOT:
        o->system_root = optarg;
        break;
    case OPT_READY_FD:
        s->ready_fd = atoi(optarg);
        break;
    case OPT_OP_WAIT:
        o->op_wait = atoll(optarg) * USEC_PER_SEC;
        break;
    case OPT_END_WAIT:
        o->end_wait = atoll(optarg) * USEC_PER_SEC;
        break;
    case OPT_POOL_ADDRESS:
        o->pool_address = optarg;
        break;
    case OPT_POOL_PORT:
        o->pool_port = atoi(optarg);
        break;
    case OPT_MANUAL_MEMBERS:
        o->manual_members = true;
        break;
    case OPT_JOINING:
        o->joining = true;
        break;
    case OPT_POOL_TRUST:
        o->pool_trust = optarg;
        break;
    case OPT_LEVEL:
        o->level = (unsigned)atoi(optarg);
        break;
    case OPT_FAULTS:
        o->enable_faults = true;
        break;
    case OPT_VERSION:
        puts("xapid " XAPID_VERSION);
        exit(0);
    case OPT_HELP:
        fputs(usage, stdout);
        exit(0);
    default:
        fputs(usage, stderr);
        exit(2);
    }
}

/* While xapid_start waits, nobody takes signals. */
static bool end_is_asked(void)
{
    sigset_t set;

    sigpending(&set);
    return sigismember(&set, SIGTERM) == 1 || sigismember(&set, SIGINT) == 1;
}

/* Asked for by a start that found itself to be something else; the signal is taken. */
static bool restart_is_asked(void)
{
    sigset_t set;
    int sig;

    sigpending(&set);
    if (sigismember(&set, SIGUSR1) != 1)
        return false;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    return sigwait(&set, &sig) == 0;
}

/* What sd_notify(3) does: "systemctl start" then returns when calls are answered. */
static void tell_service_manager(void)
{
    static const char ready[] = "READY=1";
    const char *path = getenv("NOTIFY_SOCKET");
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    size_t len = path ? strlen(path) : 0;
    int fd;

    if (len < 2 || len >= sizeof to.sun_path || (*path != '/' && *path != '@'))
        return;
    memcpy(to.sun_path, path, len);
    if (*path == '@') /* an abstract name begins with a zero byte */
        to.sun_path[0] = '\0';
    fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || sendto(fd, ready, sizeof ready - 1, MSG_NOSIGNAL, (struct sockaddr *)&to,
                         (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len)) < 0)
        log_warning("the service manager was not told of the start: %s", strerror(errno));
    if (fd >= 0)
        close(fd);
}

static void tell_ready(struct settings *s, const struct xapid *xapid)
{
    tell_service_manager();
    if (s->ready_fd < 0)
        return;
    dprintf(s->ready_fd, "%d %d\n", xapid->tls_port, xapid->plain_port);
    close(s->ready_fd);
    s->ready_fd = -1;
}

/* SIGHUP reads the certificate again, SIGUSR1 begins anew; the others end the daemon.  All are
 * blocked in every thread and taken here. */
static int wait_for_end(struct xapid *xapid, const sigset_t *set)
{
    int sig;

    while (sigwait(set, &sig) == 0) {
        if (sig != SIGHUP)
            break;
        xapid_reload(xapid);
    }
    log_info("ending on signal %d", sig);
    return sig;
}

static void ask_restart(void)
{
    kill(getpid(), SIGUSR1);
}

/* One life of the daemon.  True if another is to follow; else *status is the program's. */
static bool live(struct settings *s, const sigset_t *set, int *status)
{
    struct arena arena = {0};
    struct xapid *xapid = NULL;
    struct error *e = xapid_start(&arena, &s->options, &xapid);
    bool again;

    *status = e && !end_is_asked();
    if (*status)
        log_error("xapid cannot start: %s", e->n_params ? e->params[0] : e->code);
    else if (e)
        log_info("ending: %s", e->n_params ? e->params[0] : e->code);
    arena_release(&arena);
    if (!xapid)
        return restart_is_asked();
    tell_ready(s, xapid);
    again = wait_for_end(xapid, set) == SIGUSR1;
    /* Ports that the system chose stay what clients know. */
    s->options.tls_port = xapid->options.tls_port < 0 ? -1 : xapid->tls_port;
    s->options.plain_port = xapid->options.plain_port < 0 ? -1 : xapid->plain_port;
    if (xapid->nbd)
        s->options.nbd_port = xapid->nbd_port;
    xapid_stop(xapid);
    return again;
}

int main(int argc, char **argv)
{
    struct settings s = {.options = {.tls_port = 443,
                                     .plain_port = 80,
                                     .pool_port = 7400,
                                     .nbd_port = 10809,
                                     .network_trial = -1,
                                     .give_up = end_is_asked,
                                     .restart = ask_restart},
                         .ready_fd = -1};
    sigset_t set;
    int c, status;

    while ((c = getopt_long(argc, argv, "", long_options, NULL)) != -1)
        set_option(&s, c);
    if (optind < argc) {
        fputs(usage, stderr);
        return 2;
    }
    signal(SIGPIPE, SIG_IGN);
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGHUP);
    sigaddset(&set, SIGUSR1);
    sigprocmask(SIG_BLOCK, &set, NULL);
    codec_init();
    while (live(&s, &set, &status))
        ;
    return status;
}
