/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* errors.c -- errors as users read them. */
#include "xe-cli/errors.h"

#include <stdlib.h>
#include <string.h>

#include "xe-cli/objects.h"

/* Classes in the order they are tried where a parameter's name does not tell. */
static const char *const likely_classes[] = {"VM",   "host",    "SR",      "VDI", "VBD",
                                             "VIF",  "network", "PIF",     "PBD", "pool",
                                             "task", "Bond",    "VM_group"};

/* Names of parameters that are not the name of the class. */
static const struct {
    const char *param, *class;
} named_classes[] = {
    {"snapshot", "VM"}, {"master", "host"}, {"net", "network"},
    {"vdi1", "VDI"},    {"vdi2", "VDI"},    {"object", "VM"},
};

static const char *class_of_param(const char *param)
{
    const struct class_desc *class = param ? api_class_by_lower(param) : NULL;

    for (size_t i = 0; param && i < ARRAY_SIZE(named_classes); i++)
        if (!strcmp(param, named_classes[i].param))
            return named_classes[i].class;
    return class && class->uuid_field >= 0 ? class->name : NULL;
}

/* "uuid (name)" of an object, NULL if it is not of this class. */
static const char *object_text(struct xe *xe, const char *class, const char *ref)
{
    const struct wire *record = NULL;
    const struct wire *name;

    /* Only a nicer text is at stake: whatever goes wrong here, the reference itself is shown. */
    error_ignore(object_get(xe, class, ref, &record));
    if (!record)
        return NULL;
    name = xe_member(record, "name_label");
    if (!name)
        return xe_member_text(record, "uuid");
    return arena_printf(&xe->arena, "%s (%s)", xe_member_text(record, "uuid"),
                        xe_wire_text(&xe->arena, name));
}

static const char *param_text(struct xe *xe, const char *param, const char *value)
{
    const char *class = class_of_param(param), *text = NULL;

    if (strncmp(value, "OpaqueRef:", 10) != 0 || ref_text_is_null(value) || !xe->server)
        return value;
    if (class)
        text = object_text(xe, class, value);
    for (size_t i = 0; !class && !text && i < ARRAY_SIZE(likely_classes); i++)
        text = object_text(xe, likely_classes[i], value);
    return text ? text : value;
}

static void add_params(struct xe *xe, struct buf *buf, const struct error_desc *desc,
                       const struct error *e)
{
    size_t declared = desc->n_params > 0 ? (size_t)desc->n_params : 0;
    /* Codes with as many parameters as there are objects. */
    const char *each = !strcmp(e->code, "VMS_FAILED_TO_COOPERATE") ? "VM"
                       : !strcmp(e->code, "NO_HOSTS_AVAILABLE")    ? "host"
                                                                   : NULL;

    for (size_t i = 0; i < MAX(declared, e->n_params); i++) {
        const char *name = each ? each : i < declared ? desc->params[i] : "<extra>";

        buf_printf(buf, "\n%s: %s", name,
                   i < e->n_params ? param_text(xe, name, e->params[i]) : "<unknown>");
    }
}

const char *errors_text(struct xe *xe, const struct error *e)
{
    const struct error_desc *desc = api_error_by_code(e->code);
    AUTO(buf) buf = {0};

    if (xe_error_own(e)) {
        buf_puts(&buf, e->n_params ? e->params[0] : "");
    } else if (desc && desc->doc && *desc->doc) {
        buf_puts(&buf, desc->doc);
        add_params(xe, &buf, desc, e);
    } else {
        buf_printf(&buf, "Error code: %s\nError parameters: ", e->code);
        for (size_t i = 0; i < e->n_params; i++)
            buf_printf(&buf, "%s%s", i ? ", " : "", param_text(xe, NULL, e->params[i]));
    }
    return arena_strndup(&xe->arena, buf.data ? buf.data : "", buf.len);
}

static int report_usage(struct xe *xe, const char *what, const char *detail)
{
    out_error(&xe->out, "%s%s%s\nFor usage run: 'xe help'\n", what, *what ? ": " : "", detail);
    return 1;
}

static int report_multiple(struct xe *xe, const struct error *e)
{
    for (size_t i = 0; i + 1 < e->n_params; i += 2)
        out_always(&xe->out, arena_printf(&xe->arena, "operation failed on %s: %s", e->params[i],
                                          e->params[i + 1]));
    return 1;
}

int errors_report(struct xe *xe, const struct error *e)
{
    if (error_is(e, XE_EXIT))
        return atoi(e->params[0]);
    if (error_is(e, XE_USAGE))
        return report_usage(xe, e->params[0], e->params[1]);
    if (error_is(e, XE_MULTIPLE))
        return report_multiple(xe, e);
    if (error_is(e, XE_FAILURE))
        out_error(&xe->out, "Error: %s\n", e->params[0]);
    else if (error_is(e, "SESSION_AUTHENTICATION_FAILED"))
        return report_usage(xe, "",
                            e->n_params && !*e->params[0] ? "Username/password must be specified"
                                                          : "Authentication failed");
    else if (error_is(e, "CANNOT_CONTACT_HOST") && !xe->server)
        out_error(&xe->out,
                  "Unable to contact server. Please check server and port settings.\n"
                  "host: %s\nreason: %s\n",
                  e->n_params > 0 ? e->params[0] : "", e->n_params > 1 ? e->params[1] : "");
    else
        out_error(&xe->out, "%s\n", errors_text(xe, e));
    return 1;
}
