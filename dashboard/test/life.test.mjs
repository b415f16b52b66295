// What is done from the page reaches the broker, and what happens in the broker reaches the page.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { Broker, focused, logIn, NO_SUCH_CLIENT, openPage, startBrowser, until, view } from "./stage.mjs";

let broker;
let browser;
let page;
before(async () => {
  broker = await Broker.start();
  browser = await startBrowser();
  page = await openPage(browser, broker);
  page.bear(NO_SUCH_CLIENT); // clients go here, and their views look on
  await logIn(page);
});
after(async () => {
  await browser?.close();
  await broker?.stop();
});

async function confirm(button) {
  await page.getByRole("dialog").getByRole("button", { name: button }).click();
  await until("the dialog has closed", async () => (await page.getByRole("dialog").count()) === 0);
}

test("a client is kicked, and comes back", async () => {
  const client = await broker.client("truck-7");
  const reasons = [];
  client.on("disconnect", (packet) => reasons.push(packet.reasonCode));
  await view(page, "Clients");
  await page.getByLabel("Client id contains").fill("truck-");
  await page.getByRole("link", { name: "truck-7" }).click();
  await page.getByRole("main").getByText("Connected", { exact: true }).waitFor();
  await page.getByRole("button", { name: "Watch live" }).click();
  await page.getByText("Nothing has happened yet.").waitFor();
  const again = new Promise((done) => client.once("connect", done));
  await page.getByRole("button", { name: "Disconnect" }).click();
  await page.getByRole("dialog").getByText("Its session ends with it").waitFor();
  await confirm("Disconnect");
  await page.getByRole("status").filter({ hasText: "The client was disconnected." }).waitFor();
  await again;
  assert.deepEqual(reasons, [0x98]);
  await page.getByRole("cell", { name: "client disconnected" }).waitFor();
  await page.getByRole("cell", { name: "client connected" }).waitFor();
  await page.getByRole("main").getByText("Connected", { exact: true }).waitFor();
  assert.deepEqual(page.wrong, []);
});

test("messages come live, from clients that publish and from wills, and the watching ends with the view", async () => {
  const publisher = await broker.client("publisher");
  await view(page, "Live tail");
  await page.getByLabel("Topic filter").fill("plant/+/valve");
  await page.getByRole("button", { name: "Watch" }).click();
  await page.getByText("No message yet.").waitFor();
  await publisher.publishAsync("plant/7/valve", "open");
  await publisher.publishAsync("plant/7/other", "hidden");
  await publisher.publishAsync("plant/8/valve", Buffer.from([1, 2, 254]), { qos: 1 });
  const list = page.getByRole("list", { name: /Messages/ }).getByRole("listitem");
  await until("both", async () => (await list.count()) === 2);
  assert.match(await list.last().textContent(), /plant\/7\/valve.*QoS 0, 4 B.*from publisher.*open/);
  await page.getByRole("radio", { name: "Hex" }).check();
  await list.first().getByText("01 02 fe").waitFor();
  await page.getByLabel("Publish to").fill("plant/5/valve");
  await page.getByRole("textbox", { name: "Text" }).fill("by hand");
  await page.getByRole("button", { name: "Publish" }).click();
  await page.getByText("Published; nobody is subscribed to this topic.").waitFor();
  await until("it is shown", async () => (await list.count()) === 3);
  assert.match(await list.first().textContent(), /plant\/5\/valve.*QoS 0, 7 B.*from the broker/);
  await page.getByLabel("Publish to").fill("plant/#");
  await page.getByRole("button", { name: "Publish" }).click();
  await page.getByRole("alert").filter({ hasText: "topic" }).waitFor();
  page.forgive(/api\/v1\/publish/);
  const dying = await broker.client("dying", { reconnectPeriod: 0, will: { topic: "plant/9/valve", payload: Buffer.from("gone") } });
  dying.stream.destroy();
  await until("its will", async () => (await list.count()) === 4);
  // More than can be shown: it says so, and the page goes on.
  await Promise.all(Array.from({ length: 3000 }, (_, number) => publisher.publishAsync("plant/1/valve", `${number}`)));
  await page.getByText(/more came too fast to be shown/).waitFor();
  assert.ok((await list.count()) <= 200);
  await page.getByRole("button", { name: "Stop" }).click();
  await page.getByRole("button", { name: "Watch" }).click();
  await view(page, "Clients");
  // Eight may go on at a time: that all eight can be had again shows that none was left.
  const cookie = (await page.context().cookies()).map(({ name, value }) => `${name}=${value}`).join("; ");
  const tail = (signal) => fetch(`${broker.url}api/v1/tail?filter=x`, { headers: { cookie }, signal });
  await until("all places are free", async () => {
    const control = new AbortController();
    const statuses = await Promise.all(Array.from({ length: 8 }, () => tail(control.signal).then(({ status }) => status)));
    const ninth = await tail(control.signal);
    control.abort();
    const areFree = statuses.every((status) => status === 200) && ninth.status === 409;
    // The broker sees that somebody has gone when it next has something to say, which is every two seconds.
    await new Promise((done) => setTimeout(done, 6000));
    return areFree;
  });
  assert.deepEqual(page.wrong, []);
});

test("a tail says what it watches, and shows nothing of another filter", async () => {
  const publisher = await broker.client("talker");
  await view(page, "Live tail");
  const filter = page.getByLabel("Topic filter");
  await filter.fill("first/#");
  await page.getByRole("button", { name: "Watch" }).click();
  await page.getByRole("status").filter({ hasText: "Watching first/#." }).waitFor();
  const list = page.getByRole("list", { name: /Messages/ }).getByRole("listitem");
  // Whoever listens is told that it watches, and not each message.
  await page.evaluate(() => {
    window.told = [];
    for (const region of document.querySelectorAll("[role=status]")) {
      new MutationObserver(() => window.told.push(region.textContent)).observe(region, { childList: true, characterData: true, subtree: true });
    }
  });
  for (let turn = 1; turn <= 3; turn += 1) {
    await publisher.publishAsync("first/a", `number ${turn}`);
    await page.getByText(`${turn} message${turn === 1 ? "" : "s"} came.`).waitFor();
  }
  assert.deepEqual(await page.evaluate(() => window.told), []);
  // Where a message is published stays where it is while messages come.
  const place = await page.getByLabel("Publish to").boundingBox();
  await publisher.publishAsync("first/a", "one\ntwo\nthree");
  await until("it is shown", async () => (await list.count()) === 4);
  assert.deepEqual(await page.getByLabel("Publish to").boundingBox(), place);
  await page.getByLabel("Pause the list").check();
  await publisher.publishAsync("first/a", "while paused");
  await page.getByText("5 messages came.").waitFor();
  assert.equal(await list.count(), 4);
  await filter.fill("second/#");
  await page.getByRole("status").filter({ hasText: "Watching first/#." }).waitFor();
  await page.getByRole("button", { name: "Watch this" }).click();
  await page.getByRole("status").filter({ hasText: "Watching second/#." }).waitFor();
  assert.equal(await page.getByLabel("Pause the list").isChecked(), false);
  await publisher.publishAsync("first/a", "of the first");
  await publisher.publishAsync("second/a", "of the second");
  await until("it is shown", async () => (await list.count()) === 1);
  assert.match(await list.textContent(), /second\/a/);
  assert.equal(await page.getByRole("button", { name: /Watch/ }).count(), 0);
  await page.getByRole("button", { name: "Stop" }).click();
  await page.getByRole("button", { name: "Watch", exact: true }).waitFor();
  assert.deepEqual(page.wrong, []);
});

for (const id of [".", "..", "a/b?c#d%2e"]) {
  test(`a client whose id a path cannot carry is shown, kicked and watched: ${id}`, async () => {
    const client = await broker.client(id);
    await client.subscribeAsync("odd/#");
    const again = new Promise((done) => client.once("connect", done));
    await view(page, "Clients");
    await page.getByLabel("Client id contains").fill(id);
    await page.getByRole("link", { name: id, exact: true }).click();
    await page.getByRole("link", { name: "odd/#" }).waitFor();
    await page.getByRole("button", { name: "Watch live" }).click();
    await page.getByText("Nothing has happened yet.").waitFor();
    await page.getByRole("button", { name: "Disconnect" }).click();
    await confirm("Disconnect");
    await page.getByRole("cell", { name: "client disconnected" }).waitFor();
    await again;
    assert.deepEqual(page.wrong, []);
    await client.endAsync();
  });
}

for (const [what, url] of [["tail", "tail?filter=x"], ["live_trace", "traces/live?client_id=x&seconds=600"]]) {
  test(`a stream ends when its login does, and the log says who began it: ${what}`, async () => {
    const context = await browser.newContext();
    const login = await context.request.post(`${broker.url}api/v1/login`, { data: { user: "bob", password: "barley" } });
    const { csrf_token: token } = await login.json();
    const cookie = (await context.cookies()).map(({ name, value }) => `${name}=${value}`).join("; ");
    const stream = await fetch(`${broker.url}api/v1/${url}`, { headers: { cookie } });
    assert.equal(stream.status, 200);
    await until("a line of the log", () => broker.lines.some((text) => /admin_action.*bob/.test(text) && text.includes(`action=${what} `)));
    const out = await fetch(`${broker.url}api/v1/logout`, { method: "POST", headers: { cookie, "x-csrf-token": token } });
    assert.equal(out.status, 204);
    await stream.text(); // it comes to an end
    await context.close();
  });
}

test("a retained message is deleted, and all that match", async () => {
  const publisher = await broker.client("keeper");
  for (const topic of ["old/1", "old/2", "old/3"]) await publisher.publishAsync(topic, "x", { retain: true, qos: 1 });
  await view(page, "Retained");
  await page.getByLabel("Topic filter").fill("old/#");
  await page.getByRole("button", { name: "Delete: old/2" }).click();
  await confirm("Delete");
  await page.getByRole("status").filter({ hasText: "1 retained message deleted." }).waitFor();
  await until("it has gone", async () => (await page.getByRole("row").count()) === 3);
  // What was typed a moment ago is not looked for yet, and is what the button is about.
  await page.getByLabel("Topic filter").fill("old/1");
  await page.getByRole("button", { name: "Delete all that match" }).click();
  const said = await page.getByRole("dialog").textContent();
  assert.match(said, /match old\/1 are deleted/);
  await until("the search", async () => (await page.getByRole("row", { includeHidden: true }).count()) === 2);
  assert.equal(await page.getByRole("dialog").textContent(), said);
  await confirm("Delete all");
  await page.getByText("No retained message matches.").waitFor();
  await page.getByLabel("Topic filter").fill("old/#");
  await page.getByRole("button", { name: "Delete: old/3" }).waitFor();
  await page.getByRole("button", { name: "Delete all that match" }).click();
  await confirm("Delete all");
  await page.getByText("No retained message matches.").waitFor();
  assert.deepEqual(page.wrong, []);
});

test("a listener stops and starts", async () => {
  await view(page, "Listeners");
  const row = page.getByRole("row", { name: /Accepts/ }).first();
  const name = await row.getByRole("cell").first().textContent();
  await page.getByRole("button", { name: `Stop: ${name}` }).click();
  await confirm("Stop");
  await page.getByText("Stopped", { exact: true }).waitFor();
  await page.getByRole("button", { name: `Start: ${name}` }).click();
  await confirm("Start");
  await page.getByText("Stopped", { exact: true }).waitFor({ state: "detached" });
  assert.deepEqual(page.wrong, []);
});

test("the focus goes to the heading where a button has gone with what it was for", async () => {
  await broker.client("leaver", { reconnectPeriod: 0, clean: false, properties: { sessionExpiryInterval: 600 } });
  await view(page, "Clients");
  await page.getByLabel("Client id contains").fill("leaver");
  await page.getByRole("link", { name: "leaver" }).click();
  await page.getByText("no limit").waitFor();
  await page.getByRole("button", { name: "Disconnect" }).click();
  await page.getByRole("dialog").getByText("Its session stays").waitFor();
  await confirm("Disconnect");
  await page.getByRole("button", { name: "Disconnect" }).waitFor({ state: "detached" });
  await focused(page, "h1");
  assert.deepEqual(page.wrong, []);
});

test("a client is banned from its page, and let in again", async () => {
  const client = await broker.client("rogue");
  await view(page, "Clients");
  await page.getByLabel("Client id contains").fill("rogue");
  await page.getByRole("link", { name: "rogue" }).click();
  await page.getByRole("link", { name: "Ban…" }).click();
  await page.getByLabel("Why").fill("a test");
  const refused = new Promise((done) => client.on("error", done));
  await page.getByRole("button", { name: "Ban", exact: true }).click();
  assert.equal((await refused).code, 0x8a);
  const again = new Promise((done) => client.once("connect", done));
  await page.getByRole("button", { name: "Lift: rogue" }).click();
  await confirm("Lift");
  await page.getByText("Nobody is banned.").waitFor();
  if (!client.connected) client.reconnect();
  await again;
  assert.deepEqual(page.wrong, []);
});

test("the ban that was clicked is lifted, whatever the list shows by then", async () => {
  const csrf = async () => (await (await page.request.get(`${broker.url}api/v1/login`)).json()).csrf_token;
  const headers = { "x-csrf-token": await csrf() };
  const ban = (id) => page.request.post(`${broker.url}api/v1/bans`, { headers, data: { client_id: id, seconds: 600 } });
  await ban("zulu");
  await view(page, "Bans");
  await page.getByRole("button", { name: "Lift: zulu" }).click();
  await page.getByRole("dialog").getByText("zulu may connect again.").waitFor();
  await ban("alpha");
  await until("both are shown", async () => (await page.getByRole("row", { includeHidden: true }).count()) === 3);
  await page.getByRole("dialog").getByText("zulu may connect again.").waitFor();
  await confirm("Lift");
  await page.getByRole("button", { name: "Lift: zulu" }).waitFor({ state: "detached" });
  const left = await (await page.request.get(`${broker.url}api/v1/bans`)).json();
  assert.deepEqual(left.map(({ client_id: id }) => id), ["alpha"]);
  assert.equal((await page.request.delete(`${broker.url}api/v1/bans?client_id=alpha`, { headers })).status(), 204);
  assert.deepEqual(page.wrong, []);
});

test("the broker is emptied, and takes clients again", async () => {
  await view(page, "Drain");
  await page.getByLabel("Clients a second").fill("1000");
  await page.getByLabel("Wait before").fill("0");
  await page.getByRole("button", { name: "Empty the broker" }).click();
  await confirm("Empty the broker");
  await page.getByRole("main").getByText("Being emptied").waitFor();
  await until("nobody is left", async () => (await page.locator("dd").first().textContent()) === "0");
  await page.getByRole("button", { name: "Take clients again" }).click();
  await confirm("Take clients again");
  await page.getByRole("main").getByText("In service").waitFor();
  const client = await broker.client("after");
  assert.ok(client.connected);
  assert.deepEqual(page.wrong, []);
});
