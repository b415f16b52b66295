// The settings in effect, and where each comes from.
import { useState } from "preact/hooks";
import { ask, path } from "../api.js";
import { plural } from "../format.js";
import { usePoll } from "../hooks.js";
import { ActionButton, Check, Field, Heading, Name, ProblemNote, Table } from "../ui.jsx";

export function Settings() {
  const { data, problem, again } = usePoll(path("settings"));
  const [wanted, setWanted] = useState("");
  const [isOwn, setOwn] = useState(false);
  const [reloaded, setReloaded] = useState();
  const rows = (data ?? []).filter(
    ({ name, value, source }) => (!isOwn || source !== "default") && `${name} ${value}`.toLowerCase().includes(wanted.toLowerCase()),
  );
  const reload = async () => {
    setReloaded(await ask("POST", path("reload")));
    again();
    return "The configuration was read again.";
  };
  return (
    <>
      <Heading title="Settings">
        <ActionButton
          label="Reload"
          title="Read the configuration again?"
          text={<p>File, certificates, users and access rules are read again. With anything wrong nothing changes.</p>}
          run={reload}
        />
      </Heading>
      <form class="filters" role="search" aria-label="Settings" onSubmit={(event) => event.preventDefault()}>
        <Field label="Name or value contains" type="search" value={wanted} onInput={setWanted} search />
        <Check label="Only what somebody has set" checked={isOwn} onChange={setOwn} />
      </form>
      <ProblemNote problem={problem} />
      {reloaded && <Outcome reloaded={reloaded} />}
      <p class="hint" role="status">
        {data ? plural(rows.length, "setting") : "Looking…"}
      </p>
      <Table
        caption="Settings in effect"
        empty={data ? "No setting is like that." : ""}
        rows={rows}
        keyOf={(row) => row.name}
        columns={[
          { title: "Setting", cell: (row) => <code>{row.name}</code> },
          { title: "Value", cell: (row) => (row.value === "" ? <i class="hint">(none)</i> : <Name text={row.value} full />) },
          { title: "From", wide: true, cell: (row) => <span class={row.source === "default" ? "hint" : ""}>{row.source}</span> },
          { title: "Changes with", wide: true, cell: (row) => (row.reloadable ? "a reload" : "a start") },
        ]}
      />
    </>
  );
}

const Outcome = ({ reloaded: { changed, needs_start: needsStart } }) => (
  <div class="note">
    {changed.length + needsStart.length === 0 && <p>Nothing is different.</p>}
    {changed.length > 0 && <p>In effect from now on: {changed.map(words).join("; ")}.</p>}
    {needsStart.length > 0 && <p>In effect with the next start of the broker: {needsStart.map(words).join("; ")}.</p>}
  </div>
);

const words = (change) => `${change.name} ${change.new} (was ${change.old})`;
