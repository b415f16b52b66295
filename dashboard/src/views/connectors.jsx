// What sinks, sources and bridges have in common: how each does, stopping and starting it, what went wrong with it.
import { useMemo } from "preact/hooks";
import { ask, path } from "../api.js";
import { compact, count, moment, visible } from "../format.js";
import { placeOf, usePoll, useRates } from "../hooks.js";
import { ActionButton, Badge, Facts, Heading, Name, ProblemNote, Table } from "../ui.jsx";

const EVERY_MS = 2000;
const STATES = { connected: ["good", "Connected"], idle: ["good", "Idle"], connecting: ["warn", "Connecting"], stopped: ["warn", "Stopped"] };

export function ConnectorState({ one }) {
  const [kind, text] = one.failing ? ["bad", "Failing"] : (STATES[one.status] ?? ["idle", visible(one.status)]);
  return <Badge kind={kind}>{text}</Badge>;
}

export const NameLink = ({ of, name }) => (
  <a href={placeOf(of, [name])}>
    <Name text={name} />
  </a>
);

// Messages a second, once two answers have come.
export const perSecond = (rate) => (rate === undefined ? "–" : `${compact(rate)}/s`);

// `kind` is {of, one, stop, start, stopText}: its path, its name in sentences, its verbs in the API, and what stopping means.
export function TurnButton({ kind, one, again }) {
  const change = (verb) => async () => {
    await ask("POST", path(`${kind.of}/${encodeURIComponent(one.name)}/${verb}`));
    again();
  };
  const isStopped = one.status === "stopped";
  return isStopped ? (
    <ActionButton label="Start" name={one.name} title={`Start ${one.name}?`} text={<p>It goes on where it was stopped.</p>} run={change(kind.start)} done={`The ${kind.one} starts.`} />
  ) : (
    <ActionButton label="Stop" name={one.name} title={`Stop ${one.name}?`} text={<p>{kind.stopText}</p>} run={change(kind.stop)} done={`The ${kind.one} stops.`} danger />
  );
}

// `counters` are what rates are made of; `columns(rates, again)` are those of a table.
export function ConnectorList({ kind, title, hint, counters, columns }) {
  const { data, problem, again } = usePoll(path(kind.of), EVERY_MS);
  const rates = useRates(data, counters);
  return (
    <>
      <Heading title={title} />
      <p class="hint">{hint}</p>
      <ProblemNote problem={problem} stale={data !== undefined} />
      <Table
        caption={title}
        empty={data ? `No ${kind.one} is configured.` : "Looking…"}
        rows={data ?? []}
        keyOf={(row) => row.name}
        columns={[
          { title: "Name", cell: (row) => <NameLink of={kind.of} name={row.name} /> },
          { title: "State", cell: (row) => <ConnectorState one={row} /> },
          ...columns((row, counter) => perSecond(rates.get(row.name)?.[counter])),
          { title: "Actions", buttons: true, cell: (row) => <TurnButton kind={kind} one={row} again={again} /> },
        ]}
      />
    </>
  );
}

// `facts(one, rate)` are those about the one that `name` names; `children(one)` stand below them.
export function ConnectorPage({ kind, title, name, counters, facts, children }) {
  const { data, problem, again } = usePoll(path(`${kind.of}/${encodeURIComponent(name)}`), EVERY_MS);
  const rows = useMemo(() => data && [data], [data]);
  const rates = useRates(rows, counters);
  const isGone = problem?.status === 404;
  const one = isGone ? undefined : data;
  return (
    <>
      <p class="hint">
        <a href={placeOf(kind.of)}>{title}</a>
      </p>
      <Heading title={<Name text={name} full />}>
        {one && <ConnectorState one={one} />}
        {one && <TurnButton kind={kind} one={one} again={again} />}
      </Heading>
      {isGone ? <p class="note">No {kind.one} has this name now. This page looks again every two seconds.</p> : <ProblemNote problem={problem} stale={data !== undefined} />}
      {one && <LastError one={one} />}
      {one && <Facts facts={[["Since", moment(one.since_ms)], ...facts(one, (counter) => perSecond(rates.get(one.name)?.[counter]))]} />}
      {one && children?.(one)}
    </>
  );
}

// What went wrong last: an alert while it lasts, and told with its time once it has passed.
function LastError({ one }) {
  if (!one.last_error) return null;
  const when = moment(one.last_error_at_ms ?? one.last_error_ms);
  if (one.failing) {
    return (
      <p class="note bad" role="alert">
        It tries again. {when}: {visible(one.last_error)}
      </p>
    );
  }
  return (
    <p class="note">
      What went wrong last, {when}: {visible(one.last_error)}
    </p>
  );
}

export const queueFacts = (one, bytes, span) => [
  ["Messages that wait", `${count(one.queued_messages)} (${bytes(one.queued_bytes)})`],
  ["The oldest waits for", one.oldest_queued_ms !== undefined && span(one.oldest_queued_ms)],
  ["Lost by its queue", count(one.queue_dropped)],
];
