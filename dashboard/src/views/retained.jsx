// Retained messages with their values.
import { useEffect, useState } from "preact/hooks";
import { ask, path } from "../api.js";
import { bytes, moment, plural } from "../format.js";
import { rememberQuery, usePages, useSettled } from "../hooks.js";
import { ActionButton, Field, Heading, Name, Pager, Payload, PayloadForms, ProblemNote, Properties, hasProperties, SEARCH_GOES_ON, Table } from "../ui.jsx";

const ROWS = 50;
// A topic name is a filter of itself alone: none has a wildcard.
const deletion = (filter) => ask("DELETE", path("retained", { filter }));

export function Retained({ query }) {
  const [filter, setFilter] = useState(query.filter ?? "#");
  const [form, setForm] = useState("text");
  const settled = useSettled(filter);
  const pages = usePages((cursor) => path("retained", { filter: settled, cursor, limit: ROWS }), (answer) => answer.messages, settled);
  useEffect(() => rememberQuery("retained", { filter: settled === "#" ? "" : settled }), [settled]);
  const remove = (what) => async () => {
    const { messages } = await deletion(what);
    pages.again();
    return `${plural(messages, "retained message")} deleted.`;
  };
  return (
    <>
      <Heading title="Retained">
        <ActionButton
          label="Delete all that match"
          title="Delete retained messages?"
          text={
            <p>
              All retained messages that match <Name text={filter} full /> are deleted, on all pages. This cannot be undone. Subscribers are sent nothing.
            </p>
          }
          action="Delete all"
          run={remove(filter)}
          danger
        />
      </Heading>
      <form class="filters" role="search" aria-label="Retained messages" onSubmit={(event) => event.preventDefault()}>
        <Field label="Topic filter" type="search" value={filter} onInput={setFilter} hint="$SYS/# shows the broker’s own." search />
        <PayloadForms form={form} setForm={setForm} />
      </form>
      <ProblemNote problem={pages.problem} />
      <Table
        caption="Retained messages"
        empty={pages.loading ? "Looking…" : pages.problem ? "" : pages.forward ? SEARCH_GOES_ON : "No retained message matches."}
        rows={pages.rows}
        keyOf={(row) => row.topic}
        columns={[
          { title: "Topic", cell: (row) => <Name text={row.topic} full /> },
          { title: "Value", cell: (row) => <Payload message={row} form={form} /> },
          { title: "Size", number: true, wide: true, cell: (row) => bytes(row.payload_bytes) },
          { title: "QoS", number: true, wide: true, cell: (row) => row.qos },
          { title: "Ends", wide: true, cell: (row) => (row.expires_at_ms ? moment(row.expires_at_ms) : "never") },
          { title: "Properties", wide: true, cell: (row) => (hasProperties(row) ? <Properties message={row} /> : "–") },
          {
            title: "Actions",
            buttons: true,
            cell: (row) =>
              row.topic.startsWith("$SYS/") ? (
                "–"
              ) : (
                <ActionButton
                  label="Delete"
                  name={row.topic}
                  title="Delete this retained message?"
                  text={
                    <p>
                      <Name text={row.topic} full />
                    </p>
                  }
                  run={remove(row.topic)}
                  danger
                />
              ),
          },
        ].filter((column) => column.title !== "Properties" || pages.rows.some(hasProperties))}
      />
      <Pager pages={pages} what="retained messages" />
    </>
  );
}
