/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* checks.c -- whether a host may join a pool. */
#include "tests/unit/join/worlds.h"

#include "xapid/join/checks.h"

/* A host and a pool that fit; one thing of one of them is changed, and the error looked at. */
struct pair {
    struct arena arena;
    struct call call;
    struct world host, pool;
};

static int begin(void **state)
{
    struct pair *p = calloc(1, sizeof *p);

    p->call.arena = &p->arena;
    world_new(&p->host, 100, "host-uuid");
    world_new(&p->pool, 200, "master-uuid");
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

static const struct error *judge(struct pair *p, bool force)
{
    return join_check(&(struct join_sides){&p->call, p->host.root, p->pool.root}, force);
}

static void refused_with(struct pair *p, const char *code)
{
    const struct error *e = judge(p, false);

    assert_non_null(e);
    assert_string_equal(e->code, code);
}

/* CHANGE(world, class, ref, field, value): the row as it is, but for that. */
#define CHANGE(w, class, ref_, field_, ...)                                                        \
    do {                                                                                           \
        struct class row_ = *(const struct class *)root_get((w)->root, CLASS_##class, (ref_));     \
        row_.field_ = __VA_ARGS__;                                                                 \
        PUT((w), class, &row_);                                                                    \
    } while (0)

/* The same for a map's key. */
#define CHANGE_KEY(p, w, class, ref_, field_, key, value)                                          \
    CHANGE(w, class, ref_, field_,                                                                 \
           strmap_with(&(p)->arena,                                                                \
                       ((const struct class *)root_get((w)->root, CLASS_##class, (ref_)))->field_, \
                       key, value))

static void one_that_fits_may_join(void **state)
{
    assert_null(judge(*state, false));
}

static void a_host_that_has_others_may_not(void **state)
{
    struct pair *p = *state;

    put_host(&p->host, 150, "another-uuid");
    refused_with(p, "JOINING_HOST_CANNOT_BE_MASTER_OF_OTHER_HOSTS");
}

static void a_host_that_the_pool_has_may_not(void **state)
{
    struct pair *p = *state;

    CHANGE(&p->pool, host, p->pool.host, uuid, "host-uuid");
    refused_with(p, "OPERATION_NOT_ALLOWED");
}

static void not_under_high_availability_of_either(void **state)
{
    struct pair *p = *state;

    CHANGE(&p->pool, pool, p->pool.pool, ha_enabled, true);
    refused_with(p, "HA_IS_ENABLED");
    CHANGE(&p->pool, pool, p->pool.pool, ha_enabled, false);
    CHANGE(&p->host, pool, p->host.pool, ha_enabled, true);
    refused_with(p, "HA_IS_ENABLED");
}

static void a_licence_may_forbid_pools(void **state)
{
    struct pair *p = *state;

    CHANGE_KEY(p, &p->pool, pool, p->pool.pool, restrictions, "restrict_pooling", "true");
    refused_with(p, "LICENCE_RESTRICTION");
}

static void a_licence_may_forbid_a_fourth_host(void **state)
{
    struct pair *p = *state;

    CHANGE_KEY(p, &p->pool, pool, p->pool.pool, restrictions, "restrict_pool_size", "true");
    assert_null(judge(p, false));
    put_host(&p->pool, 250, "second");
    put_host(&p->pool, 260, "third");
    refused_with(p, "LICENCE_RESTRICTION");
}

static void the_api_version_is_the_same(void **state)
{
    struct pair *p = *state;
    const struct error *e;

    CHANGE(&p->pool, host, p->pool.host, api_version_minor, 24);
    e = judge(p, true);
    assert_string_equal(e->code, "POOL_JOINING_HOST_MUST_HAVE_SAME_API_VERSION");
    assert_string_equal(e->params[0], "2.23");
    assert_string_equal(e->params[1], "2.24");
}

static void the_schema_is_the_same(void **state)
{
    struct pair *p = *state;

    CHANGE_KEY(p, &p->pool, host, p->pool.host, software_version, "db_schema", "5.910");
    refused_with(p, "POOL_JOINING_HOST_MUST_HAVE_SAME_DB_SCHEMA");
}

static void the_product_is_the_same(void **state)
{
    struct pair *p = *state;

    CHANGE_KEY(p, &p->host, host, p->host.host, software_version, "xapi_build", "xapid 2");
    refused_with(p, "POOL_JOINING_HOST_MUST_HAVE_SAME_PRODUCT_VERSION");
}

static void other_processors_only_by_force(void **state)
{
    struct pair *p = *state;

    CHANGE_KEY(p, &p->host, host, p->host.host, cpu_info, "vendor", "AuthenticAMD");
    refused_with(p, "HOSTS_NOT_HOMOGENEOUS");
    assert_null(judge(p, true));
}

static void the_directory_of_users_is_the_same(void **state)
{
    struct pair *p = *state;

    CHANGE(&p->pool, host, p->pool.host, external_auth_type, "AD");
    refused_with(p, "POOL_JOINING_EXTERNAL_AUTH_MISMATCH");
}

static void machines_do_not_run_but_may_be_suspended(void **state)
{
    struct pair *p = *state;
    NEW_ROW(vm, vm);

    vm.ref = ref_of(160);
    vm.uuid = "vm";
    vm.power_state = VM_SUSPENDED;
    PUT(&p->host, vm, &vm);
    assert_null(judge(p, false));
    CHANGE(&p->host, vm, vm.ref, power_state, VM_RUNNING);
    refused_with(p, "JOINING_HOST_CANNOT_HAVE_RUNNING_VMS");
    CHANGE(&p->host, vm, vm.ref, is_control_domain, true);
    assert_null(judge(p, false));
}

static void shared_storage_is_the_pools_own(void **state)
{
    struct pair *p = *state;

    CHANGE(&p->host, sr, p->host.sr, shared, true);
    refused_with(p, "JOINING_HOST_CANNOT_CONTAIN_SHARED_SRS");
    CHANGE(&p->host, sr, p->host.sr, uuid, "sr");
    assert_null(judge(p, false));
}

static void no_bonds_tunnels_or_virtual_functions(void **state)
{
    struct pair *p = *state;
    NEW_ROW(bond, bond);
    NEW_ROW(tunnel, tunnel);
    NEW_ROW(network_sriov, sriov);

    bond.ref = ref_of(170);
    bond.uuid = "bond";
    tunnel.ref = ref_of(171);
    tunnel.uuid = "tunnel";
    sriov.ref = ref_of(172);
    sriov.uuid = "sriov";
    PUT(&p->host, network_sriov, &sriov);
    refused_with(p, "POOL_JOINING_HOST_HAS_NETWORK_SRIOVS");
    PUT(&p->host, tunnel, &tunnel);
    refused_with(p, "POOL_JOINING_HOST_HAS_TUNNELS");
    PUT(&p->host, bond, &bond);
    refused_with(p, "POOL_JOINING_HOST_HAS_BONDS");
}

static void vlans_only_for_management_and_the_same_as_the_pools(void **state)
{
    struct pair *p = *state;
    const struct error *e;

    CHANGE(&p->host, pif, ref_of(101), vlan, 7);
    e = judge(p, false);
    assert_string_equal(e->code, "POOL_JOINING_HOST_MANAGEMENT_VLAN_DOES_NOT_MATCH");
    assert_string_equal(e->params[0], "7");
    CHANGE(&p->host, pif, ref_of(101), management, false);
    refused_with(p, "POOL_JOINING_HOST_HAS_NON_MANAGEMENT_VLANS");
    CHANGE(&p->host, pif, ref_of(101), vlan, -1);
    refused_with(p, "POOL_JOINING_HOST_MUST_HAVE_PHYSICAL_MANAGEMENT_NIC");
}

static void networks_are_of_one_kind(void **state)
{
    struct pair *p = *state;
    NEW_ROW(sdn_controller, controller);

    CHANGE(&p->host, pif, ref_of(101), primary_address_type, PRIMARY_ADDRESS_TYPE_IPV6);
    refused_with(p, "OPERATION_NOT_ALLOWED");
    CHANGE(&p->host, pif, ref_of(101), primary_address_type, PRIMARY_ADDRESS_TYPE_IPV4);
    controller.ref = ref_of(270);
    controller.uuid = "controller";
    PUT(&p->pool, sdn_controller, &controller);
    refused_with(p, "OPERATION_NOT_ALLOWED");
    controller.ref = ref_of(170);
    PUT(&p->host, sdn_controller, &controller);
    assert_null(judge(p, false));
    CHANGE_KEY(p, &p->host, host, p->host.host, software_version, "network_backend", "openvswitch");
    refused_with(p, "OPERATION_NOT_ALLOWED");
}

static void both_verify_certificates_or_neither(void **state)
{
    struct pair *p = *state;

    CHANGE(&p->pool, pool, p->pool.pool, tls_verification_enabled,
           !((const struct pool *)root_get(p->pool.root, CLASS_pool, p->pool.pool))
                ->tls_verification_enabled);
    refused_with(p, "POOL_JOINING_HOST_TLS_VERIFICATION_MISMATCH");
}

static void authorities_of_one_name_are_one(void **state)
{
    struct pair *p = *state;
    NEW_ROW(certificate, c);

    c.ref = ref_of(180);
    c.uuid = "certificate";
    c.name = "ca";
    c.type = CERTIFICATE_TYPE_CA;
    c.fingerprint_sha256 = "aa";
    PUT(&p->host, certificate, &c);
    c.ref = ref_of(280);
    PUT(&p->pool, certificate, &c);
    assert_null(judge(p, false));
    CHANGE(&p->pool, certificate, c.ref, fingerprint_sha256, "bb");
    refused_with(p, "POOL_JOINING_HOST_CA_CERTIFICATES_CONFLICT");
}

static void storage_drivers_can_what_the_pools_can(void **state)
{
    static const char *const much[] = {"VDI_CREATE", "VDI_RESIZE"};
    struct pair *p = *state;
    NEW_ROW(sm, sm);

    sm.ref = ref_of(290);
    sm.uuid = "sm";
    sm.type = "ext";
    sm.capabilities = (struct strings){2, much};
    PUT(&p->pool, sm, &sm);
    sm.ref = ref_of(190);
    PUT(&p->host, sm, &sm);
    assert_null(judge(p, false));
    CHANGE(&p->host, sm, sm.ref, capabilities, ((struct strings){1, much}));
    refused_with(p, "POOL_JOINING_SM_FEATURES_INCOMPATIBLE");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(one_that_fits_may_join),
        TEST(a_host_that_has_others_may_not),
        TEST(a_host_that_the_pool_has_may_not),
        TEST(not_under_high_availability_of_either),
        TEST(a_licence_may_forbid_pools),
        TEST(a_licence_may_forbid_a_fourth_host),
        TEST(the_api_version_is_the_same),
        TEST(the_schema_is_the_same),
        TEST(the_product_is_the_same),
        TEST(other_processors_only_by_force),
        TEST(the_directory_of_users_is_the_same),
        TEST(machines_do_not_run_but_may_be_suspended),
        TEST(shared_storage_is_the_pools_own),
        TEST(no_bonds_tunnels_or_virtual_functions),
        TEST(vlans_only_for_management_and_the_same_as_the_pools),
        TEST(networks_are_of_one_kind),
        TEST(both_verify_certificates_or_neither),
        TEST(authorities_of_one_name_are_one),
        TEST(storage_drivers_can_what_the_pools_can),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
