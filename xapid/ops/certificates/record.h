/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* record.h -- rows of class Certificate, and what is said when one is about to end. */
#pragma once

#include "xapid/db/db.h"
#include "xapid/http/certificate.h"

/* A new row for that certificate; the uuid of 'what', its name, type, host and purpose are used. */
ref_t txn_certificate_add(struct txn *txn, const struct certificate *what,
                          const struct certificate_info *info);

/* The host has this certificate and no other: no change where it is so already. */
void txn_server_certificate(struct txn *txn, ref_t host, const struct certificate_info *info);

/* Name of the message that is due for a certificate of that type at that time; "" for none. */
const char *expiry_message(struct arena *arena, enum certificate_type type, usec_t not_after,
                           usec_t now);

/* Says what is due of all certificates, once each; removes what was said of those that are gone or
 * were replaced.  To be called now and then on the coordinator, and after each change. */
void certificates_check_expiry(struct call *call, usec_t now);
