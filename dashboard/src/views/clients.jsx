// Clients, a page at a time.
import { useEffect, useState } from "preact/hooks";
import { path } from "../api.js";
import { count, isNetwork } from "../format.js";
import { rememberQuery, usePages, useSettled } from "../hooks.js";
import { Choice, ClientLink, Field, Heading, Name, Pager, ProblemNote, SEARCH_GOES_ON, State, Table } from "../ui.jsx";

const ROWS = 50;

export function Clients({ query }) {
  const [wanted, setWanted] = useState({ contains: "", prefix: "", user: "", address: "", connected: "", ...query });
  const settled = useSettled(wanted);
  const isHalf = settled.address !== "" && !isNetwork(settled.address);
  const asked = isHalf ? { ...settled, address: "" } : settled;
  const key = JSON.stringify(asked);
  const pages = usePages((cursor) => path("clients", { ...asked, cursor, limit: ROWS }), (answer) => answer.clients, key);
  const set = (name) => (value) => setWanted((known) => ({ ...known, [name]: value }));
  useEffect(() => rememberQuery("clients", asked), [key]);
  return (
    <>
      <Heading title="Clients" />
      <form class="filters" role="search" aria-label="Clients" onSubmit={(event) => event.preventDefault()}>
        <Field label="Client id contains" value={wanted.contains} onInput={set("contains")} type="search" search />
        <Field label="Begins with" value={wanted.prefix} onInput={set("prefix")} type="search" />
        <Field label="User" value={wanted.user} onInput={set("user")} />
        <Field label="Address or network" value={wanted.address} onInput={set("address")} placeholder="192.0.2.0/24" hint={isHalf ? "Not a whole address yet: it is left out." : undefined} />
        <Choice
          label="State"
          value={wanted.connected}
          onChange={set("connected")}
          options={[
            ["", "All"],
            ["true", "Connected"],
            ["false", "Away"],
          ]}
        />
      </form>
      <ProblemNote problem={pages.problem} />
      <Table
        caption="Clients"
        empty={pages.loading ? "Looking…" : pages.problem ? "" : pages.forward ? SEARCH_GOES_ON : "No client is like that."}
        rows={pages.rows}
        keyOf={(row) => row.client_id}
        columns={[
          { title: "Client id", cell: (row) => <ClientLink id={row.client_id} /> },
          { title: "State", cell: (row) => <State connected={row.connected} /> },
          { title: "User", wide: true, cell: (row) => (row.user === undefined ? "–" : <Name text={row.user} />) },
          { title: "Address", wide: true, cell: (row) => row.address ?? "–" },
          { title: "MQTT", wide: true, cell: (row) => row.protocol_version ?? "–" },
          { title: "Subscriptions", number: true, wide: true, cell: (row) => count(row.subscriptions) },
          { title: "Queued", number: true, cell: (row) => count(row.queued_messages) },
        ]}
      />
      <Pager pages={pages} what="clients" />
    </>
  );
}
