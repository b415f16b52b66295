// Keys, colours, and a list that is long.
import assert from "node:assert/strict";
import { connect } from "node:net";
import { after, before, test } from "node:test";
import { isNetwork, visible, visibleName } from "../src/format.js";
import { lastKnown } from "../src/series.js";
import { Broker, logIn, openPage, startBrowser, until, view } from "./stage.mjs";

let broker;
let browser;
before(async () => {
  broker = await Broker.start();
  browser = await startBrowser();
});
after(async () => {
  await browser?.close();
  await broker?.stop();
});

test("the newest value that is known is found, whatever comes behind it", () => {
  assert.equal(lastKnown([null, 3, null, 0.5, null, undefined]), 3);
  assert.equal(lastKnown([0]), 0);
  assert.equal(lastKnown([null, null]), undefined);
  assert.equal(lastKnown([]), undefined);
});

test("what hides in text is shown by its number, and spaces at the ends of a name", () => {
  for (const number of ["ad", "115f", "3164", "200b", "202e", "e0041", "e007f"]) {
    assert.equal(visible(`a${String.fromCodePoint(parseInt(number, 16))}b`), `a\\u{${number}}b`);
  }
  assert.equal(visible("Grüße 👋 東京 a b"), "Grüße 👋 東京 a b");
  assert.equal(visibleName(" a b  "), "\\u{20}a b\\u{20}\\u{20}");
});

test("half an address is none", () => {
  for (const whole of ["192.0.2.7", "192.0.2.0/24", "::1", "2001:db8::/32"]) assert.ok(isNetwork(whole), whole);
  for (const half of ["192.", "192.0.2", "192.0.2.300", "192.0.2.0/", "2001:db8:", "x", "/8"]) assert.ok(!isNetwork(half), half);
});

test("another search within one view is followed, and half an address raises no alert", async () => {
  const page = await openPage(browser, broker);
  await logIn(page);
  await view(page, "Clients");
  const prefix = page.getByLabel("Client id begins with");
  await prefix.fill("one");
  await until("it is remembered", () => page.url().includes("prefix=one"));
  await page.evaluate(() => (location.hash = "#/clients?prefix=two"));
  await until("it is followed", async () => (await prefix.inputValue()) === "two");
  await page.getByLabel("Address or network").fill("192.0.");
  await page.getByText("Not a whole address yet").waitFor();
  assert.equal(await page.getByRole("alert").count(), 0);
  assert.deepEqual(page.wrong, []);
  await page.context().close();
});

test("a broker that hangs does not look healthy", async () => {
  const hanging = await Broker.start();
  const page = await openPage(browser, hanging);
  try {
    await page.route("**/api/v1/overview", () => {}); // never answered
    await page.getByLabel("Name").fill("ann");
    await page.getByLabel("Password").fill("sesame");
    await page.getByRole("button", { name: "Log in" }).click();
    await page.getByText("Looking…").first().waitFor();
    assert.equal(await page.getByText("No message was dropped").count(), 0);
    await page.getByRole("alert").filter({ hasText: "has not answered for 10 s" }).waitFor();
    assert.equal(await page.getByText("No message was dropped").count(), 0);
    await page.unroute("**/api/v1/overview");
    await page.getByText("No message was dropped since the start.").waitFor();
    await page.getByText("none timed in the last hour").waitFor();
    await view(page, "Live tail");
    await page.getByLabel("Topic filter").fill("x");
    await page.getByRole("button", { name: "Watch" }).click();
    await page.getByText("No message yet.").waitFor();
    hanging.child.kill("SIGSTOP");
    await page.getByRole("status").filter({ hasText: "Nothing has come from the broker for ten seconds" }).waitFor();
    await view(page, "Listeners");
    await page.getByRole("alert").filter({ hasText: "has not answered for 10 s" }).first().waitFor();
  } finally {
    hanging.child.kill("SIGCONT");
  }
  await page.context().close();
  await hanging.stop();
});

test("the page is used by keys alone", async () => {
  const page = await openPage(browser, broker);
  await page.getByRole("button", { name: "Log in" }).waitFor();
  await page.keyboard.type("ann"); // the first field has the focus
  await page.keyboard.press("Tab");
  await page.keyboard.type("sesame");
  await page.keyboard.press("Enter");
  await page.getByRole("heading", { level: 1, name: "Overview" }).waitFor();
  await page.keyboard.press("Tab");
  const skip = page.getByRole("link", { name: "Skip to the content" });
  assert.ok(await skip.evaluate((link) => link === document.activeElement));
  assert.ok((await skip.boundingBox()).y >= 0, "it is seen while it has the focus");
  await page.keyboard.press("Enter");
  assert.equal(await page.evaluate(() => document.activeElement.id), "main");
  await view(page, "Clients");
  assert.equal(await page.evaluate(() => document.activeElement.tagName), "H1", "a new view begins at its heading");
  await page.keyboard.press("/");
  await page.keyboard.type("truck/");
  const field = page.getByLabel("Client id begins with");
  assert.equal(await field.inputValue(), "truck/");
  assert.notEqual(await field.evaluate((input) => getComputedStyle(input).outlineStyle), "none", "the focus is seen");
  await page.keyboard.press("Escape");
  assert.ok(await field.evaluate((input) => input !== document.activeElement));
  assert.deepEqual(page.wrong, []);
  await page.context().close();
});

test("colours follow the system, or what somebody has chosen, and stay so", async () => {
  const page = await openPage(browser, broker, { colorScheme: "dark" });
  const ground = () => page.evaluate(() => getComputedStyle(document.documentElement).backgroundColor);
  const dark = await ground();
  await logIn(page);
  await page.emulateMedia({ colorScheme: "light" });
  const light = await ground();
  assert.notEqual(dark, light);
  await page.getByLabel("Colours").selectOption("dark");
  assert.equal(await ground(), dark);
  await page.reload();
  await page.getByRole("heading", { level: 1, name: "Overview" }).waitFor();
  assert.equal(await ground(), dark);
  assert.deepEqual(page.wrong, []);
  await page.context().close();
});

// CONNECT of MQTT 3.1.1 that keeps no session; a socket for each, without the weight of a client's library.
function plainClient(id) {
  return new Promise((done, fail) => {
    const socket = connect({ host: "127.0.0.1", port: broker.port }, () => {
      const name = Buffer.from(id);
      socket.write(Buffer.concat([Buffer.from([0x10, 12 + name.length, 0, 4]), Buffer.from("MQTT"), Buffer.from([4, 2, 0, 0, 0, name.length]), name]));
    });
    socket.once("data", () => done(socket));
    socket.once("error", fail);
  });
}

test("three thousand clients are looked through a page at a time", async () => {
  const sockets = [];
  for (let batch = 0; batch < 30; batch += 1) {
    sockets.push(...(await Promise.all(Array.from({ length: 100 }, (_, number) => plainClient(`meter-${batch * 100 + number}`)))));
  }
  const page = await openPage(browser, broker);
  await logIn(page);
  const sizes = [];
  page.on("response", async (response) => {
    if (response.url().includes("/api/v1/clients")) sizes.push((await response.body()).length);
  });
  await view(page, "Clients");
  const rows = page.getByRole("row");
  await until("a page", async () => (await rows.count()) === 51);
  const first = await rows.nth(1).textContent();
  await page.getByRole("button", { name: "Next" }).click();
  await until("another", async () => (await rows.nth(1).textContent()) !== first);
  await page.getByRole("button", { name: "Back" }).click();
  await until("the first again", async () => (await rows.nth(1).textContent()) === first);
  await page.getByLabel("Client id begins with").fill("meter-2999");
  await until("the one", async () => (await rows.count()) === 2);
  await page.getByText("Page 1: 1 row, the last").waitFor();
  await page.getByLabel("Client id begins with").fill("nobody");
  await page.getByText("No client is like that.").waitFor();
  assert.ok(sizes.length >= 4 && Math.max(...sizes) < 20_000, `no answer is long: ${sizes}`);
  assert.deepEqual(page.wrong, []);
  sockets.forEach((socket) => socket.destroy());
  await page.context().close();
});

test("a broker that has gone is told, and the figures stay", async () => {
  const own = await Broker.start();
  const page = await openPage(browser, own);
  await logIn(page);
  await page.getByRole("list", { name: "Now" }).waitFor();
  await own.stop();
  await page.getByRole("alert").filter({ hasText: "not up to date" }).waitFor();
  await page.getByRole("list", { name: "Now" }).waitFor();
  await page.context().close();
});
