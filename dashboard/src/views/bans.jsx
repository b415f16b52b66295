// Client ids and networks that may not connect.
import { useState } from "preact/hooks";
import { ask, path } from "../api.js";
import { moment } from "../format.js";
import { usePoll } from "../hooks.js";
import { ActionButton, Check, Choice, Field, Heading, Name, ProblemNote, Table, useSession } from "../ui.jsx";

const TIMES = [
  ["600", "10 minutes"],
  ["3600", "An hour"],
  ["86400", "A day"],
  ["", "No end"],
];

export function Bans({ query }) {
  const { data, problem, again } = usePoll(path("bans"), 5000);
  const { isOperator } = useSession();
  const lift = (ban) => async () => {
    await ask("DELETE", path("bans", { client_id: ban.client_id, network: ban.network }));
    again();
  };
  return (
    <>
      <Heading title="Bans" />
      {isOperator && <NewBan first={query.client_id ?? ""} again={again} />}
      <ProblemNote problem={problem} stale={data !== undefined} />
      <Table
        caption="Bans"
        empty={data ? "Nobody is banned." : "Looking…"}
        rows={data ?? []}
        keyOf={(row) => (row.client_id === undefined ? `network ${row.network}` : `client ${row.client_id}`)}
        columns={[
          { title: "Who", cell: (row) => (row.client_id === undefined ? row.network : <Name text={row.client_id} />) },
          { title: "What", wide: true, cell: (row) => (row.client_id === undefined ? "Network" : "Client id") },
          { title: "Until", cell: (row) => (row.until_ms ? moment(row.until_ms) : "no end") },
          { title: "Why", wide: true, cell: (row) => (row.reason ? <Name text={row.reason} full /> : "–") },
          {
            title: "Actions",
            buttons: true,
            cell: (row) => (
              <ActionButton label="Lift" name={row.client_id ?? row.network} title="Lift this ban?" text={<p><Name text={row.client_id ?? row.network} full /> may connect again.</p>} run={lift(row)} done="The ban was lifted." />
            ),
          },
        ]}
      />
      <p class="hint">A ban refuses whoever connects, and says so in MQTT (0x8A). Who is to be kept out for ever belongs into the access rules.</p>
    </>
  );
}

function NewBan({ first, again }) {
  const { announce } = useSession();
  const [kind, setKind] = useState("client_id");
  const [who, setWho] = useState(first);
  const [time, setTime] = useState("3600");
  const [reason, setReason] = useState("");
  const [disconnect, setDisconnect] = useState(true);
  const [problem, setProblem] = useState();
  const submit = async (event) => {
    event.preventDefault();
    try {
      await ask("POST", path("bans"), { [kind]: who, seconds: time ? Number(time) : undefined, reason, disconnect });
      setProblem(undefined);
      setWho("");
      announce("The ban holds.");
      again();
    } catch (wrong) {
      setProblem(wrong);
    }
  };
  return (
    <form class="filters" aria-label="New ban" onSubmit={submit}>
      <Choice
        label="Ban"
        value={kind}
        onChange={setKind}
        options={[
          ["client_id", "A client id"],
          ["network", "An address or network"],
        ]}
      />
      <Field label={kind === "network" ? "Network" : "Client id"} value={who} onInput={setWho} placeholder={kind === "network" ? "192.0.2.0/24" : ""} required />
      <Choice label="For" value={time} onChange={setTime} options={TIMES} />
      <Field label="Why" value={reason} onInput={setReason} maxLength={80} />
      <Check label="Disconnect who is there" checked={disconnect} onChange={setDisconnect} />
      <button type="submit" class="danger">
        Ban
      </button>
      <ProblemNote problem={problem} />
    </form>
  );
}
