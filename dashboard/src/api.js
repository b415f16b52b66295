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

export const clientPath = (id, rest = "") => `clients/${encodeURIComponent(id)}${rest}`;

async function send(method, url, body, signal) {
  const headers = {};
  if (method !== "GET") headers["X-CSRF-Token"] = csrfToken;
  if (body !== undefined) headers["Content-Type"] = "application/json";
  try {
    return await fetch(url, { method, headers, signal, body: body === undefined ? undefined : JSON.stringify(body) });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Problem(0, "The broker does not answer. It may have stopped, or the network is down.");
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

export async function ask(method, url, body, signal) {
  const response = await send(method, url, body, signal);
  if (!response.ok) {
    const problem = await problemOf(response);
    if (problem.status === 401 && !url.startsWith("/api/v1/login")) onLoggedOut();
    throw problem;
  }
  return response.status === 204 ? null : response.json();
}

export const get = (url, signal) => ask("GET", url, undefined, signal);

// A stream of server-sent events until `signal` ends it, or the broker does. EventSource would not say what was wrong.
export async function listen(url, signal, take, opened) {
  const response = await send("GET", url, undefined, signal);
  if (!response.ok) {
    const problem = await problemOf(response);
    if (problem.status === 401) onLoggedOut();
    throw problem;
  }
  opened();
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    text += value;
    const events = text.split("\n\n");
    text = events.pop();
    for (const event of events) {
      const lines = event.split("\n");
      const name = lines.find((line) => line.startsWith("event: "))?.slice(7) ?? "message";
      const data = lines.filter((line) => line.startsWith("data: ")).map((line) => line.slice(6));
      if (data.length > 0) take(name, JSON.parse(data.join("\n")));
    }
  }
}
