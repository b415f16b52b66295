// Each view with traffic, with names and values that would be markup, and held to what axe asks for.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { Broker, harmless, logIn, MARKUP, openPage, picture, startBrowser, until, view } from "./stage.mjs";

const VIEWS = ["Overview", "Clients", "Slow and busy", "Bans", "Topics", "Live tail", "Retained", "Subscriptions", "Sinks", "Sources", "Bridges", "Listeners", "Drain", "Log", "Settings"];
const ODD = `${MARKUP}\u202ecba`;

let broker;
let browser;
let timer;
before(async () => {
  broker = await Broker.start();
  browser = await startBrowser();
  const odd = await broker.client(ODD, { username: MARKUP });
  await odd.subscribeAsync(["plant/#", `markup/${MARKUP}`]);
  await odd.subscribeAsync("options/#", { qos: 1, nl: true, rap: true, properties: { subscriptionIdentifier: 77 } });
  const worker = await broker.client("worker");
  await worker.subscribeAsync(["$share/workers/jobs/#", "plant/+/temperature"]);
  const away = await broker.client("sleeper", { clean: false, properties: { sessionExpiryInterval: 3600 } });
  await away.subscribeAsync("plant/#", { qos: 1 });
  await away.endAsync();
  const publisher = await broker.client("publisher");
  await publisher.publishAsync(`markup/${MARKUP}`, MARKUP, { retain: true });
  await publisher.publishAsync("values/json", '{"on":true}', { retain: true, properties: { messageExpiryInterval: 86_400 } });
  const described = { contentType: "text/plain", responseTopic: "answers/7", userProperties: { site: ["hall 4", "hall 5"], [MARKUP]: ODD, long: "x".repeat(5000) } };
  await publisher.publishAsync("values/described", "on", { retain: true, properties: described });
  await publisher.publishAsync("values/binary", Buffer.from([0, 255, 16]), { retain: true });
  timer = setInterval(() => {
    publisher.publish("plant/1/temperature", '{"celsius":21.5}', { qos: 1 });
    publisher.publish(`markup/${MARKUP}`, MARKUP);
  }, 50);
});
after(async () => {
  clearInterval(timer);
  await browser?.close();
  await broker?.stop();
});

// What a view needs before it is full.
async function fill(page, name) {
  const main = page.getByRole("main");
  switch (name) {
    case "Overview":
      await main.getByRole("heading", { name: "The last hour" }).waitFor();
      return main.getByRole("columnheader", { name: "Reason" }).or(main.getByText("No message was dropped")).first().waitFor();
    case "Slow and busy":
      await main.getByRole("link", { name: "sleeper" }).first().waitFor();
      return main.getByRole("link", { name: "publisher" }).waitFor();
    case "Topics":
      return main.getByText("plant/1/temperature").waitFor();
    case "Live tail":
      await main.getByLabel("Topic filter").fill("#");
      await main.getByRole("button", { name: "Watch" }).click();
      return main.getByText("plant/1/temperature").first().waitFor();
    case "Retained":
      return main.getByText("values/json").waitFor();
    case "Subscriptions":
      await main.getByLabel("Topic name").fill("plant/1/temperature");
      return main.getByRole("link", { name: "worker" }).waitFor();
    case "Sinks":
      return main.getByText("No sink is configured.").waitFor();
    case "Sources":
      return main.getByText("No source is configured.").waitFor();
    case "Bridges":
      return main.getByText("No bridge is configured.").waitFor();
    case "Listeners":
      return main.getByText("Accepts").first().waitFor();
    case "Log":
      return main.getByText("client_connected").first().waitFor();
    case "Settings":
      return main.getByText("[mqtt] max_inflight").waitFor();
    case "Clients":
      return main.getByRole("link", { name: "worker" }).waitFor();
    default:
      return undefined;
  }
}

for (const [tag, options] of [
  ["light, wide", { colorScheme: "light" }],
  ["dark, wide", { colorScheme: "dark" }],
  ["light, 360 px", { colorScheme: "light", viewport: { width: 360, height: 740 } }],
  ["dark, 360 px", { colorScheme: "dark", viewport: { width: 360, height: 740 } }],
]) {
  test(`every view is full, readable and harmless: ${tag}`, async () => {
    const page = await openPage(browser, broker, options);
    await harmless(page, `log in, ${tag}`);
    await picture(page, `${tag}-Log in`);
    await logIn(page);
    for (const name of VIEWS) {
      await view(page, name);
      await fill(page, name);
      await picture(page, `${tag}-${name}`);
      await harmless(page, `${name}, ${tag}`);
    }
    await view(page, "Clients");
    await page.getByRole("link", { name: /<img/ }).click();
    await page.getByRole("heading", { name: "Connection" }).waitFor();
    await page.getByText("plant/#").waitFor();
    await picture(page, `${tag}-Client`);
    await harmless(page, `client, ${tag}`);
    await page.getByRole("button", { name: "Disconnect" }).click();
    await page.getByRole("dialog").waitFor();
    await picture(page, `${tag}-dialog`);
    await harmless(page, `dialog, ${tag}`);
    await page.keyboard.press("Escape");
    await until("the dialog has closed", async () => (await page.getByRole("dialog").count()) === 0);
    await page.context().close();
  });
}

// What stands in columns that a narrow screen has no room for.
test("at 360 px nothing of a row is left out", async () => {
  const page = await openPage(browser, broker, { viewport: { width: 360, height: 740 } });
  await logIn(page);
  const main = page.getByRole("main");
  // Texts that can be seen, as they stand in one row or in the line below it.
  const shows = async (...texts) => {
    for (const text of texts) await main.getByText(text).filter({ visible: true }).first().waitFor();
  };
  await view(page, "Listeners");
  await shows(/^Kind MQTT$/, /^Address 127\.0\.0\.1:\d+$/, /^Connections \d+$/);
  if (process.env.DUNLIN_TEST_CERT) await shows(/^Kind MQTT over TLS$/, /^File .*cert\.pem$/, /^Ends \d\d\/\d\d\/2\d\d\d$/);
  await view(page, "Retained");
  await shows(/^Properties .*text\/plain/, "values/json", /^QoS 0$/, /^Size 11 B$/, /^Ends \d\d\/\d\d\/2\d\d\d, /);
  await view(page, "Subscriptions");
  await page.getByLabel("Show").selectOption("all");
  await shows("plant/+/temperature", /^State Away$/, /^State Connected$/);
  await view(page, "Clients");
  await shows(/^Address 127\.0\.0\.1:\d+$/, /^MQTT 5\.0$/, /^Subscriptions 2$/);
  await view(page, "Topics");
  await shows(/^Bytes\/s \d/, /^Clients 1$/, /^Last (now|\d)/, "Who gets it");
  await view(page, "Bans");
  await page.getByLabel("Client id").fill("rogue");
  await page.getByLabel("Why").fill("it was too loud");
  await page.getByRole("button", { name: "Ban", exact: true }).click();
  await shows(/^What Client id$/, /^Why it was too loud$/);
  await page.getByRole("button", { name: "Lift: rogue" }).click();
  await page.getByRole("dialog").getByRole("button", { name: "Lift" }).click();
  await page.getByText("Nobody is banned.").waitFor();
  await view(page, "Settings");
  await page.getByLabel("Name or value contains").fill("[node] name");
  await shows(/^From .*dunlin\.toml/, /^Changes with a/);
  await view(page, "Clients");
  await page.getByRole("link", { name: "publisher" }).click();
  await page.getByRole("button", { name: "Watch live" }).click();
  await shows("publish received", /^More .*qos=1/);
  await harmless(page, "a client at 360 px");
  await page.context().close();
});

test("the time of acknowledgements is the same on its card and at its plot", async () => {
  const page = await openPage(browser, broker);
  await logIn(page);
  const publisher = await broker.client("acknowledged");
  const publishing = setInterval(() => publisher.publish("acknowledged", "x", { qos: 1 }), 10);
  const card = page.getByRole("listitem").filter({ hasText: "Acknowledged" }).locator(".value");
  const plot = page.getByRole("figure").filter({ hasText: "Acknowledged within" }).getByRole("listitem").filter({ hasText: "99 of 100" }).locator("b");
  await until("both are there", async () => /^[\d.]+ m?s$/.test(await card.textContent()));
  for (let look = 0; look < 3; look += 1) {
    const [inCard, atPlot] = await Promise.all([card.elementHandle(), plot.elementHandle()]);
    // At one moment: a sample may come between two questions.
    const [one, other] = await page.evaluate((parts) => parts.map((part) => part.textContent), [inCard, atPlot]);
    assert.equal(one, other);
    await page.waitForResponse((response) => response.url().includes("/api/v1/history"));
  }
  clearInterval(publishing);
  assert.deepEqual(page.wrong, []);
  await page.context().close();
});

test("what a client is called is shown letter by letter, and what hides or reorders text is made visible", async () => {
  const page = await openPage(browser, broker);
  await logIn(page);
  await view(page, "Clients");
  const shown = await page.getByRole("link", { name: /<img/ }).textContent();
  assert.equal(shown, `${MARKUP}\\u{202e}cba`);
  await view(page, "Retained");
  const row = page.getByRole("row", { name: /markup/ });
  assert.equal(await row.locator("pre").textContent(), MARKUP);
  await view(page, "Log");
  await page.getByLabel("Line contains").fill("onerror");
  await page.getByText("client_connected").first().waitFor();
  assert.deepEqual(page.wrong, []);
  await page.context().close();
});

test("values are shown as text, JSON and hex", async () => {
  const page = await openPage(browser, broker);
  await logIn(page);
  await view(page, "Retained");
  await page.getByLabel("Topic filter").fill("values/#");
  const value = (topic) => page.getByRole("row", { name: topic }).locator("pre").textContent();
  await until("the search has ended", async () => (await page.getByRole("row").count()) === 4);
  assert.equal(await value("values/json"), '{"on":true}');
  await page.getByRole("radio", { name: "JSON" }).check();
  assert.equal(await value("values/json"), '{\n  "on": true\n}');
  await page.getByRole("radio", { name: "Hex" }).check();
  assert.match(await value("values/binary"), /^0000 {2}00 ff 10 +\.\.\.$/);
  await page.context().close();
});

test("what MQTT 5.0 says about a message is shown as text, and how much there is no room for", async () => {
  const page = await openPage(browser, broker);
  await logIn(page);
  const shown = ["Content type text/plain", "Response topic answers/7", "site hall 4", "site hall 5", `${MARKUP} ${MARKUP}\\u{202e}cba`, "1 property more, too long to be shown"];
  await view(page, "Retained");
  await page.getByLabel("Topic filter").fill("values/described");
  await page.getByText("Page 1: 1 row, the last").waitFor();
  assert.deepEqual(await page.getByRole("list", { name: "Properties" }).getByRole("listitem").allTextContents(), shown);
  await view(page, "Live tail");
  await page.getByLabel("Topic filter").fill("described/#");
  await page.getByRole("button", { name: "Watch" }).click();
  await page.getByText("No message yet.").waitFor();
  const publisher = await broker.client("describing");
  await publisher.publishAsync("described/1", "on", { properties: { contentType: "text/plain", userProperties: { [MARKUP]: ODD } } });
  const listed = page.getByRole("list", { name: "Properties" });
  await listed.waitFor();
  assert.deepEqual(await listed.getByRole("listitem").allTextContents(), [shown[0], shown[4]]);
  await publisher.publishAsync("described/2", "on");
  await page.getByText("described/2").waitFor();
  assert.equal(await listed.count(), 1, "a message without any has no list");
  await harmless(page, "properties");
  await page.context().close();
});

test("a client's subscriptions have their QoS and options", async () => {
  const page = await openPage(browser, broker);
  await logIn(page);
  await view(page, "Clients");
  await page.getByRole("link", { name: /<img/ }).click();
  const row = page.getByRole("row", { name: /options\/#/ });
  await row.waitFor();
  assert.deepEqual(await row.getByRole("cell").allTextContents(), ["options/#", "1", "not its own, RETAIN as published, identifier 77"]);
  await page.getByRole("row", { name: /plant\/# 0 –/ }).waitFor();
  assert.deepEqual(page.wrong, []);
  await page.context().close();
});

test("settings say where they come from, and certificates how long they are good for", async () => {
  const page = await openPage(browser, broker);
  await logIn(page);
  await view(page, "Settings");
  await page.getByLabel("Only what somebody has set").check();
  await page.getByRole("row", { name: /\[node\] name.*test-node.*dunlin\.toml/ }).waitFor();
  assert.equal(await page.getByText("[mqtt] max_inflight").count(), 0);
  await view(page, "Listeners");
  if (process.env.DUNLIN_TEST_CERT) {
    await page.getByRole("row", { name: /secure.*\d+ days/ }).waitFor();
  }
  await page.context().close();
});

test("the topics are a tree with rates, and lead to who gets them", async () => {
  const page = await openPage(browser, broker);
  await logIn(page);
  await view(page, "Topics");
  const row = page.getByRole("row", { name: /plant\/1\/temperature/ });
  await until("a rate", async () => Number(await row.locator("td.number").first().textContent()) > 5);
  await row.getByRole("link", { name: "Who gets it" }).click();
  await page.getByRole("link", { name: "worker" }).waitFor();
  await page.getByRole("link", { name: "sleeper" }).waitFor();
  await page.getByLabel("Show").selectOption("groups");
  await page.getByRole("link", { name: "$share/workers/jobs/#" }).click();
  await page.getByRole("link", { name: "worker" }).waitFor();
  await page.context().close();
});
