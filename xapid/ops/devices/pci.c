/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* pci.c -- which PCI functions this host's own drivers may have. */
#include "xapid/ops/devices/hidden.h"
#include "xapid/ops/vm/domain.h"

static struct error *status(struct call *call, const struct pci *pci, enum pci_dom0_access *result)
{
    struct strings hidden;

    TRY(hidden_read(call, &hidden));
    *result = hidden_access(&hidden, pci->pci_id, pci->driver_name);
    return OK;
}

struct show {
    ref_t pci;
    enum pci_dom0_access access;
};

static struct error *show_txn(struct txn *txn, void *arg)
{
    const struct show *s = arg;
    struct refs pgpus = txn_referrers(txn, FIELD_pgpu_pci, s->pci);

    for (size_t i = 0; i < pgpus.n; i++)
        TXN_SET(txn, pgpu, pgpus.v[i], dom0_access, s->access);
    return OK;
}

/* The file first: it is what counts, and the next start reads it. */
static struct error *set_access(struct call *call, ref_t ref, bool hidden,
                                enum pci_dom0_access *result)
{
    const struct pci *pci;

    TRY(DB_GET(call, pci, ref, &pci));
    TRY(host_is_here(call, pci->host));
    TRY(hidden_set(call, pci->pci_id, hidden));
    TRY(status(call, pci, result));
    return db_update(call, show_txn, &(struct show){ref, *result});
}

struct error *pci_disable_dom0_access(struct call *call,
                                      const struct pci_disable_dom0_access_args *args,
                                      enum pci_dom0_access *result)
{
    return set_access(call, args->self, true, result);
}

struct error *pci_enable_dom0_access(struct call *call,
                                     const struct pci_enable_dom0_access_args *args,
                                     enum pci_dom0_access *result)
{
    return set_access(call, args->self, false, result);
}

struct error *pci_get_dom0_access_status(struct call *call,
                                         const struct pci_get_dom0_access_status_args *args,
                                         enum pci_dom0_access *result)
{
    const struct pci *pci;

    TRY(DB_GET(call, pci, args->self, &pci));
    TRY(host_is_here(call, pci->host));
    return status(call, pci, result);
}

struct error *pgpu_disable_dom0_access(struct call *call,
                                       const struct pgpu_disable_dom0_access_args *args,
                                       enum pci_dom0_access *result)
{
    const struct pgpu *pgpu;

    TRY(DB_GET(call, pgpu, args->self, &pgpu));
    return set_access(call, pgpu->pci, true, result);
}

struct error *pgpu_enable_dom0_access(struct call *call,
                                      const struct pgpu_enable_dom0_access_args *args,
                                      enum pci_dom0_access *result)
{
    const struct pgpu *pgpu;

    TRY(DB_GET(call, pgpu, args->self, &pgpu));
    return set_access(call, pgpu->pci, false, result);
}
