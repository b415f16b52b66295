// What a page's client of MQTT is to see, over WebSocket and over secure WebSocket alike.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { PageClient, Stage, Witness } from "./stage.mjs";

// Every byte, and no two places of a power of two alike.
const large = Array.from({ length: 300_000 }, (_, at) => String.fromCharCode((at * 31 + (at >> 8)) & 0xff)).join("");
// A session that waits for its client.
const waiting = { 4: { clean: false }, 5: { clean: false, properties: { sessionExpiryInterval: 300 } } };
const refused = (status) => new RegExp(`^error: WebSocket connection to '.*' failed: Error during WebSocket handshake: Unexpected response code: ${status}$`);

let stage;

// Declares the tests; those of one kind alone come behind.
export function suite(kind) {
  before(async () => {
    stage = await Stage.start(kind);
  });
  after(() => stage?.stop());

  for (const [protocolVersion, name] of [[4, "3.1.1"], [5, "5.0"]]) {
    test(`${name}: every QoS goes both ways`, () => everyQos(protocolVersion));
    test(`${name}: a message larger than a frame arrives whole`, () => largeMessages(protocolVersion));
    test(`${name}: retained is set, shown and cleared`, () => retained(protocolVersion));
    test(`${name}: the will of a page that goes is published, and that of one that said so is not`, () => wills(protocolVersion));
    test(`${name}: a page comes back to its session when it was kicked`, () => kicked(protocolVersion));
    test(`${name}: a page comes back to its session when the network was cut`, () => cut(protocolVersion));
  }
  test("the subprotocol is agreed on, and the compression that browsers offer is not", agreed);
  test("mqtt.js comes in as a module, too", asModule);
  test("pages of other origins are kept out, and are told so", origins);
  test("whatever a page does wrong ends its WebSocket alone, with a code", wrongs);
  test("a page is told that the broker ends", ends);
  return () => stage;
}

async function everyQos(protocolVersion) {
  const [page, other] = [await stage.open(), await stage.open()];
  const one = await PageClient.connect(page, stage.url, `one-${protocolVersion}`, { protocolVersion });
  const two = await PageClient.connect(other, stage.url, `two-${protocolVersion}`, { protocolVersion });
  const witness = await Witness.start(stage.broker, `witness-${protocolVersion}`);
  await two.subscribe("q/#", 2);
  await witness.subscribe("q/#", 2);
  await one.subscribe("back/#", 2);
  for (const qos of [0, 1, 2]) {
    await one.publish(`q/${qos}`, `out \u00ff\u0000 ${qos}`, { qos });
    await two.expect(`q/${qos}`, `out \u00ff\u0000 ${qos}`, qos);
    await witness.expect(`q/${qos}`, `out \u00ff\u0000 ${qos}`, qos);
    await witness.publish(`back/${qos}`, `in ${qos}`, { qos });
    await one.expect(`back/${qos}`, `in ${qos}`, qos);
  }
  for (const client of [one, two]) {
    await client.end();
    // Whoever is first to say the end: the broker has a code, and mqtt.js has none.
    const { code, wasClean } = await client.next("ended");
    assert.ok(wasClean && [1000, 1005].includes(code), `${code}, ${wasClean}`);
  }
  for (const ended of [page, other]) await stage.close(ended);
}

async function largeMessages(protocolVersion) {
  const page = await stage.open();
  const whole = await PageClient.connect(page, stage.url, `whole-${protocolVersion}`, { protocolVersion });
  // Its packets have nothing to do with its frames, of which one PUBLISH takes 43.
  const pieces = await PageClient.connect(page, stage.url, `pieces-${protocolVersion}`, { protocolVersion, pieceBytes: 7_000 });
  const witness = await Witness.start(stage.broker, `large-${protocolVersion}`);
  for (const client of [whole, pieces, witness]) await client.subscribe("large", 1);
  for (const [publisher, qos] of [[whole, 1], [pieces, 1], [witness, 1], [witness, 0]]) {
    await publisher.publish("large", large, { qos });
    for (const client of [whole, pieces, witness]) await client.expect("large", large, qos);
  }
  for (const client of [whole, pieces]) await client.end();
  await stage.close(page);
}

async function retained(protocolVersion) {
  const page = await stage.open();
  const client = await PageClient.connect(page, stage.url, `keeps-${protocolVersion}`, { protocolVersion });
  await client.publish("kept/1", "old", { qos: 1, retain: true });
  await client.publish("kept/1", "new", { qos: 1, retain: true });
  const witness = await Witness.start(stage.broker, `sees-${protocolVersion}`);
  await witness.subscribe("kept/#", 1);
  await witness.expect("kept/1", "new", 1, true);
  await client.subscribe("kept/#", 1);
  await client.expect("kept/1", "new", 1, true);
  await client.publish("kept/1", "", { qos: 1, retain: true });
  await client.expect("kept/1", "", 1);
  const later = await PageClient.connect(page, stage.url, `late-${protocolVersion}`, { protocolVersion });
  await later.subscribe("kept/#", 1);
  await client.publish("kept/2", "nothing before it", { qos: 1 });
  await later.expect("kept/2", "nothing before it", 1);
  for (const leaving of [client, later]) await leaving.end();
  await stage.close(page);
}

async function wills(protocolVersion) {
  const witness = await Witness.start(stage.broker, `mourner-${protocolVersion}`);
  await witness.subscribe("will/#", 1);
  const connect = async (name) => {
    const page = await stage.open();
    const will = { topic: `will/${name}`, payload: `${name} is gone`, qos: 1, retain: false };
    const client = await PageClient.connect(page, stage.url, `${name}-${protocolVersion}`, { protocolVersion, will });
    return [page, client];
  };
  const [polite, politeClient] = await connect("polite");
  await politeClient.end();
  await stage.close(polite);
  const [closed] = await connect("closed");
  await stage.close(closed);
  await witness.expect("will/closed", "closed is gone", 1);
  const [elsewhere] = await connect("elsewhere");
  await elsewhere.goto("about:blank");
  await witness.expect("will/elsewhere", "elsewhere is gone", 1);
  await stage.close(elsewhere);
}

async function kicked(protocolVersion) {
  const page = await stage.open();
  const name = `kicked-${protocolVersion}`;
  const options = { protocolVersion, reconnectPeriod: 100, ...waiting[protocolVersion] };
  const client = await PageClient.connect(page, stage.url, name, options);
  assert.equal(client.connack.sessionPresent, false);
  const witness = await Witness.start(stage.broker, `kicker-${protocolVersion}`);
  await client.subscribe("for/kicked", 1);
  stage.broker.ctl("kick", name);
  if (protocolVersion === 5) assert.deepEqual(await client.next("disconnect"), { event: "disconnect", reason: 0x98 });
  assert.deepEqual(await client.next("ended"), { event: "ended", code: 1008, wasClean: true });
  await witness.publish("for/kicked", "you were away", { qos: 1 });
  assert.deepEqual(await client.next("connack"), { event: "connack", reason: 0, sessionPresent: true });
  await client.expect("for/kicked", "you were away", 1);
  await client.publish("for/kicked", "and still heard", { qos: 1 });
  await client.expect("for/kicked", "and still heard", 1);
  await client.end();
  await stage.close(page);
}

async function cut(protocolVersion) {
  const relay = await stage.relay();
  const page = await stage.open();
  const options = { protocolVersion, reconnectPeriod: 100, ...waiting[protocolVersion] };
  const client = await PageClient.connect(page, stage.urlOf(relay.port), `cut-${protocolVersion}`, options);
  const witness = await Witness.start(stage.broker, `cutter-${protocolVersion}`);
  await client.subscribe("for/cut", 2);
  relay.cut();
  assert.deepEqual(await client.next("ended"), { event: "ended", code: 1006, wasClean: false });
  for (const qos of [1, 2]) await witness.publish("for/cut", `missed ${qos}`, { qos });
  // Its next try was in vain.
  await client.next("ended");
  relay.mend();
  assert.deepEqual(await client.next("connack"), { event: "connack", reason: 0, sessionPresent: true });
  for (const qos of [1, 2]) await client.expect("for/cut", `missed ${qos}`, qos);
  await client.publish("for/cut", "here again", { qos: 2 });
  await client.expect("for/cut", "here again", 2);
  await client.end();
  await stage.close(page, /^error: WebSocket connection to '.*' failed: /);
}

async function agreed() {
  const page = await stage.open();
  const versions = [[3, "mqttv3.1"], [4, "mqtt"], [5, "mqtt"]];
  for (const [protocolVersion, protocol] of versions) {
    const protocolId = protocolVersion === 3 ? "MQIsdp" : "MQTT";
    const client = await PageClient.connect(page, stage.url, `agreed-${protocolVersion}`, { protocolVersion, protocolId });
    assert.deepEqual(await client.next("opened"), { event: "opened", protocol, extensions: "" });
    // What is larger than any window of a compressor, and would shrink to nothing in one.
    await client.subscribe("agreed", 1);
    await client.publish("agreed", "a".repeat(70_000), { qos: 1 });
    await client.expect("agreed", "a".repeat(70_000), 1);
    await client.end();
  }
  assert.equal(page.requests.length, versions.length);
  assert.equal(page.responses.length, versions.length);
  versions.forEach(([, protocol], at) => {
    assert.match(page.requests[at]["sec-websocket-extensions"], /permessage-deflate/);
    assert.equal(page.requests[at]["sec-websocket-protocol"], protocol);
    assert.equal(page.requests[at].origin, stage.pages.origin);
    const { status, headers } = page.responses[at];
    assert.equal(status, 101);
    assert.equal(headers["sec-websocket-protocol"], protocol);
    assert.equal(headers["sec-websocket-extensions"], undefined);
  });
  await stage.close(page);
}

async function asModule() {
  const page = await stage.open("/module");
  const client = await PageClient.connect(page, stage.url, "module", { protocolVersion: 5 });
  await client.subscribe("module", 2);
  await client.publish("module", "as a module", { qos: 2 });
  await client.expect("module", "as a module", 2);
  await client.end();
  await stage.close(page);
}

// A WebSocket is refused to a page, or to a frame in one.
async function isRefused(frame, name, status, line) {
  const socket = new PageClient(frame, name);
  await socket.ask("open", stage.url, ["mqtt"]);
  assert.equal((await socket.next("error")).event, "error");
  assert.deepEqual(await socket.next("ended"), { event: "ended", code: 1006, wasClean: false });
  await stage.said(stage.broker, " connect_refused ", "reason=upgrade_refused", line);
}

async function origins() {
  const other = await stage.open("/", stage.pages.otherOrigin);
  await isRefused(other, "other", 403, "origin");
  assert.equal(other.requests[0].origin, stage.pages.otherOrigin);
  await stage.close(other, refused(403));
  // A sandboxed frame of an allowed page has no origin: `null`.
  const framed = await stage.open("/frame");
  const frame = framed.frames()[1];
  await frame.waitForFunction(() => window.commands);
  assert.equal(await frame.evaluate(() => window.origin), "null");
  await isRefused(frame, "framed", 403, "origin");
  await stage.close(framed, refused(403));
  const allowed = await stage.open();
  const client = await PageClient.connect(allowed, stage.url, "allowed", { protocolVersion: 5 });
  await client.end();
  await stage.close(allowed);
}

async function wrongs() {
  const page = await stage.open();
  const neighbour = await PageClient.connect(page, stage.url, "neighbour", { protocolVersion: 5 });
  const open = async (name, protocols, url = stage.url) => {
    const socket = new PageClient(page, name);
    await socket.ask("open", url, protocols);
    return socket;
  };
  const text = await open("text", ["mqtt"]);
  await text.next("opened");
  await text.ask("send", "words");
  assert.deepEqual(await text.next("ended"), { event: "ended", code: 1003, wasClean: true });
  const own = await open("own", ["other", "mqtt"]);
  assert.deepEqual(await own.next("opened"), { event: "opened", protocol: "mqtt", extensions: "" });
  await own.ask("close", 3001, "a page's own code");
  assert.deepEqual(await own.next("ended"), { event: "ended", code: 3001, wasClean: true });
  for (const [name, protocols, url] of [
    ["none", [], stage.url],
    ["unknown", ["chat"], stage.url],
    ["nowhere", ["mqtt"], stage.url.replace("/mqtt", "/elsewhere")],
  ]) {
    const socket = await open(name, protocols, url);
    assert.deepEqual(await socket.next("ended"), { event: "ended", code: 1006, wasClean: false }, name);
  }
  await neighbour.subscribe("neighbour", 1);
  await neighbour.publish("neighbour", "none of that was mine", { qos: 1 });
  await neighbour.expect("neighbour", "none of that was mine", 1);
  await neighbour.end();
  await stage.close(page, refused(400), refused(404));
}

async function ends() {
  const broker = await stage.startBroker();
  const page = await stage.open();
  const old = await PageClient.connect(page, stage.urlOf(broker.webPort), "old", { protocolVersion: 4 });
  const client = await PageClient.connect(page, stage.urlOf(broker.webPort), "new", { protocolVersion: 5 });
  await stage.stopBroker(broker);
  assert.deepEqual(await client.next("disconnect"), { event: "disconnect", reason: 0x8b });
  // The process is gone before the page has answered, so that it does not count as clean.
  for (const told of [old, client]) assert.equal((await told.next("ended")).code, 1001);
  await stage.close(page);
}
