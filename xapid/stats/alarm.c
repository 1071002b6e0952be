/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "xapid/stats/alarm.h"

#include <libxml/parser.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "libxapi/base/memory.h"
#include "libxapi/value/value.h"

#define USUAL_PERIOD 60    /* seconds */
#define USUAL_INHIBIT 3600 /* seconds */
#define PER_HOST "_per_host"
#define SECONDS_MAX (366 * 24 * 3600)

/*** what a name measures ***/

static bool is_cpu(const char *name)
{
    return strncmp(name, "cpu", 3) == 0 && name[3] && !name[3 + strspn(name + 3, "0123456789")];
}

static bool ends_with(const char *s, const char *end)
{
    size_t n = strlen(s), m = strlen(end);

    return n >= m && strcmp(s + n - m, end) == 0;
}

static bool is_traffic(const char *name)
{
    bool port = strncmp(name, "vif_", 4) == 0 ||
                (strncmp(name, "pif_", 4) == 0 && strncmp(name, "pif_aggr_", 9) != 0);

    return port && (ends_with(name, "_rx") || ends_with(name, "_tx"));
}

static bool is_disk_traffic(const char *name)
{
    const char *end = strncmp(name, "vbd_", 4) == 0 ? strchr(name + 4, '_') : NULL;

    return end && (strcmp(end, "_read") == 0 || strcmp(end, "_write") == 0);
}

/* What several figures are put together to. */
static const struct measure {
    const char *name;
    bool (*includes)(const char *figure);
    bool mean; /* or the sum */
    double usual_level;
} measures[] = {
    {"cpu_usage", is_cpu, true, 0.9},
    {"network_usage", is_traffic, false, 0},
    {"disk_usage", is_disk_traffic, false, 0},
};

/* "sr_io_throughput_total_01234567" is what the host calls io_throughput_total_01234567. */
static const char *figure_of(const char *name)
{
    return strncmp(name, "sr_", 3) == 0 ? name + 3 : name;
}

static const struct measure *measure_of(const char *name)
{
    for (size_t i = 0; i < ARRAY_SIZE(measures); i++)
        if (strcmp(measures[i].name, name) == 0)
            return &measures[i];
    return NULL;
}

static double sum_of(const struct measure *m, const struct sampled *sample)
{
    char name[RRD_NAME_MAX + 1];
    double sum = 0, count = 0;

    for (size_t i = 0; i < sample->n; i++) {
        figure_name(&sample->v[i], name);
        if (!m->includes(name) || isnan(sample->v[i].value))
            continue;
        sum += sample->v[i].value;
        count++;
    }
    if (count < 1)
        return NAN;
    return m->mean ? sum / count : sum;
}

static double value_of(const char *wanted, const struct sampled *sample)
{
    char name[RRD_NAME_MAX + 1];

    for (size_t i = 0; i < sample->n; i++) {
        figure_name(&sample->v[i], name);
        if (strcmp(name, wanted) == 0)
            return sample->v[i].value;
    }
    return NAN;
}

static double measured(const char *name, const struct sampled *sample)
{
    const struct measure *m = measure_of(name);

    if (m)
        return sum_of(m, sample);
    /* A part of the whole, as levels are given. */
    if (sample->owner == OWNER_SR && strcmp(name, "physical_utilisation") == 0)
        return value_of(name, sample) / value_of("size", sample);
    return value_of(figure_of(name), sample);
}

/*** reading ***/

struct doc {
    xmlDocPtr doc;
};

static void doc_release(struct doc *d)
{
    xmlFreeDoc(d->doc);
}

static bool named(xmlNodePtr node, const char *name)
{
    return node->type == XML_ELEMENT_NODE && strcmp((const char *)node->name, name) == 0;
}

/* <child value="..."/> */
static bool value_in(xmlNodePtr variable, const char *child, char *out, size_t size)
{
    for (xmlNodePtr node = variable->children; node; node = node->next) {
        xmlChar *value = named(node, child) ? xmlGetNoNsProp(node, BAD_CAST "value") : NULL;
        bool fits = value && strlen((const char *)value) < size;

        if (fits)
            memcpy(out, value, strlen((const char *)value) + 1);
        xmlFree(value);
        if (fits)
            return true;
    }
    return false;
}

static usec_t seconds_in(xmlNodePtr variable, const char *child, double usual)
{
    double seconds;
    char text[32];

    if (!value_in(variable, child, text, sizeof text) || !double_from_text(text, &seconds) ||
        !(seconds >= 0))
        seconds = usual;
    return (usec_t)(fmin(seconds, SECONDS_MAX) * USEC_PER_SEC);
}

static bool read_variable(xmlNodePtr variable, enum stats_owner owner, struct alarm *out)
{
    const struct measure *m;
    char text[32];

    *out = (struct alarm){0};
    if (!value_in(variable, "name", out->name, sizeof out->name) || !*out->name)
        return false;
    m = measure_of(out->name);
    if (!value_in(variable, "alarm_trigger_level", text, sizeof text) ||
        !double_from_text(text, &out->level) || !isfinite(out->level)) {
        if (owner == OWNER_SR && strcmp(out->name, "physical_utilisation") == 0)
            out->level = 0.8;
        else if (m && m->usual_level > 0)
            out->level = m->usual_level;
        else
            return false;
    }
    /* What is free is watched for becoming less. */
    out->low = strstr(out->name, "free") != NULL;
    if (value_in(variable, "alarm_trigger_sense", text, sizeof text))
        out->low = strcmp(text, "low") == 0;
    out->period = seconds_in(variable, "alarm_trigger_period", USUAL_PERIOD);
    out->inhibit = seconds_in(variable, "alarm_auto_inhibit_period", USUAL_INHIBIT);
    return true;
}

/* An alarm that stays as it was goes on where it is. */
static void take_over(const struct alarms *old, struct alarm *a)
{
    for (size_t i = 0; i < old->n; i++) {
        const struct alarm *o = &old->v[i];

        if (strcmp(o->name, a->name) == 0 && o->level == a->level && o->period == a->period &&
            o->inhibit == a->inhibit && o->low == a->low) {
            a->passed_since = o->passed_since;
            a->raised = o->raised;
        }
    }
}

static bool read_all(struct alarms *out, const struct alarms *old, enum stats_owner owner)
{
    size_t size = strlen(out->text);
    AUTO(doc) d = {0};
    xmlNodePtr root;

    if (size > ALARMS_XML_MAX)
        return false;
    d.doc = xmlReadMemory(out->text, (int)size, NULL, NULL,
                          XML_PARSE_NONET | XML_PARSE_NOERROR | XML_PARSE_NOWARNING);
    root = d.doc ? xmlDocGetRootElement(d.doc) : NULL;
    if (!root || d.doc->intSubset || !named(root, "config"))
        return false;
    out->v = xcalloc(ALARMS_MAX, sizeof *out->v);
    for (xmlNodePtr node = root->children; node && out->n < ALARMS_MAX; node = node->next) {
        if (!named(node, "variable") || !read_variable(node, owner, &out->v[out->n]))
            continue;
        take_over(old, &out->v[out->n++]);
    }
    out->v = xrealloc(out->v, (out->n + 1) * sizeof *out->v);
    return true;
}

bool alarms_set(struct alarms *alarms, enum stats_owner owner, const char *text)
{
    struct alarms fresh = {0};
    bool good;

    if (!text || !*text) {
        alarms_release(alarms);
        return true;
    }
    if (alarms->text && strcmp(alarms->text, text) == 0)
        return true;
    fresh.text = xstrdup(text);
    good = read_all(&fresh, alarms, owner);
    alarms_release(alarms);
    *alarms = fresh;
    return good;
}

void alarms_release(struct alarms *alarms)
{
    free(alarms->text);
    free(alarms->v);
    *alarms = (struct alarms){0};
}

/*** comparing ***/

/* XenCenter and others read the first line, and three values of the XML. */
static const char *body_of(struct arena *arena, const struct alarm *a, double value)
{
    char level[DOUBLE_TEXT_SIZE];

    double_to_text(a->level, 15, level);
    return arena_printf(arena,
                        "value: %f\nconfig:\n<variable>\n\t<name value=\"%s\"/>\n"
                        "\t<alarm_trigger_level value=\"%s\"/>\n"
                        "\t<alarm_trigger_period value=\"%lld\"/>\n"
                        "\t<alarm_auto_inhibit_period value=\"%lld\"/>\n</variable>\n",
                        value, a->name, level, (long long)(a->period / USEC_PER_SEC),
                        (long long)(a->inhibit / USEC_PER_SEC));
}

/* True where it must be told now. */
static bool check(struct alarm *a, double value, usec_t time)
{
    bool passed = a->low ? value < a->level : value > a->level; /* false where it is unknown */

    if (!passed)
        a->passed_since = 0;
    else if (!a->passed_since || a->passed_since > time)
        a->passed_since = time;
    if (!passed || time - a->passed_since < a->period)
        return false;
    if (a->raised && a->raised <= time && time - a->raised < a->inhibit)
        return false;
    a->raised = time;
    return true;
}

/* "sr_io_throughput_total_per_host" of a repository is an alarm of the host, under the name of what
 * the host measures. */
static bool is_of_host(const struct sampled *sample, const struct alarm *a)
{
    return sample->owner == OWNER_SR && sample->host && ends_with(a->name, PER_HOST);
}

static void name_at_host(const struct sampled *sample, struct alarm *a)
{
    size_t n = strlen(a->name) - strlen(PER_HOST);

    snprintf(a->name + n, sizeof a->name - n, "_%.8s", sample->uuid);
}

void alarms_check(struct arena *arena, struct alarms *alarms, const struct sampled *sample,
                  struct raised **list)
{
    for (size_t i = 0; i < alarms->n; i++) {
        struct alarm *a = &alarms->v[i], told = *a;
        const struct sampled *of = sample;
        struct raised *r;
        double value;

        if (is_of_host(sample, a)) {
            of = sample->host;
            name_at_host(sample, &told);
        }
        value = measured(told.name, of);
        if (!check(a, value, sample->time))
            continue;
        r = arena_new(arena, struct raised);
        *r = (struct raised){*list, of->owner, arena_strdup(arena, of->uuid),
                             body_of(arena, &told, value)};
        *list = r;
    }
}
