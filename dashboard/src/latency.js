// How long publishers wait for PUBACK or PUBREC: quantiles of a histogram in /metrics, of the time between two looks at it.
import { useEffect, useState } from "preact/hooks";

const METRIC = "dunlin_ack_seconds_bucket";

// The cumulative buckets of the metric: [[upper end in seconds, count], ...]; none where it is not there.
export function bucketsOf(text) {
  const sums = new Map();
  for (const line of text.split("\n")) {
    if (!line.startsWith(`${METRIC}{`)) continue;
    const found = /le="([^"]+)".*\} (\S+)/.exec(line);
    if (!found) continue;
    const end = found[1] === "+Inf" ? Infinity : Number(found[1]);
    sums.set(end, (sums.get(end) ?? 0) + Number(found[2]));
  }
  return [...sums].sort(([left], [right]) => left - right);
}

// What a part of them did not exceed, within its bucket as if they were spread evenly; undefined where there were none.
export function quantile(part, now, before) {
  const counts = now.map(([end, count], index) => [end, count - (before[index]?.[1] ?? 0)]);
  const total = counts.at(-1)?.[1] ?? 0;
  if (total <= 0) return undefined;
  const wanted = part * total;
  const at = counts.findIndex(([, count]) => count >= wanted);
  const [begin, below] = at > 0 ? counts[at - 1] : [0, 0];
  const [end, count] = counts[at];
  if (end === Infinity) return begin;
  return begin + ((end - begin) * (wanted - below)) / (count - below);
}

// Half and nearly all of the last seconds, in seconds. Without a sample of that time the last that were known.
export function useLatency(everyMs) {
  const [state, setState] = useState();
  useEffect(() => {
    const control = new AbortController();
    let before = [];
    let timer;
    const run = async () => {
      try {
        const response = await fetch("/metrics", { signal: control.signal });
        const now = response.ok ? bucketsOf(await response.text()) : [];
        if (now.length > 0) {
          const [half, most] = [0.5, 0.99].map((part) => quantile(part, now, before));
          setState((known) => (half === undefined ? (known ?? {}) : { half, most }));
        }
        before = now;
      } catch {
        if (control.signal.aborted) return; // otherwise the other questions say what is wrong
      }
      timer = setTimeout(run, document.hidden ? 4 * everyMs : everyMs);
    };
    run();
    return () => {
      control.abort();
      clearTimeout(timer);
    };
  }, [everyMs]);
  return state;
}
