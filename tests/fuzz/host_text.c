/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Texts from anywhere: what a report takes secrets out of, clients' names, hardware addresses. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "libxapi/base/arena.h"
#include "xapid/auth/agents.h"
#include "xapid/ops/host/redact.h"
#include "xapid/ops/host/wake.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void client(const char *text)
{
    struct agents *agents = agents_new();
    struct arena arena = {0};
    struct strmap seen;

    agents_note(agents, text);
    seen = agents_seen(agents, &arena);
    assert(seen.n <= 1);
    assert(!seen.n || strlen(seen.v[0].key) <= AGENT_NAME_MAX);
    arena_release(&arena);
    agents_free(agents);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = malloc(size + 1), *exact = malloc(size ? size : 1);
    uint8_t packet[WAKE_PACKET_SIZE];

    memcpy(text, data, size);
    text[size] = '\0';
    memcpy(exact, data, size);
    redact(exact, size);
    wake_packet(text, packet);
    client(text);
    free(text);
    free(exact);
    return 0;
}
