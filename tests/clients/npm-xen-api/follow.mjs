// SPDX-License-Identifier: LGPL-2.1-or-later
//
// follow.mjs -- Xen Orchestra's connector (npm xen-api) against a running xapid: its cache of all objects becomes
// complete and follows what changes.  XAPID_HOST (127.0.0.1), XAPID_PORT (443), XAPID_USER (root), XAPID_PASSWORD.
// XAPID_TRANSPORT: auto (default, JSON-RPC), json-rpc or xml-rpc.  Prints "ok - ..." and stops at the first failure.

import { Xapi } from 'xen-api'

const { XAPID_HOST = '127.0.0.1', XAPID_PORT = '443', XAPID_USER = 'root', XAPID_PASSWORD = '' } = process.env
const host = XAPID_HOST.includes(':') ? `[${XAPID_HOST}]` : XAPID_HOST
const TIMEOUT = 120e3
const TEMPLATE = 'Other install media'

const ok = text => console.log(`ok - ${text}`)

function check(condition, text, ...seen) {
  if (!condition) {
    console.log(`not ok - ${text}`)
    for (const s of seen) {
      console.log('#  ', s)
    }
    process.exit(1)
  }
  ok(text)
}

// A promise's value, unless it takes too long: then the test has failed.
function within(promise, text) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => check(false, `${text} (in time)`), TIMEOUT)
    promise.then(resolve, reject).finally(() => clearTimeout(timer))
  })
}

const xapi = new Xapi({
  url: `https://${host}:${XAPID_PORT}`,
  auth: { user: XAPID_USER, password: XAPID_PASSWORD },
  allowUnauthorized: true,
  transport: process.env.XAPID_TRANSPORT ?? 'auto',
})

// The cache tells in bundles what has changed.  Waits until 'test' is true of it.
function until(test, text) {
  const done = new Promise(resolve => {
    const look = () => {
      if (test()) {
        for (const event of ['add', 'update', 'remove']) {
          xapi.objects.removeListener(event, look)
        }
        resolve()
      }
    }
    for (const event of ['add', 'update', 'remove']) {
      xapi.objects.on(event, look)
    }
    look()
  })
  return within(done, text).then(() => ok(text))
}

const inCache = ref => xapi.getObjectByRef(ref, undefined)

// Every object of every class that can be listed is in the cache.  Tasks and messages come and go by themselves.
async function cacheIsComplete() {
  const methods = await xapi._call('system.listMethods')
  const classes = methods.filter(m => m.endsWith('.get_all_records')).map(m => m.slice(0, m.indexOf('.')))
  check(classes.includes('VM') && classes.includes('host') && classes.length > 40, `${classes.length} classes`)
  let total = 0
  for (const name of classes) {
    if (name === 'task' || name === 'message' || name === 'session') {
      continue
    }
    const records = await xapi.call(`${name}.get_all_records`)
    const missing = Object.keys(records).filter(ref => inCache(ref) === undefined)
    if (missing.length > 0) {
      check(false, `all objects of ${name} are in the cache`, missing)
    }
    total += Object.keys(records).length
  }
  check(total > 0, `all ${total} objects are in the cache`)
}

async function main() {
  await within(xapi.connect(), 'connected')
  ok('connected')
  check(xapi.pool.$ref.startsWith('OpaqueRef:'), 'the pool is known')
  await within(xapi.objectsFetched, 'the objects are fetched')
  ok('the objects are fetched')
  await cacheIsComplete()

  const template = Object.values(xapi.objects.all).find(o => o.$type === 'VM' && o.name_label === TEMPLATE)
  check(template !== undefined && template.is_a_template === true, `the template '${TEMPLATE}' is in the cache`)
  check(typeof template.memory_static_max === 'number' || process.env.XAPID_TRANSPORT === 'xml-rpc',
    'its memory is a number', template.memory_static_max)

  const name = `follow ${Date.now()}`
  const vm = await xapi.call('VM.clone', template.$ref, name)
  check(vm.startsWith('OpaqueRef:'), 'a machine is made by a call')
  await until(() => inCache(vm)?.name_label === name, 'it appears in the cache')
  await xapi.call('VM.provision', vm)
  await until(() => inCache(vm)?.is_a_template === false, 'it is seen to be no template any more')
  check(xapi.getObjectByUuid(inCache(vm).uuid).$ref === vm, 'it is found by its uuid')

  await xapi.setField('VM', vm, 'name_label', `${name}, renamed`)
  await until(() => inCache(vm)?.name_label === `${name}, renamed`, 'it is seen to have a new name')
  await xapi.setFieldEntry('VM', vm, 'other_config', 'follow', 'me')
  await until(() => inCache(vm)?.other_config.follow === 'me', 'and a new entry in a map')

  // The library's own barrier: a key written to the pool and awaited in the events.
  const seen = await within(xapi.barrier(vm), 'the barrier')
  check(seen.name_label === `${name}, renamed`, 'the library\'s barrier is passed')

  const copy = await within(xapi.callAsync('VM.clone', vm, `${name}, copied`), 'an asynchronous call')
  check(typeof copy === 'string' && copy.startsWith('OpaqueRef:'), 'an asynchronous call gives its result', copy)
  let failure
  await within(xapi.callAsync('VM.unpause', vm).catch(error => { failure = error }), 'one that fails')
  check(failure?.code === 'VM_BAD_POWER_STATE', 'and one that fails its error', failure)

  await xapi.call('VM.start', vm, false, false)
  await until(() => inCache(vm)?.power_state === 'Running', 'it is seen to run')
  await xapi.call('VM.hard_shutdown', vm)
  await until(() => inCache(vm)?.power_state === 'Halted', 'and to be halted')

  await xapi.call('VM.destroy', copy)
  await xapi.call('VM.destroy', vm)
  await until(() => inCache(vm) === undefined && inCache(copy) === undefined, 'it is seen to go')
  check(xapi.watchEventsError === undefined, 'no event was lost', xapi.watchEventsError)
  await xapi.disconnect()
  ok('disconnected')
}

main().then(
  () => process.exit(0),
  error => {
    console.log('not ok - the client failed')
    console.error(error)
    process.exit(1)
  }
)
