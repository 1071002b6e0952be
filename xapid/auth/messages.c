/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* messages.c -- the messages of class session that end sessions, list users and change the
 * password; class auth. */
#include <string.h>

#include "libxapi/value/value.h"
#include "xapid/auth/auth.h"
#include "xapid/auth/audit.h"
#include "xapid/main/xapid.h"

/*** session ***/

struct error *session_logout(struct call *call)
{
    /* Gone already, by another logout: that is what was wanted. */
    if (call->session)
        session_destroy(call->xapid->sessions, call->session->ref);
    return OK;
}

struct error *session_local_logout(struct call *call)
{
    return session_logout(call);
}

/*
 * Who is on the host's own socket is root there and may have forgotten the old password; over the
 * network it has to be given.
 */
struct error *session_change_password(struct call *call,
                                      const struct session_change_password_args *args)
{
    const struct auth_session *s = call->session;

    if (s && !s->is_local_superuser)
        return err_user_is_not_local_superuser(
            call, "Only root's password can be changed here, and only by root.");
    if (s && *s->client && auth_check_now(call->xapid->auth, "root", args->old_pwd) != AUTH_GOOD)
        return err_change_password_rejected(call, "The old password is wrong.");
    return auth_set_password(call, "root", args->new_pwd);
}

/* The directory identifier a session was opened with, copied; NULL for root and the pool. */
static const char *sid_of(struct call *call, ref_t ref)
{
    const struct session *s = session_record(call->xapid->sessions, call->arena, ref);

    return s && *s->auth_user_sid ? s->auth_user_sid : NULL;
}

struct error *session_get_all_subject_identifiers(struct call *call, struct strings *result)
{
    struct refs all = session_refs(call->xapid->sessions, call->arena, NULL);
    const char **v = arena_array(call->arena, const char *, all.n + 1);

    *result = (struct strings){0, v};
    for (size_t i = 0; i < all.n; i++) {
        const char *sid = sid_of(call, all.v[i]);

        if (sid && !strings_contain(result, sid))
            v[result->n++] = sid;
    }
    return OK;
}

struct error *session_logout_subject_identifier(
    struct call *call, const struct session_logout_subject_identifier_args *args)
{
    struct refs refs = session_refs(call->xapid->sessions, call->arena, args->subject_identifier);

    for (size_t i = 0; i < refs.n; i++) {
        const char *sid = sid_of(call, refs.v[i]);

        if (!sid || strcmp(sid, args->subject_identifier) != 0)
            continue; /* root is no subject, whatever its name */
        if (!call->session || !ref_equal(refs.v[i], call->session->ref))
            session_destroy(call->xapid->sessions, refs.v[i]);
    }
    return OK;
}

/*** auth: there is no directory ***/

struct error *auth_get_subject_identifier(struct call *call,
                                          const struct auth_get_subject_identifier_args *args,
                                          const char **result)
{
    (void)args, (void)result;
    return err_auth_is_disabled(call);
}

struct error *auth_get_subject_information_from_identifier(
    struct call *call, const struct auth_get_subject_information_from_identifier_args *args,
    struct strmap *result)
{
    (void)args, (void)result;
    return err_auth_is_disabled(call);
}

struct error *auth_get_group_membership(struct call *call,
                                        const struct auth_get_group_membership_args *args,
                                        struct strings *result)
{
    (void)args, (void)result;
    return err_auth_is_disabled(call);
}
