/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * end-guest.c -- end-guest DOMID REASON: a domain ends, as if it had said so itself, for one of
 * Xen's reasons.  Some of them no guest of the lab can give: 5 is a soft reset.
 */
#include <stdlib.h>
#include <xenctrl.h>

int main(int argc, char **argv)
{
    xc_interface *xc = argc == 3 ? xc_interface_open(NULL, NULL, 0) : NULL;

    return xc && xc_domain_shutdown(xc, (uint32_t)atoi(argv[1]), atoi(argv[2])) == 0 ? 0 : 1;
}
