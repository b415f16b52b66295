// What the tests of the dashboard stand on: a broker of their own, clients of MQTT, and a browser that is watched.
import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import { createRequire } from "node:module";
import { createInterface } from "node:readline";
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import mqtt from "mqtt";
import { chromium } from "playwright-core";

const axe = createRequire(import.meta.url)("axe-core");
const BINARY = process.env.DUNLIN_BINARY;
// Far above what anything takes, for machines that are busy.
const LIMIT_MS = 120_000;

// A client id, user, topic or payload that would be a script if it were not shown as text.
export const MARKUP = `<img src=x onerror="window.broken=1"><script>window.broken=2</script>&lt;b&gt;`;

function passwd(file, name, role, password, isFirst) {
  const flags = ["passwd", "--admin", isFirst ? "-cb" : "-b", "--role", role, file, name, password];
  const { status, stderr } = spawnSync(BINARY, flags);
  if (status !== 0) throw new Error(`dunlin passwd: ${stderr}`);
}

export class Broker {
  // With more tables in its file, behind those of its own listeners.
  static async start(more = "") {
    const broker = new this();
    const directory = (broker.directory = mkdtempSync(join(tmpdir(), "dunlin-dashboard-")));
    const users = join(directory, "users");
    passwd(users, "ann", "operator", "sesame", true);
    passwd(users, "bob", "viewer", "barley", false);
    const file = join(directory, "dunlin.toml");
    const tls = process.env.DUNLIN_TEST_CERT
      ? `[[listener]]\nname = "main"\nport = 0\n[[listener]]\nname = "secure"\nkind = "tls"\nport = 0\ntls_cert = "${process.env.DUNLIN_TEST_CERT}"\ntls_key = "${process.env.DUNLIN_TEST_KEY}"\n`
      : "";
    writeFileSync(file, `[node]\nname = "test-node"\nsys_interval = 1\n[admin]\nport = 0\nusers = "${users}"\nsocket = "${directory}/admin.sock"\n${tls}${more}`);
    const flags = ["--pdeathsig", "KILL", BINARY, "-c", file, "--shards", "2", "--no-pin", "--storage", "memory"];
    if (!tls) flags.push("--port", "0");
    const child = (broker.child = spawn("setpriv", flags, { stdio: ["ignore", "pipe", "pipe"] }));
    broker.lines = [];
    const ended = new Promise((_, fail) => child.once("exit", (code) => fail(new Error(`the broker ended: ${code}\n${broker.lines.join("\n")}`))));
    ended.catch(() => {});
    const [first] = await Promise.race([Promise.all([line(child.stdout, "listening on"), line(child.stderr, " ready", broker.lines)]), ended]);
    // In the order of its listeners.
    broker.ports = [...first.matchAll(/127\.0\.0\.1:(\d+)/g)].map(([, port]) => Number(port));
    broker.port = broker.ports[0];
    const admin = broker.lines.find((text) => text.includes("admin_listening addr="));
    broker.url = `http://${admin.split("addr=")[1].trim()}/`;
    return broker;
  }

  // A client of MQTT that is there.
  async client(id, options = {}) {
    const client = mqtt.connect({ host: "127.0.0.1", port: this.port, clientId: id, protocolVersion: 5, reconnectPeriod: 300, ...options });
    client.on("error", () => {});
    this.clients = [...(this.clients ?? []), client];
    await new Promise((done, fail) => {
      client.once("connect", done);
      setTimeout(() => fail(new Error(`${id} did not connect`)), LIMIT_MS).unref();
    });
    return client;
  }

  // What an operator of this machine asks for.
  ctl(...words) {
    const { status, stderr } = spawnSync(BINARY, ["ctl", "--socket", join(this.directory, "admin.sock"), ...words]);
    if (status !== 0) throw new Error(`dunlin ctl ${words.join(" ")}: ${stderr}`);
  }

  async stop() {
    await Promise.all((this.clients ?? []).map((client) => client.endAsync(true).catch(() => {})));
    this.child.removeAllListeners("exit");
    const gone = new Promise((done) => this.child.once("exit", done));
    this.child.kill("SIGTERM");
    setTimeout(() => this.child.kill("SIGKILL"), 5000).unref();
    await gone;
    rmSync(this.directory, { recursive: true, force: true });
  }
}

function line(stream, words, kept = []) {
  return new Promise((done) => {
    createInterface({ input: stream }).on("line", (text) => {
      kept.push(text);
      if (text.includes(words)) done(text);
    });
  });
}

function browserPath() {
  const found = [process.env.DUNLIN_TEST_CHROMIUM, "/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"].find((path) => path && existsSync(path));
  if (!found) throw new Error("no chromium: scripts/test installs Debian's, and DUNLIN_TEST_CHROMIUM names another");
  return found;
}

export async function startBrowser(...more) {
  // The tests' own pages alone are shown, so a sandbox that root may not have is not missed.
  return chromium.launch({ executablePath: browserPath(), args: ["--no-sandbox", "--disable-dev-shm-usage", ...more] });
}

// While somebody works on the page DUNLIN_TEST_DIST names the directory of a build that is shown in place of the one in the binary.
async function showBuild(context, origin) {
  const directory = process.env.DUNLIN_TEST_DIST;
  if (!directory) return;
  for (const [path, name] of [["/", "index.html"], ["/app.js", "app.js"], ["/app.css", "app.css"]]) {
    await context.route(`${origin}${path}`, async (route) => {
      const response = await route.fetch();
      const { "content-encoding": _, "content-length": __, ...headers } = response.headers();
      await route.fulfill({ status: 200, headers, body: readFileSync(join(directory, name)) });
    });
  }
}

// A page that remembers what went wrong in it: errors on the console, requests to others.
export async function openPage(browser, broker, options = {}) {
  // Colours that are on their way to others would be judged as they are then.
  const context = await browser.newContext({ viewport: { width: 1280, height: 900 }, locale: "en-GB", reducedMotion: "reduce", ...options });
  const page = await context.newPage();
  page.setDefaultTimeout(LIMIT_MS / 2);
  const wrong = [];
  const borne = [];
  const origin = new URL(broker.url).origin;
  await showBuild(context, origin);
  page.on("console", (message) => {
    const text = `console: ${message.text()} ${message.location().url}`;
    if ((message.type() === "error" || message.type() === "warning") && !borne.some((pattern) => pattern.test(text))) wrong.push(text);
  });
  page.on("pageerror", (error) => wrong.push(`error: ${error.stack}`));
  page.on("request", (request) => {
    const url = request.url();
    if (!url.startsWith(`${origin}/`)) wrong.push(`request to another host: ${url}`);
  });
  page.wrong = wrong;
  // A browser says on its console that a status was 4xx: what a test provokes on purpose is taken off here. It may not come any more once this is said.
  page.forgive = (pattern) => {
    const kept = wrong.filter((text) => !pattern.test(text));
    wrong.splice(0, wrong.length, ...kept);
  };
  // What goes on for as long as a view asks again is never put down.
  page.bear = (pattern) => borne.push(pattern);
  await page.goto(broker.url);
  return page;
}

// What the view of one client is answered while that client has no session: the view asks again every two seconds.
export const NO_SUCH_CLIENT = /status of 404 .*\/api\/v1\/client[?/]/;

export async function logIn(page, user = "ann", password = "sesame") {
  await page.getByLabel("Name").fill(user);
  await page.getByLabel("Password").fill(password);
  await page.getByRole("button", { name: "Log in" }).click();
  await page.getByRole("heading", { level: 1, name: "Overview" }).waitFor();
}

export async function view(page, name, heading = name) {
  const link = page.getByRole("navigation", { name: "Views" }).getByRole("link", { name, exact: true });
  const menu = page.getByRole("button", { name: "Menu" });
  const isNarrow = await menu.isVisible();
  if (isNarrow && (await menu.getAttribute("aria-expanded")) === "false") await menu.click();
  await link.click();
  await page.getByRole("heading", { level: 1, name: heading }).waitFor();
  // It closes a moment after the view has come: whoever goes on at once would open it and see it close.
  if (isNarrow) await until("the menu has closed", async () => (await menu.getAttribute("aria-expanded")) === "false");
}

// Waits until the focus is on an element like that: a new view takes it a moment after it has come.
export async function focused(page, selector) {
  await until(`the focus is on ${selector}`, () => page.evaluate((selector) => document.activeElement.matches(selector), selector));
}

// Waits until `check` says something true.
export async function until(what, check) {
  const end = Date.now() + LIMIT_MS;
  for (;;) {
    const found = await check();
    if (found) return found;
    if (Date.now() > end) throw new Error(`not within ${LIMIT_MS / 1000} s: ${what}`);
    await new Promise((done) => setTimeout(done, 100));
  }
}

// A picture for people, where DUNLIN_TEST_PICTURES names a directory.
export async function picture(page, name) {
  const directory = process.env.DUNLIN_TEST_PICTURES;
  if (directory) await page.screenshot({ path: join(directory, `${name}.png`), fullPage: true });
}

// Tables that are wider than what is shown of them: whoever looks would have to push them aside to see their last column.
const cutOff = (page) =>
  page.evaluate(() => [...document.querySelectorAll("main .scroll")].filter((part) => part.scrollWidth > part.clientWidth + 1).map((part) => part.getAttribute("aria-label")));

// A page that can be read by everybody, in which what others chose is text.
export async function harmless(page, what) {
  // What a client chose came in as text.
  assert.equal(await page.evaluate(() => window.broken), undefined, what);
  assert.equal(await page.locator("main script, main img[onerror]").count(), 0, what);
  await page.evaluate(axe.source);
  const { violations } = await page.evaluate(() => window.axe.run(document, { resultTypes: ["violations"] }));
  assert.deepEqual(
    violations.map(({ id, nodes }) => `${id}: ${nodes.map(({ html, failureSummary }) => `${html} ${failureSummary}`).join("\n")}`),
    [],
    what,
  );
  const { scroll, width } = await page.evaluate(() => ({ scroll: document.documentElement.scrollWidth, width: innerWidth }));
  assert.ok(scroll <= width, `${what}: ${scroll} > ${width}`);
  assert.deepEqual(await cutOff(page), [], what);
  assert.deepEqual(page.wrong, [], what);
}
