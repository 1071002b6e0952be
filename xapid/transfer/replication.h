/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * replication.h -- the pool's database is copied to disks of storage repositories, now and then:
 * SR.enable_database_replication.
 *
 * It goes to each disk of type metadata whose metadata_of_pool is this pool, as long as its
 * repository is attached where the pool's coordinator is; about once a minute if something has
 * changed, less often where writing takes long.
 */
#pragma once

struct xapid;
struct replication;

struct replication *replication_new(struct xapid *xapid);
void replication_free(struct replication *replication);
/* Every few seconds, on a worker: writes what is due. */
void replication_tick(struct replication *replication);
