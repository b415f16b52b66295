// Who is subscribed to what, and who gets what is published on a topic.
import { useEffect, useState } from "preact/hooks";
import { path } from "../api.js";
import { count } from "../format.js";
import { placeOf, rememberQuery, usePages, useSettled } from "../hooks.js";
import { Badge, Choice, ClientLink, Field, Heading, Name, Pager, ProblemNote, SEARCH_GOES_ON, State, Table } from "../ui.jsx";

const KINDS = [
  ["topic", "Who gets this topic"],
  ["filter", "Subscribed to this filter"],
  ["all", "All subscriptions"],
  ["groups", "Shared subscriptions"],
];

export function Subscriptions({ query }) {
  const [kind, setKind] = useState(query.kind ?? (query.filter ? "filter" : "topic"));
  const [text, setText] = useState(query.topic ?? query.filter ?? "");
  const settled = useSettled(text);
  const isSearch = kind === "topic" || kind === "filter";
  useEffect(() => rememberQuery("subscriptions", isSearch ? { [kind]: settled } : { kind }), [kind, settled]);
  return (
    <>
      <Heading title="Subscriptions" />
      <form class="filters" role="search" aria-label="Subscriptions" onSubmit={(event) => event.preventDefault()}>
        <Choice label="Show" value={kind} onChange={setKind} options={KINDS} />
        {isSearch && (
          <Field
            label={kind === "topic" ? "Topic name" : "Filter, letter by letter"}
            type="search"
            value={text}
            onInput={setText}
            placeholder={kind === "topic" ? "plant/7/temperature" : "plant/+/temperature"}
            search
          />
        )}
      </form>
      {kind === "groups" ? (
        <Groups
          show={(event, filter) => {
            event.preventDefault();
            setText(filter);
            setKind("filter");
          }}
        />
      ) : isSearch && settled === "" ? (
        <p class="empty">{kind === "topic" ? "Type a topic name to see who would get a message on it." : "Type a filter to see who is subscribed to it."}</p>
      ) : (
        <Audience key={kind} query={isSearch ? { [kind]: settled } : {}} />
      )}
    </>
  );
}

function Audience({ query }) {
  const pages = usePages((cursor) => path("subscriptions", { ...query, cursor, limit: 50 }), (answer) => answer.subscriptions, JSON.stringify(query));
  return (
    <>
      <ProblemNote problem={pages.problem} />
      <Table
        caption="Subscriptions"
        empty={pages.loading ? "Looking…" : pages.problem ? "" : pages.forward ? SEARCH_GOES_ON : "Nobody is."}
        rows={pages.rows}
        keyOf={(row) => JSON.stringify([row.client_id, row.filter])}
        columns={[
          { title: "Client id", cell: (row) => <ClientLink id={row.client_id} /> },
          { title: "Filter", cell: (row) => <><Name text={row.filter} full /> {row.may_receive === false && <Badge kind="warn">Rules withhold it</Badge>}</> },
          { title: "QoS", number: true, cell: (row) => row.qos },
          { title: "State", wide: true, cell: (row) => <State connected={row.connected} /> },
          { title: "Options", wide: true, cell: subscriptionOptions },
        ]}
      />
      <Pager pages={pages} what="subscriptions" />
    </>
  );
}

// What was asked for with a subscription, beside its QoS.
export function subscriptionOptions(row) {
  const words = [
    row.no_local && "not its own",
    row.retain_as_published && "RETAIN as published",
    row.identifier !== undefined && `identifier ${row.identifier}`,
    row.picked_messages !== undefined && `picked for ${count(row.picked_messages)}`,
  ];
  return words.filter(Boolean).join(", ") || "–";
}

function Groups({ show }) {
  const pages = usePages((cursor) => path("groups", { cursor, limit: 50 }), (answer) => answer.groups, "groups");
  return (
    <>
      <ProblemNote problem={pages.problem} />
      <Table
        caption="Shared subscriptions"
        empty={pages.loading ? "Looking…" : pages.problem ? "" : pages.forward ? SEARCH_GOES_ON : "There is no shared subscription."}
        rows={pages.rows}
        keyOf={(row) => row.filter}
        columns={[
          { title: "Shared subscription", cell: (row) => <a href={placeOf("subscriptions", [], { filter: row.filter })} onClick={(event) => show(event, row.filter)}><Name text={row.filter} full /></a> },
          { title: "Members", number: true, cell: (row) => count(row.members) },
          { title: "Connected", number: true, cell: (row) => count(row.connected) },
        ]}
      />
      <Pager pages={pages} what="shared subscriptions" />
    </>
  );
}
