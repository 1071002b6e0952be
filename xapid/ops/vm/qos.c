/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "xapid/ops/vm/qos.h"

#include <linux/ioprio.h>
#include <string.h>

#include "libxapi/base/log.h"
#include "libxapi/value/value.h"

/* Credit is given so often, where nothing else is said: as Xen's own tools do it. */
#define INTERVAL (50 * USEC_PER_MSEC)
#define RATE_MAX ((int64_t)1 << 32) /* KiB a second */

/* A whole number from 'min' to 'max'. */
static bool number_of(const struct strmap *params, const char *key, int64_t min, int64_t max,
                      int64_t *out)
{
    const char *text = strmap_get(params, key);

    return text && int_from_text(text, out) && *out >= min && *out <= max;
}

void vif_limit(const struct vif *vif, struct hv_nic *out)
{
    const struct strmap *params = &vif->qos_algorithm_params;
    int64_t rate, interval = INTERVAL;

    if (!*vif->qos_algorithm_type)
        return;
    if (strcmp(vif->qos_algorithm_type, "ratelimit") != 0 ||
        !number_of(params, "kbps", 1, RATE_MAX, &rate) ||
        (strmap_get(params, "timeslice_us") &&
         !number_of(params, "timeslice_us", USEC_PER_MSEC, USEC_PER_SEC, &interval))) {
        log_warning("VIF %s is not limited: its qos_algorithm_type is '%s', kbps '%s'", vif->uuid,
                    vif->qos_algorithm_type,
                    strmap_get(params, "kbps") ? strmap_get(params, "kbps") : "");
        return;
    }
    out->rate = rate * 1024;
    out->rate_interval = (int)interval;
}

/* A level by its name or number, the most urgent first. */
static bool level_of(const struct vbd *vbd, int64_t *out)
{
    static const struct {
        const char *name;
        int level;
    } levels[] = {{"highest", 0}, {"high", 2}, {"normal", 4}, {"low", 6}, {"lowest", 7}};
    const char *text = strmap_get(&vbd->qos_algorithm_params, "class");

    *out = IOPRIO_BE_NORM;
    if (!text)
        return true;
    for (size_t i = 0; i < ARRAY_SIZE(levels); i++) {
        if (strcmp(levels[i].name, text) == 0) {
            *out = levels[i].level;
            return true;
        }
    }
    return number_of(&vbd->qos_algorithm_params, "class", 0, IOPRIO_BE_NR - 1, out);
}

/* When a disk's turn comes, as ionice(1) calls it. */
static int class_of(const struct vbd *vbd)
{
    static const struct {
        const char *name;
        int class;
    } classes[] = {{"rt", IOPRIO_CLASS_RT},
                   {"real-time", IOPRIO_CLASS_RT},
                   {"be", IOPRIO_CLASS_BE},
                   {"best-effort", IOPRIO_CLASS_BE},
                   {"idle", IOPRIO_CLASS_IDLE}};
    const char *text = strmap_get(&vbd->qos_algorithm_params, "sched");

    for (size_t i = 0; text && i < ARRAY_SIZE(classes); i++)
        if (strcmp(classes[i].name, text) == 0)
            return classes[i].class;
    return IOPRIO_CLASS_NONE;
}

int vbd_io_priority(const struct vbd *vbd)
{
    int class = class_of(vbd);
    int64_t level;

    if (!*vbd->qos_algorithm_type)
        return 0;
    if (strcmp(vbd->qos_algorithm_type, "ionice") != 0 || !class || !level_of(vbd, &level)) {
        log_warning("VBD %s has no priority: its qos_algorithm_type is '%s'", vbd->uuid,
                    vbd->qos_algorithm_type);
        return 0;
    }
    return (int)IOPRIO_PRIO_VALUE(class, class == IOPRIO_CLASS_IDLE ? 0 : level);
}
