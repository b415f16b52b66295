// Sinks: messages on their way to other systems.
import { useState } from "preact/hooks";
import { ask, path } from "../api.js";
import { bytes, count, span, visible } from "../format.js";
import { ClientLink, Field, Name, ProblemNote, useSession } from "../ui.jsx";
import { ConnectorList, ConnectorPage, queueFacts } from "./connectors.jsx";

const KIND = { of: "sinks", one: "sink", stop: "pause", start: "resume", stopText: "Its messages wait in its session until it is started again, or the broker is." };
const COUNTERS = ["received", "delivered"];

export const Sinks = () => (
  <ConnectorList
    kind={KIND}
    title="Sinks"
    hint="Other systems that messages go to."
    counters={COUNTERS}
    columns={(rate) => [
      { title: "Delivers", number: true, wide: true, cell: (row) => rate(row, "delivered") },
      { title: "Waits", number: true, cell: (row) => count(row.queued_messages) },
      { title: "Oldest", wide: true, cell: (row) => (row.oldest_queued_ms === undefined ? "–" : span(row.oldest_queued_ms)) },
      { title: "Failed", number: true, wide: true, cell: (row) => count(row.failed_attempts) },
      { title: "Dead letters", number: true, wide: true, cell: (row) => count(row.dead_letters) },
      { title: "Dropped", number: true, wide: true, cell: (row) => count(row.queue_dropped + row.dropped) },
    ]}
  />
);

export const Sink = ({ parts: [name] }) => (
  <ConnectorPage
    kind={KIND}
    title="Sinks"
    name={name}
    counters={COUNTERS}
    facts={(sink, rate) => [
      ["Target", sink.target !== undefined && <Name text={sink.target} full />],
      ["Session", <ClientLink id={`$sink/${sink.name}`} />],
      ["Delivers", rate("delivered")],
      ["Gets", rate("received")],
      ...queueFacts(sink, bytes, span),
      ["Delivered", `${count(sink.delivered)} (${bytes(sink.delivered_bytes)})`],
      ["Got from its session", count(sink.received)],
      ["Its condition did not hold for", count(sink.passed_over)],
      ["Dead letters", count(sink.dead_letters)],
      ["QoS 0 that it had no room for", count(sink.dropped)],
      ["Attempts that failed", count(sink.failed_attempts)],
    ]}
  >
    {(sink) => <TestMessage name={sink.name} />}
  </ConnectorPage>
);

const OUTCOMES = {
  delivered: "The target has taken it.",
  passed_over: "The condition does not hold for it: nothing was sent.",
  rejected: "It would be a dead letter.",
  failed: "The target has not taken it: it would be tried again.",
};

// One message through condition, template and target, past the queue.
function TestMessage({ name }) {
  const { isOperator } = useSession();
  const [topic, setTopic] = useState("dunlin/sink-test");
  const [payload, setPayload] = useState('{"test":true}');
  const [state, setState] = useState({});
  if (!isOperator) return null;
  const submit = async (event) => {
    event.preventDefault();
    setState({ busy: true });
    try {
      setState({ told: await ask("POST", path(`sinks/${encodeURIComponent(name)}/test`), { topic, payload }) });
    } catch (problem) {
      setState({ problem });
    }
  };
  const { told } = state;
  return (
    <section>
      <h2>Send a test message</h2>
      <form class="filters" aria-label="Send a test message" onSubmit={submit}>
        <Field label="Topic" value={topic} onInput={setTopic} required />
        <Field label="Text" value={payload} onInput={setPayload} />
        <button type="submit" disabled={state.busy}>
          Send
        </button>
        <ProblemNote problem={state.problem} />
      </form>
      <div role="status">
        {told && (
          <p class={told.outcome === "delivered" ? "note" : "note bad"}>
            {OUTCOMES[told.outcome] ?? visible(told.outcome)} {told.milliseconds !== undefined && `It took ${span(told.milliseconds)}. `}
            {told.reason !== undefined && visible(told.reason)}
          </p>
        )}
        {told?.sent !== undefined && <pre class="payload">{visible(told.sent)}</pre>}
      </div>
    </section>
  );
}
