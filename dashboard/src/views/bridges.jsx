// Bridges to other brokers.
import { bytes, count, span } from "../format.js";
import { ClientLink, Name } from "../ui.jsx";
import { ConnectorList, ConnectorPage, queueFacts } from "./connectors.jsx";

const KIND = { of: "bridges", one: "bridge", stop: "stop", start: "start", stopText: "Both its connections end. What is for it waits in its session until it is started again, or the broker is." };
const COUNTERS = ["messages_in", "messages_out"];
const sumOf = (reasons) => Object.values(reasons).reduce((sum, messages) => sum + messages, 0);

export const Bridges = () => (
  <ConnectorList
    kind={KIND}
    title="Bridges"
    hint="Other brokers that messages are exchanged with."
    counters={COUNTERS}
    columns={(rate) => [
      { title: "In", number: true, wide: true, cell: (row) => rate(row, "messages_in") },
      { title: "Out", number: true, wide: true, cell: (row) => rate(row, "messages_out") },
      { title: "Waits", number: true, cell: (row) => count(row.queued_messages) },
      { title: "Oldest", wide: true, cell: (row) => (row.oldest_queued_ms === undefined ? "–" : span(row.oldest_queued_ms)) },
      { title: "Not passed on", number: true, wide: true, cell: (row) => count(sumOf(row.not_passed)) },
      { title: "Dropped", number: true, wide: true, cell: (row) => count(row.queue_dropped) },
    ]}
  />
);

export const Bridge = ({ parts: [name] }) => (
  <ConnectorPage
    kind={KIND}
    title="Bridges"
    name={name}
    counters={COUNTERS}
    facts={(bridge, rate) => [
      ["Other broker", bridge.address && <Name text={bridge.address} full />],
      ["Session", <ClientLink id={bridge.client_id} />],
      ["Brings", rate("messages_in")],
      ["Takes away", rate("messages_out")],
      ...queueFacts(bridge, bytes, span),
      ["Messages from there", `${count(bridge.messages_in)} (${bytes(bridge.bytes_in)})`],
      ["Messages to there", `${count(bridge.messages_out)} (${bytes(bridge.bytes_out)})`],
      ["Connections made", count(bridge.connects)],
      ["Not passed on: too large", count(bridge.not_passed.too_large)],
      ["Not passed on: too many bridges", count(bridge.not_passed.hops)],
      ["Not passed on: no topic of the bridge", count(bridge.not_passed.no_topic)],
      ["Not passed on: refused by the broker that it was for", count(bridge.not_passed.refused)],
    ]}
  />
);
