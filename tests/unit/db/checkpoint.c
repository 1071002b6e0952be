/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sqlite3.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "tests/unit/db/sample.h"
#include "xapid/db/checkpoint_file.h"

struct fixture {
    struct arena arena;
    char *dir, *path;
    struct checkpoint *cp;
    struct db_root *root;
};

/*** a disk that fails ***/

/* SQLite's own files with errors: after 'budget' writes and syncs each one fails with 'error'. */
static struct {
    int budget, error;
    sqlite3_vfs vfs, *below;
} fault;

struct fault_file {
    sqlite3_file base;
    const sqlite3_io_methods *below;
    sqlite3_io_methods methods;
};

/* The file beneath lies behind ours. */
static sqlite3_file *below(sqlite3_file *file)
{
    return (sqlite3_file *)(void *)((char *)file + sizeof(struct fault_file));
}

static int spend(void)
{
    return fault.error && --fault.budget < 0 ? fault.error : SQLITE_OK;
}

static int fault_write(sqlite3_file *file, const void *data, int n, sqlite3_int64 at)
{
    int rc = spend();

    return rc ? rc : below(file)->pMethods->xWrite(below(file), data, n, at);
}

static int fault_sync(sqlite3_file *file, int flags)
{
    int rc = spend();

    return rc ? SQLITE_IOERR_FSYNC : below(file)->pMethods->xSync(below(file), flags);
}

static int fault_close(sqlite3_file *f)
{
    return below(f)->pMethods->xClose(below(f));
}
static int fault_read(sqlite3_file *f, void *p, int n, sqlite3_int64 at)
{
    return below(f)->pMethods->xRead(below(f), p, n, at);
}
static int fault_truncate(sqlite3_file *f, sqlite3_int64 n)
{
    return below(f)->pMethods->xTruncate(below(f), n);
}
static int fault_size(sqlite3_file *f, sqlite3_int64 *n)
{
    return below(f)->pMethods->xFileSize(below(f), n);
}
static int fault_lock(sqlite3_file *f, int n)
{
    return below(f)->pMethods->xLock(below(f), n);
}
static int fault_unlock(sqlite3_file *f, int n)
{
    return below(f)->pMethods->xUnlock(below(f), n);
}
static int fault_reserved(sqlite3_file *f, int *n)
{
    return below(f)->pMethods->xCheckReservedLock(below(f), n);
}
static int fault_control(sqlite3_file *f, int op, void *p)
{
    return below(f)->pMethods->xFileControl(below(f), op, p);
}
static int fault_sector(sqlite3_file *f)
{
    return below(f)->pMethods->xSectorSize(below(f));
}
static int fault_character(sqlite3_file *f)
{
    return below(f)->pMethods->xDeviceCharacteristics(below(f));
}
static int fault_shm_map(sqlite3_file *f, int page, int size, int extend, void volatile **p)
{
    return below(f)->pMethods->xShmMap(below(f), page, size, extend, p);
}
static int fault_shm_lock(sqlite3_file *f, int at, int n, int flags)
{
    return below(f)->pMethods->xShmLock(below(f), at, n, flags);
}
static void fault_shm_barrier(sqlite3_file *f)
{
    below(f)->pMethods->xShmBarrier(below(f));
}
static int fault_shm_unmap(sqlite3_file *f, int delete)
{
    return below(f)->pMethods->xShmUnmap(below(f), delete);
}

static const sqlite3_io_methods fault_methods = {
    .iVersion = 2,
    .xClose = fault_close,
    .xRead = fault_read,
    .xWrite = fault_write,
    .xTruncate = fault_truncate,
    .xSync = fault_sync,
    .xFileSize = fault_size,
    .xLock = fault_lock,
    .xUnlock = fault_unlock,
    .xCheckReservedLock = fault_reserved,
    .xFileControl = fault_control,
    .xSectorSize = fault_sector,
    .xDeviceCharacteristics = fault_character,
    .xShmMap = fault_shm_map,
    .xShmLock = fault_shm_lock,
    .xShmBarrier = fault_shm_barrier,
    .xShmUnmap = fault_shm_unmap,
};

static int fault_open(sqlite3_vfs *vfs, const char *name, sqlite3_file *file, int flags, int *out)
{
    int rc;

    (void)vfs;
    file->pMethods = NULL;
    rc = fault.below->xOpen(fault.below, name, below(file), flags, out);
    if (below(file)->pMethods)
        file->pMethods = &fault_methods;
    return rc;
}

static int install_faults(void **state)
{
    (void)state;
    fault.below = sqlite3_vfs_find(NULL);
    fault.vfs = *fault.below;
    fault.vfs.zName = "fault";
    fault.vfs.xOpen = fault_open;
    fault.vfs.szOsFile += (int)sizeof(struct fault_file);
    return sqlite3_vfs_register(&fault.vfs, 1) == SQLITE_OK ? 0 : -1;
}

/*** small things ***/

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);

    fault.error = 0;
    f->dir = sample_dir(&f->arena);
    f->path = arena_printf(&f->arena, "%s/xapid.db", f->dir);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    checkpoint_close(f->cp);
    root_unref(f->root);
    sample_remove_dir(f->dir);
    arena_release(&f->arena);
    free(f);
    return 0;
}

static void assert_ok(struct fixture *f, struct error *e)
{
    if (e)
        fail_msg("%s", error_line(&f->arena, e));
}

static struct db_root *open_file(struct fixture *f)
{
    struct db_root *root;

    checkpoint_close(f->cp);
    f->cp = NULL;
    assert_ok(f, checkpoint_open(&f->arena, f->path, &f->cp, &root));
    return root;
}

static void flush(struct fixture *f, const struct db_root *root)
{
    assert_ok(f, checkpoint_flush(&f->arena, f->cp, root));
}

/* A file with some content, closed; f->root is that content. */
static void make_file(struct fixture *f, uint64_t seed, int n)
{
    struct db_root *root;

    f->root = open_file(f);
    root = root_copy(f->root);
    root_unref(f->root);
    f->root = root;
    sample_change(root, &seed, n);
    root->incarnation = 0;
    flush(f, root);
    checkpoint_close(f->cp);
    f->cp = NULL;
}

static void sql(struct fixture *f, const char *text)
{
    sqlite3 *db;
    char *why = NULL;

    assert_int_equal(sqlite3_open(f->path, &db), SQLITE_OK);
    if (sqlite3_exec(db, text, NULL, NULL, &why) != SQLITE_OK)
        fail_msg("%s: %s", text, why);
    sqlite3_close(db);
}

static int64_t sql_number(struct fixture *f, const char *text)
{
    sqlite3_stmt *stmt;
    sqlite3 *db;
    int64_t i;

    assert_int_equal(sqlite3_open(f->path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_prepare_v2(db, text, -1, &stmt, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_step(stmt), SQLITE_ROW);
    i = sqlite3_column_int64(stmt, 0);
    sqlite3_finalize(stmt);
    sqlite3_close(db);
    return i;
}

/*** what is written is read ***/

static void what_was_flushed_is_loaded_again(void **state)
{
    struct fixture *f = *state;
    struct db_root *work, *loaded;
    uint64_t seed = 77;

    f->root = open_file(f);
    for (int round = 0; round < 40; round++) {
        work = root_copy(f->root);
        sample_change(work, &seed, round % 7 == 0 ? 300 : (int)sample_below(&seed, 20));
        root_unref(f->root);
        f->root = work;
        flush(f, work);
        if (round % 3)
            continue;
        loaded = open_file(f);
        assert_true(sample_equal(work, loaded));
        assert_int_equal(sample_faults(loaded), 0);
        root_unref(f->root);
        f->root = loaded;
    }
    assert_true(f->root->revision > 300);
    assert_true(f->root->tombstones > 10);
}

static void a_new_file_is_an_empty_database_for_its_owner_only(void **state)
{
    struct fixture *f = *state;
    struct stat st;

    f->root = open_file(f);
    assert_int_equal(f->root->revision, 0);
    assert_int_equal(f->root->log_index, 0);
    assert_int_equal(stat(f->path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    assert_true(f->root->tables[CLASS_role].count > 0);
}

static void a_person_can_read_it(void **state)
{
    struct fixture *f = *state;
    struct vm vm;

    root_unref(open_file(f));
    f->root = root_new();
    SAMPLE_NEW(vm, &vm);
    vm.name_label = "web";
    vm.power_state = VM_RUNNING;
    vm.is_a_template = true;
    vm.other_config = (struct strmap){1, (struct strpair[]){{"key", "it's \"so\""}}};
    f->root->revision = vm.row_created = vm.row_version = 1;
    root_put(f->root, row_new(&api_classes[CLASS_vm], &vm), 1);
    f->root->log_index = 3;
    flush(f, f->root);
    assert_int_equal(
        sql_number(f, "SELECT count(*) FROM \"VM\" WHERE name_label = 'web' AND power_state = "
                      "'Running' AND is_a_template "
                      "AND other_config ->> 'key' = 'it''s \"so\"' AND _ref LIKE 'OpaqueRef:%' AND "
                      "resident_on = "
                      "'OpaqueRef:NULL' AND snapshot_time = '1970-01-01T00:00:00.000000Z'"),
        1);
}

static void a_root_with_another_past_replaces_all(void **state)
{
    struct fixture *f = *state;
    struct db_root *other, *loaded;
    uint64_t seed = 5;

    make_file(f, 3, 100);
    root_unref(open_file(f));
    other = root_new();
    sample_change(other, &seed, 40);
    other->incarnation = 99;
    flush(f, other);
    loaded = open_file(f);
    assert_true(sample_equal(other, loaded));
    root_unref(other);
    root_unref(loaded);
}

static void a_root_that_no_longer_remembers_all_deletions_replaces_all(void **state)
{
    struct fixture *f = *state;
    struct db_root *work, *loaded;
    uint64_t seed = 21;

    make_file(f, 3, 200);
    root_unref(open_file(f));
    work = root_copy(f->root);
    sample_change(work, &seed, 200);
    for (uint64_t i = 1; i <= ROOT_MAX_TOMBSTONES + 10; i++)
        root_add_tombstone(work, CLASS_vm, (ref_t){i, i}, 1,
                           work->revision - 50 + i / ROOT_MAX_TOMBSTONES);
    assert_true(work->forgotten > f->root->revision);
    flush(f, work);
    loaded = open_file(f);
    assert_true(sample_equal(work, loaded));
    root_unref(work);
    root_unref(loaded);
}

static void forgotten_deletions_leave_the_file(void **state)
{
    struct fixture *f = *state;
    struct db_root *work, *loaded;

    root_unref(open_file(f));
    f->root = root_new();
    f->root->revision = 100000;
    for (uint64_t i = 1; i <= ROOT_MAX_TOMBSTONES; i++)
        root_add_tombstone(f->root, CLASS_vm, (ref_t){i, i}, 1, i);
    flush(f, f->root);
    work = root_copy(f->root);
    work->revision++;
    root_add_tombstone(work, CLASS_vm, (ref_t){9, 9}, 1, work->revision);
    assert_true(work->forgotten > 1000 && work->forgotten <= f->root->revision);
    flush(f, work);
    loaded = open_file(f);
    assert_true(sample_equal(work, loaded));
    root_unref(work);
    root_unref(loaded);
}

/* Creates the row where it is not, destroys it where it is, so many times. */
static void turn(struct fixture *f, struct db_root *root, const struct secret *row, size_t times)
{
    const struct class_desc *class = &api_classes[CLASS_secret];

    while (times-- > 0) {
        struct write_set w = {.origin = 1, .number = root->revision + 1};

        if (root_get(root, CLASS_secret, row->ref))
            write_destroy(&w, class, row->ref);
        else
            write_create(&w, class, row->ref, row);
        assert_int_equal(sample_apply(&f->arena, root, &w).outcome, LOG_APPLIED);
    }
}

/* As those of a host do that leaves and joins again while the file waits. */
static void a_row_that_goes_and_comes_back_is_written_once(void **state)
{
    static const size_t times[] = {1, 3, 1, 2, 4, 5, 2};
    struct fixture *f = *state;
    struct db_root *work, *loaded;
    struct secret row;

    f->root = open_file(f);
    work = root_copy(f->root);
    SAMPLE_NEW(secret, &row);
    for (size_t i = 0; i < ARRAY_SIZE(times); i++) {
        turn(f, work, &row, times[i]);
        flush(f, work);
        loaded = open_file(f);
        assert_true(sample_equal(work, loaded));
        root_unref(work);
        work = root_copy(loaded);
        root_unref(loaded);
    }
    root_unref(work);
}

/*** damage ***/

static char *slurp(const char *path, size_t *size)
{
    FILE *file = fopen(path, "rb");
    char *data;

    assert_non_null(file);
    fseek(file, 0, SEEK_END);
    *size = (size_t)ftell(file);
    rewind(file);
    data = malloc(*size);
    assert_int_equal(fread(data, 1, *size, file), *size);
    fclose(file);
    return data;
}

static void spit(const char *path, const char *data, size_t size)
{
    FILE *file = fopen(path, "wb");

    assert_non_null(file);
    assert_int_equal(fwrite(data, 1, size, file), size);
    fclose(file);
}

/* Either the flip was where nothing is kept, or it is noticed: never another content. */
static bool flip_is_noticed(struct fixture *f, const char *good, size_t size, size_t byte, int bit)
{
    char *data = malloc(size);
    struct db_root *root;
    bool noticed;

    memcpy(data, good, size);
    data[byte] = (char)(data[byte] ^ 1 << bit);
    sample_remove_dir(f->dir);
    mkdir(f->dir, 0700);
    spit(f->path, data, size);
    free(data);
    root = open_file(f);
    noticed = sample_count_files(f->dir, "damaged") > 0;
    if (noticed ? root->log_index != 0 || root->revision != 0 : !sample_equal(root, f->root))
        fail_msg("byte %zu bit %d: another content, unnoticed", byte, bit);
    root_unref(root);
    return noticed;
}

static void a_flipped_bit_is_noticed(void **state)
{
    struct fixture *f = *state;
    uint64_t seed = 9;
    int noticed = 0;
    size_t size;
    char *good;

    make_file(f, 3, 120);
    good = slurp(f->path, &size);
    for (size_t byte = 0; byte < 100; byte++)
        noticed += flip_is_noticed(f, good, size, byte, (int)(byte % 8));
    for (int i = 0; i < 250; i++)
        noticed +=
            flip_is_noticed(f, good, size, sample_below(&seed, size), (int)sample_below(&seed, 8));
    assert_true(noticed > 50);
    free(good);
}

static void a_file_cut_short_is_noticed(void **state)
{
    struct fixture *f = *state;
    struct db_root *root;
    size_t size;
    char *good;
    int n;

    make_file(f, 3, 120);
    good = slurp(f->path, &size);
    spit(f->path, good, size / 2);
    root = open_file(f);
    assert_int_equal(root->log_index, 0);
    assert_true(sample_count_files(f->dir, "damaged") > 0);
    root_unref(root);
    n = sample_count_files(f->dir, "damaged");
    checkpoint_close(f->cp);
    f->cp = NULL;
    spit(f->path, "this is no database, but it is longer than nothing", 50);
    root = open_file(f);
    assert_int_equal(root->log_index, 0);
    assert_true(sample_count_files(f->dir, "damaged") > n);
    root_unref(root);
    free(good);
}

static void what_a_person_changes_is_noticed(void **state)
{
    static const char *const changes[] = {
        "UPDATE \"VM\" SET name_label = name_label || 'x'",
        "DELETE FROM \"VM\" WHERE _ref = (SELECT min(_ref) FROM \"VM\")",
        "UPDATE _meta SET value = value + 1 WHERE key = 'log_index'",
        "DELETE FROM _meta WHERE key = 'forgotten'",
        "UPDATE _tables SET rows = rows + 1 WHERE name = 'VM'",
        "DELETE FROM _tombstones WHERE deleted = (SELECT min(deleted) FROM _tombstones)",
        "UPDATE _requests SET outcome = outcome + 1",
        "DROP TABLE \"VM\"",
        "ALTER TABLE \"VM\" RENAME COLUMN name_label TO label",
        "CREATE TABLE more (x); INSERT INTO _tables VALUES ('more', 0, 0)",
    };
    struct fixture *f = *state;
    struct db_root *root;
    size_t size;
    char *good;

    make_file(f, 3, 200);
    good = slurp(f->path, &size);
    for (size_t i = 0; i < ARRAY_SIZE(changes); i++) {
        sample_remove_dir(f->dir);
        mkdir(f->dir, 0700);
        spit(f->path, good, size);
        sql(f, changes[i]);
        root = open_file(f);
        if (root->log_index || sample_count_files(f->dir, "damaged") == 0)
            fail_msg("unnoticed: %s", changes[i]);
        root_unref(root);
    }
    free(good);
}

/*** other versions ***/

static sqlite3_stmt *prepared(sqlite3 *db, const char *text)
{
    sqlite3_stmt *stmt;

    assert_int_equal(sqlite3_prepare_v2(db, text, -1, &stmt, NULL), SQLITE_OK);
    return stmt;
}

/* Gives each row of a table the checksum it should have; returns their sum and number. */
static uint64_t seal_table(struct fixture *f, sqlite3 *db, const char *table, int64_t *rows)
{
    sqlite3_stmt *stmt = prepared(db, arena_printf(&f->arena, "SELECT * FROM \"%s\"", table));
    int n = sqlite3_column_count(stmt), n_names = 0;
    const char **names = arena_array(&f->arena, const char *, (size_t)n);
    uint64_t sum = 0, checksum;
    struct buf sqls = {0};

    *rows = 0;
    for (int i = 0; i < n; i++)
        if (strcmp(sqlite3_column_name(stmt, i), "_checksum") != 0)
            names[n_names++] = arena_strdup(&f->arena, sqlite3_column_name(stmt, i));
    while (sqlite3_step(stmt) == SQLITE_ROW) {
        struct buf buf = {0};

        for (int i = 0; i < n; i++) {
            struct cell cell = {.kind = (enum cell_kind)sqlite3_column_type(stmt, i)};

            if (strcmp(sqlite3_column_name(stmt, i), "_checksum") == 0)
                continue;
            cell.i = cell.kind == CELL_INT ? sqlite3_column_int64(stmt, i) : 0;
            cell.d = sqlite3_column_double(stmt, i);
            cell.text = (const char *)sqlite3_column_text(stmt, i);
            cell.n = (size_t)sqlite3_column_bytes(stmt, i);
            cell_add(&buf, &cell);
        }
        checksum = row_checksum(columns_seed(names, (size_t)n_names), &buf);
        buf_release(&buf);
        buf_printf(&sqls, "UPDATE \"%s\" SET _checksum = %lld WHERE _ref = '%s';", table,
                   (long long)checksum, (const char *)sqlite3_column_text(stmt, 0));
        sum += checksum;
        ++*rows;
    }
    sqlite3_finalize(stmt);
    if (sqls.len)
        assert_int_equal(sqlite3_exec(db, sqls.data, NULL, NULL, NULL), SQLITE_OK);
    buf_release(&sqls);
    return sum;
}

/* Makes the checksums of a file changed by hand what they should be, and its schema another one. */
static void seal(struct fixture *f, int format)
{
    struct buf sqls = {0};
    uint64_t tables = 0, meta = 0;
    sqlite3_stmt *stmt;
    sqlite3 *db;

    assert_int_equal(sqlite3_open(f->path, &db), SQLITE_OK);
    stmt = prepared(db, "SELECT name, rows, sum FROM _tables");
    while (sqlite3_step(stmt) == SQLITE_ROW) {
        const char *name = arena_strdup(&f->arena, (const char *)sqlite3_column_text(stmt, 0));
        uint64_t sum = (uint64_t)sqlite3_column_int64(stmt, 2);
        int64_t rows = sqlite3_column_int64(stmt, 1);

        if (name[0] != '_')
            sum = seal_table(f, db, name, &rows);
        tables += table_checksum(name, (uint64_t)rows, sum);
        buf_printf(&sqls, "UPDATE _tables SET rows = %lld, sum = %lld WHERE name = '%s';",
                   (long long)rows, (long long)sum, name);
    }
    sqlite3_finalize(stmt);
    buf_printf(&sqls,
               "UPDATE _meta SET value = %lld WHERE key = 'tables'; UPDATE _meta SET value = value "
               "+ 1 WHERE key = 'schema';"
               "UPDATE _meta SET value = %d WHERE key = 'format';",
               (long long)tables, format);
    assert_int_equal(sqlite3_exec(db, sqls.data, NULL, NULL, NULL), SQLITE_OK);
    stmt = prepared(db, "SELECT key, value FROM _meta WHERE key <> 'checksum'");
    while (sqlite3_step(stmt) == SQLITE_ROW)
        meta += meta_checksum((const char *)sqlite3_column_text(stmt, 0),
                              (uint64_t)sqlite3_column_int64(stmt, 1));
    sqlite3_finalize(stmt);
    buf_release(&sqls);
    buf_printf(&sqls, "UPDATE _meta SET value = %lld WHERE key = 'checksum'", (long long)meta);
    assert_int_equal(sqlite3_exec(db, sqls.data, NULL, NULL, NULL), SQLITE_OK);
    buf_release(&sqls);
    sqlite3_close(db);
}

static void a_file_of_a_later_format_is_refused_and_left_alone(void **state)
{
    struct fixture *f = *state;
    struct db_root *root = NULL;
    struct error *e;

    make_file(f, 3, 50);
    seal(f, CHECKPOINT_FORMAT + 1);
    e = checkpoint_open(&f->arena, f->path, &f->cp, &root);
    assert_non_null(e);
    assert_non_null(strstr(e->params[0], "later version"));
    assert_int_equal(sample_count_files(f->dir, "damaged"), 0);
    assert_int_equal(sql_number(f, "SELECT value FROM _meta WHERE key = 'format'"),
                     CHECKPOINT_FORMAT + 1);
}

static const struct vm *only_vm(const struct db_root *root)
{
    struct tree_cursor cursor;

    assert_int_equal(root->tables[CLASS_vm].count, 1);
    tree_seek(&root->tables[CLASS_vm], NULL, &cursor);
    return (const struct vm *)tree_next(&cursor)->k[2];
}

/* One VM, as 'name', with 4 CPUs. */
static void make_vm_file(struct fixture *f, const char *name)
{
    struct vm vm;

    root_unref(open_file(f));
    f->root = root_new();
    SAMPLE_NEW(vm, &vm);
    vm.name_label = name;
    vm.vcpus_max = 4;
    vm.user_version = 7;
    vm.power_state = VM_RUNNING;
    f->root->revision = vm.row_created = vm.row_version = 1;
    f->root->log_index = 5;
    root_put(f->root, row_new(&api_classes[CLASS_vm], &vm), 1);
    flush(f, f->root);
    checkpoint_close(f->cp);
    f->cp = NULL;
}

static void an_older_schema_is_brought_forward(void **state)
{
    struct fixture *f = *state;
    struct db_root *root;
    const struct vm *vm;

    make_vm_file(f, "web");
    /* Then there was no user_version and no class PUSB, more CPUs than one number could say, a
       power state that is gone, and a class and a field that nobody wants any more. */
    sql(f, "ALTER TABLE \"VM\" DROP COLUMN user_version; DROP TABLE \"PUSB\"; DELETE FROM _tables "
           "WHERE name = 'PUSB';"
           "ALTER TABLE \"VM\" ADD COLUMN old_field TEXT NOT NULL DEFAULT 'x';"
           "ALTER TABLE \"VM\" DROP COLUMN \"VCPUs_max\"; ALTER TABLE \"VM\" ADD COLUMN "
           "\"VCPUs_max\" TEXT NOT NULL DEFAULT '8';"
           "ALTER TABLE \"VM\" DROP COLUMN is_a_template; ALTER TABLE \"VM\" ADD COLUMN "
           "is_a_template TEXT NOT NULL DEFAULT 'true';"
           "UPDATE \"VM\" SET power_state = 'Hovering';"
           "CREATE TABLE \"VMPP\" (_ref TEXT PRIMARY KEY, _checksum INTEGER); INSERT INTO \"VMPP\" "
           "VALUES ('OpaqueRef:x', 1);"
           "INSERT INTO _tables VALUES ('VMPP', 1, 1);");
    seal(f, CHECKPOINT_FORMAT);
    root = open_file(f);
    vm = only_vm(root);
    assert_string_equal(vm->name_label, "web");
    assert_int_equal(vm->user_version, 0);
    assert_int_equal(vm->vcpus_max, 8);
    assert_true(vm->is_a_template);
    assert_int_equal(vm->power_state, VM_HALTED);
    assert_int_equal(root->log_index, 5);
    assert_int_equal(sample_count_files(f->dir, "damaged"), 0);
    root_unref(f->root);
    f->root = root;
    /* It was written in the present form, and is loaded as such. */
    assert_int_equal(
        sql_number(f, "SELECT count(*) FROM sqlite_master WHERE name IN ('PUSB', 'VMPP')"), 1);
    root = open_file(f);
    assert_true(sample_equal(root, f->root));
    root_unref(root);
}

static void an_older_schema_is_verified_too(void **state)
{
    struct fixture *f = *state;
    struct db_root *root;

    make_vm_file(f, "web");
    sql(f, "ALTER TABLE \"VM\" DROP COLUMN user_version");
    seal(f, CHECKPOINT_FORMAT);
    sql(f, "UPDATE \"VM\" SET name_label = 'wed'");
    root = open_file(f);
    assert_int_equal(root->log_index, 0);
    assert_true(sample_count_files(f->dir, "damaged") > 0);
    root_unref(root);
}

/*** disks and people ***/

/* At each write and sync in turn the disk fails: the flush says so, nothing is written any more,
   and the file is the one before or the one after. */
static void a_failing_disk(struct fixture *f, int error)
{
    bool survived = false;
    uint64_t seed = 31;

    make_file(f, 3, 60);
    for (int budget = 0; !survived; budget += 1 + budget / 4) {
        struct db_root *root = open_file(f), *next = root_copy(root), *again;
        struct error *e;

        sample_change(next, &seed, 10);
        fault.budget = budget;
        fault.error = error;
        e = checkpoint_flush(&f->arena, f->cp, next);
        survived = !e;
        if (e) {
            fault.error = 0;
            e = checkpoint_flush(&f->arena, f->cp, next);
            assert_non_null(e);
            assert_non_null(strstr(e->params[0], "no longer written"));
        }
        fault.error = 0;
        again = open_file(f);
        assert_true(sample_equal(again, next) || (!survived && sample_equal(again, root)));
        assert_int_equal(sample_count_files(f->dir, "damaged"), 0);
        root_unref(again);
        root_unref(next);
        root_unref(root);
    }
}

static void a_full_disk_ends_writing_and_harms_nothing(void **state)
{
    a_failing_disk(*state, SQLITE_FULL);
}

static void a_failed_write_ends_writing_and_harms_nothing(void **state)
{
    a_failing_disk(*state, SQLITE_IOERR_WRITE);
}

static void a_person_holding_the_file_only_delays_it(void **state)
{
    struct fixture *f = *state;
    struct db_root *next, *again;
    uint64_t seed = 31;
    sqlite3 *db;

    make_file(f, 3, 60);
    root_unref(open_file(f));
    next = root_copy(f->root);
    sample_change(next, &seed, 10);
    assert_int_equal(sqlite3_open(f->path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, "BEGIN IMMEDIATE", NULL, NULL, NULL), SQLITE_OK);
    flush(f, next);
    assert_int_equal(sqlite3_exec(db, "COMMIT", NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(db);
    flush(f, next);
    again = open_file(f);
    assert_true(sample_equal(again, next));
    root_unref(again);
    root_unref(next);
}

static void a_structure_that_breaks_while_running_is_set_aside_at_once(void **state)
{
    struct fixture *f = *state;
    struct db_root *root, *next;

    make_vm_file(f, "web");
    root = open_file(f);
    sql(f, "DELETE FROM \"VM\"");
    next = root_copy(root);
    next->revision++;
    root_touch(next, CLASS_vm, only_vm(root)->ref, next->revision);
    assert_non_null(checkpoint_flush(&f->arena, f->cp, next));
    assert_true(sample_count_files(f->dir, "damaged") > 0);
    root_unref(next);
    root_unref(root);
    root = open_file(f);
    assert_int_equal(root->log_index, 0);
    root_unref(root);
}

static void every_value_survives_its_column(void **state)
{
    struct fixture *f = *state;
    uint64_t seed = 123;
    int n = 0;

    for (size_t i = 0; i < api_n_fields; i++) {
        const struct type *t = api_fields[i].type;

        if (!field_is_stored(&api_fields[i]) ||
            !(api_classes[api_fields[i].class_id].flags & CLASS_STORED))
            continue;
        for (int round = 0; round < 8; round++, n++) {
            AUTO(arena) arena = {0};
            struct db_root *none = calloc(1, sizeof *none);
            void *value = arena_zalloc(&arena, MAX(t->size, 16)),
                 *again = arena_zalloc(&arena, MAX(t->size, 16));
            struct cell cell;

            sample_value(&arena, &seed, none, t, value);
            if (t->kind == TYPE_FLOAT && *(double *)value == 0)
                *(double *)value = 0; /* there is one zero */
            cell_from_value(&arena, t, value, &cell);
            if (!cell_to_value(&arena, t, &cell, false, again) || !value_equal(t, value, again))
                fail_msg("%s: %s", api_fields[i].db_name,
                         cell.kind == CELL_TEXT ? cell.text : "number");
            free(none);
        }
    }
    assert_true(n > 1000);
    (void)f;
}

int main(void)
{
#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(every_value_survives_its_column),
        TEST(what_was_flushed_is_loaded_again),
        TEST(a_new_file_is_an_empty_database_for_its_owner_only),
        TEST(a_person_can_read_it),
        TEST(a_root_with_another_past_replaces_all),
        TEST(a_root_that_no_longer_remembers_all_deletions_replaces_all),
        TEST(forgotten_deletions_leave_the_file),
        TEST(a_row_that_goes_and_comes_back_is_written_once),
        TEST(a_flipped_bit_is_noticed),
        TEST(a_file_cut_short_is_noticed),
        TEST(what_a_person_changes_is_noticed),
        TEST(a_file_of_a_later_format_is_refused_and_left_alone),
        TEST(an_older_schema_is_brought_forward),
        TEST(an_older_schema_is_verified_too),
        TEST(a_full_disk_ends_writing_and_harms_nothing),
        TEST(a_failed_write_ends_writing_and_harms_nothing),
        TEST(a_person_holding_the_file_only_delays_it),
        TEST(a_structure_that_breaks_while_running_is_set_aside_at_once),
    };

    return cmocka_run_group_tests(tests, install_faults, NULL);
}
