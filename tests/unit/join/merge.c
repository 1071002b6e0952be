/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* merge.c -- what of a joining host's database comes into the pool's. */
#include "tests/unit/join/worlds.h"

#include "xapid/join/merge.h"

#define ALL_AT_ONCE ((size_t)1 << 20)

struct pair {
    struct arena arena;
    struct world host, pool;
    struct merge merge;
};

static int begin(void **state)
{
    struct pair *p = calloc(1, sizeof *p);
    NEW_ROW(host_state, s);

    world_new(&p->host, 100, "host-uuid");
    world_new(&p->pool, 200, "master-uuid");
    s.ref = ref_of(190);
    s.host = p->host.host;
    PUT(&p->host, host_state, &s);
    *state = p;
    return 0;
}

static int end(void **state)
{
    struct pair *p = *state;

    root_unref(p->host.root);
    root_unref(p->pool.root);
    arena_release(&p->arena);
    free(p);
    return 0;
}

static void plan(struct pair *p, size_t batch_size)
{
    merge_plan(&p->arena, p->host.root, p->pool.root, batch_size, &p->merge);
}

/* The row as it comes along, or NULL. */
static const void *coming(const struct pair *p, ref_t ref)
{
    for (size_t i = 0; i < p->merge.n; i++)
        if (ref_equal(p->merge.rows[i].row->ref, ref))
            return p->merge.rows[i].row;
    return NULL;
}

static void put_vm(struct pair *p, uint64_t n, const char *uuid, bool template)
{
    NEW_ROW(vm, vm);
    NEW_ROW(vbd, vbd);
    NEW_ROW(vif, vif);
    NEW_ROW(vm_metrics, metrics);

    metrics.ref = ref_of(n + 3);
    metrics.uuid = uuid;
    PUT(&p->host, vm_metrics, &metrics);
    vm.ref = ref_of(n);
    vm.uuid = uuid;
    vm.is_a_template = vm.is_default_template = template;
    vm.metrics = metrics.ref;
    vm.affinity = p->host.host;
    PUT(&p->host, vm, &vm);
    vbd.ref = ref_of(n + 1);
    vbd.uuid = uuid;
    vbd.vm = vm.ref;
    PUT(&p->host, vbd, &vbd);
    vif.ref = ref_of(n + 2);
    vif.uuid = uuid;
    vif.vm = vm.ref;
    vif.network = p->host.network;
    PUT(&p->host, vif, &vif);
}

static void the_host_comes_and_is_disabled_until_it_starts(void **state)
{
    struct pair *p = *state;
    const struct host *host;

    plan(p, ALL_AT_ONCE);
    host = coming(p, p->host.host);
    assert_non_null(host);
    assert_false(host->enabled);
    assert_string_equal(host->uuid, "host-uuid");
    assert_true(ref_equal(p->merge.state->host, p->host.host));
}

static void what_a_pool_has_once_does_not_come(void **state)
{
    struct pair *p = *state;
    NEW_ROW(sm, sm);

    sm.ref = ref_of(150);
    sm.uuid = "sm";
    PUT(&p->host, sm, &sm);
    plan(p, ALL_AT_ONCE);
    assert_null(coming(p, p->host.pool));
    assert_null(coming(p, sm.ref));
}

static void machines_come_with_all_they_have_but_not_default_templates(void **state)
{
    struct pair *p = *state;

    put_vm(p, 300, "vm", false);
    put_vm(p, 400, "template", true);
    plan(p, ALL_AT_ONCE);
    for (uint64_t n = 0; n < 4; n++) {
        assert_non_null(coming(p, ref_of(300 + n)));
        assert_null(coming(p, ref_of(400 + n)));
    }
    assert_true(ref_equal(((const struct vm *)coming(p, ref_of(300)))->affinity, p->host.host));
}

static void a_network_of_the_same_bridge_is_the_pools(void **state)
{
    struct pair *p = *state;
    const struct pif *pif;

    put_vm(p, 300, "vm", false);
    plan(p, ALL_AT_ONCE);
    assert_null(coming(p, p->host.network));
    pif = coming(p, ref_of(101));
    assert_true(ref_equal(pif->network, p->pool.network));
    assert_true(ref_equal(((const struct vif *)coming(p, ref_of(302)))->network, p->pool.network));
}

static void put_network(struct world *w, uint64_t n, const char *name, const char *bridge)
{
    NEW_ROW(network, row);

    row.ref = ref_of(n);
    row.uuid = name;
    row.name_label = name;
    row.bridge = bridge;
    PUT(w, network, &row);
}

static void other_networks_are_found_by_name_or_get_a_bridge_of_their_own(void **state)
{
    struct pair *p = *state;
    const struct network *n;

    put_network(&p->pool, 220, "storage", "xapi0");
    put_network(&p->pool, 221, "backup", "xapi1");
    put_network(&p->host, 120, "storage", "xapi7");
    put_network(&p->host, 121, "private", "xapi0");
    plan(p, ALL_AT_ONCE);
    assert_null(coming(p, ref_of(120)));
    n = coming(p, ref_of(121));
    assert_string_equal(n->bridge, "xapi2");
}

static void shared_storage_and_its_disks_are_the_pools(void **state)
{
    struct pair *p = *state;
    NEW_ROW(vdi, vdi);
    const struct vdi *other;

    NEW_ROW(sr, sr);
    sr.ref = ref_of(230);
    sr.uuid = "sr-100";
    PUT(&p->pool, sr, &sr);
    vdi.ref = ref_of(231);
    vdi.uuid = "both";
    vdi.sr = sr.ref;
    PUT(&p->pool, vdi, &vdi);
    vdi.ref = ref_of(131);
    vdi.sr = p->host.sr;
    PUT(&p->host, vdi, &vdi);
    vdi.ref = ref_of(132);
    vdi.uuid = "only here";
    PUT(&p->host, vdi, &vdi);
    plan(p, ALL_AT_ONCE);
    assert_null(coming(p, p->host.sr));
    assert_null(coming(p, ref_of(131)));
    other = coming(p, ref_of(132));
    assert_true(ref_equal(other->sr, sr.ref));
}

/* A part may be undone alone: it refers to nothing that comes later. */
static void put_trust(struct world *w, uint64_t n, const char *name, bool crl, ref_t host)
{
    NEW_ROW(trust_file, row);

    row.ref = ref_of(n);
    row.name_label = name;
    row.pem = name;
    row.crl = crl;
    row.host = host;
    PUT(w, trust_file, &row);
}

static void what_is_trusted_comes_unless_the_pool_has_it(void **state)
{
    struct pair *p = *state;

    put_trust(&p->pool, 500, "both", true, REF_NULL);
    put_trust(&p->host, 600, "both", true, REF_NULL);
    put_trust(&p->host, 601, "both", false, REF_NULL);
    put_trust(&p->host, 602, "only here", true, REF_NULL);
    put_trust(&p->host, 603, "both", true, p->host.host);
    plan(p, ALL_AT_ONCE);
    assert_null(coming(p, ref_of(600)));
    for (uint64_t n = 601; n <= 603; n++)
        assert_non_null(coming(p, ref_of(n)));
}

static void a_small_batch_makes_many_and_no_row_is_lost(void **state)
{
    struct pair *p = *state;
    size_t in_batches = 0;

    for (uint64_t i = 0; i < 50; i++)
        put_vm(p, 1000 + 10 * i, arena_printf(&p->arena, "vm-%d", (int)i), false);
    plan(p, 2000);
    assert_true(p->merge.n_batches > 5);
    for (size_t b = 0; b < p->merge.n_batches; b++) {
        struct strings names = merge_names(&p->arena, &p->merge, b);

        assert_true(names.n > 0);
        in_batches += names.n;
    }
    assert_int_equal(in_batches, p->merge.n);
}

static void names_of_rows_are_read_back(void **state)
{
    struct pair *p = *state;
    struct strings names;
    int class_id;
    ref_t ref;

    plan(p, ALL_AT_ONCE);
    names = merge_names(&p->arena, &p->merge, 0);
    for (size_t i = 0; i < names.n; i++) {
        assert_true(merge_name_read(names.v[i], &class_id, &ref));
        assert_int_equal(class_id, p->merge.rows[i].class->id);
        assert_true(ref_equal(ref, p->merge.rows[i].row->ref));
    }
    assert_false(merge_name_read("VM", &class_id, &ref));
    assert_false(merge_name_read("nothing OpaqueRef:x", &class_id, &ref));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(the_host_comes_and_is_disabled_until_it_starts),
        TEST(what_a_pool_has_once_does_not_come),
        TEST(machines_come_with_all_they_have_but_not_default_templates),
        TEST(a_network_of_the_same_bridge_is_the_pools),
        TEST(other_networks_are_found_by_name_or_get_a_bridge_of_their_own),
        TEST(shared_storage_and_its_disks_are_the_pools),
        TEST(what_is_trusted_comes_unless_the_pool_has_it),
        TEST(a_small_batch_makes_many_and_no_row_is_lost),
        TEST(names_of_rows_are_read_back),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
