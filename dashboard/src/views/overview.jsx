// The broker at a glance: now, and over the last hour.
import { useEffect, useMemo, useState } from "preact/hooks";
import { get, path } from "../api.js";
import { bytes, compact, count, plural, span, visible } from "../format.js";
import { placeOf, usePoll, useRates } from "../hooks.js";
import { Plot } from "../plot.jsx";
import { lastKnown } from "../series.js";
import { Badge, Heading, ProblemNote, Table } from "../ui.jsx";

const EVERY_MS = 5000;
const SAMPLES_MAX = 720;
const COLUMNS = [
  "at_ms",
  "clients_connected",
  "queued_messages",
  "memory_bytes",
  "messages_received_per_s",
  "messages_sent_per_s",
  "messages_dropped_per_s",
  "bytes_received_per_s",
  "bytes_sent_per_s",
  "cores_used",
  "ack_half_ms",
  "ack_most_ms",
];

// The samples of the last hour: all of them once, then those that are new.
function useHistory() {
  const [state, setState] = useState({});
  useEffect(() => {
    const control = new AbortController();
    let columns = Object.fromEntries(COLUMNS.map((name) => [name, []]));
    let timer;
    const run = async () => {
      try {
        const answer = await get(path("history", { after_ms: columns.at_ms.at(-1) }), control.signal);
        columns = Object.fromEntries(COLUMNS.map((name) => [name, [...columns[name], ...answer[name]].slice(-SAMPLES_MAX)]));
        setState({ columns, latest: answer });
      } catch (problem) {
        if (control.signal.aborted) return;
        setState((known) => ({ ...known, problem }));
      }
      timer = setTimeout(run, document.hidden ? 4 * EVERY_MS : EVERY_MS);
    };
    run();
    return () => {
      control.abort();
      clearTimeout(timer);
    };
  }, []);
  return state;
}

const Card = ({ title, value, more, href }) => (
  <li class="card">
    <p class="title">{href ? <a href={href}>{title}</a> : title}</p>
    <p class="value">{value}</p>
    <p class="hint">{more}</p>
  </li>
);

export function Overview() {
  const { data, problem } = usePoll(path("overview"), EVERY_MS);
  const drain = usePoll(path("drain"), EVERY_MS).data;
  const history = useHistory();
  const last = (name) => history.columns?.[name].at(-1);
  const rate = (name) => (last(name) === undefined ? "–" : `${compact(last(name))}/s`);
  return (
    <>
      <Heading title="Overview">
        {data && (
          <span>
            <bdi>{visible(data.node)}</bdi> <span class="hint">dunlin {data.version}, up {span(data.uptime_s * 1000)}</span>
          </span>
        )}
        {drain?.draining && <Badge kind="warn">Being emptied</Badge>}
      </Heading>
      <ProblemNote problem={problem ?? history.problem} stale={data !== undefined} />
      {!data && !problem && <p class="empty">Looking…</p>}
      {data && (
        <ul class="cards" aria-label="Now">
          <Card title="Clients" href={placeOf("clients")} value={count(data.clients_connected)} more={`connected, ${count(data.clients_disconnected)} away`} />
          <Card title="Messages in" href={placeOf("topics")} value={rate("messages_received_per_s")} more={`${compact(data.messages_received)} since the start`} />
          <Card title="Messages out" value={rate("messages_sent_per_s")} more={`${compact(data.messages_sent)} since the start`} />
          <Card title="Dropped" href={placeOf("top", [], { by: "dropped" })} value={rate("messages_dropped_per_s")} more={`${compact(sumOf(data.messages_dropped))} since the start`} />
          <Card title="Queued" href={placeOf("top")} value={compact(data.queued_messages)} more={`${bytes(data.queued_bytes)} wait for clients`} />
          <Card title="Acknowledged" {...acknowledged(history.columns)} />
          <Card title="Memory" value={bytes(history.latest?.resident_bytes)} more="in RAM" />
          <Card
            title="Cores"
            value={last("cores_used") === undefined ? "–" : last("cores_used").toFixed(2)}
            more={history.latest ? `used of ${history.latest.cores}; ${plural(data.shards, "shard")}` : ""}
          />
          <Card title="Subscriptions" href={placeOf("subscriptions")} value={compact(data.subscriptions)} more={`${plural(data.retained_messages, "retained message")}, the broker’s own among them`} />
        </ul>
      )}
      {history.columns && <Plots columns={history.columns} />}
      <div class="two">
        <section>
          <h2>Dropped messages by reason</h2>
          <Drops dropped={data?.messages_dropped} failed={Boolean(problem)} />
        </section>
        <section>
          <h2>Cores by thread</h2>
          <Threads threads={history.latest?.threads} failed={Boolean(history.problem)} />
        </section>
      </div>
    </>
  );
}

const took = (ms) => (ms === null || ms === undefined ? "–" : ms < 1000 ? `${Number(ms.toPrecision(2))} ms` : `${(ms / 1000).toFixed(1)} s`);

// What the last sample in which an acknowledgement was timed says of it, the one that the plot tells too; and when that was, where it is not the last.
function acknowledged(columns) {
  if (!columns || columns.at_ms.length === 0) return { value: "–", more: "Looking…" };
  const at = lastKnown(columns.ack_most_ms);
  if (at === undefined) return { value: "–", more: "none timed in the last hour; one message of 64 is timed" };
  const agoMs = columns.at_ms.at(-1) - columns.at_ms[at];
  return { value: took(columns.ack_most_ms[at]), more: `99 of 100; half within ${took(columns.ack_half_ms[at])}${agoMs > 0 ? `; ${span(agoMs)} ago` : ""}` };
}

// Nothing is shown as nothing.
const known = (format) => (value) => (value === null || value === undefined ? "–" : format(value));
const sumOf = (dropped) => dropped.reduce((sum, { messages }) => sum + messages, 0);

function Plots({ columns }) {
  const times = useMemo(() => columns.at_ms.map((ms) => ms / 1000), [columns.at_ms]);
  const whole = known((value) => compact(Math.round(value * 10) / 10));
  if (times.length < 2) return <p class="empty">The plots begin with two samples, within fifteen seconds.</p>;
  const plot = (title, format, ...series) => (
    <Plot title={title} format={format} isBytes={format === bytes} times={times} series={series.map(([name, column, tone]) => ({ name, tone, values: columns[column] }))} />
  );
  return (
    <section aria-labelledby="hour">
      <h2 id="hour">The last hour</h2>
      <div class="plots">
        {plot("Messages a second", whole, ["In", "messages_received_per_s", "tone1"], ["Out", "messages_sent_per_s", "tone2"])}
        {plot("Clients connected", whole, ["Clients", "clients_connected", "tone1"])}
        {plot("Acknowledged within", took, ["Half", "ack_half_ms", "tone1"], ["99 of 100", "ack_most_ms", "tone3"])}
        {plot("Dropped a second", whole, ["Dropped", "messages_dropped_per_s", "tone3"])}
        {plot("Messages queued", whole, ["Queued", "queued_messages", "tone4"])}
        {plot("Memory", bytes, ["In RAM", "memory_bytes", "tone2"])}
        {plot("Cores used", known((value) => value.toFixed(2)), ["Cores", "cores_used", "tone4"])}
        {plot("Network a second", bytes, ["In", "bytes_received_per_s", "tone1"], ["Out", "bytes_sent_per_s", "tone2"])}
      </div>
    </section>
  );
}

const unknown = (failed) => (failed ? "Not known." : "Looking…");

// A reason that has not happened yet is left out of an answer.
const COUNTED_BY_REASON = { keyOf: (row) => row.reason, isWhole: true };

function Drops({ dropped, failed }) {
  const rates = useRates(dropped, ["messages"], COUNTED_BY_REASON);
  return (
    <>
      <Table
        caption="Dropped messages by reason"
        empty={dropped ? "No message was dropped since the start." : unknown(failed)}
        rows={dropped ?? []}
        keyOf={(row) => row.reason}
        columns={[
          { title: "Reason", cell: (row) => row.reason.replaceAll("_", " ") },
          { title: "A second", number: true, cell: (row) => known(compact)(rates.get(row.reason)?.messages) },
          { title: "Since the start", number: true, cell: (row) => count(row.messages) },
        ]}
      />
      {dropped?.length > 0 && (
        <p class="hint">
          <a href={placeOf("top", [], { by: "dropped" })}>Which clients lose messages</a>
        </p>
      )}
    </>
  );
}

const Threads = ({ threads, failed }) => (
  <Table
    caption="Cores by thread, over the last five seconds"
    empty={threads ? "The first figures come within ten seconds." : unknown(failed)}
    rows={threads ?? []}
    keyOf={(row) => row.name}
    columns={[
      { title: "Thread", cell: (row) => row.name },
      {
        title: "Of a core",
        cell: (row) => (
          <span class="bar">
            <meter min={0} max={1} value={row.cores_used} aria-label={`${row.name}: part of a core`} />
            {Math.round(row.cores_used * 100)} %
          </span>
        ),
      },
    ]}
  />
);
