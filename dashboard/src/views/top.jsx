// The first clients by what they leave waiting, and by what they send and are sent.
import { useState } from "preact/hooks";
import { path } from "../api.js";
import { bytes, count, span } from "../format.js";
import { usePoll } from "../hooks.js";
import { Choice, ClientLink, Heading, ProblemNote, Table } from "../ui.jsx";

const SLOW = [
  ["queue_age", "Longest wait", span],
  ["queued", "Most messages queued", count],
  ["queued_bytes", "Most bytes queued", bytes],
  ["in_flight", "Most not acknowledged", count],
  ["ack_age", "Longest not acknowledged", span],
  ["dropped", "Most messages dropped", count],
];
const BUSY = [
  ["messages_received", "Most messages from them", count],
  ["messages_sent", "Most messages to them", count],
  ["bytes_received", "Most bytes from them", bytes],
  ["bytes_sent", "Most bytes to them", bytes],
];

export const Top = ({ query }) => (
  <>
    <Heading title="Slow and busy" />
    <div class="two">
      <First title="Slow consumers" orders={SLOW} wanted={query.by} empty="No client leaves anything of that." />
      <First title="Busiest clients" orders={BUSY} wanted={query.by} empty="Nothing was counted yet." />
    </div>
    <p class="hint">
      Messages, bytes and drops of each client are counted while somebody looks at a list of them, and for a minute after. Queues are always known.
    </p>
  </>
);

function First({ title, orders, wanted, empty }) {
  const [by, setBy] = useState(orders.some(([order]) => order === wanted) ? wanted : orders[0][0]);
  const { data, problem } = usePoll(path("top", { by, limit: 20 }), 3000);
  const [, name, format] = orders.find(([order]) => order === by);
  const most = data?.clients[0]?.value ?? 1;
  const isCounted = orders === BUSY || by === "dropped";
  return (
    <section>
      <h2>{title}</h2>
      <Choice label={<>Order<span class="unseen"> of {title.toLowerCase()}</span></>} value={by} onChange={setBy} options={orders} />
      <ProblemNote problem={problem} stale={data !== undefined} />
      <Table
        caption={`${title}: ${name}`}
        empty={data ? empty : "Looking…"}
        rows={data?.clients ?? []}
        keyOf={(row) => row.client_id}
        columns={[
          { title: "Client id", cell: (row) => <ClientLink id={row.client_id} /> },
          {
            title: name,
            cell: (row) => (
              <span class="bar">
                <meter min={0} max={most} value={row.value} aria-hidden="true" />
                {format(row.value)}
              </span>
            ),
          },
        ]}
      />
      {data && isCounted && <p class="hint">Counted for {span(data.counted_ms)}.</p>}
    </section>
  );
}
