/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * cases.c -- reads cases of the plan from standard input and writes them again with what the plan
 * says now; cases.py compares.
 *
 * Beside that, what holds for every case: its steps are what they say (the model takes them), the
 * plan for the state they lead to is empty, taken back they lead to where they began, and a daemon
 * that dies after any of them finds a plan that leads there too.  Where that is not so a line with
 * "!!" is written.
 */
#include <stdio.h>
#include <string.h>

#include "network-bridge/plan/model.h"
#include "tests/network/check.h"
#include "tests/network/wanted.h"

#define CASES 1024

struct known {
    const char *name;
    struct net_state reached;
};

struct cases {
    struct arena *arena;
    size_t n;
    struct known v[CASES];
};

static const char *read_all(struct arena *arena)
{
    size_t room = 1024 * 1024;
    char *text = arena_alloc(arena, room);
    size_t n = fread(text, 1, room - 1, stdin);

    text[n] = '\0';
    return text;
}

/* Up to a line that begins with 'mark', which is left where it is. */
static const char *section(struct arena *arena, const char **text, const char *mark)
{
    const char *begin = *text, *end = begin;

    while (*end && strncmp(end, mark, strlen(mark)) != 0)
        end = strchrnul(end, '\n') + (*strchrnul(end, '\n') == '\n');
    *text = end;
    return arena_strndup(arena, begin, (size_t)(end - begin));
}

static const char *skip_line(const char *text)
{
    const char *end = strchrnul(text, '\n');

    return *end ? end + 1 : end;
}

/* "after NAME" begins where another case has ended. */
static struct error *present_of(struct cases *c, const char *text, struct net_state *out)
{
    for (size_t i = 0; i < c->n; i++) {
        const char *line = arena_printf(c->arena, "after %s\n", c->v[i].name);

        if (strncmp(text, line, strlen(line)) == 0) {
            *out = c->v[i].reached;
            return OK;
        }
    }
    return net_state_parse(c->arena, text, out);
}

static void run(struct cases *c, const char *name, const char *present_text,
                const char *wanted_text)
{
    struct net_state present, reached;
    struct net_wanted wanted;
    struct net_plan plan;
    const char *wrong = NULL;
    struct error *e = present_of(c, present_text, &present);

    if (!e)
        e = wanted_parse(c->arena, wanted_text, &wanted);
    if (!e)
        e = net_plan(c->arena, &wanted, &present, &plan);
    if (e) {
        printf("error %s\n", error_line(c->arena, e));
        return;
    }
    for (size_t i = 0; i < plan.n_notes; i++)
        printf("note %s\n", plan.notes[i]);
    for (size_t i = 0; i < plan.n_steps; i++)
        printf("%s\n", net_step_text(c->arena, &plan.steps[i]));
    if (!plan.n_steps)
        printf("nothing\n");
    wrong = check_plan(c->arena, &wanted, &present, &plan, &reached);
    if (wrong)
        printf("!! %s\n", wrong);
    c->v[c->n++] = (struct known){name, reached};
}

int cases_main(void)
{
    AUTO(arena) arena = {0};
    struct cases c = {.arena = &arena};
    const char *text = read_all(&arena), *head = section(&arena, &text, "### ");

    printf("%s", head);
    while (*text && c.n < CASES) {
        const char *end = strchrnul(text, '\n'), *present, *wanted;
        const char *title = arena_strndup(&arena, text, (size_t)(end - text));

        text = skip_line(text);
        present = section(&arena, &text, "---");
        text = skip_line(text);
        wanted = section(&arena, &text, "---");
        text = skip_line(text);
        section(&arena, &text, "### ");
        printf("%s\n%s---\n%s---\n", title, present, wanted);
        run(&c, title + 4, present, wanted);
        printf("\n");
    }
    return 0;
}
