// mqtt.js in pages that came over HTTPS, and a listener for secure WebSocket.
import assert from "node:assert/strict";
import { test } from "node:test";
import { suite } from "./cases.mjs";
import { PageClient } from "./stage.mjs";

const stage = suite("wss");

test("a page gets to no broker whose certificate its browser does not trust", async () => {
  const broker = await stage().startBrokerOfUnknownKey();
  const page = await stage().open();
  const socket = new PageClient(page, "careful");
  await socket.ask("open", stage().urlOf(broker.webPort), ["mqtt"]);
  assert.deepEqual(await socket.next("ended"), { event: "ended", code: 1006, wasClean: false });
  assert.deepEqual(page.requests, [], "it has not come as far as the request");
  await stage().said(broker, " connect_refused ", "reason=tls_");
  await stage().close(page, /net::ERR_CERT_AUTHORITY_INVALID/);
});

test("a listener in TLS takes no WebSocket without it, and goes on", async () => {
  const page = await stage().open();
  const socket = new PageClient(page, "plain");
  await socket.ask("open", stage().url.replace("wss:", "ws:"), ["mqtt"]);
  assert.deepEqual(await socket.next("ended"), { event: "ended", code: 1006, wasClean: false });
  await stage().said(stage().broker, " connect_refused ", "reason=tls_plain_text");
  const client = await PageClient.connect(page, stage().url, "after", { protocolVersion: 5 });
  await client.end();
  await stage().close(page, /^error: WebSocket connection to '.*' failed: /);
});
