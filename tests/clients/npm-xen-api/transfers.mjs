// SPDX-License-Identifier: LGPL-2.1-or-later
//
// transfers.mjs -- what Xen Orchestra does with its connector when it backs machines up, brings them back and looks at
// their figures: uploads and downloads under tasks that it watches by events.  Settings as in follow.mjs.

import { createHash, randomBytes } from 'node:crypto'
import { Readable } from 'node:stream'
import { Ref, Xapi } from 'xen-api'

const { XAPID_HOST = '127.0.0.1', XAPID_PORT = '443', XAPID_USER = 'root', XAPID_PASSWORD = '' } = process.env
const host = XAPID_HOST.includes(':') ? `[${XAPID_HOST}]` : XAPID_HOST
const MIB = 2 ** 20
const TEMPLATE = 'Other install media'

function check(condition, text, ...seen) {
  console.log(`${condition ? 'ok' : 'not ok'} - ${text}`)
  if (!condition) {
    seen.forEach(s => console.log('#  ', s))
    process.exit(1)
  }
}

const sum = data => createHash('sha256').update(data).digest('hex')

const xapi = new Xapi({
  url: `https://${host}:${XAPID_PORT}`,
  auth: { user: XAPID_USER, password: XAPID_PASSWORD },
  allowUnauthorized: true,
})

async function failure(promise) {
  try {
    await promise
  } catch (error) {
    return error
  }
}

// A stream whose length is known, or is not: then the library announces a petabyte and hangs up.
function stream(data, knowsLength = true) {
  const pieces = []
  for (let at = 0; at < data.length; at += 65536) {
    pieces.push(data.subarray(at, at + 65536))
  }
  const readable = Readable.from(pieces)
  if (knowsLength) {
    readable.length = data.length
  }
  return readable
}

async function get(path, query) {
  const task = await xapi.call('task.create', `test: ${path}`, '')
  const response = await xapi.getResource(path, { query, task })
  const data = Buffer.from(await response.body.arrayBuffer())
  await response.task
  await xapi.call('task.destroy', task)
  return { data, headers: response.headers }
}

async function put(body, path, query) {
  const task = await xapi.call('task.create', `test: ${path}`, '')
  try {
    return await xapi.putResource(body, path, { query, task })
  } finally {
    await xapi.call('task.destroy', task)
  }
}

const makeDisk = (name, size) =>
  xapi.call('VDI.create', {
    name_description: '', name_label: name, other_config: {}, read_only: false, sharable: false,
    SR: xapi.pool.default_SR, type: 'user', virtual_size: size,
  })

const attach = (vm, vdi) =>
  xapi.call('VBD.create', {
    VM: vm, VDI: vdi, userdevice: '0', bootable: true, mode: 'RW', type: 'Disk', empty: false, other_config: {},
    qos_algorithm_type: '', qos_algorithm_params: {},
  })

const diskOf = async vm => {
  const vbds = await xapi.getRecords('VBD', await xapi.getField('VM', vm, 'VBDs'))
  return vbds.find(vbd => vbd.type === 'Disk').VDI
}

// The machine, then what it had.
async function destroy(vm) {
  const vdi = await diskOf(vm)
  await xapi.call('VM.set_is_a_template', vm, false)
  await xapi.call('VM.destroy', vm)
  await xapi.callAsync('VDI.destroy', vdi)
}

async function disks(content) {
  const size = content.length
  const vdi = await makeDisk('orchestra', size)
  await put(stream(content), '/import_raw_vdi/', { format: 'raw', vdi })
  check(sum((await get('/export_raw_vdi/', { format: 'raw', vdi })).data) === sum(content), 'a disk goes up and comes down the same')

  const vhd = (await get('/export_raw_vdi/', { format: 'vhd', vdi })).data
  check(vhd.subarray(0, 8).toString() === 'conectix' && vhd.subarray(-512, -504).toString() === 'conectix', 'a VHD begins and ends with its footer')
  const other = await makeDisk('orchestra, from a VHD', size)
  await put(stream(vhd), '/import_raw_vdi/', { format: 'vhd', vdi: other })
  check(sum((await get('/export_raw_vdi/', { format: 'raw', vdi: other })).data) === sum(content), 'and comes back as a VHD')
  await put(stream(content, false), '/import_raw_vdi/', { format: 'raw', vdi: other })
  check(sum((await get('/export_raw_vdi/', { format: 'raw', vdi: other })).data) === sum(content), 'an upload of unknown length arrives whole')

  // An incremental backup: what was written since the snapshot, and nothing else.
  const base = await xapi.callAsync('VDI.snapshot', vdi)
  const changed = Buffer.from(content)
  randomBytes(MIB).copy(changed, 4 * MIB)
  await put(stream(changed), '/import_raw_vdi/', { format: 'raw', vdi })
  const now = await xapi.callAsync('VDI.snapshot', vdi)
  const delta = (await get('/export_raw_vdi/', { format: 'vhd', vdi: now, base })).data
  check(delta.length < vhd.length / 2, 'what has changed is a small VHD', delta.length, vhd.length)
  await put(stream(delta), '/import_raw_vdi/', { format: 'vhd', vdi: other })
  check(sum((await get('/export_raw_vdi/', { format: 'raw', vdi: other })).data) === sum(changed), 'which makes an old copy a new one')

  const error = await failure(put(stream(content), '/import_raw_vdi/', { format: 'raw', vdi: Ref.EMPTY }))
  check(error !== undefined, 'an upload to no disk fails')
  for (const ref of [vdi, other, base, now]) {
    await xapi.callAsync('VDI.destroy', ref)
  }
}

async function machines(content) {
  const template = Object.values(xapi.objects.all).find(o => o.$type === 'VM' && o.name_label === TEMPLATE)
  const vm = await xapi.callAsync('VM.clone', template.$ref, 'orchestrated')
  await xapi.call('VM.provision', vm)
  await xapi.call('VM.set_memory_limits', vm, 64 * MIB, 64 * MIB, 64 * MIB, 64 * MIB)
  const vdi = await makeDisk('orchestrated disk', content.length)
  await attach(vm, vdi)
  await put(stream(content), '/import_raw_vdi/', { format: 'raw', vdi })
  await xapi.callAsync('VM.start', vm, false, false)

  // A machine that runs is backed up by a snapshot that is made no template.
  const snapshot = await xapi.callAsync('VM.snapshot', vm, '[XO Export] orchestrated')
  await xapi.setField('VM', snapshot, 'is_a_template', false)
  const record = await xapi.barrier(snapshot)
  check(record.is_a_snapshot && !record.is_a_template && record.snapshot_of === vm, 'a snapshot is no template once that is said')
  const xva = (await get('/export/', { ref: snapshot, use_compression: 'zstd' })).data
  check(xva.readUInt32LE(0) === 0xfd2fb528, 'its export is packed by zstd')

  const [copy] = await put(stream(xva), '/import/', { sr_id: xapi.pool.default_SR })
  check(typeof copy === 'string' && copy.startsWith('OpaqueRef:'), 'an import\'s task has the machine', copy)
  check((await xapi.getField('VM', copy, 'is_a_template')) === false, 'which is no template')
  check(sum((await get('/export_raw_vdi/', { format: 'raw', vdi: await diskOf(copy) })).data) === sum(content), 'its disk is the same')

  // Chains of disks: each has a parent that is known, or none.
  for (const disk of await xapi.getRecords('VDI', await xapi.getField('SR', xapi.pool.default_SR, 'VDIs'))) {
    const parent = disk.sm_config['vhd-parent']
    if (parent !== undefined) {
      await xapi.getRecordByUuid('VDI', parent)
    }
  }
  check(true, 'the chains of disks can be followed')
  const error = await failure(put(stream(randomBytes(100000)), '/import/', { sr_id: xapi.pool.default_SR }))
  check(error?.code?.startsWith('IMPORT_'), 'what is no machine is an error of its task', error)

  // Made from nothing and filled, as from an OVA.
  const ova = await xapi.call('VM.create', {
    ...Object.fromEntries(['actions_after_crash', 'actions_after_reboot', 'actions_after_shutdown', 'HVM_boot_params', 'HVM_boot_policy',
      'platform', 'PCI_bus', 'PV_args', 'PV_bootloader', 'PV_bootloader_args', 'PV_kernel', 'PV_legacy_args', 'PV_ramdisk',
      'recommendations', 'user_version', 'VCPUs_params'].map(name => [name, template[name]])),
    affinity: Ref.EMPTY, is_a_template: false, name_label: 'from an OVA', name_description: '', other_config: {}, VCPUs_at_startup: 1,
    VCPUs_max: 1, memory_dynamic_max: 64 * MIB, memory_dynamic_min: 64 * MIB, memory_static_max: 64 * MIB, memory_static_min: 64 * MIB,
  })
  await xapi.setFieldEntry('VM', ova, 'other_config', 'import_task', null)
  const filled = await makeDisk('from an OVA', content.length)
  await attach(ova, filled)
  await put(stream((await get('/export_raw_vdi/', { format: 'vhd', vdi: await diskOf(copy) })).data), '/import_raw_vdi/', { format: 'vhd', vdi: filled })
  await xapi.callAsync('VM.start', ova, false, false)
  check((await xapi.barrier(ova)).power_state === 'Running', 'a machine is made as from an OVA, and runs')
  await figures(ova)

  for (const ref of [vm, ova]) {
    await xapi.callAsync('VM.hard_shutdown', ref)
  }
  for (const ref of [snapshot, copy, ova, vm]) {
    await destroy(ref)
  }
}

async function figures(vm) {
  const uuid = await xapi.getField('VM', vm, 'uuid')
  const response = await xapi.getResource('/rrd_updates', {
    query: { cf: 'AVERAGE', host: 'true', interval: 5, json: 'true', start: Math.floor(Date.now() / 1e3) - 60 }, task: false,
  })
  const { meta, data } = JSON.parse(await response.body.text())
  check(meta.legend.length === meta.columns && meta.legend.some(l => l.startsWith('AVERAGE:host:')), 'figures have a legend', meta)
  check(data.every(row => row.values.length === meta.columns), 'and a value for each of it')
  const whole = await xapi.getResource('/vm_rrd', { query: { uuid }, task: false })
  check((await whole.body.text()).includes('<rrd>'), 'a machine\'s own figures come as XML')
}

async function main() {
  const content = Buffer.alloc(16 * MIB)
  randomBytes(3 * MIB).copy(content, MIB)
  randomBytes(5 * MIB).copy(content, 9 * MIB)
  await xapi.connect()
  await xapi.objectsFetched
  await disks(content)
  await machines(content)
  const task = await xapi.callAsync('VM.clone', Ref.EMPTY, 'x').catch(error => error)
  check(task.code === 'HANDLE_INVALID', 'a task that fails tells why', task)
  check(xapi.watchEventsError === undefined, 'no event was lost', xapi.watchEventsError)
  await xapi.disconnect()
}

main().then(
  () => process.exit(0),
  error => {
    console.log('not ok - the client failed')
    console.error(error)
    process.exit(1)
  }
)
