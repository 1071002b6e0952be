/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* schemac -- compiles schema/ to tables: schemac OUTDIR FILE.api..., or schemac --json|--manual
 * FILE.api... */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "schema/compiler/schemac.h"

#define MAX_FILE (4 << 20)

static const struct output {
    const char *file;
    void (*emit)(struct schema *, FILE *);
} outputs[] = {
    {"api_types.h", emit_header},         {"api_tables.c", emit_tables},
    {"api_daemon.h", emit_daemon_header}, {"api_daemon.c", emit_daemon},
    {"api_client.h", emit_client_header}, {"api_client.c", emit_client},
};

static void parse_file(struct schema *schema, const char *path)
{
    FILE *f = fopen(path, "r");
    char *text;
    size_t n;

    if (!f)
        schema_die(schema, (struct place){path, 0}, "%s", strerror(errno));
    text = arena_alloc(&schema->arena, MAX_FILE);
    n = fread(text, 1, MAX_FILE, f);
    fclose(f);
    if (n == MAX_FILE)
        schema_die(schema, (struct place){path, 0}, "larger than 4 MiB");
    schema_parse(schema, path, text, n);
}

static void write_file(struct schema *schema, const char *dir, const struct output *output)
{
    const char *path = arena_printf(&schema->arena, "%s/%s", dir, output->file);
    FILE *f = fopen(path, "w");

    if (!f)
        schema_die(schema, (struct place){path, 0}, "%s", strerror(errno));
    output->emit(schema, f);
    if (fclose(f))
        schema_die(schema, (struct place){path, 0}, "%s", strerror(errno));
}

int main(int argc, char **argv)
{
    struct schema *schema = calloc(1, sizeof *schema);

    if (argc < 3 || !schema) {
        fprintf(stderr, "usage: schemac OUTDIR|--json|--manual FILE.api...\n");
        return 2;
    }
    if (setjmp(schema->fail)) {
        fprintf(stderr, "%s\n", schema->message);
        return 1;
    }
    for (int i = 2; i < argc; i++)
        parse_file(schema, argv[i]);
    schema_check(schema);
    if (strcmp(argv[1], "--json") == 0)
        emit_json(schema, stdout);
    else if (strcmp(argv[1], "--manual") == 0)
        emit_manual(schema, stdout);
    else
        for (size_t i = 0; i < ARRAY_SIZE(outputs); i++)
            write_file(schema, argv[1], &outputs[i]);
    arena_release(&schema->arena);
    free(schema);
    return fflush(stdout) ? 1 : 0;
}
