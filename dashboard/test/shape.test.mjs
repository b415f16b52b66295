// Keys, colours, and a list that is long.
import assert from "node:assert/strict";
import { connect } from "node:net";
import { after, before, test } from "node:test";
import { isNetwork, payloadAs, visible, visibleName } from "../src/format.js";
import { alone, lastKnown, summaryOf, withGaps } from "../src/series.js";
import { Broker, focused, logIn, openPage, startBrowser, until, view } from "./stage.mjs";

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

test("where nothing was taken for long there is a place without values, and what is not known counts for nothing", () => {
  const { times, columns } = withGaps([0, 5, 10, 100, 105], [[1, 2, 3, 4, 5], [null, 2, undefined, 0, 5]], 15);
  assert.deepEqual(times, [0, 5, 10, 55, 100, 105]);
  assert.deepEqual(columns, [[1, 2, 3, null, 4, 5], [null, 2, null, null, 0, 5]]);
  assert.deepEqual(alone([1, null, 2, 3, undefined, 0]), [0, 5]);
  assert.deepEqual(withGaps([], [[]], 15), { times: [], columns: [[]] });
  assert.deepEqual(summaryOf(columns[1]), { least: 0, most: 5, mean: 7 / 3 });
  assert.equal(summaryOf([null, undefined]), undefined);
});

test("what hides in text is shown by its number, and spaces at the ends of a name", () => {
  for (const number of ["ad", "115f", "3164", "200b", "202e", "e0041", "e007f"]) {
    assert.equal(visible(`a${String.fromCodePoint(parseInt(number, 16))}b`), `a\\u{${number}}b`);
  }
  assert.equal(visible("Grüße 👋 東京 a b"), "Grüße 👋 東京 a b");
  assert.equal(visibleName(" a b  "), "\\u{20}a b\\u{20}\\u{20}");
});

const json = (payload, wholeBytes) => payloadAs("json", { payload, payload_bytes: wholeBytes ?? new TextEncoder().encode(payload).length });

test("JSON is shown with other white space and as it came in all else", () => {
  for (const [payload, shown] of [
    ["12345678901234567890", "12345678901234567890"],
    [' {"price" : 1.10 }', '{\n  "price": 1.10\n}'],
    ['{"a":1,"a":2}', '{\n  "a": 1,\n  "a": 2\n}'],
    ['["a\u202eb", "\\u202e", 1e400]', '[\n  "a\\u{202e}b",\n  "\\u202e",\n  1e400\n]'],
    ['{"__proto__":{},"1":[ ],"0":[[],{"x":null}]}', '{\n  "__proto__": {},\n  "1": [],\n  "0": [\n    [],\n    {\n      "x": null\n    }\n  ]\n}'],
    ['" : , {"', '" : , {"'],
  ]) {
    assert.equal(json(payload), shown);
    // The same value, where a parser can tell.
    assert.deepEqual(JSON.parse(shown.replace("\\u{202e}", "\u202e")), JSON.parse(payload));
  }
});

test("what is no JSON is called so, and what is cut is the begin of it", () => {
  for (const wrong of ["on", "1 2", '{"a":1,}', '{"a"}', '{"a":1 "b":2}', "{1:2}", "[1,]", "[1", "]", "", " ", "01", "1.", '"a\nb"', '"\\x"', '{"a":1}}', "truely", "+1", ",", '{"a":,}', "[}", '{"a":1:2}', "\ufeff1"]) {
    assert.throws(() => JSON.parse(wrong), undefined, wrong);
    assert.match(json(wrong), /^\(not JSON\)/, wrong);
  }
  for (const [begin, shown] of [
    ['{"values":[1,2', '{\n  "values": [\n    1,\n    2'],
    ['{"text":"half a te', '{\n  "text": "half a te'],
    ['{"text":"a\\', '{\n  "text": "a\\'],
    ["[tru", "[\n  tru"],
    ["[-1.", "[\n  -1."],
  ]) {
    assert.equal(json(begin, 5000), `(begin of it) ${shown}\n… 4.9 KiB in all`);
  }
  assert.match(json("level=5 name=x", 5000), /^\(not JSON\) level=5/);
  // The cut goes through a character of two bytes.
  const half = { payload_base64: btoa('["Gr\xc3\xbc\xc3'), payload_bytes: 5000 };
  assert.equal(payloadAs("json", half), '(begin of it) [\n  "Grü\n… 4.9 KiB in all');
  assert.equal(payloadAs("text", half), '["Grü\n… 4.9 KiB in all');
  assert.match(payloadAs("json", { payload_base64: btoa('"\xff"'), payload_bytes: 3 }), /^\(not JSON\)/, "no UTF-8");
  const deep = json("[".repeat(4096) + "]".repeat(4096));
  assert.ok(deep.startsWith("[\n  [") && deep.length < 8192 * 70, `${deep.length}`);
});

// Texts of tokens in any order.
test("what is JSON is decided as a parser decides it", () => {
  const tokens = ["{", "}", "[", "]", ",", ":", '"a"', "1", "true", " "];
  let [seed, valid] = [7, 0];
  const next = (bound) => {
    seed = (seed * 1103515245 + 12345) % 2147483648;
    return Math.floor((seed / 2147483648) * bound);
  };
  for (let turn = 0; turn < 40_000; turn += 1) {
    const text = Array.from({ length: 1 + next(8) }, () => tokens[next(tokens.length)]).join("");
    let isJson = true;
    try {
      JSON.parse(text);
      valid += 1;
    } catch {
      isJson = false;
    }
    assert.equal(!json(text).startsWith("(not JSON)"), isJson, text);
  }
  assert.ok(valid > 500, `${valid}`);
});

test("half an address is none", () => {
  for (const whole of ["192.0.2.7", "192.0.2.0/24", "::1", "2001:db8::/32"]) assert.ok(isNetwork(whole), whole);
  for (const half of ["192.", "192.0.2", "192.0.2.300", "192.0.2.0/", "2001:db8:", "x", "/8"]) assert.ok(!isNetwork(half), half);
});

test("another search within one view is followed, and half an address raises no alert", async () => {
  const page = await openPage(browser, broker);
  await logIn(page);
  await view(page, "Clients");
  const prefix = page.getByLabel("Client id contains");
  await prefix.fill("one");
  await until("it is remembered", () => page.url().includes("contains=one"));
  await page.evaluate(() => (location.hash = "#/clients?contains=two"));
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

test("a view that was opened where nobody sees it is filled once somebody does", async () => {
  const page = await openPage(browser, broker);
  await logIn(page);
  const hide = (isHidden) =>
    page.evaluate((isHidden) => {
      Object.defineProperty(document, "hidden", { configurable: true, get: () => isHidden });
      document.dispatchEvent(new Event("visibilitychange"));
    }, isHidden);
  const asked = [];
  page.on("request", (request) => asked.push(new URL(request.url()).pathname));
  for (const [name, path, filled] of [["Settings", "settings", "[node] name"], ["Listeners", "listeners", "Accepts"]]) {
    await hide(true);
    await view(page, name);
    await page.getByText("Looking…").first().waitFor();
    await new Promise((done) => setTimeout(done, 500));
    assert.ok(!asked.includes(`/api/v1/${path}`), `${asked}`);
    await hide(false);
    await page.getByText(filled).first().waitFor();
  }
  // Going away and back again and again does not make it ask more often than it did.
  for (let turn = 0; turn < 10; turn += 1) {
    await hide(true);
    await hide(false);
  }
  const polls = () => asked.filter((path) => path === "/api/v1/listeners").length;
  asked.length = 0;
  await new Promise((done) => setTimeout(done, 7000));
  // Two or three, where each of the ten turns had left a timer twenty.
  assert.ok(polls() <= 4, `${polls()}`);
  await until("it goes on", () => polls() >= 1);
  assert.deepEqual(page.wrong, []);
  await page.context().close();
});

test("the page is used by keys alone", async () => {
  const page = await openPage(browser, broker);
  await page.getByRole("button", { name: "Log in" }).waitFor();
  await focused(page, "input:not([type=password])");
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
  await focused(page, "h1"); // a new view begins at its heading
  await page.keyboard.press("/");
  await page.keyboard.type("truck/");
  const field = page.getByLabel("Client id contains");
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
  await page.getByLabel("Client id contains").fill("ter-2999");
  await until("the one", async () => (await rows.count()) === 2);
  await page.getByLabel("Begins with").fill("eter-");
  await page.getByText("No client is like that.").waitFor();
  await page.getByLabel("Begins with").fill("");
  await until("the one again", async () => (await rows.count()) === 2);
  await page.getByText("Page 1: 1 row, the last").waitFor();
  await page.getByLabel("Client id contains").fill("nobody");
  await page.getByText("No client is like that.").waitFor();
  assert.ok(sizes.length >= 4 && Math.max(...sizes) < 20_000, `no answer is long: ${sizes}`);
  assert.deepEqual(page.wrong, []);
  sockets.forEach((socket) => socket.destroy());
  await page.context().close();
});

test("a search that has not looked through all of them does not say that there is none", async () => {
  const page = await openPage(browser, broker);
  await logIn(page);
  let asked = 0;
  for (const [list, rows] of [["clients", "clients"], ["retained", "messages"], ["subscriptions", "subscriptions"], ["groups", "groups"]]) {
    // Pages with nothing on them, and one with nothing that is the last.
    await page.route(`**/api/v1/${list}?*`, (route) => {
      const { searchParams } = new URL(route.request().url());
      const page = Number(searchParams.get("cursor") ?? 0);
      asked += 1;
      return route.fulfill({ json: { [rows]: [], ...(page < 60 && { next: `${page + 1}` }) } });
    });
  }
  const next = page.getByRole("button", { name: "Next" });
  const lists = {
    "No client is like that.": () => view(page, "Clients"),
    "No retained message matches.": () => view(page, "Retained"),
    "Nobody is.": async () => {
      await view(page, "Subscriptions");
      await page.getByLabel("Show").selectOption("all");
    },
    "There is no shared subscription.": () => page.getByLabel("Show").selectOption("groups"),
  };
  for (const [none, open] of Object.entries(lists)) {
    asked = 0;
    await open();
    await page.getByText("None so far: Next looks further.").waitFor();
    assert.equal(await page.getByText(none).count(), 0, none);
    assert.equal(asked, 41, none);
    await next.click();
    await page.getByText(none).waitFor();
    assert.equal(asked, 61, none);
  }
  assert.deepEqual(page.wrong, []);
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
