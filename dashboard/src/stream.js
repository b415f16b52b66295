// A live stream of the broker that a view begins and ends: it ends with the view, whatever happens.
import { useCallback, useEffect, useRef, useState } from "preact/hooks";
import { listen } from "./api.js";

export function useStream() {
  const [state, setState] = useState({ running: false });
  const control = useRef();
  const stop = useCallback(() => control.current?.abort(), []);
  useEffect(() => stop, []);
  const start = useCallback(async (url, take) => {
    control.current?.abort();
    const { signal } = (control.current = new AbortController());
    setState({ running: true });
    try {
      const opened = () => signal.aborted || setState({ running: true, open: true });
      await listen(url, signal, (name, data) => signal.aborted || take(name, data), opened);
      setState({ running: false, ended: true });
    } catch (problem) {
      if (control.current.signal === signal) setState(signal.aborted ? { running: false } : { running: false, problem });
    }
  }, []);
  return { ...state, start, stop };
}
