// Who gets in, and what each role is shown.
import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
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

test("the page comes with headers that keep others out, and is asked for again only where it has changed", async () => {
  const first = await fetch(broker.url);
  const policy = first.headers.get("content-security-policy");
  assert.match(policy, /default-src 'none'/);
  assert.match(policy, /script-src 'self'/);
  assert.match(policy, /frame-ancestors 'none'/);
  assert.match(policy, /img-src 'self';/);
  assert.doesNotMatch(policy, /unsafe|data:|\*/);
  assert.equal(first.headers.get("x-content-type-options"), "nosniff");
  for (const name of ["", "app.js", "app.css", "icon.svg"]) {
    const file = await fetch(broker.url + name);
    assert.equal(file.status, 200, name);
    const tag = file.headers.get("etag");
    const again = await fetch(broker.url + name, { headers: { "if-none-match": tag } });
    assert.equal(again.status, 304, name);
    const plain = await fetch(broker.url + name, { headers: { "accept-encoding": "identity" } });
    assert.deepEqual(new Uint8Array(await plain.arrayBuffer()), new Uint8Array(await file.arrayBuffer()), name);
  }
  const api = await fetch(`${broker.url}api/v1/overview`);
  assert.equal(api.status, 401);
  assert.equal(api.headers.get("content-security-policy"), "default-src 'none'; frame-ancestors 'none'");
  assert.equal((await fetch(`${broker.url}nothing`)).status, 404);
});

test("a wrong password is told, and a right one gets in; a login outlives a reload and ends", async () => {
  const page = await openPage(browser, broker);
  await page.getByLabel("Name").fill("ann");
  await page.getByLabel("Password").fill("wrong");
  await page.keyboard.press("Enter");
  await page.getByRole("alert").filter({ hasText: "wrong name or password" }).waitFor();
  assert.equal(await page.getByLabel("Password").inputValue(), "", "it is typed again");
  page.forgive(/api\/v1\/login/);
  await logIn(page);
  await page.reload();
  await page.getByRole("heading", { level: 1, name: "Overview" }).waitFor();
  // The page has the login's token again: a change is possible.
  await view(page, "Settings");
  await page.getByRole("button", { name: "Reload" }).click();
  await page.getByRole("dialog").getByRole("button", { name: "Reload" }).click();
  await page.getByText("Nothing is different.").waitFor();
  await page.getByRole("button", { name: "Log out" }).click();
  await page.getByRole("button", { name: "Log in" }).waitFor();
  assert.deepEqual(page.wrong, []);
  await page.context().close();
});

test("a login that ends elsewhere leads back to the form", async () => {
  const page = await openPage(browser, broker);
  await logIn(page);
  await view(page, "Clients");
  await page.getByText("No client is like that.").waitFor();
  assert.equal(await page.getByText("Your login has ended").count(), 0);
  await page.context().clearCookies();
  await page.getByRole("button", { name: "Refresh" }).click();
  await page.getByRole("alert").filter({ hasText: "Your login has ended" }).waitFor();
  // Whoever logs in again is where they were, and whoever logs out is told nothing.
  await page.getByLabel("Name").fill("ann");
  await page.getByLabel("Password").fill("sesame");
  await page.getByRole("button", { name: "Log in" }).click();
  await page.getByRole("heading", { level: 1, name: "Clients" }).waitFor();
  await page.getByRole("button", { name: "Log out" }).click();
  await page.getByRole("button", { name: "Log in" }).waitFor();
  assert.equal(await page.getByRole("alert").count(), 0);
  page.forgive(/401/);
  assert.deepEqual(page.wrong, []);
  await page.context().close();
});

test("a viewer looks at everything and is shown nothing that it may not do", async () => {
  await broker.client("truck-1");
  const publisher = await broker.client("publisher");
  await publisher.publishAsync("plant/1", "on", { retain: true });
  const page = await openPage(browser, broker);
  await logIn(page, "bob", "barley");
  const forbidden = /Disconnect|End session|Ban|Delete|Reload|Empty the broker|Lift|Publish|^Stop|^Start/;
  for (const name of ["Overview", "Clients", "Slow and busy", "Bans", "Topics", "Live tail", "Retained", "Subscriptions", "Listeners", "Drain", "Log", "Settings"]) {
    await view(page, name);
    await page.waitForLoadState("networkidle").catch(() => {});
    assert.equal(await page.getByRole("main").getByRole("button", { name: forbidden }).count(), 0, name);
  }
  await view(page, "Clients");
  await page.getByRole("link", { name: "truck-1" }).click();
  await page.getByRole("heading", { name: "Session", exact: true }).waitFor();
  assert.equal(await page.getByRole("main").getByRole("button", { name: forbidden }).count(), 0);
  assert.equal(await page.getByRole("link", { name: /Ban/ }).count(), 1, "the view of bans alone");
  assert.deepEqual(page.wrong, []);
  await page.context().close();
});

test("whom access rules keep from a topic is marked among those who get it", async () => {
  const directory = mkdtempSync(join(tmpdir(), "dunlin-dashboard-rules-"));
  writeFileSync(join(directory, "acl"), "topic read a/#\n");
  const ruled = await Broker.start(`[auth]\nacl_file = "${directory}/acl"\n`);
  const all = await ruled.client("all");
  await all.subscribeAsync("#");
  const page = await openPage(browser, ruled);
  await logIn(page);
  await view(page, "Subscriptions");
  const row = page.getByRole("row", { name: /^all # / });
  await page.getByLabel("Topic name").fill("a/secret");
  await row.waitFor();
  assert.equal(await page.getByText("Rules withhold it").count(), 0);
  await page.getByLabel("Topic name").fill("secret");
  await row.getByText("Rules withhold it").waitFor();
  assert.deepEqual(page.wrong, []);
  await page.context().close();
  await ruled.stop();
  rmSync(directory, { recursive: true });
});

test("whoever guesses is told to wait", async () => {
  const page = await openPage(browser, broker);
  for (let tries = 0; tries < 6; tries += 1) {
    await page.getByLabel("Name").fill("ann");
    await page.getByLabel("Password").fill(`guess ${tries}`);
    await page.getByRole("button", { name: "Log in" }).click();
    await until("an answer", async () => (await page.getByLabel("Password").inputValue()) === "");
  }
  await page.getByRole("alert").filter({ hasText: "too many wrong passwords" }).waitFor();
  page.forgive(/api\/v1\/login/);
  assert.deepEqual(page.wrong, []);
  await page.context().close();
});
