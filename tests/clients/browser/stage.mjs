// What the tests of pages that speak MQTT stand on: pages served over HTTP or HTTPS, brokers that are told where those come from,
// and a way between the two that can be cut. The rest is what the dashboard's tests stand on.
import { createHash, X509Certificate } from "node:crypto";
import { readFileSync } from "node:fs";
import { createServer } from "node:http";
import { createServer as createSecureServer } from "node:https";
import { connect, createServer as createRelay } from "node:net";
import assert from "node:assert/strict";
import { Broker, startBrowser, until } from "../../../dashboard/test/stage.mjs";

const CERT = process.env.DUNLIN_TEST_CERT;
const KEY = process.env.DUNLIN_TEST_KEY;
const UNKNOWN_CERT = process.env.DUNLIN_TEST_UNKNOWN_CERT;
const UNKNOWN_KEY = process.env.DUNLIN_TEST_UNKNOWN_KEY;

const file = (path) => readFileSync(new URL(path, import.meta.url));
const html = (scripts) => `<!doctype html><html lang="en"><title>MQTT</title><link rel="icon" href="data:,">${scripts}`;
// mqtt.js as pages have it: a script that makes a global, and a module.
const FILES = {
  "/": ["text/html", html(`<script src="/mqtt.min.js"></script><script src="/page.js"></script>`)],
  "/module": ["text/html", html(`<script type="module">import mqtt from "/mqtt.esm.js"; window.mqtt = mqtt;</script><script type="module" src="/page.js"></script>`)],
  "/frame": ["text/html", html(`<iframe sandbox="allow-scripts" src="/"></iframe>`)],
  "/page.js": ["text/javascript", file("page.js")],
  "/mqtt.min.js": ["text/javascript", file("../node_modules/mqtt/dist/mqtt.min.js")],
  "/mqtt.esm.js": ["text/javascript", file("../node_modules/mqtt/dist/mqtt.esm.js")],
};

const listening = (server) => new Promise((done) => server.listen(0, "127.0.0.1", () => done(server.address().port)));

// Hands out the pages. The server has two names, and a page has another origin under the second one.
async function servePages(isSecure) {
  const answer = ({ url }, response) => {
    const [type, body] = FILES[url] ?? ["text/plain", null];
    response.writeHead(body === null ? 404 : 200, { "content-type": `${type}; charset=utf-8`, "cache-control": "no-store" }).end(body);
  };
  const server = isSecure ? createSecureServer({ cert: readFileSync(CERT), key: readFileSync(KEY) }, answer) : createServer(answer);
  const port = await listening(server);
  const scheme = isSecure ? "https" : "http";
  return { server, origin: `${scheme}://127.0.0.1:${port}`, otherOrigin: `${scheme}://localhost:${port}` };
}

// Stands between a page and the broker, and can be cut as a network is: without a word.
export class Relay {
  static async start(port) {
    const relay = new Relay();
    relay.sockets = new Set();
    relay.isCut = false;
    relay.server = createRelay((client) => {
      if (relay.isCut) return client.resetAndDestroy();
      const broker = connect(port, "127.0.0.1");
      for (const [from, to] of [[client, broker], [broker, client]]) {
        relay.sockets.add(from);
        from.on("error", () => {});
        from.on("close", () => {
          relay.sockets.delete(from);
          to.destroy();
        });
        from.pipe(to);
      }
    });
    relay.port = await listening(relay.server);
    return relay;
  }

  cut() {
    this.isCut = true;
    for (const socket of this.sockets) socket.resetAndDestroy();
  }

  mend() {
    this.isCut = false;
  }

  async stop() {
    this.cut();
    await new Promise((done) => this.server.close(done));
  }
}

// The browser trusts the key of the tests' certificate and no other: `--ignore-certificate-errors` would take any.
function trust() {
  const key = new X509Certificate(readFileSync(CERT)).publicKey.export({ type: "spki", format: "der" });
  return `--ignore-certificate-errors-spki-list=${createHash("sha256").update(key).digest("base64")}`;
}

// Pages, a broker that lets them in, and a browser, for one kind of listener.
export class Stage {
  static async start(kind) {
    const stage = new Stage();
    stage.isSecure = kind === "wss";
    stage.kind = kind;
    stage.relays = [];
    stage.brokers = [];
    stage.pages = await servePages(stage.isSecure);
    stage.browser = await startBrowser(trust());
    stage.broker = await stage.startBroker();
    stage.url = stage.urlOf(stage.broker.webPort);
    return stage;
  }

  urlOf(port) {
    return `${this.kind}://127.0.0.1:${port}/mqtt`;
  }

  // A broker with a listener for pages of the first origin.
  async startBroker(cert = CERT, key = KEY) {
    const tls = this.isSecure ? `tls_cert = "${cert}"\ntls_key = "${key}"\n` : "";
    const broker = await Broker.start(
      `[[listener]]\nname = "web"\nkind = "${this.kind}"\nport = 0\nws_origins = ["${this.pages.origin}"]\n${tls}`,
    );
    broker.webPort = broker.ports.at(-1);
    this.brokers.push(broker);
    return broker;
  }

  // Ends it as an operator does, if it has not ended yet.
  async stopBroker(broker) {
    if (broker.child.exitCode === null && broker.child.signalCode === null) await broker.stop();
    assert.equal(broker.child.exitCode, 0, broker.lines.slice(-5).join("\n"));
  }

  startBrokerOfUnknownKey() {
    return this.startBroker(UNKNOWN_CERT, UNKNOWN_KEY);
  }

  // A line of a broker's log with all of these words.
  said(broker, ...words) {
    return until(`a line with ${words}`, () => broker.lines.find((line) => words.every((word) => line.includes(word))));
  }

  async relay() {
    const relay = await Relay.start(this.broker.webPort);
    this.relays.push(relay);
    return relay;
  }

  // A page of its own, which remembers what it said on its console. `requests` and `responses` are those of its WebSockets.
  async open(path = "/", origin = this.pages.origin) {
    const context = await this.browser.newContext();
    const page = await context.newPage();
    page.wrong = [];
    page.on("console", (message) => page.wrong.push(`${message.type()}: ${message.text()}`));
    page.on("pageerror", (error) => page.wrong.push(`error: ${error.stack}`));
    page.requests = [];
    page.responses = [];
    const devtools = await context.newCDPSession(page);
    await devtools.send("Network.enable");
    devtools.on("Network.webSocketWillSendHandshakeRequest", ({ request }) => page.requests.push(lowercase(request.headers)));
    devtools.on("Network.webSocketHandshakeResponseReceived", ({ response }) =>
      page.responses.push({ status: response.status, headers: lowercase(response.headers) }),
    );
    await page.goto(origin + path);
    await page.waitForFunction(() => document.querySelector("iframe") || (window.mqtt && window.commands));
    return page;
  }

  // Ends a page that has said nothing on its console but what is expected.
  async close(page, ...expected) {
    const unexpected = page.wrong.filter((text) => !expected.some((pattern) => pattern.test(text)));
    assert.deepEqual(unexpected, []);
    for (const pattern of expected) assert.ok(page.wrong.some((text) => pattern.test(text)), `${pattern} is on the console: ${page.wrong}`);
    await page.context().close();
  }

  async stop() {
    await this.browser?.close();
    for (const relay of this.relays) await relay.stop();
    for (const broker of this.brokers) await this.stopBroker(broker);
    this.pages.server.closeAllConnections();
    this.pages.server.close();
    const panics = this.brokers.flatMap(({ lines }) => lines).filter((line) => line.includes("panicked at"));
    assert.deepEqual(panics, []);
  }
}

const lowercase = (headers) => Object.fromEntries(Object.entries(headers).map(([name, value]) => [name.toLowerCase(), value]));

// A client of MQTT in a page.
export class PageClient {
  constructor(page, name) {
    Object.assign(this, { page, name });
  }

  // Lets it connect, and has its CONNACK as `connack`.
  static async connect(page, url, name, options) {
    const client = new PageClient(page, name);
    client.connack = await client.ask("connect", url, options);
    assert.equal(client.connack.reason, 0, name);
    return client;
  }

  ask(command, ...words) {
    return this.page.evaluate(([command, words]) => window.commands[command](...words), [command, [this.name, ...words]]);
  }

  async subscribe(filter, qos) {
    assert.deepEqual(await this.ask("subscribe", filter, { qos }), [qos], filter);
  }

  publish(topic, payload, options = {}) {
    return this.ask("publish", topic, payload, options);
  }

  next(event) {
    return this.ask("next", event);
  }

  // The next message is this one.
  async expect(topic, payload, qos, retain = false) {
    assert.deepEqual(await this.next("message"), { event: "message", topic, payload, qos, retain });
  }

  end() {
    return this.ask("end");
  }
}

// A client over TCP, in this process: what a page sends and gets is seen by somebody else as well.
export class Witness {
  static async start(broker, name) {
    const witness = new Witness();
    witness.client = await broker.client(name);
    witness.unread = [];
    witness.client.on("message", (topic, payload, { qos, retain }) =>
      witness.unread.push({ topic, payload: payload.toString("latin1"), qos, retain }),
    );
    return witness;
  }

  async subscribe(filter, qos) {
    const [granted] = await this.client.subscribeAsync(filter, { qos });
    assert.equal(granted.qos, qos, filter);
  }

  publish(topic, payload, options = {}) {
    return this.client.publishAsync(topic, Buffer.from(payload, "latin1"), options);
  }

  async expect(topic, payload, qos, retain = false) {
    const message = await until(`a message on ${topic}`, () => this.unread.shift());
    assert.deepEqual(message, { topic, payload, qos, retain });
  }
}
