/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * mail.h -- messages that are sent on by mail, where pool.other_config says to whom.
 *
 *   mail-destination   the address; nothing is sent without one
 *   mail-sender        default noreply@<name of the host>
 *   mail-min-priority  default 3: a message is sent if its priority is at most that
 *
 * The text goes to <config_dir>/mail-alarm, where there is such a program, else to "sendmail -t
 * -i". Only the coordinator sends, and only what came while it ran; a mail that cannot be sent is
 * logged and not tried again.
 */
#pragma once

#include "libxapi/base/call.h"

struct mailer;

struct mailer *mailer_new(struct xapid *xapid);
void mailer_free(struct mailer *mailer);
/* There may be new messages: has a worker look, soon.  NULL is fine. */
void mailer_look(struct mailer *mailer);
