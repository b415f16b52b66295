// aedes with its own in-memory store, behind one TCP port of loopback: node server.js PORT nagle|nodelay|as-shipped
import { createServer } from 'node:net'
import { Aedes } from 'aedes'

const [port, choice] = process.argv.slice(2)
// As many messages at a time as a cell may have in flight: the default of 100 makes 1,000 publishers take turns.
const settings = choice === 'as-shipped' ? {} : { concurrency: 10000, queueLimit: 10000, maxInflightInbound: 0 }
const broker = await Aedes.createBroker(settings)
const server = createServer({ noDelay: choice === 'nodelay' }, broker.handle)
const backlog = choice === 'as-shipped' ? {} : { backlog: 4096 }
server.listen({ host: '127.0.0.1', port: Number(port), ...backlog })
