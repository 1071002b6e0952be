/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * turn.h -- whose turn it is to change the metadata of storage that hosts change one at a time
 * (struct sr_turns).
 *
 * A turn is a line in the log: an intent (sr_turn) that anybody may commit at any time.  The turns
 * of a repository follow each other in the order of the log, so nobody is overtaken; one call of a
 * host at a time is in that line.  A turn ends when the storage process that it was taken for has;
 * where that was killed, or the daemon, its intent stays until the storage answers this host
 * again, which it does only once what was begun has ended, and until then whatever else the host
 * changes is part of it.  A host that is silent keeps its turn, and the others wait, until it is
 * back or is declared dead.
 */
#pragma once

#include "storage-repos/sr.h"

extern const struct sr_turns sr_turns;
