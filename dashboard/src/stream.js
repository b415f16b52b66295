// A live stream of the broker that a view begins and ends: it ends with the view, whatever happens.
import { useCallback, useEffect, useRef, useState } from "preact/hooks";
import { checkLogin, listen } from "./api.js";

// A stream that has ended this much before its time was ended by somebody.
const EARLY_MS = 5000;

// `start(url, seconds, take)`; `ended` is "time" or "early" where the broker has ended it.
export function useStream() {
  const [state, setState] = useState({ running: false });
  const control = useRef();
  const stop = useCallback(() => control.current?.abort(), []);
  useEffect(() => stop, []);
  const start = useCallback(async (url, seconds, take) => {
    control.current?.abort();
    const { signal } = (control.current = new AbortController());
    const began = Date.now();
    const set = (next) => control.current.signal === signal && !signal.aborted && setState(next);
    setState({ running: true });
    const told = {
      opened: () => set({ running: true, open: true }),
      quiet: (isQuiet) => set((known) => (Boolean(known.quiet) === isQuiet ? known : { ...known, quiet: isQuiet })),
    };
    try {
      await listen(url, signal, (name, data) => signal.aborted || take(name, data), told);
      const isEarly = Date.now() - began < seconds * 1000 - EARLY_MS;
      set({ running: false, ended: isEarly ? "early" : "time" });
      if (isEarly) await checkLogin(signal);
    } catch (problem) {
      if (control.current.signal === signal) setState(signal.aborted ? { running: false } : { running: false, problem });
    }
  }, []);
  return { ...state, start, stop };
}

// What there is to say of a stream that does not go on as it should.
export function streamWords({ running, quiet, ended }, timeOver) {
  if (running && quiet) return "Nothing has come from the broker for ten seconds, not even that it goes on: it may hang, or the network is down. ";
  if (ended === "early") return "The broker has ended it. ";
  return ended ? `${timeOver} ` : "";
}
