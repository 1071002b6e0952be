/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "xapid/ops/vm/disks_xml.h"

#include <libxml/parser.h>
#include <string.h>

#include "libxapi/value/value.h"
#include "xapid/ops/vm/device.h"

/* Guards of libxml2's objects. */
struct xml_doc {
    xmlDocPtr doc;
};

static void xml_doc_release(struct xml_doc *d)
{
    xmlFreeDoc(d->doc);
}

static const char *attribute(struct arena *arena, xmlNodePtr node, const char *name)
{
    xmlChar *value = xmlGetNoNsProp(node, (const xmlChar *)name);
    const char *copy = arena_strdup(arena, value ? (const char *)value : "");

    xmlFree(value);
    return copy;
}

static bool named(xmlNodePtr node, const char *name)
{
    return node->type == XML_ELEMENT_NODE && strcmp((const char *)node->name, name) == 0;
}

static const char *read_disk(struct arena *arena, xmlNodePtr node, struct disk_wanted *out)
{
    const char *type = attribute(arena, node, "type"),
               *bootable = attribute(arena, node, "bootable");
    int number = *type ? enum_by_name(&enum_vdi_type, type) : VDI_TYPE_USER;

    *out = (struct disk_wanted){.device = attribute(arena, node, "device"),
                                .sr = attribute(arena, node, "sr")};
    if (vbd_device_number(out->device) < 0)
        return "a disk has no device number";
    if (!int_from_text(attribute(arena, node, "size"), &out->size) || out->size <= 0)
        return "a disk has no size";
    if (number < 0)
        return "a disk is of an unknown type";
    if (*bootable && strcmp(bootable, "true") != 0 && strcmp(bootable, "false") != 0)
        return "'bootable' is neither true nor false";
    out->bootable = strcmp(bootable, "true") == 0;
    out->type = (enum vdi_type)number;
    return NULL;
}

static bool same_device(const struct disk_wanted *a, const struct disk_wanted *b)
{
    return vbd_device_number(a->device) == vbd_device_number(b->device);
}

bool disks_xml_read(struct arena *arena, const char *text, size_t *n, struct disk_wanted **out,
                    const char **why)
{
    size_t length = strlen(text);
    AUTO(xml_doc) xml = {0};
    xmlNodePtr root;

    *n = 0;
    *out = arena_array(arena, struct disk_wanted, DISKS_XML_MAX);
    *why = "it is too long";
    if (length > DISKS_XML_MAX_BYTES)
        return false;
    *why = "it is not well-formed XML";
    xml.doc = xmlReadMemory(text, (int)length, NULL, NULL,
                            XML_PARSE_NONET | XML_PARSE_NOERROR | XML_PARSE_NOWARNING);
    root = xml.doc ? xmlDocGetRootElement(xml.doc) : NULL;
    if (!root || xml.doc->intSubset)
        return false;
    *why = "its root is not 'provision'";
    if (!named(root, "provision"))
        return false;
    for (xmlNodePtr node = root->children; node; node = node->next) {
        if (!named(node, "disk"))
            continue;
        *why = *n == DISKS_XML_MAX ? "it has too many disks" : read_disk(arena, node, &(*out)[*n]);
        if (*why)
            return false;
        *why = "two disks have the same device number";
        for (size_t i = 0; i < *n; i++)
            if (same_device(&(*out)[i], &(*out)[*n]))
                return false;
        (*n)++;
    }
    return true;
}
