// Sources: messages of other systems that are published here.
import { bytes, count } from "../format.js";
import { ClientLink, Name } from "../ui.jsx";
import { ConnectorList, ConnectorPage } from "./connectors.jsx";

const KIND = { of: "sources", one: "source", stop: "pause", start: "resume", stopText: "Messages wait where it reads until it is started again, or the broker is." };
const COUNTERS = ["messages"];

export const Sources = () => (
  <ConnectorList
    kind={KIND}
    title="Sources"
    hint="Other systems that messages come from."
    counters={COUNTERS}
    columns={(rate) => [
      { title: "Brings", number: true, wide: true, cell: (row) => rate(row, "messages") },
      { title: "Waits", number: true, cell: (row) => count(row.lag_messages) },
      { title: "Failed", number: true, wide: true, cell: (row) => count(row.failures) },
      { title: "Left behind", number: true, wide: true, cell: (row) => count(row.left_behind) },
    ]}
  />
);

export const Source = ({ parts: [name] }) => (
  <ConnectorPage
    kind={KIND}
    title="Sources"
    name={name}
    counters={COUNTERS}
    facts={(source, rate) => [
      ["Reads from", source.address !== undefined && <Name text={source.address} full />],
      ["Client", <ClientLink id={source.client_id} />],
      ["Brings", rate("messages")],
      ["Messages that wait there", source.lag_messages === undefined ? "not known" : count(source.lag_messages)],
      ["Published here", `${count(source.messages)} (${bytes(source.bytes)})`],
      ["Left behind", count(source.left_behind)],
      ["Connections made", count(source.connects)],
      ["Had to begin anew", count(source.failures)],
    ]}
  />
);
