// Emptying the broker before maintenance.
import { useState } from "preact/hooks";
import { ask, path } from "../api.js";
import { count, plural } from "../format.js";
import { usePoll } from "../hooks.js";
import { ActionButton, Badge, Facts, Field, Heading, Name, ProblemNote, useSession } from "../ui.jsx";

export function Drain() {
  const { data, problem, again } = usePoll(path("drain"), 2000);
  const { isOperator } = useSession();
  const end = async () => {
    await ask("DELETE", path("drain"));
    again();
  };
  return (
    <>
      <Heading title="Drain">
        {data && <Badge kind={data.draining ? "warn" : "good"}>{data.draining ? "Being emptied" : "In service"}</Badge>}
      </Heading>
      <p>
        Emptying the broker tells load balancers that it is not ready, stops its listeners, and asks clients to go, so many a second. Sessions stay. It goes on until
        somebody ends it, or the process stops.
      </p>
      <ProblemNote problem={problem} stale={data !== undefined} />
      {data && (
        <Facts
          facts={[
            ["Clients still connected", count(data.clients_connected)],
            ["Asked to go", data.clients_per_s !== undefined && `${plural(data.clients_per_s, "client")} a second`],
            ["Told to go to", data.server_reference !== undefined && <Name text={data.server_reference} full />],
          ]}
        />
      )}
      <p class="unseen" role="status">
        {data?.draining && (data.clients_connected === 0 ? "All clients have gone." : "The broker is being emptied.")}
      </p>
      {data?.draining && (
        <ActionButton
          label="Take clients again"
          title="End the emptying?"
          text={<p>The listeners that it has stopped accept again, and the broker says that it is ready.</p>}
          run={end}
          done="The broker takes clients again."
        />
      )}
      {data && !data.draining && isOperator && <Begin again={again} />}
      {data && !isOperator && <p class="hint">It takes the role operator to empty the broker.</p>}
    </>
  );
}

function Begin({ again }) {
  const [rate, setRate] = useState("500");
  const [server, setServer] = useState("");
  const [wait, setWait] = useState("10");
  const begin = async () => {
    await ask("POST", path("drain"), { clients_per_s: Number(rate), server_reference: server || undefined, wait_s: Number(wait) });
    again();
  };
  return (
    <form class="filters" aria-label="Empty the broker" onSubmit={(event) => event.preventDefault()}>
      <Field label="Clients a second" type="number" min="1" max="100000" value={rate} onInput={setRate} />
      <Field label="Wait before, in seconds" type="number" min="0" max="3600" value={wait} onInput={setWait} hint="So that load balancers notice." />
      <Field label="Other broker" value={server} onInput={setServer} placeholder="broker-2.example:8883" hint="Told to clients of MQTT 5.0; may be empty." />
      <ActionButton
        label="Empty the broker"
        title="Empty the broker?"
        text={<p>Listeners stop, and all clients are asked to go, {plural(Number(rate), "client")} a second.</p>}
        run={begin}
        done="The broker is being emptied."
        danger
      />
    </form>
  );
}
