// What happens with a client, live: who comes and goes, packets, messages without their payload.
import { useState } from "preact/hooks";
import { path } from "../api.js";
import { clock, plural } from "../format.js";
import { streamWords, useStream } from "../stream.js";
import { Choice, Name, ProblemNote, Table } from "../ui.jsx";

const ROWS_MAX = 200;
const SECONDS = 600;
const DETAILS = [
  ["connections", "Connections"],
  ["packets", "And subscriptions"],
  ["messages", "Everything"],
];

export function Trace({ query, title }) {
  const stream = useStream();
  const { start, stop, running, open, quiet, problem } = stream;
  const [detail, setDetail] = useState("messages");
  const [rows, setRows] = useState([]);
  const [lost, setLost] = useState(0);
  const begin = () => {
    setRows([]);
    setLost(0);
    start(path("traces/live", { ...query, detail, seconds: SECONDS }), SECONDS, (name, data) => {
      if (name === "lost") setLost(data.lines);
      else setRows((known) => [{ ...data, key: (known[0]?.key ?? 0) + 1 }, ...known].slice(0, ROWS_MAX));
    });
  };
  return (
    <section>
      <h2>{title}</h2>
      <div class="filters">
        <Choice label="Show" value={detail} onChange={setDetail} options={DETAILS} />
        {running ? (
          <button type="button" onClick={stop}>
            Stop
          </button>
        ) : (
          <button type="button" onClick={begin}>
            Watch live
          </button>
        )}
      </div>
      <ProblemNote problem={problem} />
      <p class="hint">
        <span role="status">{running && !quiet ? "Watching for ten minutes at most." : streamWords(stream, "The ten minutes are over.")}</span>
        {lost > 0 ? ` ${plural(lost, "line")} came too fast and were left out.` : ""}
      </p>
      {(running || rows.length > 0) && (
        <Table
          caption={title}
          empty={open ? "Nothing has happened yet." : "Beginning…"}
          rows={rows}
          keyOf={(row) => row.key}
          columns={[
            { title: "Time", cell: (row) => clock(row.at_ms) },
            { title: "Event", cell: (row) => row.event.replaceAll("_", " ") },
            { title: "Topic", cell: (row) => (row.topic ? <Name text={row.topic} /> : "–") },
            { title: "More", wide: true, cell: (row) => <Name text={row.text} full /> },
          ]}
        />
      )}
    </section>
  );
}
