/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "xapid/ops/host/setting.h"

#include "libxapi/base/log.h"
#include "xapid/main/xapid.h"
#include "xapid/ops/op.h"

static struct error *tell_again(struct call *call, enum host_setting setting)
{
    static struct error *(*const all[])(struct call *) = {
        [HOST_SETTING_SSH] = ssh_tell,
        [HOST_SETTING_IDLE_STATES] = idle_states_tell,
        [HOST_SETTING_GUEST_AGENTS] = guest_agents_tell,
    };

    return all[setting](call);
}

/* Guard: the system may have been told what is not recorded. */
struct told {
    struct op *op;
    enum host_setting setting;
};

static void told_release(struct told *t)
{
    struct error *e;

    if (!t->op || !op_may_undo(t->op))
        return;
    e = tell_again(t->op->call, t->setting);
    if (e)
        log_error("the system is not told what this host's record says: %s",
                  error_line(t->op->call->arena, e));
}

struct error *host_change(struct call *call, const struct host_change *change)
{
    const struct host_setting_intent intent = {call->xapid->host, change->setting};
    AUTO(op) op = {0};
    AUTO(told) told = {0};

    TRY(op_begin(call, &(struct op_spec){.kind = INTENT_host_setting, .intent = &intent}, &op));
    told = (struct told){&op, change->setting};
    TRY(change->tell(call, change->arg));
    TRY(op_step(&op, "told", 0.9));
    TRY(op_commit(&op, change->record, change->arg));
    told.op = NULL;
    return OK;
}

struct error *host_setting_recover(struct call *call, struct op *op,
                                   const struct host_setting_intent *intent)
{
    struct error *e = tell_again(call, (enum host_setting)intent->setting);

    /* A program that fails now fails at each start: that must not keep the intent for ever. */
    if (e)
        log_error("a change of this host's settings was cut short: %s", error_line(call->arena, e));
    return op_commit(op, NULL, NULL);
}
