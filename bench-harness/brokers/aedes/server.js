// aedes with its own in-memory store, behind one TCP port of loopback: node server.js PORT
import { createServer } from 'node:net'
import { Aedes } from 'aedes'

// As many messages at a time as a cell may have in flight: the default of 100 makes 1,000 publishers take turns.
const broker = await Aedes.createBroker({ concurrency: 10000, queueLimit: 10000, maxInflightInbound: 0 })
const server = createServer({ noDelay: true }, broker.handle)
server.listen({ host: '127.0.0.1', port: Number(process.argv[2]), backlog: 4096 })
