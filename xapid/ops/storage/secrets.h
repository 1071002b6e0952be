/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* secrets.h -- passwords in device_config are kept as objects of class secret, named by their uuid.
 */
#pragma once

#include "xapid/db/db.h"

/*
 * The map with each key that ends in "password" replaced by <key>_secret, whose value is the uuid
 * of a new secret; those already there get a copy of their secret, so that each PBD owns its own.
 */
struct strmap txn_secrets_make(struct txn *txn, const struct strmap *device_config);
/* Destroys the secrets a PBD owns. */
void txn_secrets_destroy(struct txn *txn, const struct strmap *device_config);
