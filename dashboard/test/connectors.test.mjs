// Sinks, sources and bridges, with what they lead to: a server of HTTP that takes messages, one that does not, another broker, and NATS where it
// is installed.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { createServer } from "node:http";
import { connect } from "node:net";
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { fileURLToPath } from "node:url";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { Broker, harmless, logIn, MARKUP, openPage, picture, startBrowser, until, view } from "./stage.mjs";

const NATS = fileURLToPath(new URL("../../.venv/bin/nats-server", import.meta.url));

let other;
let broker;
let browser;
let recorder;
let nats;
let timer;
const taken = [];

// Takes what comes at /good; says no to all else, with words that would be markup.
async function startRecorder() {
  recorder = createServer((request, response) => {
    let body = "";
    request.on("data", (part) => (body += part));
    request.on("end", () => {
      const isGood = request.url === "/good";
      if (isGood) taken.push(body);
      response.writeHead(isGood ? 204 : 500).end(isGood ? "" : MARKUP);
    });
  });
  await new Promise((done) => recorder.listen(0, "127.0.0.1", done));
  return recorder.address().port;
}

// Nobody listens there, and no server is given it by the system: it is below those that are given to whoever asks for any.
const NOBODY = 1;

// What a line of NATS's own protocol is answered with, or what came until then.
async function natsSays(port, lines, wanted) {
  const socket = connect({ host: "127.0.0.1", port });
  let heard = "";
  socket.on("data", (part) => (heard += part));
  socket.on("error", () => {});
  socket.write(lines);
  await until(wanted, () => heard.includes(wanted));
  socket.destroy();
}

const ask = (subject, payload) =>
  `CONNECT {"verbose":false,"pedantic":false,"name":"test","lang":"test","version":"1"}\r\nSUB _INBOX.a 1\r\nPUB ${subject} _INBOX.a ${Buffer.byteLength(payload)}\r\n${payload}\r\n`;

async function startNats() {
  const folder = mkdtempSync(join(tmpdir(), "dunlin-dashboard-nats-"));
  const flags = ["-a", "127.0.0.1", "-p", "-1", "--ports_file_dir", folder, "-js", "-sd", folder];
  const child = spawn("setpriv", ["--pdeathsig", "KILL", NATS, ...flags], { stdio: "ignore" });
  nats = { folder, child };
  // It writes which port it has been given once it listens.
  const ports = join(folder, `nats-server_${child.pid}.ports`);
  const port = await until("NATS listens", () => existsSync(ports) && /"nats":\s*\[\s*"nats:\/\/127\.0\.0\.1:(\d+)"/.exec(readFileSync(ports, "utf8"))?.[1]);
  nats.port = Number(port);
  await natsSays(nats.port, ask("$JS.API.STREAM.CREATE.ORDERS", '{"name":"ORDERS","subjects":["orders.>"],"storage":"memory"}'), '"created"');
  return nats.port;
}

before(async () => {
  const http = await startRecorder();
  const orders = existsSync(NATS) ? await startNats() : NOBODY;
  other = await Broker.start();
  const sink = (name, path, more = "") =>
    `[[sink]]\nname = "${name}"\ntopics = ["plant/#"]\nformat = "raw"\nbatch_time = "50ms"\n${more}[sink.http]\nurl = "http://127.0.0.1:${http}${path}"\n`;
  const source = (name, port) =>
    `[[source]]\nname = "${name}"\ntopic = "from/{{ place }}"\n[source.nats]\nservers = ["127.0.0.1:${port}"]\nstream = "ORDERS"\n`;
  const bridge = (name, port) => `[[bridge]]\nname = "${name}"\naddress = ["mqtt://127.0.0.1:${port}"]\ntopics = ["plant/# out 1"]\n`;
  broker = await Broker.start(
    sink("warehouse", "/good") + sink("broken-down", "/bad", "max_inflight = 1\n") + source("orders", orders) + source("lost", NOBODY) + bridge("cloud", other.port) + bridge("away", NOBODY),
  );
  browser = await startBrowser();
  const publisher = await broker.client("publisher");
  timer = setInterval(() => publisher.publish("plant/1/temperature", '{"celsius":21.5}', { qos: 1 }), 20);
  await until("the target has messages", () => taken.length > 0);
});
after(async () => {
  clearInterval(timer);
  await browser?.close();
  await broker?.stop();
  await other?.stop();
  recorder?.close();
  nats?.child.kill("SIGKILL");
  if (nats) rmSync(nats.folder, { recursive: true, force: true });
});

const row = (page, name) => page.getByRole("row", { name: new RegExp(`^${name} `) });
const cell = async (page, name, column) => {
  const titles = await page.getByRole("columnheader").allTextContents();
  return row(page, name).getByRole("cell").nth(titles.indexOf(column)).textContent();
};
const fact = (page, name) => page.locator(".facts div").filter({ has: page.getByText(name, { exact: true }) }).locator("dd");
const confirm = async (page, button) => {
  await page.getByRole("dialog").getByRole("button", { name: button }).click();
  await until("the dialog has closed", async () => (await page.getByRole("dialog").count()) === 0);
};

test("sinks show what they deliver, what waits, and what is wrong", async () => {
  const page = await openPage(browser, broker);
  await logIn(page);
  await view(page, "Sinks");
  await until("a rate", async () => Number.parseFloat(await cell(page, "warehouse", "Delivers")) > 10);
  assert.equal(await cell(page, "warehouse", "State"), "Connected");
  await until("it fails", async () => (await cell(page, "broken-down", "State")) === "Failing");
  await until("messages wait", async () => Number((await cell(page, "broken-down", "Waits")).replaceAll(",", "")) > 20);
  assert.match(await cell(page, "broken-down", "Oldest"), /\d+ (ms|s)/);
  assert.ok(Number(await cell(page, "broken-down", "Failed")) >= 1);
  await page.getByRole("link", { name: "broken-down" }).click();
  const alert = page.getByRole("alert").filter({ hasText: "answers 500" });
  await alert.waitFor();
  assert.ok((await alert.textContent()).includes(MARKUP), "what a server says is text");
  assert.equal(await page.evaluate(() => window.broken), undefined);
  await page.getByLabel("Text", { exact: true }).fill("from the page");
  await page.getByRole("button", { name: "Send" }).click();
  await page.getByRole("status").filter({ hasText: "it would be tried again" }).waitFor();
  await page.getByRole("link", { name: "Sinks", exact: true }).first().click();
  await page.getByRole("link", { name: "warehouse" }).click();
  await page.getByRole("heading", { level: 1, name: "warehouse" }).waitFor();
  assert.equal(await page.getByRole("alert").count(), 0);
  await page.getByLabel("Text", { exact: true }).fill("from the page");
  await page.getByRole("button", { name: "Send" }).click();
  await page.getByRole("status").filter({ hasText: "The target has taken it." }).waitFor();
  assert.ok(taken.includes("from the page"));
  assert.deepEqual(page.wrong, []);
  await page.context().close();
});

test("a sink is stopped and started from the page, by keys", async () => {
  const page = await openPage(browser, broker);
  await logIn(page);
  await view(page, "Sinks");
  await page.getByRole("link", { name: "warehouse" }).press("Enter");
  // The list has a button of this name, too, whose dialog would go with the list.
  await page.getByRole("heading", { level: 1, name: "warehouse" }).waitFor();
  await page.getByRole("button", { name: "Stop: warehouse" }).press("Enter");
  await confirm(page, "Stop");
  await page.getByRole("main").getByText("Stopped", { exact: true }).waitFor();
  await until("messages wait", async () => Number.parseInt(await fact(page, "Messages that wait").textContent(), 10) > 5);
  await page.getByRole("button", { name: "Start: warehouse" }).press("Enter");
  await confirm(page, "Start");
  await page.getByRole("main").getByText("Connected", { exact: true }).waitFor();
  assert.deepEqual(page.wrong, []);
  await page.context().close();
});

test("a bridge passes messages on to the other broker, and waits while it is stopped", async () => {
  const heard = [];
  const reader = await other.client("reader");
  reader.on("message", (topic) => heard.push(topic));
  await reader.subscribeAsync("plant/#", { qos: 1 });
  await until("messages pass", () => heard.length > 5);
  const page = await openPage(browser, broker);
  await logIn(page);
  await view(page, "Bridges");
  await until("a rate", async () => Number.parseFloat(await cell(page, "cloud", "Out")) > 10);
  assert.equal(await cell(page, "cloud", "State"), "Connected");
  await until("it fails", async () => (await cell(page, "away", "State")) === "Failing");
  await page.getByRole("button", { name: "Stop: cloud" }).click();
  await confirm(page, "Stop");
  await until("it has stopped", async () => (await cell(page, "cloud", "State")) === "Stopped");
  await until("messages wait", async () => Number(await cell(page, "cloud", "Waits")) > 5);
  await page.getByRole("button", { name: "Start: cloud" }).click();
  await confirm(page, "Start");
  await until("it passes them on", async () => (await cell(page, "cloud", "State")) === "Connected");
  await page.getByRole("link", { name: "away" }).click();
  await page.getByRole("alert").filter({ hasText: "It tries again." }).waitFor();
  assert.match(await fact(page, "Other broker").textContent(), /127\.0\.0\.1/);
  assert.deepEqual(page.wrong, []);
  await page.context().close();
});

test("sources show whether they read, and what has come", async () => {
  const page = await openPage(browser, broker);
  await logIn(page);
  await view(page, "Sources");
  await until("it fails", async () => (await cell(page, "lost", "State")) === "Failing");
  assert.equal(await cell(page, "lost", "Waits"), "–");
  if (nats) {
    await until("it reads", async () => (await cell(page, "orders", "State")) === "Connected");
    await natsSays(nats.port, ask("orders.a", "1") + ask("orders.b", "2").split("\r\n").slice(2).join("\r\n"), '"seq":2');
    await page.getByRole("link", { name: "orders" }).click();
    await until("both are here", async () => (await fact(page, "Published here").textContent()).startsWith("2 "));
    await until("nothing waits", async () => (await fact(page, "Messages that wait there").textContent()) === "0");
    await page.getByRole("link", { name: "Sources", exact: true }).first().click();
  }
  await page.getByRole("link", { name: "lost" }).click();
  await page.getByRole("alert").filter({ hasText: "It tries again." }).waitFor();
  await page.getByRole("button", { name: "Stop: lost" }).click();
  await confirm(page, "Stop");
  await page.getByRole("main").getByText("Stopped", { exact: true }).waitFor();
  await page.getByText("What went wrong last").waitFor();
  assert.equal(await page.getByRole("alert").count(), 0, "it has passed");
  await page.getByRole("button", { name: "Start: lost" }).click();
  await confirm(page, "Start");
  await page.getByRole("alert").filter({ hasText: "It tries again." }).waitFor();
  assert.deepEqual(page.wrong, []);
  await page.context().close();
});

test("who may look sees all of it and no button, and what is not there is said", async () => {
  const page = await openPage(browser, broker);
  await logIn(page, "bob", "barley");
  for (const [name, one] of [
    ["Sinks", "warehouse"],
    ["Sources", "lost"],
    ["Bridges", "cloud"],
  ]) {
    await view(page, name);
    await page.getByRole("link", { name: one }).click();
    await page.getByRole("heading", { level: 1, name: one }).waitFor();
    await fact(page, "Since").waitFor();
    assert.equal(await page.getByRole("main").getByRole("button").count(), 0, name);
  }
  assert.deepEqual(page.wrong, []);
  await page.evaluate(() => (location.hash = "#/sinks/nobody"));
  await page.getByText("No sink has this name now.").waitFor();
  page.forgive(/404/);
  assert.deepEqual(page.wrong, []);
  await page.context().close();
});

for (const [tag, options] of [
  ["light, wide", { colorScheme: "light" }],
  ["dark, wide", { colorScheme: "dark" }],
  ["light, 360 px", { colorScheme: "light", viewport: { width: 360, height: 740 } }],
  ["dark, 360 px", { colorScheme: "dark", viewport: { width: 360, height: 740 } }],
]) {
  test(`all of it is readable and harmless: ${tag}`, async () => {
    const page = await openPage(browser, broker, options);
    await logIn(page);
    for (const [name, good, bad] of [
      ["Sinks", "warehouse", "broken-down"],
      ["Sources", "orders", "lost"],
      ["Bridges", "cloud", "away"],
    ]) {
      await view(page, name);
      await until("it fails", async () => (await row(page, bad).textContent()).includes("Failing"));
      await new Promise((done) => setTimeout(done, 2500)); // a second answer, so that there are rates to be seen
      await picture(page, `${tag}-${name}`);
      await harmless(page, `${name}, ${tag}`);
      for (const one of [good, bad]) {
        await page.getByRole("link", { name: one }).click();
        await fact(page, "Since").waitFor();
        await picture(page, `${tag}-${name}-${one}`);
        await harmless(page, `${one}, ${tag}`);
        await page.getByRole("main").getByRole("link", { name, exact: true }).click();
        await page.getByRole("heading", { level: 1, name }).waitFor();
      }
    }
    await page.context().close();
  });
}
