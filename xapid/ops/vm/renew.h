/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* renew.h -- a guest goes on in a new domain of the same host. */
#pragma once

#include "xapid/ops/op.h"

/* As the operation 'as', which the VM must allow. */
MUST_CHECK struct error *vm_renew_as(struct call *call, ref_t vm, enum vm_operations as);
