// SPDX-License-Identifier: LGPL-2.1-or-later
//
// restart.mjs -- a connector that lives on while xapid is killed and started again: it says what it has in its cache,
// one line for each line it is given, which is the name of a machine.  restart.py drives it; settings as in follow.mjs.

import { createInterface } from 'node:readline'
import { Xapi } from 'xen-api'

const { XAPID_HOST = '127.0.0.1', XAPID_PORT = '443', XAPID_USER = 'root', XAPID_PASSWORD = '' } = process.env

const xapi = new Xapi({
  url: `https://${XAPID_HOST}:${XAPID_PORT}`,
  auth: { user: XAPID_USER, password: XAPID_PASSWORD },
  allowUnauthorized: true,
  eventPollDelay: 200,
})

const has = name => Object.values(xapi.objects.all).find(o => o.$type === 'VM' && o.name_label === name)

await xapi.connect()
await xapi.objectsFetched
console.log('ready')
for await (const name of createInterface({ input: process.stdin })) {
  console.log(has(name)?.power_state ?? 'nothing')
}
process.exit(0)
