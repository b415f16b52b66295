// Messages on a topic filter as they come.
import { useEffect, useState } from "preact/hooks";
import { path } from "../api.js";
import { bytes, clock, plural } from "../format.js";
import { rememberQuery } from "../hooks.js";
import { streamWords, useStream } from "../stream.js";
import { Badge, Check, ClientLink, Field, Heading, Name, Payload, PayloadForms, ProblemNote, Properties } from "../ui.jsx";
import { Publish } from "./publish.jsx";

const SHOWN_MAX = 200;
const SECONDS = 3600;

export function Tail({ query }) {
  const [filter, setFilter] = useState(query.filter ?? "");
  const [form, setForm] = useState("text");
  const [isPaused, setPaused] = useState(false);
  const [seen, setSeen] = useState({ messages: [], total: 0, skipped: 0 });
  const [held, setHeld] = useState();
  const pause = (value) => {
    setPaused(value);
    setHeld(value ? seen : undefined);
  };
  const stream = useStream();
  const { start, stop, running, open, quiet, problem } = stream;
  // What the stream is of, whatever stands in the field by now.
  const [watched, setWatched] = useState("");
  const begin = (event) => {
    event?.preventDefault();
    rememberQuery("tail", { filter });
    setWatched(filter);
    pause(false);
    setSeen({ messages: [], total: 0, skipped: 0 });
    start(path("tail", { filter, seconds: SECONDS }), SECONDS, (_, { messages, skipped }) =>
      setSeen((known) => ({
        messages: [...messages.map((message, index) => ({ ...message, key: known.total + index })).reverse(), ...known.messages].slice(0, SHOWN_MAX),
        total: known.total + messages.length,
        skipped,
      })),
    );
  };
  useEffect(() => {
    if (query.filter) begin();
  }, []);
  const { messages } = held ?? seen;
  return (
    <>
      <Heading title="Live tail" />
      <form class="filters" onSubmit={begin}>
        <Field label="Topic filter" value={filter} onInput={setFilter} placeholder="plant/+/temperature" required search />
        {(!running || filter !== watched) && (
          <button key="watch" type="submit" class="primary">
            {running ? "Watch this" : "Watch"}
          </button>
        )}
        {running && (
          <button key="stop" type="button" onClick={stop}>
            Stop
          </button>
        )}
        <Check label="Pause the list" checked={isPaused} onChange={pause} />
        <PayloadForms form={form} setForm={setForm} />
      </form>
      <Publish />
      <ProblemNote problem={problem} />
      <p class="hint">
        <span role="status">{running && !quiet ? (open ? <>Watching <Name text={watched} full />. </> : "Beginning… ") : streamWords(stream, "The hour is over.")}</span>
        {seen.total > 0 && `${plural(seen.total, "message")} came. `}
        {seen.skipped > 0 && `${plural(seen.skipped, "message")} more came too fast to be shown.`}
      </p>
      {messages.length === 0 && open && <p class="empty">No message yet.</p>}
      <ol class="messages" aria-label="Messages, the newest first">
        {messages.map((message) => (
          <li key={message.key}>
            <p class="head">
              <time>{clock(message.at_ms)}</time> <Name text={message.topic} full />
              <span class="hint">
                QoS {message.qos}, {bytes(message.payload_bytes)} {message.retain && <Badge kind="idle">retained</Badge>}
                {message.client_id !== null ? <> from <ClientLink id={message.client_id} /></> : " from the broker"}
              </span>
            </p>
            <Payload message={message} form={form} />
            <Properties message={message} />
          </li>
        ))}
      </ol>
      <p class="hint">
        The broker shows what it routes while this page is open, for an hour at most: up to 250 messages a second, the first 1,024 bytes of each. The log notes
        who watches what. # does not match topics that begin with $.
      </p>
    </>
  );
}
