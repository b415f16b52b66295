// One client: all that is known of it, and what can be done with it.
import { useState } from "preact/hooks";
import { ask, clientPath } from "../api.js";
import { bytes, count, moment, plural, seconds, span } from "../format.js";
import { placeOf, usePoll } from "../hooks.js";
import { ActionButton, Facts, Heading, Name, ProblemNote, State, Table, useSession } from "../ui.jsx";
import { subscriptionOptions } from "./subscriptions.jsx";
import { Trace } from "./trace.jsx";

export function Client({ parts: [id] }) {
  const { data, problem, again } = usePoll(clientPath(id), 2000);
  const { isOperator } = useSession();
  const remove = (query) => async () => {
    await ask("DELETE", clientPath(id, "", query));
    again();
  };
  const isGone = problem?.status === 404;
  return (
    <>
      <p class="hint">
        <a href={placeOf("clients")}>Clients</a>
      </p>
      <Heading title={<Name text={id} full />}>
        {data && !isGone && <State connected={data.connected} />}
        {data?.connected && !isGone && (
          <ActionButton
            label="Disconnect"
            title="Disconnect this client?"
            text={<p>Its connection is closed. {data.session_expiry_s === 0 ? "Its session ends with it, as the client has asked for" : "Its session stays"}, and it may come back at once.</p>}
            run={remove()}
            done="The client was disconnected."
            danger
          />
        )}
        {data && !isGone && (
          <ActionButton
            label="End session"
            title="End this client’s session?"
            text={<p>Its connection is closed, and its subscriptions and queued messages are deleted. This cannot be undone.</p>}
            run={remove({ end_session: true })}
            done="The session has ended."
            danger
          />
        )}
        {isOperator && (
          <a class="button" href={placeOf("bans", [], { client_id: id })}>
            Ban…
          </a>
        )}
      </Heading>
      {isGone ? <p class="note">No session has this client id now. This page looks again every two seconds.</p> : <ProblemNote problem={problem} stale={data !== undefined} />}
      {data && !isGone && <Details client={data} />}
      {data && !isGone && <Filters id={id} total={data.subscriptions} />}
      <Trace query={{ client_id: id }} title="What happens with it" />
    </>
  );
}

function Details({ client }) {
  const connection = client.connection;
  return (
    <div class="two">
      <section>
        <h2>Session</h2>
        <Facts
          facts={[
            ["User", client.user !== undefined && <Name text={client.user} />],
            ["Session ends after its connection", seconds(client.session_expiry_s)],
            ["Away since", client.disconnected_at_ms && moment(client.disconnected_at_ms)],
            ["Session ends", client.expires_at_ms && moment(client.expires_at_ms)],
            ["Subscriptions", count(client.subscriptions)],
            ["Messages that wait", `${count(client.waiting_messages)} (${bytes(client.queued_bytes)})`],
            ["The oldest waits for", client.oldest_queued_ms !== undefined && span(client.oldest_queued_ms)],
            ["Sent, not acknowledged", count(client.in_flight_messages)],
            ["QoS 2 messages that it has not released", client.open_exchanges > 0 && count(client.open_exchanges)],
            ["Will", client.has_will ? "yes" : "no"],
          ]}
        />
      </section>
      {connection && (
        <section>
          <h2>Connection</h2>
          <Facts
            facts={[
              ["Connected for", span(connection.connected_ms)],
              ["Address", client.address],
              ["Listener", connection.listener],
              ["MQTT", client.protocol_version],
              ["TLS", connection.tls ?? "none"],
              ["Keep alive", connection.keep_alive_s === 0 ? "off" : span(connection.keep_alive_s * 1000)],
              ["Last packet", connection.silent_s === 0 ? "just now" : `${span(connection.silent_s * 1000)} ago`],
              ["Messages it takes unacknowledged", count(connection.receive_maximum)],
              ["Largest packet it takes", connection.packet_size_max_bytes === 4294967295 ? "no limit" : bytes(connection.packet_size_max_bytes)],
              ["Bytes its socket has not taken", count(connection.unsent_bytes)],
            ]}
          />
        </section>
      )}
      {client.traffic && <Traffic traffic={client.traffic} />}
    </div>
  );
}

const Traffic = ({ traffic }) => (
  <section>
    <h2>Traffic of the last {span(traffic.counted_ms)}</h2>
    <Facts
      facts={[
        ["Messages from it", `${count(traffic.messages_received)} (${bytes(traffic.bytes_received)})`],
        ["Messages to it", `${count(traffic.messages_sent)} (${bytes(traffic.bytes_sent)})`],
        ...traffic.messages_dropped.map(({ reason, messages }) => [`Dropped: ${reason.replaceAll("_", " ")}`, count(messages)]),
      ]}
    />
  </section>
);

function Filters({ id, total }) {
  const [skips, setSkips] = useState([0]);
  const { data, problem } = usePoll(clientPath(id, "/subscriptions", { skip: skips.at(-1) || undefined }), 10_000);
  return (
    <section>
      <h2>{plural(data?.total ?? total, "subscription")}</h2>
      <ProblemNote problem={problem} />
      <Table
        caption="Subscriptions of this client"
        empty="It is subscribed to nothing."
        rows={data?.subscriptions ?? []}
        keyOf={({ filter }) => filter}
        columns={[
          { title: "Filter", cell: ({ filter }) => <a href={placeOf("subscriptions", [], { filter })}><Name text={filter} full /></a> },
          { title: "QoS", number: true, cell: (row) => row.qos },
          { title: "Options", wide: true, cell: subscriptionOptions },
        ]}
      />
      {(data?.next !== undefined || skips.length > 1) && (
        <nav class="pager" aria-label="Pages of subscriptions">
          <button type="button" disabled={skips.length === 1} onClick={() => setSkips(skips.slice(0, -1))}>
            Back
          </button>
          <button type="button" disabled={data?.next === undefined} onClick={() => setSkips([...skips, data.next])}>
            Next
          </button>
        </nav>
      )}
    </section>
  );
}
