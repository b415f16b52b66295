// What is shown of traffic is the traffic that there is: topics with their rates, the overview, its plots.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { Broker, logIn, NO_SUCH_CLIENT, openPage, startBrowser, until, view } from "./stage.mjs";

const TOPICS = 300;
// Messages that wait for one client.
const QUEUE_MAX = 100;

let broker;
let browser;
let page;
before(async () => {
  broker = await Broker.start(`[session]\nmax_queued_messages = ${QUEUE_MAX}\n`);
  browser = await startBrowser();
  page = await openPage(browser, broker);
  page.bear(NO_SUCH_CLIENT);
  await logIn(page);
});
after(async () => {
  await browser?.close();
  await broker?.stop();
});

// By the whole topic, also where its first levels stand in the rows above it.
const rowOf = (topic) => page.getByRole("row").filter({ has: page.getByRole("rowheader").filter({ hasText: new RegExp(`^${topic}$`) }) });
// Publishes so many a second by the clock: a timer that comes late sends what is missing. How many that were is asked of the answer's `sent`.
function publishing(publisher, topic, perSecond, options = {}) {
  const began = Date.now();
  const state = { sent: 0 };
  const timer = setInterval(() => {
    for (; state.sent < ((Date.now() - began) / 1000) * perSecond; state.sent += 1) publisher.publish(topic, "x", options);
  }, 20);
  state.stop = () => clearInterval(timer);
  return state;
}
const rateOf = async (topic) => Number(await rowOf(topic).locator("td.number").first().textContent());

test("of more topics than are shown each is found, and what is not there is said to be not among them", async () => {
  const publisher = await broker.client("meters");
  await view(page, "Topics");
  await page.getByText("No message since counting began.").waitFor();
  // All but the last are published twice, so the last is not among the first 256.
  for (let number = 0; number < TOPICS; number += 1) {
    for (let turn = 0; turn < (number === TOPICS - 1 ? 1 : 2); turn += 1) publisher.publish(`meters/${number}/kWh`, "1");
  }
  for (let turn = 0; turn < 3; turn += 1) publisher.publish("meters", "of all", { qos: 1 });
  await page.getByText(/The 256 first topics of those that clients publish on/).waitFor();
  const search = page.getByLabel("Topic contains");
  await search.fill(`/${TOPICS - 1}/`);
  await rowOf("meters/299/kWh").waitFor();
  await page.getByText(/^1 topic of those that clients publish on/).waitFor();
  await search.fill("METERS");
  await page.getByText("None of the topics that are counted contains METERS.").waitFor();
  assert.equal(await page.getByText("No message since counting began").count(), 0);
  assert.deepEqual(page.wrong, []);
});

test("a branch that somebody has opened is open where all of them are, and as it was before once nothing is searched for", async () => {
  await view(page, "Overview");
  await view(page, "Topics");
  const branch = page.getByRole("button", { name: /^meters: / });
  const search = page.getByLabel("Topic contains");
  await branch.click();
  assert.equal(await branch.getAttribute("aria-expanded"), "false");
  await search.fill("meters/1/");
  await rowOf("meters/1/kWh").waitFor();
  await until("it is open", async () => (await branch.getAttribute("aria-expanded")) !== "false");
  await search.fill("");
  await page.getByText(/The 256 first topics/).waitFor();
  assert.equal(await branch.getAttribute("aria-expanded"), "true");
  assert.deepEqual(page.wrong, []);
});

test("a topic with branches below it is watched with them", async () => {
  await view(page, "Topics");
  await page.getByRole("row").filter({ has: page.getByRole("button", { name: /^meters: / }) }).getByRole("link", { name: "Watch" }).click();
  await page.getByRole("heading", { level: 1, name: "Live tail" }).waitFor();
  assert.equal(await page.getByLabel("Topic filter").inputValue(), "meters/#");
  await page.getByText("No message yet.").waitFor();
  const publisher = await broker.client("both");
  publisher.publish("meters", "itself");
  publisher.publish("meters/7/kWh", "below");
  const list = page.getByRole("list", { name: /Messages/ }).getByRole("listitem");
  await until("both", async () => (await list.count()) === 2);
  await view(page, "Topics");
  await rowOf("meters/7/kWh").getByRole("link", { name: "Watch" }).click();
  assert.equal(await page.getByLabel("Topic filter").inputValue(), "meters/7/kWh");
  assert.deepEqual(page.wrong, []);
});

test("a rate is that of the last seconds: it falls to nothing soon after the last message", async () => {
  const publisher = await broker.client("busy");
  await view(page, "Topics");
  await page.getByLabel("Topic contains").fill("engine");
  const engine = publishing(publisher, "engine/speed", 50);
  await until("a rate", async () => (await rateOf("engine/speed").catch(() => 0)) > 30);
  // Long enough that an average of all that was counted would take minutes to fall to nothing.
  await new Promise((done) => setTimeout(done, 12_000));
  await until("the same rate", async () => (await rateOf("engine/speed")) > 30);
  engine.stop();
  const stopped = Date.now();
  await until("nothing a second", async () => (await rateOf("engine/speed")) === 0);
  assert.ok(Date.now() - stopped < 40_000, `${Date.now() - stopped} ms`);
  assert.deepEqual(page.wrong, []);
});

const card = (title) => page.getByRole("list", { name: "Now" }).getByRole("listitem").filter({ has: page.getByText(title, { exact: true }) });
const valueOf = async (title) => Number.parseFloat((await card(title).locator(".value").textContent()).replaceAll(",", ""));

// Which of these colours are on the canvas of a plot.
const drawn = (title, tones) =>
  page.getByRole("figure").filter({ hasText: title }).locator("canvas").evaluate((canvas, tones) => {
    const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
    const found = new Set();
    for (let at = 0; at < data.length; at += 4) if (data[at + 3] === 255) found.add(`${data[at]},${data[at + 1]},${data[at + 2]}`);
    return tones.map((tone) => {
      const hex = getComputedStyle(document.documentElement).getPropertyValue(tone).trim();
      return found.has([1, 3, 5].map((begin) => parseInt(hex.slice(begin, begin + 2), 16)).join(","));
    });
  }, tones);

test("the overview has the figures of the traffic that there is", async () => {
  const publisher = await broker.client("steady");
  for (const id of ["heard-1", "heard-2"]) await (await broker.client(id)).subscribeAsync("steady");
  const before = await (await page.request.get(`${broker.url}api/v1/overview`)).json();
  await view(page, "Overview");
  // 50 a second in, and for two subscribers 100 out.
  const steady = publishing(publisher, "steady", 50, { qos: 1 });
  const isNear = (value, wanted) => Math.abs(value - wanted) < wanted * 0.15;
  await until("messages in", async () => isNear(await valueOf("Messages in"), 50));
  await until("messages out", async () => isNear(await valueOf("Messages out"), 100));
  steady.stop();
  await until("all that was sent", async () => {
    const now = await (await page.request.get(`${broker.url}api/v1/overview`)).json();
    return now.messages_received - before.messages_received === steady.sent && now.messages_sent - before.messages_sent === 2 * steady.sent;
  });
  await until("the clients", async () => (await valueOf("Clients")) === broker.clients.filter((client) => client.connected).length);
  assert.ok((await valueOf("Memory")) > 1);
  // Curves are drawn: their colour is on the canvas.
  await until("both curves", async () => (await drawn("Messages a second", ["--tone1", "--tone2"])).every(Boolean));
  page.forgive(/willReadFrequently/); // of this test
  assert.deepEqual(page.wrong, []);
});

test("a value with none beside it is drawn, and where nothing was timed nothing is", async () => {
  await view(page, "Clients");
  const length = 40;
  const all = await (await page.request.get(`${broker.url}api/v1/history`)).json();
  const sparse = Object.fromEntries(Object.entries(all).map(([name, value]) => [name, Array.isArray(value) && name !== "threads" ? Array(length).fill(0) : value]));
  sparse.at_ms = Array.from({ length }, (_, at) => 1_800_000_000_000 + 5000 * at);
  [sparse.ack_half_ms, sparse.ack_most_ms] = [Array(length).fill(null), Array(length).fill(null)];
  sparse.ack_half_ms[20] = 0.4;
  const isColumn = (name) => Array.isArray(sparse[name]) && name !== "threads";
  const nothingNew = Object.fromEntries(Object.keys(sparse).map((name) => [name, isColumn(name) ? [] : sparse[name]]));
  await page.route("**/api/v1/history*", (route) => route.fulfill({ json: route.request().url().includes("after_ms") ? nothingNew : sparse }));
  await view(page, "Overview");
  await until("it is drawn", async () => (await drawn("Acknowledged within", ["--tone1"]))[0]);
  assert.deepEqual(await drawn("Acknowledged within", ["--tone1", "--tone3"]), [true, false]);
  await page.unroute("**/api/v1/history*");
  await view(page, "Clients");
  page.forgive(/willReadFrequently/); // of this test
  assert.deepEqual(page.wrong, []);
});

test("a message that finds a full queue is told with its reason and its rate, and leads to who lost it", async () => {
  const away = await broker.client("overfull", { clean: false, reconnectPeriod: 0, properties: { sessionExpiryInterval: 600 } });
  await away.subscribeAsync("flood", { qos: 1 });
  await away.endAsync();
  const publisher = await broker.client("flooder");
  // Who loses them is counted once somebody looks.
  await page.request.get(`${broker.url}api/v1/top?by=dropped`);
  await view(page, "Overview");
  const row = page.getByRole("table", { name: "Dropped messages by reason" }).getByRole("row", { name: /queue full/ });
  await page.waitForResponse((response) => response.url().includes("/api/v1/overview"));
  // A rate is shown until the next answer alone: whatever was shown is kept.
  await page.evaluate(() => {
    window.rates = [];
    new MutationObserver(() => window.rates.push(document.querySelector("[aria-label^='Dropped messages'] tbody tr td:nth-child(2)")?.textContent)).observe(document.querySelector("main"), {
      childList: true,
      characterData: true,
      subtree: true,
    });
  });
  await Promise.all(Array.from({ length: QUEUE_MAX + 40 }, () => publisher.publishAsync("flood", "x", { qos: 1 })));
  const cells = row.getByRole("cell");
  await until("the drops", async () => (await row.count()) === 1 && (await cells.nth(2).textContent()) === "40");
  await until("a rate", async () => (await page.evaluate(() => window.rates)).some((rate) => Number(rate) > 0));
  await until("the rate has fallen", async () => (await cells.nth(1).textContent()) === "0");
  await page.getByRole("link", { name: "Which clients lose messages" }).click();
  await page.getByRole("row", { name: "overfull 40" }).waitFor();
  assert.equal(await page.getByLabel("Order of slow consumers").inputValue(), "dropped");
  // Its session is ended, and its queue with it.
  await page.getByRole("link", { name: "overfull" }).first().click();
  await page.getByText(`${QUEUE_MAX} (`).waitFor();
  await page.getByRole("button", { name: "End session" }).click();
  await page.getByRole("dialog").getByRole("button", { name: "End session" }).click();
  await page.getByText("No session has this client id now.").waitFor();
  assert.equal((await page.request.get(`${broker.url}api/v1/client?client_id=overfull`)).status(), 404);
  assert.deepEqual(page.wrong, []);
});

test("the value of any moment is read off a plot, by the pointer and by keys", async () => {
  await view(page, "Overview");
  const history = async () => (await page.request.get(`${broker.url}api/v1/history`)).json();
  const samples = await until("a few samples", async () => {
    const samples = await history();
    return samples.at_ms.length >= 5 && samples;
  });
  const figure = page.getByRole("figure").filter({ hasText: "Messages a second" });
  const plot = figure.getByRole("slider");
  const words = () => figure.locator("figcaption").innerText();
  // Whatever the plot says of a moment is what the history has of it.
  const shows = (at) =>
    until(`sample ${at}`, async () => {
      const said = await words();
      return said.includes(new Date(samples.at_ms[at]).toLocaleTimeString("en-GB")) && new RegExp(`In\\s+${samples.messages_received_per_s[at]}\\b`).test(said);
    });
  const showsNewest = () => until("the newest again", async () => !/\d\d:\d\d:\d\d/.test(await words()));
  // What stands above the plots is there, so they stay where they are.
  await page.getByRole("list", { name: "Now" }).waitFor();
  await plot.locator(".u-over").hover({ position: { x: 1, y: 40 } });
  await shows(0);
  await page.mouse.move(0, 0);
  await showsNewest();
  await plot.focus();
  await page.keyboard.press("Home");
  await shows(0);
  for (const at of [1, 2]) {
    await page.keyboard.press("ArrowRight");
    await shows(at);
  }
  const said = await plot.getAttribute("aria-valuetext");
  assert.match(said, new RegExp(`^\\d\\d:\\d\\d:\\d\\d: In ${samples.messages_received_per_s[2]}, Out ${samples.messages_sent_per_s[2]}$`));
  await page.keyboard.press("Escape");
  await showsNewest();
  // For whoever hears the page.
  await until("least and most", async () => {
    const most = Math.max(...(await history()).messages_received_per_s);
    return new RegExp(`In: least 0, most ${most}, mean `).test(await figure.locator("p.unseen").textContent());
  });
  assert.deepEqual(page.wrong, []);
});
