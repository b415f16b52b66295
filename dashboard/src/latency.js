// How long publishers wait for PUBACK or PUBREC: quantiles of a histogram in /metrics, of the time between two looks at it.
import { useEffect, useState } from "preact/hooks";
import { metricsText } from "./api.js";

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

// What a part of them did not exceed: {seconds, sign}, within its bucket as if they were spread evenly. In the first bucket and beyond the last its
// end is all that is known: the sign says so. Undefined where there were none.
export function quantile(part, now, before) {
  const counts = now.map(([end, count], index) => [end, count - (before[index]?.[1] ?? 0)]);
  const total = counts.at(-1)?.[1] ?? 0;
  if (total <= 0) return undefined;
  const wanted = part * total;
  const at = counts.findIndex(([, count]) => count >= wanted);
  const [end, count] = counts[at];
  if (at === 0) return { seconds: end, sign: "<" };
  const [begin, below] = counts[at - 1];
  if (end === Infinity) return { seconds: begin, sign: ">" };
  return { seconds: begin + ((end - begin) * (wanted - below)) / (count - below), sign: "" };
}

const FIRST_MS = 2000;

// Half and nearly all of what was acknowledged between the last two looks; neither where there was nothing, `isFirst` before the second look,
// undefined where it cannot be known.
export function useLatency(everyMs) {
  const [state, setState] = useState();
  useEffect(() => {
    const control = new AbortController();
    let before = [];
    let timer;
    const run = async () => {
      let now = [];
      try {
        now = bucketsOf(await metricsText(control.signal));
      } catch {
        if (control.signal.aborted) return; // otherwise the other questions say what is wrong
      }
      const isFirst = before.length === 0;
      if (now.length === 0) setState(undefined);
      else if (isFirst) setState({ isFirst });
      else setState({ half: quantile(0.5, now, before), most: quantile(0.99, now, before) });
      before = now;
      timer = setTimeout(run, isFirst ? FIRST_MS : document.hidden ? 4 * everyMs : everyMs);
    };
    run();
    return () => {
      control.abort();
      clearTimeout(timer);
    };
  }, [everyMs]);
  return state;
}
