// Drives one mqtt.js client for a scenario of tests/clients (see ../words.rs).
'use strict'

const fs = require('node:fs')
const readline = require('node:readline')
const mqtt = require('mqtt')

const V5 = 5
const PROTOCOLS = { tcp: 'mqtt', tls: 'mqtts', websocket: 'ws', securewebsocket: 'wss' }

function emit(event, fields) {
  process.stdout.write(JSON.stringify({ event, ...fields }) + '\n')
}

const toBytes = (text) => Buffer.from(text, 'latin1')

// Properties that are neither null nor empty.
function given(values) {
  return Object.fromEntries(Object.entries(values).filter(([, value]) => value !== null && value !== undefined))
}

// mqtt.js takes user properties as an object, name to value or values, so that the order of different names is lost to it.
function toObject(pairs) {
  if (pairs.length === 0) return null
  const names = {}
  for (const [name, value] of pairs) (names[name] ??= []).push(value)
  return names
}

function toPairs(names) {
  return Object.entries(names ?? {}).flatMap(([name, values]) => [values].flat().map((value) => [name, value]))
}

// The properties of a PUBLISH or a will, which are left out where there are none.
function ofMessage({ properties: p }, more) {
  if (p === undefined) return given(more)
  return given({
    payloadFormatIndicator: p.payload_format === null ? null : p.payload_format === 1,
    messageExpiryInterval: p.message_expiry_s,
    contentType: p.content_type,
    responseTopic: p.response_topic,
    correlationData: p.correlation_data === null ? null : toBytes(p.correlation_data),
    userProperties: toObject(p.user),
    ...more
  })
}

let client
let version

const commands = {
  connect(c) {
    version = c.version
    const options = {
      host: c.host,
      port: c.port,
      protocol: PROTOCOLS[c.transport],
      ...(c.transport.endsWith('websocket') ? { path: '/mqtt' } : {}),
      ...(c.ca === null ? {} : { ca: fs.readFileSync(c.ca) }),
      protocolVersion: version,
      protocolId: version === 3 ? 'MQIsdp' : 'MQTT',
      clientId: c.id,
      clean: c.clean,
      keepalive: c.keep_alive_s,
      reconnectPeriod: 0,
      resubscribe: false
    }
    if (version === V5) {
      options.properties = given({
        sessionExpiryInterval: c.session_expiry_s,
        receiveMaximum: c.receive_maximum,
        topicAliasMaximum: c.topic_alias_maximum
      })
    }
    if (c.will) {
      const m = c.will.message
      options.will = { topic: m.topic, payload: toBytes(m.payload), qos: m.qos, retain: m.retain }
      if (version === V5) options.will.properties = ofMessage(m, { willDelayInterval: c.will.delay_s })
    }
    client = mqtt.connect(options)
    client.on('connect', (packet) =>
      emit('connack', {
        reason: (version === V5 ? packet.reasonCode : packet.returnCode) ?? 0,
        session_present: packet.sessionPresent,
        assigned_id: packet.properties?.assignedClientIdentifier ?? null,
        topic_alias_maximum: packet.properties?.topicAliasMaximum ?? null
      })
    )
    client.on('message', (topic, payload, packet) => emit('message', message(topic, payload, packet)))
    client.on('disconnect', (packet) => emit('disconnected', { reason: packet.reasonCode ?? 0 }))
    client.on('close', () => emit('closed'))
    client.on('error', (error) => emit('failed', { why: String(error) }))
  },

  subscribe(c) {
    const filters = {}
    for (const s of c.subscriptions) {
      filters[s.filter] = version === V5 ? { qos: s.qos, nl: s.no_local, rap: s.retain_as_published, rh: s.retain_handling } : { qos: s.qos }
    }
    const options = version === V5 && c.id !== null ? { properties: { subscriptionIdentifier: c.id } } : {}
    client.subscribe(filters, options, (error, granted, packet) => {
      // A refused filter is an error to mqtt.js; the SUBACK tells more.
      if (packet?.granted) emit('suback', { reasons: packet.granted })
      else if (error) emit('failed', { why: String(error) })
      else emit('suback', { reasons: granted.map((one) => one.qos) })
    })
  },

  unsubscribe(c) {
    client.unsubscribe(c.filters, (error, packet) => {
      if (error) emit('failed', { why: String(error) })
      else emit('unsuback', { reasons: packet?.granted ?? [] })
    })
  },

  publish(c) {
    const options = { qos: c.qos, retain: c.retain }
    if (version === V5) options.properties = ofMessage(c, { topicAlias: c.properties?.topic_alias })
    client.publish(c.topic, toBytes(c.payload), options, (error, packet) => {
      if (error) emit('failed', { why: String(error) })
      else emit('published', { reason: packet?.cmd === 'publish' ? null : (packet?.reasonCode ?? null) })
    })
  },

  disconnect() {
    client.end()
  }
}

function message(topic, payload, packet) {
  const p = packet.properties ?? {}
  return {
    topic,
    payload: payload.toString('latin1'),
    qos: packet.qos,
    retain: packet.retain,
    properties: {
      payload_format: p.payloadFormatIndicator === undefined ? null : Number(p.payloadFormatIndicator),
      message_expiry_s: p.messageExpiryInterval ?? null,
      content_type: p.contentType ?? null,
      response_topic: p.responseTopic ?? null,
      correlation_data: p.correlationData?.toString('latin1') ?? null,
      user: toPairs(p.userProperties),
      subscription_ids: [p.subscriptionIdentifier ?? []].flat()
    }
  }
}

readline.createInterface({ input: process.stdin }).on('line', (line) => {
  const command = JSON.parse(line)
  try {
    commands[command.do](command)
  } catch (error) {
    // The scenario decides what a refusal means.
    emit('failed', { why: String(error) })
  }
})
