// Where the broker listens, and for how long its certificates are good.
import { ask, path } from "../api.js";
import { count, plural } from "../format.js";
import { usePoll } from "../hooks.js";
import { ActionButton, Badge, Heading, ProblemNote, Table } from "../ui.jsx";

const KINDS = { tcp: "MQTT", tls: "MQTT over TLS", ws: "WebSocket", wss: "Secure WebSocket", unix: "MQTT at a path", "mqtt-sn": "MQTT-SN" };

export function Listeners() {
  const { data, problem, again } = usePoll(path("listeners"), 3000);
  const certificates = usePoll(path("certificates"), 60_000);
  const change = (name, what) => async () => {
    await ask("POST", path(`listeners/${encodeURIComponent(name)}/${what}`));
    again();
  };
  return (
    <>
      <Heading title="Listeners" />
      <ProblemNote problem={problem} stale={data !== undefined} />
      <Table
        caption="Listeners"
        empty={data ? "The broker has no listener." : "Looking…"}
        rows={data ?? []}
        keyOf={(row) => row.name}
        columns={[
          { title: "Name", cell: (row) => row.name },
          { title: "Kind", wide: true, cell: (row) => KINDS[row.kind] ?? row.kind },
          { title: "Address", wide: true, cell: (row) => row.address },
          { title: "State", cell: (row) => <Badge kind={row.accepting ? "good" : "warn"}>{row.accepting ? "Accepts" : "Stopped"}</Badge> },
          { title: "Connections", number: true, wide: true, cell: (row) => count(row.connections) },
          { title: "Actions", buttons: true, cell: (row) => <Turn row={row} change={change} /> },
        ]}
      />
      <h2>Certificates</h2>
      <ProblemNote problem={certificates.problem} />
      <Table
        caption="Certificates"
        empty={certificates.data ? "No listener has a certificate." : "Looking…"}
        rows={certificates.data ?? []}
        keyOf={(row) => `${row.listener} ${row.file}`}
        columns={[
          { title: "Listener", cell: (row) => row.listener },
          { title: "File", wide: true, cell: (row) => row.file },
          { title: "Ends", wide: true, cell: (row) => new Date(row.until_s * 1000).toLocaleDateString("en-GB") },
          { title: "Left", cell: left },
        ]}
      />
    </>
  );
}

function left({ days_left: days }) {
  if (days < 0) return <Badge kind="bad">Ended {plural(-days, "day")} ago</Badge>;
  return <Badge kind={days < 7 ? "bad" : days < 30 ? "warn" : "good"}>{plural(days, "day")}</Badge>;
}

function Turn({ row, change }) {
  if (!row.accepting) {
    return <ActionButton label="Start" name={row.name} title={`Start ${row.name}?`} text={<p>It accepts connections again.</p>} run={change(row.name, "start")} done="The listener accepts connections." />;
  }
  return (
    <ActionButton
      label="Stop"
      name={row.name}
      title={`Stop ${row.name}?`}
      text={<p>It accepts nobody until it is started again. Who is connected stays.</p>}
      run={change(row.name, "stop")}
      done="The listener has stopped."
      danger
    />
  );
}
