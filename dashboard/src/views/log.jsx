// The last lines of the log.
import { useEffect, useState } from "preact/hooks";
import { get, path } from "../api.js";
import { visible } from "../format.js";
import { Check, Choice, Field, Heading, ProblemNote } from "../ui.jsx";

const LINES_MAX = 1000;
const LEVELS = ["error", "warn", "info", "debug", "trace"];

// The level of a line, in either format of the log.
export function levelOf(text) {
  const found = text.startsWith("{") ? /"level":"(\w+)"/.exec(text)?.[1] : text.split(" ", 2)[1]?.toLowerCase();
  return LEVELS.includes(found) ? found : "info";
}

function useLines(isHeld) {
  const [state, setState] = useState({ lines: [] });
  useEffect(() => {
    if (isHeld) return undefined;
    const control = new AbortController();
    let timer;
    let after = state.lines.at(-1)?.number;
    const run = async () => {
      try {
        const lines = await get(path("log", { after, limit: LINES_MAX }), control.signal);
        after = lines.at(-1)?.number ?? after;
        setState((known) => (lines.length > 0 || known.problem || !known.loaded ? { loaded: true, lines: [...known.lines, ...lines].slice(-LINES_MAX) } : known));
      } catch (problem) {
        if (control.signal.aborted) return;
        setState((known) => ({ ...known, problem }));
      }
      timer = setTimeout(run, document.hidden ? 20_000 : 2000);
    };
    run();
    return () => {
      control.abort();
      clearTimeout(timer);
    };
  }, [isHeld]);
  return state;
}

export function Log() {
  const [isHeld, setHeld] = useState(false);
  const [level, setLevel] = useState("trace");
  const [wanted, setWanted] = useState("");
  const { lines, problem, loaded } = useLines(isHeld);
  const least = LEVELS.indexOf(level);
  const shown = lines.filter(({ text }) => LEVELS.indexOf(levelOf(text)) <= least && text.toLowerCase().includes(wanted.toLowerCase()));
  return (
    <>
      <Heading title="Log" />
      <form class="filters" role="search" aria-label="Log" onSubmit={(event) => event.preventDefault()}>
        <Field label="Line contains" type="search" value={wanted} onInput={setWanted} search />
        <Choice
          label="Level"
          value={level}
          onChange={setLevel}
          options={[
            ["trace", "All"],
            ["info", "Info and worse"],
            ["warn", "Warnings and errors"],
            ["error", "Errors"],
          ]}
        />
        <Check label="Pause" checked={isHeld} onChange={setHeld} />
      </form>
      <ProblemNote problem={problem} stale={lines.length > 0} />
      {shown.length === 0 && <p class="empty">{loaded ? "No line is like that." : "Looking…"}</p>}
      {shown.length > 0 && (
        <div class="scroll log" role="region" aria-label="Log lines, the newest first" tabIndex={0}>
          <ol>
            {shown.toReversed().map(({ number, text }) => (
              <li key={number} class={levelOf(text)}>
                {visible(text)}
              </li>
            ))}
          </ol>
        </div>
      )}
      <p class="hint">The newest line comes first. The broker keeps the last 1,000 lines, 512 KiB at most, beside where its log goes.</p>
    </>
  );
}
