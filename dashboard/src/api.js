// Questions to the admin API. What goes wrong is a Problem with words for people.
export class Problem extends Error {
  constructor(status, detail) {
    super(detail);
    this.status = status;
  }
}

let csrfToken = "";
let onLoggedOut = () => {};

// Called whenever an answer says that nobody is logged in.
export function whenLoggedOut(then) {
  onLoggedOut = then;
}

export function useLogin(login) {
  csrfToken = login?.csrf_token ?? "";
}

export function path(base, query = {}) {
  const given = Object.entries(query).filter(([, value]) => value !== undefined && value !== null && value !== "");
  const text = new URLSearchParams(given).toString();
  return `/api/v1/${base}${text ? `?${text}` : ""}`;
}

// One client: its id as a parameter, because browsers take ids like ".." out of a path.
export const clientPath = (id, rest = "", query = {}) => path(`client${rest}`, { client_id: id, ...query });

// How long an answer may take; a change may take longer, and may have been made all the same.
const LATE_MS = 10_000;
const LATE_CHANGE_MS = 60_000;
// A stream says something every two seconds, if only that it goes on.
const QUIET_MS = 10_000;
const late = (ms) => new DOMException(`The broker has not answered for ${ms / 1000} s. It may hang, or the network is down.`, "TimeoutError");

function problemWith(error, words) {
  if (error instanceof Problem || error.name === "AbortError") return error;
  return new Problem(0, error.name === "TimeoutError" ? error.message : words);
}

// Runs `then` with a signal that is given once `signal` is, or after `ms`, if `then` has not called `inTime` before.
async function within(ms, signal, then) {
  const control = new AbortController();
  const pass = () => control.abort(signal.reason);
  if (signal?.aborted) pass();
  signal?.addEventListener("abort", pass);
  const timer = setTimeout(() => control.abort(late(ms)), ms);
  try {
    return await then(control.signal, () => clearTimeout(timer));
  } finally {
    clearTimeout(timer);
    signal?.removeEventListener("abort", pass);
  }
}

async function send(method, url, body, signal) {
  const headers = {};
  if (method !== "GET") headers["X-CSRF-Token"] = csrfToken;
  if (body !== undefined) headers["Content-Type"] = "application/json";
  try {
    return await fetch(url, { method, headers, signal, body: body === undefined ? undefined : JSON.stringify(body) });
  } catch (error) {
    throw problemWith(error, "The broker does not answer. It may have stopped, or the network is down.");
  }
}

async function problemOf(response) {
  let detail = `${response.status} ${response.statusText}`;
  try {
    detail = (await response.json()).detail ?? detail;
  } catch {
    // Not from the API: a proxy in between.
  }
  return new Problem(response.status, detail);
}

const BROKEN_OFF = "The connection to the broker broke off.";

export const ask = (method, url, body, signal) =>
  within(method === "GET" ? LATE_MS : LATE_CHANGE_MS, signal, async (either) => {
    const response = await send(method, url, body, either);
    if (!response.ok) {
      const problem = await problemOf(response);
      if (problem.status === 401 && !url.startsWith("/api/v1/login")) onLoggedOut();
      throw problem;
    }
    if (response.status === 204) return null;
    try {
      return await response.json();
    } catch (error) {
      throw problemWith(error, BROKEN_OFF);
    }
  });

export const get = (url, signal) => ask("GET", url, undefined, signal);

// Whether somebody is logged in. Whoever is not goes back to the form.
export async function checkLogin(signal) {
  const login = await get(path("login"), signal);
  if (!login) onLoggedOut();
  return login !== null;
}

// A stream of server-sent events until `signal` ends it, or the broker does. EventSource would not say what was wrong. `told.opened()` is called
// once it begins, `told.quiet(true)` where nothing comes for too long, with false once something does.
export const listen = (url, signal, take, told) =>
  within(LATE_MS, signal, async (either, inTime) => {
    const response = await send("GET", url, undefined, either);
    inTime();
    if (!response.ok) {
      const problem = await problemOf(response);
      if (problem.status === 401) onLoggedOut();
      throw problem;
    }
    told.opened();
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    let text = "";
    for (;;) {
      const timer = setTimeout(() => told.quiet(true), QUIET_MS);
      let read;
      try {
        read = await reader.read();
      } catch (error) {
        throw problemWith(error, BROKEN_OFF);
      } finally {
        clearTimeout(timer);
      }
      if (read.done) return;
      told.quiet(false);
      text += read.value;
      const events = text.split("\n\n");
      text = events.pop();
      for (const event of events) {
        const lines = event.split("\n");
        const name = lines.find((line) => line.startsWith("event: "))?.slice(7) ?? "message";
        const data = lines.filter((line) => line.startsWith("data: ")).map((line) => line.slice(6));
        if (data.length > 0) take(name, JSON.parse(data.join("\n")));
      }
    }
  });
