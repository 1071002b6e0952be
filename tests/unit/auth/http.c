/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tests/unit/auth/lab.h"
#include "tests/unit/http/harness.h"
#include "xapid/worker/workers.h"

struct stage {
    struct lab *lab;
    int port;
    char socket[96];
};

static void on_who(struct http_request *request, void *ctx, struct error *e,
                   const struct auth_http_who *found)
{
    struct auth_http_who who;
    const char *text;

    if (e) {
        auth_http_refuse(request, http_query(request, "action"), e);
        return;
    }
    who = *found;
    text = arena_printf(request->arena, "%s %s%s%s", who.session->user,
                        api_role_names[who.session->role], who.session->pool ? " pool" : "",
                        who.temporary ? " temporary" : "");
    auth_http_release(ctx, &who);
    reply_text(request, text);
}

static void who_handler(struct http_request *request, void *ctx)
{
    auth_http(ctx, request, http_query(request, "action"), on_who, ctx);
}

static int setup(void **state)
{
    static const struct http_route routes[] = {
        {HTTP_M_GET, "/who", who_handler, 0},
        {HTTP_M_GET, "/audit_log", audit_log_get, 0},
        {0, NULL, NULL, 0},
    };
    struct stage *s = xcalloc(1, sizeof *s);
    struct lab *l = s->lab = lab_new();
    struct http_options options = {.n_loops = 2, .routes = routes, .ctx = &l->xapid};

    lab_password(l, "root", "right: one");
    lab_auth(l, &(struct auth_tuning){.failure_delay = -1});
    l->xapid.workers = workers_new(4);
    assert_null(http_server_new(&l->arena, &options, &l->xapid.http));
    assert_null(http_listen_tcp(&l->arena, l->xapid.http, "127.0.0.1", 0, false, &s->port));
    snprintf(s->socket, sizeof s->socket, "%s/socket", l->dir);
    assert_null(http_listen_unix(&l->arena, l->xapid.http, s->socket, 0600));
    *state = s;
    return 0;
}

static int teardown(void **state)
{
    struct stage *s = *state;

    http_server_free(s->lab->xapid.http, 0);
    workers_free(s->lab->xapid.workers);
    lab_free(s->lab);
    free(s);
    return 0;
}

static void ask_with(struct stage *s, const char *target, const char *headers, int status,
                     const char *body)
{
    struct client c = client_tcp(s->port);

    ask(&c, arena_printf(&s->lab->arena, "GET %s HTTP/1.1\r\nHost: x\r\n%s\r\n", target, headers),
        status, body);
    client_close(&c);
}

static ref_t make_session(struct stage *s, enum role_id role)
{
    struct call call = lab_call(s->lab, role, false, "alice");
    ref_t ref = call.session->ref;

    lab_end(&call);
    return ref;
}

static const char *text_of(struct stage *s, ref_t ref)
{
    return ref_text(&s->lab->arena, ref);
}

static void a_session_comes_by_cookie_or_query(void **state)
{
    struct stage *s = *state;
    const char *ref = text_of(s, make_session(s, ROLE_VM_ADMIN));

    ask_with(s, arena_printf(&s->lab->arena, "/who?session_id=%s", ref), "", 200, "alice vm-admin");
    ask_with(s, "/who", arena_printf(&s->lab->arena, "Cookie: session_id=%s\r\n", ref), 200,
             "alice vm-admin");
    assert_int_equal(session_count(s->lab->xapid.sessions), 1);
}

static void an_invalid_session_is_not_made_good_by_a_password(void **state)
{
    struct stage *s = *state;

    ask_with(s, arena_printf(&s->lab->arena, "/who?session_id=%s", text_of(s, ref_new())),
             "Authorization: Basic cm9vdDpyaWdodDogb25l\r\n", 401, NULL);
    ask_with(s, "/who?session_id=", "", 401, NULL);
    ask_with(s, "/who?session_id=OpaqueRef:NULL", "", 401, NULL);
}

static void a_role_that_is_too_weak_is_403_and_audited(void **state)
{
    struct stage *s = *state;
    const char *ref = text_of(s, make_session(s, ROLE_VM_OPERATOR));

    ask_with(s, arena_printf(&s->lab->arena, "/who?action=get_export&session_id=%s", ref), "", 403,
             NULL);
    assert_non_null(strstr(lab_audit(s->lab),
                           "'alice' 'alice' 'DENIED' "
                           "'ERROR:RBAC_PERMISSION_DENIED' 'HTTP' 'get_export'"));
}

static void the_pools_secret_comes_in_a_cookie_only(void **state)
{
    struct stage *s = *state;
    const char *secret = auth_pool_secret(s->lab->xapid.auth);

    ask_with(s, "/who", arena_printf(&s->lab->arena, "Cookie: pool_secret=%s\r\n", secret), 200,
             " local-root pool temporary");
    ask_with(s, arena_printf(&s->lab->arena, "/who?pool_secret=%s", secret), "", 401, NULL);
    ask_with(s, "/who", "Cookie: pool_secret=00000000\r\n", 401, NULL);
    ask_with(s, "/who", "Cookie: pool_secret=\r\n", 401, NULL);
    assert_int_equal(session_count(s->lab->xapid.sessions), 0);
}

static void basic_credentials_give_a_session_for_one_request(void **state)
{
    struct stage *s = *state;

    ask_with(s, "/who", "Authorization: Basic cm9vdDpyaWdodDogb25l\r\n", 200,
             "root local-root temporary");
    ask_with(s, "/who", "authorization: basic cm9vdDpyaWdodDogb25l\r\n", 200,
             "root local-root temporary"); /* recognised */
    ask_with(s, "/who", "Authorization: Basic cm9vdDp3cm9uZw==\r\n", 401, NULL);
    ask_with(s, "/who", "Authorization: Basic !!!\r\n", 401, NULL);
    ask_with(s, "/who", "Authorization: Basic cm9vdA==\r\n", 401, NULL);
    ask_with(s, "/who", "Authorization: Basic\r\n", 401, NULL);
    assert_int_equal(session_count(s->lab->xapid.sessions), 0);
}

static void nobody_is_asked_for_credentials(void **state)
{
    struct stage *s = *state;
    struct client c = client_tcp(s->port);
    struct reply r;

    client_send(&c, "GET /who?action=get_export HTTP/1.1\r\nHost: x\r\n\r\n");
    r = client_read(&c);
    assert_int_equal(r.status, 401);
    assert_non_null(strstr(r.head, "\r\nWWW-Authenticate: Basic realm=\"get_export\"\r\n"));
    reply_release(&r);
    client_close(&c);
}

static void the_local_socket_needs_no_credentials(void **state)
{
    struct stage *s = *state;
    struct client c = client_unix(s->socket);

    ask(&c, "GET /who?session_id=OpaqueRef:NULL HTTP/1.1\r\nHost: x\r\n\r\n", 200,
        "root local-root temporary");
    client_close(&c);
}

static void a_client_that_leaves_before_its_refusal_does_no_harm(void **state)
{
    struct stage *s = *state;
    struct client c;

    auth_free(s->lab->xapid.auth);
    lab_auth(s->lab, &(struct auth_tuning){.failure_delay = 3600 * USEC_PER_SEC});
    c = client_tcp(s->port);
    client_send(&c, "GET /who HTTP/1.1\r\nHost: x\r\n"
                    "Authorization: Basic cm9vdDp3cm9uZw==\r\n\r\n");
    client_close(&c);
    /* The teardown answers what is left: the server first, then auth. */
}

/*** the audit log ***/

/* The whole body, which ends with the connection. */
static char *fetch(struct stage *s, const char *target, int status)
{
    struct client c = client_unix(s->socket);
    struct reply r;
    char *body = arena_zalloc(&s->lab->arena, 1 << 16);
    size_t n = 0, got;

    client_send(&c, arena_printf(&s->lab->arena, "GET %s HTTP/1.1\r\nHost: x\r\n\r\n", target));
    client_read_head(&c, &r);
    assert_int_equal(r.status, status);
    while (status == 200 && (got = client_recv(&c, body + n, (1 << 16) - 1 - n)) > 0)
        n += got;
    client_close(&c);
    return body;
}

static void the_audit_log_is_read_back_oldest_first_and_since_a_date(void **state)
{
    struct stage *s = *state;
    struct audit *audit = s->lab->xapid.audit;
    char *old = arena_printf(&s->lab->arena, "%s.1", s->lab->audit_path);
    FILE *f = fopen(old, "w");

    fputs("[20240101T00:00:00.000Z|audit|a] 1\n[20250319T04:16:24.500Z|audit|a] 2\n", f);
    fclose(f);
    audit_append(audit, "[20250320T00:00:00.000Z|audit|a] 3");
    audit_append(audit, "of no date");
    assert_string_equal(fetch(s, "/audit_log", 200),
                        "[20240101T00:00:00.000Z|audit|a] 1\n"
                        "[20250319T04:16:24.500Z|audit|a] 2\n"
                        "[20250320T00:00:00.000Z|audit|a] 3\nof no date\n");
    assert_string_equal(fetch(s, "/audit_log?since=20250319T04:16:24Z", 200),
                        "[20250319T04:16:24.500Z|audit|a] 2\n"
                        "[20250320T00:00:00.000Z|audit|a] 3\nof no date\n");
    assert_string_equal(fetch(s, "/audit_log?since=2025-03-20", 200),
                        "[20250320T00:00:00.000Z|audit|a] 3\nof no date\n");
    assert_string_equal(fetch(s, "/audit_log?since=2025-03-19T06:16:25%2B02:00", 200),
                        "[20250320T00:00:00.000Z|audit|a] 3\nof no date\n");
    assert_string_equal(fetch(s, "/audit_log?since=2026", 200), "");
    fetch(s, "/audit_log?since=yesterday", 400);
}

static void the_audit_log_is_not_for_everybody(void **state)
{
    struct stage *s = *state;

    ask_with(s, "/audit_log", "", 401, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
        TEST(a_session_comes_by_cookie_or_query),
        TEST(an_invalid_session_is_not_made_good_by_a_password),
        TEST(a_role_that_is_too_weak_is_403_and_audited),
        TEST(the_pools_secret_comes_in_a_cookie_only),
        TEST(basic_credentials_give_a_session_for_one_request),
        TEST(nobody_is_asked_for_credentials),
        TEST(the_local_socket_needs_no_credentials),
        TEST(a_client_that_leaves_before_its_refusal_does_no_harm),
        TEST(the_audit_log_is_read_back_oldest_first_and_since_a_date),
        TEST(the_audit_log_is_not_for_everybody),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
