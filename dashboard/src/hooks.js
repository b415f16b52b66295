// What views share: where the page is, answers that are asked for again and again, searches that wait for the last key.
import { useCallback, useEffect, useRef, useState } from "preact/hooks";
import { get } from "./api.js";

// The place in the page stands behind # in its address: path parts, and what is searched for.
export function readPlace() {
  const [way, query = ""] = location.hash.replace(/^#\/?/, "").split("?");
  const parts = way.split("/").map((part) => {
    try {
      return decodeURIComponent(part);
    } catch {
      return part;
    }
  });
  return { view: parts[0] || "overview", parts: parts.slice(1), query: Object.fromEntries(new URLSearchParams(query)) };
}

export function placeOf(view, parts = [], query = {}) {
  const given = Object.entries(query).filter(([, value]) => value !== "" && value !== undefined);
  const text = new URLSearchParams(given).toString();
  return `#/${[view, ...parts.map(encodeURIComponent)].join("/")}${text ? `?${text}` : ""}`;
}

export function usePlace() {
  const [place, setPlace] = useState(() => ({ ...readPlace(), turn: 0 }));
  useEffect(() => {
    const read = () => setPlace((known) => ({ ...readPlace(), turn: known.turn + 1 }));
    addEventListener("hashchange", read);
    return () => removeEventListener("hashchange", read);
  }, []);
  return place;
}

// Keeps what is searched for in the address, without a step in the browser's history for each key.
export function rememberQuery(view, query) {
  history.replaceState(null, "", placeOf(view, [], query));
}

// Asks now and then while the page can be seen: at once, or as soon as it can be. Keeps the last answer when one fails.
export function usePoll(url, everyMs) {
  const [state, setState] = useState({});
  const [turn, setTurn] = useState(0);
  const again = useCallback(() => setTurn((known) => known + 1), []);
  useEffect(() => {
    if (!url) return undefined;
    const control = new AbortController();
    let [timer, isAsking, isDue] = [undefined, false, true];
    const run = async () => {
      isDue = true;
      if (document.hidden || isAsking) return;
      [isAsking, isDue] = [true, false];
      try {
        const data = await get(url, control.signal);
        setState({ url, data });
      } catch (problem) {
        if (control.signal.aborted) return;
        setState((known) => ({ url, data: known.url === url ? known.data : undefined, problem }));
      }
      isAsking = false;
      if (everyMs && !control.signal.aborted) timer = setTimeout(run, everyMs);
    };
    run();
    const seen = () => {
      if (document.hidden || (!isDue && !everyMs)) return;
      clearTimeout(timer);
      run();
    };
    document.addEventListener("visibilitychange", seen);
    return () => {
      control.abort();
      clearTimeout(timer);
      document.removeEventListener("visibilitychange", seen);
    };
  }, [url, everyMs, turn]);
  // What came from another address is no answer to this one.
  return { ...(state.url === url ? state : {}), again };
}

// How much each counter of each row grows a second, by the row's name, from one answer to the next. One that goes back has begun anew. Nothing is
// known where `isSameCount` says of two answers about one row that they do not belong together. A row that is new began at nothing if an answer
// `isWhole`, and was perhaps left out before if it is not.
export function useRates(rows, counters, { keyOf = (row) => row.name, isSameCount = () => true, isWhole = false } = {}) {
  const last = useRef();
  const rates = useRef(new Map());
  if (rows && last.current?.rows !== rows) {
    const now = { rows, at: performance.now(), byKey: new Map(rows.map((row) => [keyOf(row), row])) };
    const before = last.current;
    const seconds = before && (now.at - before.at) / 1000;
    const rateOf = (row, counter) => {
      const known = before?.byKey.get(keyOf(row));
      if (!(seconds > 0) || (!known && !isWhole) || (known && !isSameCount(row, known))) return undefined;
      const from = known?.[counter] ?? 0;
      return row[counter] >= from ? (row[counter] - from) / seconds : undefined;
    };
    rates.current = new Map(rows.map((row) => [keyOf(row), Object.fromEntries(counters.map((counter) => [counter, rateOf(row, counter)]))]));
    last.current = now;
  }
  return rates.current;
}

// Whether the screen has no room for all columns of a table. The style sheet has the same width.
const narrow = matchMedia("(max-width: 40rem)");

export function useNarrow() {
  const [isNarrow, setNarrow] = useState(narrow.matches);
  useEffect(() => {
    const changed = () => setNarrow(narrow.matches);
    narrow.addEventListener("change", changed);
    return () => narrow.removeEventListener("change", changed);
  }, []);
  return isNarrow;
}

// The value once it has stayed the same for a moment.
export function useSettled(value, ms = 250) {
  const [settled, setSettled] = useState(value);
  useEffect(() => {
    const timer = setTimeout(() => setSettled(value), ms);
    return () => clearTimeout(timer);
  }, [value, ms]);
  return settled;
}

// Pages of a list, one at a time. A search may find nothing in many pages in a row: it goes on by itself for some of them.
const EMPTY_PAGES_MAX = 40;

export function usePages(makeUrl, take, key) {
  const [state, setState] = useState({ loading: true, rows: [], cursors: [""] });
  const control = useRef();
  const load = useCallback(
    async (cursors) => {
      control.current?.abort();
      const { signal } = (control.current = new AbortController());
      setState((known) => ({ ...known, loading: true, problem: undefined }));
      try {
        let cursor = cursors.at(-1);
        for (let page = 0; ; page += 1) {
          const answer = await get(makeUrl(cursor), signal);
          const rows = take(answer);
          if (rows.length > 0 || !answer.next || page >= EMPTY_PAGES_MAX) {
            setState({ rows, next: answer.next, cursors, loading: false });
            return;
          }
          cursor = answer.next;
        }
      } catch (problem) {
        if (!signal.aborted) setState({ rows: [], cursors, loading: false, problem });
      }
    },
    [key],
  );
  useEffect(() => {
    load([""]);
    return () => control.current?.abort();
  }, [load]);
  const { cursors, next } = state;
  // Whoever has kept it from before asks for what is looked for now.
  const latest = useRef();
  latest.current = () => load(cursors);
  const again = useCallback(() => latest.current(), []);
  return {
    ...state,
    again,
    forward: next ? () => load([...cursors, next]) : undefined,
    back: cursors.length > 1 ? () => load(cursors.slice(0, -1)) : undefined,
    number: cursors.length,
  };
}
