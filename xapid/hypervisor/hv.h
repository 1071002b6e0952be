/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * hv.h -- the hypervisor as operations see it: the client side of a small framed protocol
 * (protocol.h).
 *
 * Behind the Unix socket stands a process of its own that outlives the daemon: the executor, which
 * links libxenlight, or the simulator (xapid-sim), same protocol.  Every function may be called
 * from any number of threads and blocks its (worker) thread until the answer or a deadline.  Each
 * request carries an id chosen by the caller and the epoch of the coordinator: the executor refuses
 * an older epoch for whatever changes something (from another process, for what is sent from here
 * has the newest that any request had), remembers the outcome of each id (thousands of
 * them), and answers a repeated id with that outcome instead of doing the work twice.  A connection
 * lost in the middle of a call is found again and the call asked for again by its id, within its
 * deadline.  After a restart of the daemon hv_outcome(id) tells what became of a request.
 *
 * Errors: those of the XenAPI where one says it (HOST_NOT_ENOUGH_FREE_MEMORY, DOMAIN_EXISTS,
 * DEVICE_ALREADY_EXISTS, DEVICE_DETACH_REJECTED, DEVICE_DETACH_TIMEOUT, BOOTLOADER_FAILED,
 * VM_FAILED_SHUTDOWN_ACKNOWLEDGMENT, VM_FAILED_SUSPEND_ACKNOWLEDGMENT), with the VM's uuid where
 * the API wants a reference; everything else is INTERNAL_ERROR with the hypervisor's own text.
 * hv_failure_of tells the kinds a caller must treat differently.
 */
#pragma once

#include "libxapi/base/arena.h"
#include "libxapi/value/type.h"

struct hv;

/* Connects (lazily, again after a loss).  'socket_path' is the executor's; copied. */
struct hv *hv_new(const char *socket_path);
/* No call may be running.  Waits for a 'changed' callback that runs. */
void hv_free(struct hv *hv);

struct hv_request {
    struct arena *arena;     /* for results and errors */
    char id[UUID_TEXT_SIZE]; /* empty: a read, or something that may be done twice */
    uint64_t epoch;
    usec_t timeout; /* 0: 60 s */
};

enum hv_failure {
    HV_FAILED,    /* it was refused or did not work: nothing is left of it */
    HV_UNKNOWN,   /* no answer in time, or the executor forgot: it may have been done, or still be;
                     never undo blindly */
    HV_STALE,     /* the epoch is older than one the executor has seen */
    HV_NO_DOMAIN, /* there is no such domain */
};
enum hv_failure hv_failure_of(const struct error *e);

enum hv_disk_mode { HV_DISK_RO, HV_DISK_RW };

/* A file has either one writer or any number of readers, on all hosts that share it, unless every
 * user says 'shared'. */
struct hv_disk {
    const char *device; /* "xvda" */
    const char *path;   /* file or block device; "" for an empty CD drive */
    const char *format; /* "qcow2", "raw", "vhd" */
    bool cdrom;
    bool shared; /* several writers know what they do (VDI.sharable) */
    enum hv_disk_mode mode;
};

struct hv_nic {
    int device; /* 0... */
    const char *mac, *bridge;
    int64_t mtu;
    int64_t rate;      /* bytes a second that the guest may send, 0: as many as it likes */
    int rate_interval; /* microseconds between two shares of that */
    bool vswitch;      /* the bridge is Open vSwitch's */
};

/* A USB device of the host, by its present numbers there. */
struct hv_usb {
    const char *id; /* chosen by the caller: by it the device is taken away again */
    int bus, address;
};

/* What a domain is built from.  A NULL string reads as "". */
struct hv_domain_config {
    const char *uuid; /* of the VM: the domain's identity */
    const char *name;
    const char *type;                         /* "hvm", "pv", "pvh", "pv_in_pvh" */
    int64_t memory_static_max, memory_target; /* bytes */
    int64_t shadow_memory; /* bytes for page tables, 0: as the hypervisor likes; "pv" has none */
    int vcpus_max, vcpus;
    const char *kernel, *ramdisk, *cmdline; /* direct boot, or "" */
    /* Or a program that finds the kernel in the first of the disks, "" for none, and what it is
       told besides (words between blanks). */
    const char *bootloader, *bootloader_args;
    const char *boot_order;
    const char *firmware; /* "bios", "uefi" */
    struct strmap platform, xenstore_data;
    struct strmap vcpus_params; /* weight, cap, mask */
    struct strmap bios_strings;
    /* What its guest is offered of the processor, at most; "": all there is. */
    const char *cpu_features;
    size_t n_disks;
    const struct hv_disk *disks;
    size_t n_nics;
    const struct hv_nic *nics;
    size_t n_pcis, n_usbs;
    const char *const *pcis; /* PCI functions of the host for the guest alone: "0000:04:00.0" */
    const struct hv_usb *usbs;
};

enum hv_state {
    HV_PAUSED,
    HV_RUNNING,
    HV_SHUTDOWN /* has ended by itself; 'reason' says how; waits to be destroyed */
};
enum hv_reason { HV_NONE, HV_POWEROFF, HV_REBOOT, HV_SUSPEND, HV_CRASH, HV_SOFT_REBOOT };

struct hv_domain {
    char uuid[UUID_TEXT_SIZE];
    int domid;
    enum hv_state state;
    enum hv_reason reason;
    int64_t memory; /* bytes in use */
    int64_t memory_target;
    int vcpus;
    usec_t start_time;       /* wall clock */
    usec_t cpu_time;         /* sum over vCPUs */
    const char *console_rfb; /* path of a Unix socket that speaks RFB, "" if none */
    const char *console_text;
    struct strmap guest; /* guest agent: xenstore-like keys, see protocol.h */
    size_t n_disks, n_nics;
    const struct hv_disk *disks;
    const struct hv_nic *nics;
};

struct hv_host_info {
    const char *hypervisor;            /* "simulator", "xen" */
    const char *version;               /* "4.17.5" */
    const char *scheduler;             /* "credit2"; "" where it was not told */
    int64_t memory_total, memory_free; /* bytes */
    int cpu_count, socket_count, threads_per_core, nr_nodes;
    const char *cpu_vendor, *cpu_model, *cpu_flags, *capabilities; /* words separated by blanks */
    const char *features_pv, *features_hvm; /* 8-hex-digit words joined by '-' */
    double cpu_mhz;
    usec_t boot_time;    /* wall clock */
    const char *boot_id; /* another one after each boot of the machine; "" where it is not told */
    bool iommu;          /* guests can be given PCI functions */
};

/*
 * What the machine and its domains have used, for statistics.  Counters rise from the beginning of
 * what they count; -1 where nobody knows.
 */
enum hv_disk_counter {
    HV_DISK_READ_BYTES,
    HV_DISK_WRITE_BYTES,
    HV_DISK_READ_OPS,
    HV_DISK_WRITE_OPS,
    HV_DISK_READ_USEC, /* how long requests have taken, summed up */
    HV_DISK_WRITE_USEC,
    HV_DISK_INFLIGHT, /* no counter: requests under way */
    HV_DISK_COUNTERS
};
enum hv_nic_counter {
    HV_NIC_RX_BYTES, /* as its owner sees it: what a guest has received */
    HV_NIC_TX_BYTES,
    HV_NIC_RX_ERRORS,
    HV_NIC_TX_ERRORS,
    HV_NIC_COUNTERS
};

struct hv_counters {
    const char *name; /* a disk's device, a NIC's number, a host's interface */
    size_t n;
    const int64_t *v;
};

struct hv_usage {
    char uuid[UUID_TEXT_SIZE]; /* of the VM; any for domain 0 */
    int domid;
    int64_t memory, memory_target; /* bytes */
    int64_t guest_free;            /* bytes that the guest itself calls free */
    struct hv_counters vcpus;      /* nanoseconds that each was running */
    size_t n_disks, n_nics;
    const struct hv_counters *disks, *nics;
};

struct hv_stats {
    usec_t time;                       /* wall clock when they were taken */
    int64_t memory_total, memory_free; /* bytes */
    int64_t running_vcpus;             /* at this moment */
    double load;                       /* of the control domain, over a minute */
    struct hv_counters cpus;           /* nanoseconds that each was not idle */
    size_t n_ports, n_domains;
    const struct hv_counters *ports; /* the host's network interfaces */
    const struct hv_usage *domains;  /* domain 0 among them */
};

MUST_CHECK struct error *hv_host(struct hv *hv, const struct hv_request *rq,
                                 struct hv_host_info *out);
/* Builds the domain paused.  *domid rises with every domain and is never used again. */
MUST_CHECK struct error *hv_build(struct hv *hv, const struct hv_request *rq,
                                  const struct hv_domain_config *config, int *domid);
MUST_CHECK struct error *hv_unpause(struct hv *hv, const struct hv_request *rq, const char *uuid);
MUST_CHECK struct error *hv_pause(struct hv *hv, const struct hv_request *rq, const char *uuid);
/* Asks the guest: HV_POWEROFF, HV_REBOOT or HV_SUSPEND.  Returns once the guest acknowledged; the
   domain ends later (hv_wait_death).  Fails with VM_FAILED_SHUTDOWN_ACKNOWLEDGMENT (HV_SUSPEND:
   VM_FAILED_SUSPEND_ACKNOWLEDGMENT) where the guest does not answer within three quarters of the
   timeout; the request to it is then withdrawn. */
MUST_CHECK struct error *hv_shutdown_request(struct hv *hv, const struct hv_request *rq,
                                             const char *uuid, enum hv_reason what);
/* Waits until the domain has ended by itself, or is gone (HV_NONE).  HV_UNKNOWN at the timeout. */
MUST_CHECK struct error *hv_wait_death(struct hv *hv, const struct hv_request *rq, const char *uuid,
                                       enum hv_reason *reason);
/* Destroys the domain; one that is gone is not an error. */
MUST_CHECK struct error *hv_destroy(struct hv *hv, const struct hv_request *rq, const char *uuid);
/* Writes the memory image to 'path' and leaves the domain ended (HV_SUSPEND), to be destroyed.  A
   new or regular file is replaced all at once; a block device or a mounted file is written in
   place, its first block last.  On failure the domain runs on. */
MUST_CHECK struct error *hv_save(struct hv *hv, const struct hv_request *rq, const char *uuid,
                                 const char *path);
/* Builds a domain, paused, from an image.  config's memory_target gives way to what the image
 * holds. */
MUST_CHECK struct error *hv_restore(struct hv *hv, const struct hv_request *rq,
                                    const struct hv_domain_config *config, const char *path,
                                    int *domid);
/*
 * To another host.  Both connect to a Unix socket 'path' on which the caller listens, and which
 * carries the hypervisor's own stream.
 *
 * hv_migrate_out sends the memory of a running domain, while it goes on running if 'live'; it
 * returns when the domain has ended (HV_SUSPEND), everything was written and the connection closed.
 * On failure the domain runs on, as it does where the reader leaves.
 *
 * hv_migrate_in builds a domain, paused, from what comes up to the stream's end; nothing is left of
 * one that fails.  'config' names no disks: those are plugged (hv_disk_plug) once the sender has
 * let go of them, before the domain is unpaused.
 */
MUST_CHECK struct error *hv_migrate_out(struct hv *hv, const struct hv_request *rq,
                                        const char *uuid, const char *path, bool live);
MUST_CHECK struct error *hv_migrate_in(struct hv *hv, const struct hv_request *rq,
                                       const struct hv_domain_config *config, const char *path,
                                       int *domid);
/* A domain that has ended with HV_SUSPEND goes on where it was; one that runs is no error. */
MUST_CHECK struct error *hv_resume(struct hv *hv, const struct hv_request *rq, const char *uuid);
MUST_CHECK struct error *hv_set_memory(struct hv *hv, const struct hv_request *rq, const char *uuid,
                                       int64_t target);
MUST_CHECK struct error *hv_set_vcpus(struct hv *hv, const struct hv_request *rq, const char *uuid,
                                      int vcpus);
MUST_CHECK struct error *hv_disk_plug(struct hv *hv, const struct hv_request *rq, const char *uuid,
                                      const struct hv_disk *disk);
/* 'force': without the guest's consent.  A guest that is paused, or says that it uses the disk,
   keeps it (DEVICE_DETACH_REJECTED, with its reason), one that does not answer too
   (DEVICE_DETACH_TIMEOUT).  One that is gone is not an error. */
MUST_CHECK struct error *hv_disk_unplug(struct hv *hv, const struct hv_request *rq,
                                        const char *uuid, const char *device, bool force);
/* Changes the medium of a CD drive; path "" ejects.  A guest that uses the medium keeps it, as with
   hv_disk_unplug. */
MUST_CHECK struct error *hv_disk_change(struct hv *hv, const struct hv_request *rq,
                                        const char *uuid, const struct hv_disk *disk);
MUST_CHECK struct error *hv_nic_plug(struct hv *hv, const struct hv_request *rq, const char *uuid,
                                     const struct hv_nic *nic);
MUST_CHECK struct error *hv_nic_unplug(struct hv *hv, const struct hv_request *rq, const char *uuid,
                                       int device, bool force);
/*
 * What a running domain can be told besides (the protocol's version 2).  Nothing remembers it: it
 * may be told again.
 */
/* Presses Alt, SysRq and the key; the guest's kernel does what it likes. */
MUST_CHECK struct error *hv_sysrq(struct hv *hv, const struct hv_request *rq, const char *uuid,
                                  char key);
enum hv_trigger {
    HV_TRIGGER_POWER, /* the power button */
    HV_TRIGGER_SLEEP, /* the sleep button: ACPI S3 */
    HV_TRIGGER_NMI,
    HV_TRIGGER_INIT,
    HV_TRIGGER_RESET,
    HV_TRIGGER_S3RESUME
};
MUST_CHECK struct error *hv_trigger(struct hv *hv, const struct hv_request *rq, const char *uuid,
                                    enum hv_trigger trigger);
/* weight, cap (percent of a processor, 0: none) and mask (numbers of processors between commas); a
 * key that is missing changes nothing. */
MUST_CHECK struct error *hv_set_scheduling(struct hv *hv, const struct hv_request *rq,
                                           const char *uuid, const struct strmap *params);
/* Bytes of memory for shadow or nested page tables. */
MUST_CHECK struct error *hv_set_shadow(struct hv *hv, const struct hv_request *rq, const char *uuid,
                                       int64_t bytes);
/* Writes and removes keys of the guest's, named as in hv_domain.guest; only below vm-data, control
 * and data. */
MUST_CHECK struct error *hv_guest_write(struct hv *hv, const struct hv_request *rq,
                                        const char *uuid, const struct strmap *write,
                                        const struct strings *remove);
/* Writes the memory of a domain, also of one that has crashed, to a new file. */
MUST_CHECK struct error *hv_core_dump(struct hv *hv, const struct hv_request *rq, const char *uuid,
                                      const char *path);
/* Takes a USB device away that the domain was built with; one that is gone is not an error. */
MUST_CHECK struct error *hv_usb_unplug(struct hv *hv, const struct hv_request *rq, const char *uuid,
                                       const char *id);
/* All domains but the control domain. */
MUST_CHECK struct error *hv_list(struct hv *hv, const struct hv_request *rq, size_t *n,
                                 const struct hv_domain **out);
/* One domain; *out is NULL if there is none. */
MUST_CHECK struct error *hv_get(struct hv *hv, const struct hv_request *rq, const char *uuid,
                                const struct hv_domain **out);
/* What host and domains have used up to now, in one answer. */
MUST_CHECK struct error *hv_stats(struct hv *hv, const struct hv_request *rq, struct hv_stats *out);
/* What became of the request rq->id: *known is false if the executor has never seen the id, and
   from then on it refuses it, so that a request still on its way is not done behind the caller's
   back.  Else *outcome is its error or OK; one that is still being worked on is waited for, up to
   the timeout. */
MUST_CHECK struct error *hv_outcome(struct hv *hv, const struct hv_request *rq, bool *known,
                                    struct error **outcome);

/* The hypervisor's own messages, at most 256 KiB of the last ones; with 'clear' they are taken away
 * in the same step. */
MUST_CHECK struct error *hv_messages(struct hv *hv, const struct hv_request *rq, bool clear,
                                     const char **out);
/* Keys as if typed on the hypervisor's console; what they bring about is among the messages. */
MUST_CHECK struct error *hv_debug_keys(struct hv *hv, const struct hv_request *rq,
                                       const char *keys);

/* Changes of domains (built, state, death, guest metrics, devices, gone), pushed by the executor:
   'changed' is called on a thread of hv's own with the VM's uuid, or with "" when anything may have
   changed: once at the beginning, when the connection was lost and found again, and when there were
   too many to name.  It may make calls, but not hv_free.  To be called once. */
void hv_watch(struct hv *hv, void (*changed)(void *ctx, const char *uuid), void *ctx);

/* Drives the simulator in tests: sim/README.md lists the commands.  The executor refuses it. */
MUST_CHECK struct error *hv_control(struct hv *hv, const struct hv_request *rq,
                                    const struct strmap *command, struct strmap *answer);

struct hv_simulator {
    const char *program; /* path of xapid-sim */
    const char *socket_path, *dir;
    int64_t memory; /* bytes; 0: the simulator's default */
    int cpus;       /* 0: the default */
    int boot_ms;    /* 0: the default */
};
/* Starts the simulator as a process of its own (session, descriptors, parent: nothing of the
   caller's) unless its socket answers already, and returns when it does.  'timeout' 0: 10 s. */
MUST_CHECK struct error *hv_start_simulator(struct arena *arena, const struct hv_simulator *sim,
                                            usec_t timeout);

struct hv_executor {
    const char *program; /* path of xapid-executor */
    const char *socket_path, *dir;
};
/* The same for the executor, which drives Xen.  Fails where there is no Xen. */
MUST_CHECK struct error *hv_start_executor(struct arena *arena, const struct hv_executor *executor,
                                           usec_t timeout);
/* Whether this is the control domain of a Xen host. */
bool hv_xen_is_here(void);

/*
 * Ends the machine (Xen's watchdog of domain 0; the simulator: all its domains) in so many
 * milliseconds from now, however late the request arrives, unless it is told anew before; 0: never.
 * It needs nothing more of the daemon, nor of the process behind this.
 */
MUST_CHECK struct error *hv_watchdog(struct hv *hv, const struct hv_request *rq, int64_t ms);
