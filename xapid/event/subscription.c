/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "xapid/event/subscription.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static bool parse_one(struct call *call, const char *text, struct subscription *out)
{
    const char *slash = strchr(text, '/');
    const struct class_desc *class;
    char *name;

    *out = (struct subscription){.class_id = -1};
    if (strcmp(text, "*") == 0)
        return true;
    name = slash ? arena_strndup(call->arena, text, (size_t)(slash - text))
                 : arena_strdup(call->arena, text);
    if (!*name)
        return false;
    class = api_class_by_lower(name);
    /* An unknown class is no mistake: an older server simply has no events of it. */
    out->class_id = class && class->flags & CLASS_EVENTS ? class->id : -2;
    return !slash || ref_from_text(slash + 1, &out->ref);
}

struct error *subscriptions_parse(struct call *call, struct strings classes,
                                  struct subscriptions *out)
{
    if (classes.n > SUBSCRIPTION_MAX)
        return err_event_subscription_parse_failure(call, "too many subscriptions");
    out->n = classes.n;
    out->v = arena_array(call->arena, struct subscription, classes.n + 1);
    for (size_t i = 0; i < classes.n; i++)
        if (!parse_one(call, classes.v[i], &out->v[i]))
            return err_event_subscription_parse_failure(call, classes.v[i]);
    return OK;
}

bool subscribed(const struct subscriptions *s, int class_id, ref_t ref)
{
    for (size_t i = 0; i < s->n; i++)
        if ((s->v[i].class_id == -1 || s->v[i].class_id == class_id) &&
            (ref_is_null(s->v[i].ref) || ref_equal(s->v[i].ref, ref)))
            return true;
    return false;
}

char *token_text(uint64_t revision, uint64_t incarnation, char out[TOKEN_SIZE])
{
    snprintf(out, TOKEN_SIZE, "%020" PRIu64 ",%020" PRIu64, revision, incarnation);
    return out;
}

struct error *token_parse(struct call *call, const char *token, uint64_t *revision,
                          uint64_t *incarnation)
{
    int end = 0;

    /* strtoull and its kin take signs and blanks: only digits are a token. */
    if (strspn(token, "0123456789,") != strlen(token) || strlen(token) >= TOKEN_SIZE ||
        sscanf(token, "%" SCNu64 ",%" SCNu64 "%n", revision, incarnation, &end) != 2 || token[end])
        return err_event_from_token_parse_failure(call, token);
    return OK;
}
