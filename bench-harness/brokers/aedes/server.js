// aedes with its own in-memory store, behind one port of loopback: node server.js PORT nagle|nodelay|as-shipped
// BENCH_TRANSPORT says whether that is TCP, TLS, or TLS with client certificates.
import { readFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { createServer as createTlsServer } from 'node:tls'
import { Aedes } from 'aedes'

const [port, choice] = process.argv.slice(2)
const { BENCH_TRANSPORT: transport, BENCH_TLS_CERT, BENCH_TLS_KEY, BENCH_TLS_CA } = process.env
// As many messages at a time as a cell may have in flight: the default of 100 makes 1,000 publishers take turns.
const settings = choice === 'as-shipped' ? {} : { concurrency: 10000, queueLimit: 10000, maxInflightInbound: 0 }
const broker = await Aedes.createBroker(settings)
const noDelay = choice === 'nodelay'
const files = () => ({
  cert: readFileSync(BENCH_TLS_CERT),
  key: readFileSync(BENCH_TLS_KEY),
  ...(transport === 'mutual' ? { ca: readFileSync(BENCH_TLS_CA), requestCert: true, rejectUnauthorized: true } : {})
})
const server = transport === 'tls' || transport === 'mutual'
  ? createTlsServer({ noDelay, ...files() }, broker.handle)
  : createServer({ noDelay }, broker.handle)
const backlog = choice === 'as-shipped' ? {} : { backlog: 4096 }
server.listen({ host: '127.0.0.1', port: Number(port), ...backlog })
