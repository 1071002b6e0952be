/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * certificate.c -- makes and reads the host's certificate.
 *
 * The names in it are found without asking the network: a host may start before its network does,
 * and must not wait for it.
 */
#include "xapid/http/certificate.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <ifaddrs.h>
#include <libgen.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "libxapi/base/buf.h"
#include "libxapi/base/log.h"
#include "libxapi/base/seam.h"

#define LIFETIME_DAYS 3650
#define MOST_NAMES 256

#define GUARD(type, fn)                                                                            \
    static inline void guard_##type(type **p)                                                      \
    {                                                                                              \
        fn(*p);                                                                                    \
    }
#define HOLD(type) __attribute__((cleanup(guard_##type))) type

static void file_close(FILE *f)
{
    if (f)
        fclose(f);
}

GUARD(EVP_PKEY, EVP_PKEY_free)
GUARD(X509, X509_free)
GUARD(BIO, BIO_free)
GUARD(FILE, file_close)

static struct error *ssl_failed(struct arena *arena, const char *what)
{
    unsigned long e = ERR_get_error();
    const char *reason = e ? ERR_reason_error_string(e) : NULL;

    ERR_clear_error();
    return error_internal(arena, "certificate: cannot %s: %s", what,
                          reason ? reason : "unknown reason");
}

static struct error *file_failed(struct arena *arena, const char *what, const char *path)
{
    return error_internal(arena, "certificate: cannot %s %s: %s", what, path, strerror(errno));
}

/* --- names --- */

struct names {
    struct arena *arena;
    const char *name[MOST_NAMES]; /* "DNS:..." or "IP:..." */
    size_t n;
};

static void name_add(struct names *names, const char *kind, const char *value)
{
    const char *entry;

    /* The list becomes text that OpenSSL parses: nothing may be read as more than a name. */
    if (!*value || strlen(value) > 253 ||
        strspn(value, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-:") !=
            strlen(value))
        return;
    entry = arena_printf(names->arena, "%s:%s", kind, value);
    for (size_t i = 0; i < names->n; i++)
        if (strcmp(names->name[i], entry) == 0)
            return;
    if (names->n < MOST_NAMES)
        names->name[names->n++] = entry;
}

/* The line of /etc/hosts that knows 'host' usually gives its full name too. */
static void names_from_hosts(struct names *names, const char *host)
{
    HOLD(FILE) *f = fopen("/etc/hosts", "re");
    char line[1024];

    while (f && fgets(line, sizeof line, f)) {
        char *save = NULL, *word, *words[16];
        size_t n = 0;
        bool ours = false;

        line[strcspn(line, "#\n")] = '\0';
        for (word = strtok_r(line, " \t", &save); word && n < ARRAY_SIZE(words);
             word = strtok_r(NULL, " \t", &save))
            words[n++] = word;
        for (size_t i = 1; i < n; i++)
            ours |= strcasecmp(words[i], host) == 0;
        for (size_t i = 1; ours && i < n; i++)
            name_add(names, "DNS", words[i]);
    }
}

static void names_from_resolver(struct names *names, const char *host)
{
    HOLD(FILE) *f = fopen("/etc/resolv.conf", "re");
    char line[1024];

    while (f && fgets(line, sizeof line, f)) {
        char *save = NULL, *word = strtok_r(line, " \t\n", &save);

        if (!word || (strcmp(word, "search") != 0 && strcmp(word, "domain") != 0))
            continue;
        word = strtok_r(NULL, " \t\n", &save);
        if (word && strcmp(word, ".") != 0)
            name_add(names, "DNS", arena_printf(names->arena, "%s.%s", host, word));
    }
}

static void names_of_interfaces(struct names *names)
{
    struct ifaddrs *all = NULL;

    if (getifaddrs(&all) < 0)
        return;
    for (struct ifaddrs *a = all; a; a = a->ifa_next) {
        char text[INET6_ADDRSTRLEN];

        if (a->ifa_addr && a->ifa_addr->sa_family == AF_INET &&
            inet_ntop(AF_INET, &((struct sockaddr_in *)a->ifa_addr)->sin_addr, text, sizeof text))
            name_add(names, "IP", text);
        if (a->ifa_addr && a->ifa_addr->sa_family == AF_INET6 &&
            inet_ntop(AF_INET6, &((struct sockaddr_in6 *)a->ifa_addr)->sin6_addr, text,
                      sizeof text))
            name_add(names, "IP", text);
    }
    freeifaddrs(all);
}

/* All names of this host, as OpenSSL's configuration spells them. */
static const char *alternative_names(struct arena *arena, const char *common_name)
{
    struct names *names = arena_new(arena, struct names);
    const char *list = "DNS:localhost";
    char host[256] = "";

    names->arena = arena;
    if (gethostname(host, sizeof host - 1) < 0)
        host[0] = '\0';
    name_add(names, "DNS", host);
    if (strspn(common_name, "0123456789.") != strlen(common_name) && !strchr(common_name, ':'))
        name_add(names, "DNS", common_name);
    if (host[0])
        names_from_hosts(names, host);
    if (host[0] && !strchr(host, '.'))
        names_from_resolver(names, host);
    name_add(names, "IP", "127.0.0.1");
    name_add(names, "IP", "::1");
    names_of_interfaces(names);
    for (size_t i = 0; i < names->n; i++)
        if (strcmp(names->name[i], "DNS:localhost") != 0)
            list = arena_printf(arena, "%s,%s", list, names->name[i]);
    return list;
}

/* --- making --- */

static bool extension_add(X509 *cert, int nid, const char *value)
{
    X509V3_CTX ctx;
    X509_EXTENSION *extension;
    bool added;

    X509V3_set_ctx_nodb(&ctx);
    X509V3_set_ctx(&ctx, cert, cert, NULL, NULL, 0);
    extension = X509V3_EXT_conf_nid(NULL, &ctx, nid, value);
    added = extension && X509_add_ext(cert, extension, -1) == 1;
    X509_EXTENSION_free(extension);
    return added;
}

static bool serial_set(X509 *cert)
{
    uint8_t bytes[16];
    BIGNUM *n;
    bool done;

    random_bytes(bytes, sizeof bytes);
    bytes[0] = (bytes[0] & 0x7f) | 0x40; /* positive, and of one length */
    n = BN_bin2bn(bytes, sizeof bytes, NULL);
    done = n && BN_to_ASN1_INTEGER(n, X509_get_serialNumber(cert));
    BN_free(n);
    return done;
}

static bool subject_set(X509 *cert, const char *common_name)
{
    X509_NAME *name = X509_get_subject_name(cert);
    int size = (int)MIN(strlen(common_name), (size_t)64); /* the standard's limit */

    return X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_UTF8, (const unsigned char *)common_name,
                                      size, -1, 0) == 1 &&
           X509_set_issuer_name(cert, name) == 1;
}

static bool dates_set(X509 *cert)
{
    time_t now = (time_t)(clock_wall() / USEC_PER_SEC);

    /* A day early, for clients whose clock is behind. */
    return X509_time_adj_ex(X509_getm_notBefore(cert), -1, 0, &now) &&
           X509_time_adj_ex(X509_getm_notAfter(cert), LIFETIME_DAYS, 0, &now);
}

static struct error *certificate_make(struct arena *arena, const char *common_name, BIO *out)
{
    HOLD(EVP_PKEY) *key = EVP_EC_gen("P-256");
    HOLD(X509) *cert = X509_new();

    if (!key || !cert)
        return ssl_failed(arena, "make a key");
    if (X509_set_version(cert, 2) != 1 || !serial_set(cert) || !dates_set(cert) ||
        !subject_set(cert, *common_name ? common_name : "localhost") ||
        X509_set_pubkey(cert, key) != 1 ||
        !extension_add(cert, NID_basic_constraints, "critical,CA:FALSE") ||
        !extension_add(cert, NID_key_usage, "critical,digitalSignature") ||
        !extension_add(cert, NID_ext_key_usage, "serverAuth,clientAuth") ||
        !extension_add(cert, NID_subject_key_identifier, "hash") ||
        !extension_add(cert, NID_subject_alt_name, alternative_names(arena, common_name)))
        return ssl_failed(arena, "fill in a certificate");
    if (X509_sign(cert, key, EVP_sha256()) <= 0)
        return ssl_failed(arena, "sign a certificate");
    if (PEM_write_bio_PrivateKey(out, key, NULL, NULL, 0, NULL, NULL) != 1 ||
        PEM_write_bio_X509(out, cert) != 1)
        return ssl_failed(arena, "write a certificate");
    return OK;
}

static bool write_all(int fd, const char *p, size_t n)
{
    while (n) {
        ssize_t sent = write(fd, p, n);

        if (sent < 0 && errno == EINTR)
            continue;
        if (sent < 0)
            return false;
        p += sent;
        n -= (size_t)sent;
    }
    return true;
}

static struct error *folder_sync(struct arena *arena, const char *path)
{
    const char *folder = dirname(arena_strdup(arena, path));
    int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int rc, saved;

    if (fd < 0)
        return file_failed(arena, "open", folder);
    rc = fsync(fd);
    saved = errno;
    close(fd);
    errno = saved;
    return rc < 0 ? file_failed(arena, "sync", folder) : OK;
}

/* Whoever finds 'path' finds all of it, whatever happens meanwhile. */
static struct error *file_replace(struct arena *arena, const char *path, const char *data,
                                  size_t size)
{
    const char *beside = arena_printf(arena, "%s.new", path);
    bool written;
    int fd, saved;

    unlink(beside); /* of an attempt that was killed */
    fd = open(beside, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0)
        return file_failed(arena, "create", beside);
    written = write_all(fd, data, size) && fsync(fd) == 0;
    saved = errno;
    if (close(fd) < 0 && written) {
        written = false;
        saved = errno;
    }
    if (written && rename(beside, path) == 0)
        return folder_sync(arena, path);
    if (written)
        saved = errno;
    unlink(beside);
    errno = saved;
    return file_failed(arena, "write", path);
}

/* --- reading --- */

static const char *digest_text(struct arena *arena, X509 *cert, const EVP_MD *kind)
{
    unsigned char bytes[EVP_MAX_MD_SIZE];
    unsigned int n = 0;
    char *text, *p;

    if (X509_digest(cert, kind, bytes, &n) != 1 || n == 0)
        return "";
    text = p = arena_alloc(arena, (size_t)n * 3 + 1);
    for (unsigned int i = 0; i < n; i++)
        p += snprintf(p, 4, i ? ":%02X" : "%02X", bytes[i]);
    return text;
}

static usec_t date_of(const ASN1_TIME *t)
{
    struct tm tm = {0};

    return ASN1_TIME_to_tm(t, &tm) == 1 ? (usec_t)timegm(&tm) * USEC_PER_SEC : 0;
}

static const char *first_dns_name(struct arena *arena, X509 *cert)
{
    GENERAL_NAMES *names = X509_get_ext_d2i(cert, NID_subject_alt_name, NULL, NULL);
    const char *found = "";

    for (int i = 0; i < sk_GENERAL_NAME_num(names) && !*found; i++) {
        const GENERAL_NAME *name = sk_GENERAL_NAME_value(names, i);

        if (name->type == GEN_DNS)
            found = arena_strndup(arena, (const char *)ASN1_STRING_get0_data(name->d.dNSName),
                                  (size_t)ASN1_STRING_length(name->d.dNSName));
    }
    GENERAL_NAMES_free(names);
    return found;
}

/* The common name says most, where it is one that a client would find right. */
static const char *name_of(struct arena *arena, X509 *cert)
{
    char common[256] = "";

    X509_NAME_get_text_by_NID(X509_get_subject_name(cert), NID_commonName, common, sizeof common);
    if (*common && X509_check_host(cert, common, 0, 0, NULL) == 1)
        return arena_strdup(arena, common);
    return first_dns_name(arena, cert);
}

static struct error *info_fill(struct arena *arena, X509 *cert, struct certificate_info *out)
{
    HOLD(BIO) *pem = BIO_new(BIO_s_mem());
    char *text = NULL;
    long size;

    if (!pem || PEM_write_bio_X509(pem, cert) != 1)
        return ssl_failed(arena, "write a certificate");
    size = BIO_get_mem_data(pem, &text);
    out->pem = arena_strndup(arena, text, (size_t)MAX(size, 0));
    out->name = name_of(arena, cert);
    out->sha256 = digest_text(arena, cert, EVP_sha256());
    out->sha1 = digest_text(arena, cert, EVP_sha1());
    out->not_before = date_of(X509_get0_notBefore(cert));
    out->not_after = date_of(X509_get0_notAfter(cert));
    return OK;
}

struct error *certificate_of_text(struct arena *arena, const char *pem,
                                  struct certificate_info *out)
{
    HOLD(BIO) *bio = BIO_new_mem_buf(pem, -1);
    HOLD(X509) *cert = bio ? PEM_read_bio_X509(bio, NULL, NULL, NULL) : NULL;

    *out = (struct certificate_info){0};
    return cert ? info_fill(arena, cert, out) : ssl_failed(arena, "read the certificate");
}

struct error *certificate_read(struct arena *arena, const char *path, struct certificate_info *out)
{
    HOLD(FILE) *f = fopen(path, "re");
    HOLD(X509) *cert = NULL;

    *out = (struct certificate_info){0};
    if (!f)
        return file_failed(arena, "open", path);
    cert = PEM_read_X509(f, NULL, NULL, NULL);
    if (!cert)
        return ssl_failed(arena, "read the certificate");
    return info_fill(arena, cert, out);
}

/* No password is ever asked for on a terminal. */
static int no_password(char *out, int size, int writing, void *arg)
{
    (void)out;
    (void)size;
    (void)writing;
    (void)arg;
    return -1;
}

/* The file has a certificate and the key to it. */
static bool certificate_usable(const char *path)
{
    HOLD(FILE) *f = fopen(path, "re");
    HOLD(EVP_PKEY) *key = NULL;
    HOLD(X509) *cert = NULL;
    bool usable;

    if (!f)
        return false;
    key = PEM_read_PrivateKey(f, NULL, no_password, NULL);
    rewind(f);
    cert = PEM_read_X509(f, NULL, NULL, NULL);
    usable = key && cert && X509_check_private_key(cert, key) == 1;
    ERR_clear_error();
    return usable;
}

struct error *certificate_generate(struct arena *arena, const char *common_name, const char **pem)
{
    /* The memory held a key: it is wiped when freed. */
    HOLD(BIO) *bio = BIO_new(BIO_s_secmem());
    char *text = NULL;
    long size;

    if (!bio)
        return ssl_failed(arena, "make a certificate");
    TRY(certificate_make(arena, common_name, bio));
    size = BIO_get_mem_data(bio, &text);
    *pem = arena_strndup(arena, text, (size_t)MAX(size, 0));
    return OK;
}

struct error *certificate_ensure(struct arena *arena, const char *path, const char *common_name)
{
    const char *pem;

    if (access(path, R_OK) == 0) {
        if (certificate_usable(path))
            return OK;
        log_warning(
            "certificate: %s has no certificate with its key; it is kept as %s.bad and made anew",
            path, path);
        if (rename(path, arena_printf(arena, "%s.bad", path)) < 0)
            return file_failed(arena, "rename", path);
    } else if (errno != ENOENT) {
        return file_failed(arena, "read", path);
    }
    TRY(certificate_generate(arena, common_name, &pem));
    return file_replace(arena, path, pem, strlen(pem));
}
