/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * system.h -- the one door to the system this host runs on: its programs and its configuration
 * files.
 *
 * Everything lies below the system root (--system-root): "" on a real host, a folder of its own
 * where the hypervisor is the simulator, so that neither a test nor a demonstration ever changes
 * the machine it runs on.  Programs are looked for in the system's folders below the root, run by
 * absolute path, without a shell, with a deadline and a limit on what they print; what a program
 * says when it fails is in the error.
 */
#pragma once

#include "libxapi/base/child.h"
#include "xapid/db/db.h"

/* A path of the host, as it is below the root. */
const char *system_path(struct call *call, const char *path);
/* The absolute path of a program; NULL where the host does not have it. */
const char *system_program(struct call *call, const char *name);
/* True where the host is made up: it has no programs but those that a test put there. */
bool system_is_simulated(const struct call *call);

/*
 * Runs a program to its end.  argv[0] is its name; a zero timeout is 60 seconds.  INTERNAL_ERROR
 * where there is no such program, where it cannot be run, is too slow, prints more than the limit
 * (unless the caller watches it) or fails; TASK_CANCELLED.
 */
MUST_CHECK struct error *system_run(struct call *call, const struct child_spec *spec,
                                    struct child_result *result);
/* The same with the arguments as a list; '*output' (may be NULL) is what it printed, as UTF-8. */
#define SYSTEM_RUN(call, output, ...)                                                              \
    system_ask((call), (output), (const char *const[]){__VA_ARGS__, NULL})
MUST_CHECK struct error *system_ask(struct call *call, const char **output,
                                    const char *const *argv);

/* The text of a small file of the host; NULL where there is none. */
const char *system_read(struct call *call, const char *path);

/* A configuration file that xapid owns as a whole. */
struct system_file {
    const char *path;
    const char *text; /* NULL: there shall be none */
    /* Has the system take it into account; may be NULL. */
    struct error *(*apply)(struct call *call, void *arg);
    void *arg;
};
/* Writes the file, whole or not at all, and applies it.  Where that fails the file is as before. */
MUST_CHECK struct error *system_configure(struct call *call, const struct system_file *file);
/* The same for options of the next boot, in a file that the boot loader's configuration is made of.
 */
MUST_CHECK struct error *system_configure_boot(struct call *call, const char *path,
                                               const char *text);
/* At start: as system_configure, where the file is not as it shall be.  A failure is logged. */
void system_settle(struct call *call, const struct system_file *file);

/* A host name or an address: letters, digits, dots, colons, hyphens, at most 253. */
bool system_is_address(const char *text);
