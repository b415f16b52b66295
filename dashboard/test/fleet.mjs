// What the page takes with many clients, and what its being used costs one of them: `scripts/dashboard-fleet` runs it.
//
//   node test/fleet.mjs CLIENTS        DUNLIN_BINARY and DUNLIN_LOADTEST name the programs
//
// Each view is opened ROUNDS times; the slowest counts. The exit status is 1 where an aim is missed.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { Worker } from "node:worker_threads";
import { Broker, logIn, openPage, startBrowser, view } from "./stage.mjs";

const CLIENTS = Number(process.argv[2]);
const ROUNDS = 5;
// From a click, or the last key, until what was looked for is shown.
const SHOWN_MAX_MS = 1000;
// Whoever waits longer waits for nothing.
const WAIT_MAX_MS = 60_000;
// What a client waits for PINGRESP, 99 times in 100, while the page is used.
const PING_MAX_MS = Number(process.env.PING_MAX_MS ?? 50);
const QUIET_MS = 5000;
// How long all clients may take to connect.
const CONNECT_MAX_MS = 300_000;

assert.ok(CLIENTS >= 100, "usage: node test/fleet.mjs CLIENTS");
const pause = (ms) => new Promise((done) => setTimeout(done, ms));
const quantile = (values, part) => [...values].sort((left, right) => left - right)[Math.min(values.length - 1, Math.floor(values.length * part))];

process.env.DUNLIN_NODE__MAX_CONNECTIONS = `${CLIENTS + 1000}`;
const broker = await Broker.start();
const load = spawn(
  process.env.DUNLIN_LOADTEST,
  ["million", "--clients", `${CLIENTS}`, "-p", `${broker.port}`, "--duration", "3600s", "--quiet", "--fail-if", "failed>0"],
  { stdio: ["ignore", "ignore", "inherit"] },
);
let isOver = false;
const ended = new Promise((_, fail) => load.once("exit", (code) => isOver || fail(new Error(`loadtest has ended: ${code}`))));
ended.catch(() => {});
const browser = await startBrowser();

// Until something in the view has this text, looked at with each frame: what waits from outside of the page looks every half a second.
async function shows(page, selector, pattern) {
  const isShown = await page.evaluate(
    ([selector, source, limit]) =>
      new Promise((done) => {
        const wanted = new RegExp(source);
        const end = performance.now() + limit;
        const look = () => {
          const isShown = [...document.querySelectorAll(`main ${selector}`)].some((element) => wanted.test(element.textContent));
          if (isShown || performance.now() > end) done(isShown);
          else requestAnimationFrame(look);
        };
        look();
      }),
    [selector, pattern.source, WAIT_MAX_MS],
  );
  assert.ok(isShown, `${selector} never has ${pattern}`);
}

const literally = (text) => new RegExp(`^${text.replace(/[.*+?^${}()|[\]\\]/g, "\\$&")}$`);

async function measure() {
  const page = await openPage(browser, broker);
  await logIn(page);
  const api = async (path) => (await page.request.get(`${broker.url}api/v1/${path}`)).json();
  for (const end = Date.now() + CONNECT_MAX_MS; (await api("overview")).clients_connected < CLIENTS; await pause(500)) {
    assert.ok(Date.now() < end, "not all clients connect");
  }
  console.error(`${CLIENTS} clients are connected`);

  const pinger = new Worker(new URL("pinger.mjs", import.meta.url), { workerData: { port: broker.port } });
  const waits = (what) => new Promise((done) => (pinger.once("message", done), pinger.postMessage(what)));
  await pause(500);
  await waits();
  await pause(QUIET_MS);
  const quiet = await waits();

  // One that is far behind, by what is in the middle of its id.
  let [cursor, wanted] = ["", ""];
  for (let turn = 0; turn < 20; turn += 1) {
    const { clients, next } = await api(`clients?limit=256${cursor}`);
    wanted = clients.at(-1)?.client_id ?? wanted;
    if (!next) break;
    cursor = `&cursor=${next}`;
  }
  const main = page.getByRole("main");
  const looks = {
    Overview: async () => {
      await view(page, "Overview");
      // The load may have a client or two beside those that were asked for.
      await shows(page, "[aria-label=Now] .value", /^[\d,]{3,}$/);
      const shown = await main.getByRole("list", { name: "Now" }).locator(".value").first().textContent();
      assert.ok(Number(shown.replaceAll(",", "")) > CLIENTS, shown);
    },
    "a page of clients": async () => {
      await view(page, "Clients");
      await shows(page, "[role=status]", /^Page 1: 50 rows/);
    },
    "the next page": async () => {
      await main.getByRole("button", { name: "Next" }).click();
      await shows(page, "[role=status]", /^Page 2: 50 rows/);
    },
    "a search by a part of an id": async () => {
      await main.getByLabel("Client id contains").fill(wanted.slice(1));
      await shows(page, "td a", literally(wanted));
    },
    "a client": async () => {
      await main.getByRole("link", { name: wanted, exact: true }).click();
      await shows(page, "h2", /^Connection$/);
    },
    "a search that finds nobody": async () => {
      await view(page, "Clients");
      await main.getByLabel("Client id contains").fill("no such client");
      await shows(page, ".empty", /^No client is like that\.$/);
    },
    "slow and busy": async () => {
      await view(page, "Slow and busy");
      await shows(page, "p", /^Counted for/);
    },
    topics: async () => {
      await view(page, "Topics");
      await shows(page, "p", /that clients publish on|^No message since counting began/);
    },
    "all subscriptions": async () => {
      await view(page, "Subscriptions");
      await main.getByLabel("Show").selectOption("all");
      await shows(page, "tbody tr", /./);
    },
  };
  const took = new Map(Object.keys(looks).map((name) => [name, []]));
  for (let round = 0; round < ROUNDS; round += 1) {
    for (const [name, look] of Object.entries(looks)) {
      const began = performance.now();
      await look();
      took.get(name).push(performance.now() - began);
    }
  }
  const used = await waits("end");
  assert.deepEqual(page.wrong, []);

  const missed = [];
  for (const [name, times] of took) {
    const [half, most] = [quantile(times, 0.5), Math.max(...times)];
    console.log(`${name}: ${Math.round(half)} ms, at most ${Math.round(most)} ms`);
    if (most > SHOWN_MAX_MS) missed.push(`${name} took ${Math.round(most)} ms`);
  }
  const said = (times) => `p50 ${quantile(times, 0.5).toFixed(2)} ms, p99 ${quantile(times, 0.99).toFixed(2)} ms, at most ${Math.max(...times).toFixed(2)} ms, of ${times.length}`;
  console.log(`PINGRESP while nobody looks: ${said(quiet)}`);
  console.log(`PINGRESP while the page is used: ${said(used)}`);
  assert.ok(quiet.length > 100 && used.length > 100, "pings were answered");
  if (quantile(used, 0.99) > PING_MAX_MS) missed.push(`a client waited ${quantile(used, 0.99).toFixed(1)} ms for PINGRESP`);
  return missed;
}

try {
  const missed = await Promise.race([measure(), ended]);
  for (const what of missed) console.log(`missed: ${what}`);
  process.exitCode = missed.length > 0 ? 1 : 0;
} finally {
  isOver = true;
  load.kill("SIGKILL");
  await browser.close();
  await broker.stop();
}
