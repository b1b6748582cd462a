// kafkajs: produce, a group that rebalances, transactions.
const assert = require('assert')
const { Kafka, logLevel } = require('kafkajs')

const [addr, run] = process.argv.slice(2)
const name = run + '-node'
const kafka = new Kafka({ clientId: name, brokers: [addr], logLevel: logLevel.WARN })
const patience = 60000

const until = async (what, cond) => {
  for (const end = Date.now() + patience; !cond(); await new Promise((r) => setTimeout(r, 20))) assert(Date.now() < end, what)
}

const values = (prefix, n) => Array.from({ length: n }, (_, i) => ({ key: `${prefix}${i}`, value: `${prefix}${i}` }))

async function member(seen, groupId = name) {
  const c = kafka.consumer({ groupId, sessionTimeout: 6000, heartbeatInterval: 500, maxWaitTimeInMs: 200 })
  c.parts = []
  c.on(c.events.GROUP_JOIN, (e) => { c.parts = e.payload.memberAssignment[name] || [] })
  await c.connect()
  await c.subscribe({ topics: [name], fromBeginning: true })
  await c.run({ eachMessage: async ({ message }) => { seen.add(message.value.toString()) } })
  return c
}

(async () => {
  const admin = kafka.admin()
  await admin.connect()
  await admin.createTopics({ topics: [{ topic: name, numPartitions: 4 }], waitForLeaders: true })
  const p = kafka.producer({ idempotent: true, maxInFlightRequests: 1 })
  await p.connect()
  await p.send({ topic: name, acks: -1, compression: 1, messages: values('first-', 1000) })

  const seen = new Set()
  const has = (prefix, n) => () => values(prefix, n).every((m) => seen.has(m.value))
  const a = await member(seen)
  await until('the first values', has('first-', 1000))
  const b = await member(seen)
  await until('the group is shared', () => a.parts.length === 2 && b.parts.length === 2)
  await p.send({ topic: name, acks: -1, messages: values('second-', 500) })
  await until('the second values', has('second-', 500))
  await b.disconnect()
  await until('one member has it all', () => a.parts.length === 4)
  await a.disconnect()
  const offsets = await admin.fetchOffsets({ groupId: name, topics: [name] })
  const sum = offsets[0].partitions.reduce((n, o) => n + Number(o.offset), 0)
  assert(sum === 1500, `committed offsets ${sum}, want 1500`)

  const t = kafka.producer({ transactionalId: name, idempotent: true, maxInFlightRequests: 1 })
  await t.connect()
  for (const how of ['aborted-', 'committed-']) {
    const txn = await t.transaction()
    await txn.send({ topic: name, messages: values(how, 100) })
    await txn.sendOffsets({ consumerGroupId: name + '-other', topics: [{ topic: name, partitions: [{ partition: 0, offset: '7' }] }] })
    await (how === 'committed-' ? txn.commit() : txn.abort())
  }
  seen.clear()
  const c = await member(seen, name + '-reader')
  await until('the committed values', has('committed-', 100))
  await until('all values', has('second-', 500))
  assert(![...seen].some((v) => v.startsWith('aborted-')), 'aborted records are seen')
  await Promise.all([c.disconnect(), p.disconnect(), t.disconnect(), admin.disconnect()])
  console.log('ok')
})().catch((e) => { console.error(e); process.exit(1) })
