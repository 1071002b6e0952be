/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* certificates.c -- which certificates are taken, and what is said when they end. */
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>
#include <string.h>

#include "libxapi/base/seam.h"
#include "tests/unit/ops/lab.h"
#include "xapid/db/ready.h"
#include "xapid/ops/certificates/check.h"
#include "xapid/ops/certificates/record.h"

#define DAY (24 * 3600 * USEC_PER_SEC)
#define NOW ((usec_t)1800000000 * USEC_PER_SEC)

/*** texts ***/

static char *text_of(struct arena *arena, BIO *bio)
{
    char *data, *text;
    long n = BIO_get_mem_data(bio, &data);

    text = arena_strndup(arena, data, (size_t)n);
    BIO_free(bio);
    return text;
}

static char *pem_of_key(struct arena *arena, EVP_PKEY *key)
{
    BIO *bio = BIO_new(BIO_s_mem());

    assert_int_equal(PEM_write_bio_PrivateKey(bio, key, NULL, NULL, 0, NULL, NULL), 1);
    return text_of(arena, bio);
}

/* Valid from 'begin' to 'end', days from NOW. */
static char *pem_of_certificate(struct arena *arena, EVP_PKEY *key, int begin, int end,
                                const EVP_MD *digest)
{
    BIO *bio = BIO_new(BIO_s_mem());
    X509 *cert = X509_new();
    time_t now = NOW / USEC_PER_SEC;

    ASN1_INTEGER_set(X509_get_serialNumber(cert), 1);
    X509_time_adj_ex(X509_getm_notBefore(cert), begin, 0, &now);
    X509_time_adj_ex(X509_getm_notAfter(cert), end, 0, &now);
    X509_NAME_add_entry_by_txt(X509_get_subject_name(cert), "CN", MBSTRING_ASC,
                               (const unsigned char *)"test", -1, -1, 0);
    X509_set_issuer_name(cert, X509_get_subject_name(cert));
    X509_set_pubkey(cert, key);
    assert_true(X509_sign(cert, key, digest) > 0);
    assert_int_equal(PEM_write_bio_X509(bio, cert), 1);
    X509_free(cert);
    return text_of(arena, bio);
}

static struct error *check(struct lab *lab, const char *certificate, const char *key)
{
    const char *file;

    return check_server_pem(&lab->call, &(struct server_pem){certificate, key, ""}, NOW, &file);
}

/*** what is taken ***/

static void a_server_certificate_is_taken_within_its_time(void **state)
{
    struct lab *lab = *state;
    struct arena *a = &lab->arena;
    EVP_PKEY *key = EVP_RSA_gen(2048);
    const char *pem = pem_of_key(a, key);
    struct error *e;

    lab_must(lab, check(lab, pem_of_certificate(a, key, -1, 1, EVP_sha256()), pem));
    lab_must(lab, check(lab, pem_of_certificate(a, key, -1, 1, EVP_sha512()), pem));
    e = check(lab, pem_of_certificate(a, key, 1, 2, EVP_sha256()), pem);
    lab_refused(e, "SERVER_CERTIFICATE_NOT_VALID_YET");
    assert_string_equal(e->params[0], "2027-01-15T08:00:00Z");
    assert_string_equal(e->params[1], "2027-01-16T08:00:00Z");
    e = check(lab, pem_of_certificate(a, key, -2, -1, EVP_sha1()), pem);
    lab_refused(e, "SERVER_CERTIFICATE_EXPIRED");
    assert_string_equal(e->params[1], "2027-01-14T08:00:00Z");
    lab_refused(check(lab, pem_of_certificate(a, key, -1, 1, EVP_sha1()), pem),
                "SERVER_CERTIFICATE_SIGNATURE_NOT_SUPPORTED");
    EVP_PKEY_free(key);
}

static void keys_are_rsa_of_two_primes_and_a_good_length(void **state)
{
    struct lab *lab = *state;
    struct arena *a = &lab->arena;
    EVP_PKEY *curve = EVP_EC_gen("P-256"), *small = EVP_RSA_gen(1024), *three = NULL;
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(NULL, "RSA", NULL);
    struct error *e;

    assert_int_equal(EVP_PKEY_keygen_init(ctx), 1);
    assert_int_equal(EVP_PKEY_CTX_set_rsa_keygen_bits(ctx, 2048), 1);
    assert_int_equal(EVP_PKEY_CTX_set_rsa_keygen_primes(ctx, 3), 1);
    assert_int_equal(EVP_PKEY_keygen(ctx, &three), 1);
    e = check(lab, "", pem_of_key(a, curve));
    lab_refused(e, "SERVER_CERTIFICATE_KEY_ALGORITHM_NOT_SUPPORTED");
    assert_string_equal(e->params[0], "1.2.840.10045.2.1");
    e = check(lab, "", pem_of_key(a, small));
    lab_refused(e, "SERVER_CERTIFICATE_KEY_RSA_LENGTH_NOT_SUPPORTED");
    assert_string_equal(e->params[0], "1024");
    lab_refused(check(lab, "", pem_of_key(a, three)),
                "SERVER_CERTIFICATE_KEY_RSA_MULTI_NOT_SUPPORTED");
    lab_refused(check(lab, "", "-----BEGIN PRIVATE KEY-----\nAA==\n"),
                "SERVER_CERTIFICATE_KEY_INVALID");
    EVP_PKEY_CTX_free(ctx);
    EVP_PKEY_free(curve);
    EVP_PKEY_free(small);
    EVP_PKEY_free(three);
}

static void a_chain_is_whole_or_refused(void **state)
{
    struct lab *lab = *state;
    struct arena *a = &lab->arena;
    EVP_PKEY *key = EVP_RSA_gen(2048);
    const char *cert = pem_of_certificate(a, key, -1, 1, EVP_sha256()), *file;
    struct server_pem in = {cert, pem_of_key(a, key), arena_printf(a, "%s%s", cert, cert)};

    lab_must(lab, check_server_pem(&lab->call, &in, NOW, &file));
    assert_non_null(strstr(file, "PRIVATE KEY"));
    in.chain =
        arena_printf(a, "%s-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n", cert);
    lab_refused(check_server_pem(&lab->call, &in, NOW, &file), "SERVER_CERTIFICATE_CHAIN_INVALID");
    in.chain = "nothing";
    lab_refused(check_server_pem(&lab->call, &in, NOW, &file), "SERVER_CERTIFICATE_CHAIN_INVALID");
    EVP_PKEY_free(key);
}

static void a_trusted_certificate_is_taken_within_its_time(void **state)
{
    struct lab *lab = *state;
    struct arena *a = &lab->arena;
    EVP_PKEY *key = EVP_EC_gen("P-256");
    const char *early = pem_of_certificate(a, key, 1, 2, EVP_sha256());
    const char *late = pem_of_certificate(a, key, -2, -1, EVP_sha256());
    struct certificate_info info;

    lab_refused(check_trusted_pem(&lab->call, true, early, NOW, &info),
                "CA_CERTIFICATE_NOT_VALID_YET");
    lab_refused(check_trusted_pem(&lab->call, true, late, NOW, &info), "CA_CERTIFICATE_EXPIRED");
    lab_refused(check_trusted_pem(&lab->call, true, "", NOW, &info), "CA_CERTIFICATE_INVALID");
    lab_refused(check_trusted_pem(&lab->call, false, early, NOW, &info),
                "TRUSTED_CERTIFICATE_NOT_VALID_YET");
    lab_refused(check_trusted_pem(&lab->call, false, late, NOW, &info),
                "TRUSTED_CERTIFICATE_EXPIRED");
    lab_refused(check_trusted_pem(&lab->call, false, "", NOW, &info),
                "TRUSTED_CERTIFICATE_INVALID");
    EVP_PKEY_free(key);
}

static void names_of_files_stay_in_their_folder(void **state)
{
    static const char *const bad[] = {"", ".", "..", "../x", "a/b", ".hidden", "-x", "a b", "a\n"};

    (void)state;
    assert_true(certificate_name_is_good("ca-2.example_1.pem"));
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
        assert_false(certificate_name_is_good(bad[i]));
}

/*** what is said ***/

static void the_nearer_the_end_the_graver_the_message(void **state)
{
    static const struct {
        usec_t left;
        const char *name;
    } cases[] = {
        {31 * DAY, ""},
        {30 * DAY, "HOST_SERVER_CERTIFICATE_EXPIRING_30"},
        {14 * DAY + 1, "HOST_SERVER_CERTIFICATE_EXPIRING_30"},
        {14 * DAY, "HOST_SERVER_CERTIFICATE_EXPIRING_14"},
        {7 * DAY, "HOST_SERVER_CERTIFICATE_EXPIRING_07"},
        {0, "HOST_SERVER_CERTIFICATE_EXPIRING_07"},
        {-1, "HOST_SERVER_CERTIFICATE_EXPIRED"},
    };
    struct lab *lab = *state;

    for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
        assert_string_equal(
            expiry_message(&lab->arena, CERTIFICATE_TYPE_HOST, NOW + cases[i].left, NOW),
            cases[i].name);
}

static const struct message *only_message(struct lab *lab)
{
    struct db_walk walk;

    assert_int_equal(lab_count(lab, CLASS_message), 1);
    db_walk(lab->call.snap, CLASS_message, &walk);
    return db_walk_next(&walk);
}

static struct error *host_certificate_txn(struct txn *txn, void *arg)
{
    struct certificate_info info = {.sha256 = arg, .sha1 = "", .not_after = NOW + 40 * DAY};

    txn_server_certificate(txn, txn_call(txn)->xapid->host, &info);
    return OK;
}

static void each_message_is_given_once_and_takes_the_place_of_the_one_before(void **state)
{
    struct lab *lab = *state;
    struct message_destroy_args destroy;

    lab_must(lab, db_update(&lab->call, host_certificate_txn, (char[]){"AA"}));
    certificates_check_expiry(&lab->call, NOW);
    assert_int_equal(lab_count(lab, CLASS_message), 0);
    certificates_check_expiry(&lab->call, NOW + 11 * DAY);
    certificates_check_expiry(&lab->call, NOW + 12 * DAY);
    assert_string_equal(only_message(lab)->name, "HOST_SERVER_CERTIFICATE_EXPIRING_30");
    destroy.self = only_message(lab)->ref;
    lab_must(lab, message_destroy(&lab->call, &destroy));
    certificates_check_expiry(&lab->call, NOW + 13 * DAY);
    assert_int_equal(lab_count(lab, CLASS_message), 0);
    certificates_check_expiry(&lab->call, NOW + 27 * DAY);
    certificates_check_expiry(&lab->call, NOW + 34 * DAY);
    assert_string_equal(only_message(lab)->name, "HOST_SERVER_CERTIFICATE_EXPIRING_07");
    assert_int_equal(only_message(lab)->priority, 1);
    certificates_check_expiry(&lab->call, NOW + 41 * DAY);
    assert_string_equal(only_message(lab)->name, "HOST_SERVER_CERTIFICATE_EXPIRED");
    assert_string_equal(only_message(lab)->body,
                        "<body><message>The TLS server certificate has expired.</message>"
                        "<date>2027-02-24T08:00:00Z</date></body>");
}

static void what_is_said_of_a_certificate_goes_with_it(void **state)
{
    struct lab *lab = *state;

    lab_must(lab, db_update(&lab->call, host_certificate_txn, (char[]){"AA"}));
    certificates_check_expiry(&lab->call, NOW + 27 * DAY);
    assert_int_equal(lab_count(lab, CLASS_message), 1);
    lab_must(lab, db_update(&lab->call, host_certificate_txn, (char[]){"BB"}));
    assert_int_equal(lab_count(lab, CLASS_certificate), 1);
    certificates_check_expiry(&lab->call, NOW);
    assert_int_equal(lab_count(lab, CLASS_message), 0);
    assert_int_equal(lab_count(lab, CLASS_expiry_notice), 0);
}

#define LAB_TEST(fn) cmocka_unit_test_setup_teardown(fn, lab_setup, lab_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        LAB_TEST(a_server_certificate_is_taken_within_its_time),
        LAB_TEST(keys_are_rsa_of_two_primes_and_a_good_length),
        LAB_TEST(a_chain_is_whole_or_refused),
        LAB_TEST(a_trusted_certificate_is_taken_within_its_time),
        LAB_TEST(names_of_files_stay_in_their_folder),
        LAB_TEST(the_nearer_the_end_the_graver_the_message),
        LAB_TEST(each_message_is_given_once_and_takes_the_place_of_the_one_before),
        LAB_TEST(what_is_said_of_a_certificate_goes_with_it),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
