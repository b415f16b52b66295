// Parts that views are made of.
import { createContext, Fragment } from "preact";
import { useContext, useEffect, useId, useRef, useState } from "preact/hooks";
import { PAYLOAD_FORMS, payloadAs, plural, visible, visibleName } from "./format.js";
import { placeOf, useNarrow } from "./hooks.js";

// Who is logged in, and how to say something to whoever listens instead of looking.
export const Session = createContext({ isOperator: false, announce: () => {} });
export const useSession = () => useContext(Session);

// A string that a client chose: as text, in a direction of its own, cut where it is long.
export function Name({ text, full = false }) {
  const shown = visibleName(text);
  return (
    <bdi class={full ? "name full" : "name"} title={full || shown.length < 32 ? undefined : shown.slice(0, 1000)}>
      {shown === "" ? <i>(empty)</i> : shown}
    </bdi>
  );
}

export const ClientLink = ({ id }) => (
  <a href={placeOf("clients", [id])}>
    <Name text={id} />
  </a>
);

export function ProblemNote({ problem, stale = false }) {
  if (!problem) return null;
  return (
    <p class="note bad" role="alert">
      {stale ? "These figures are not up to date. " : ""}
      {visible(problem.message)}
    </p>
  );
}

export const Heading = ({ title, children }) => (
  <div class="heading">
    <h1 tabIndex={-1}>{title}</h1>
    <div class="actions">{children}</div>
  </div>
);

export const Badge = ({ kind, children }) => <span class={`badge ${kind}`}>{children}</span>;

export const State = ({ connected }) => (
  <Badge kind={connected ? "good" : "idle"}>{connected ? "Connected" : "Away"}</Badge>
);

// A table: `keyOf(row)` is the same for the same thing wherever it stands; `columns` are {title, cell(row), number, wide} where wide ones stand in a
// line below their row on narrow screens.
export function Table({ caption, columns, rows, keyOf, empty = "There is nothing to show." }) {
  const isNarrow = useNarrow();
  if (rows.length === 0) return <p class="empty">{empty}</p>;
  const beside = isNarrow ? columns.filter(({ wide }) => !wide) : columns;
  const below = isNarrow ? columns.filter(({ wide }) => wide) : [];
  const classOf = (column) => [column.number && "number", column.buttons && "buttons"].filter(Boolean).join(" ");
  return (
    <div class="scroll" role="region" aria-label={caption} tabIndex={0}>
      <table>
        <caption class="unseen">{caption}</caption>
        <thead>
          <tr>
            {beside.map((column) => (
              <th key={column.title} scope="col" class={classOf(column)}>
                {column.title}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {rows.map((row) => (
            <Fragment key={keyOf(row)}>
              <tr>
                {beside.map((column) => (
                  <td key={column.title} class={classOf(column)}>
                    {column.cell(row)}
                  </td>
                ))}
              </tr>
              <Below span={beside.length} facts={below.map(({ title, cell }) => [title, cell(row)])} />
            </Fragment>
          ))}
        </tbody>
      </table>
    </div>
  );
}

// What a narrow screen has no columns for, in a line of its own; what there is nothing to say of is left out.
export function Below({ span, facts }) {
  const said = facts.filter(([, value]) => value !== undefined && value !== "" && value !== "–");
  if (said.length === 0) return null;
  return (
    <tr class="below">
      <td colSpan={span}>
        {said.map(([name, value]) => (
          <span key={name}>
            <span class="hint">{name}</span> {value}
          </span>
        ))}
      </td>
    </tr>
  );
}

// Of a list in pages in which nothing was found and not all was looked through.
export const SEARCH_GOES_ON = "None so far: Next looks further.";

export function Pager({ pages, what }) {
  const { rows, number, back, forward, again, loading } = pages;
  return (
    <nav class="pager" aria-label={`Pages of ${what}`}>
      <span role="status">
        {loading ? "Looking…" : `Page ${number}: ${plural(rows.length, "row")}${forward ? ", more follow" : ", the last"}`}
      </span>
      <button type="button" disabled={!back} onClick={back}>
        Back
      </button>
      <button type="button" disabled={!forward} onClick={forward}>
        Next
      </button>
      <button type="button" onClick={again}>
        Refresh
      </button>
    </nav>
  );
}

export function Field({ label, value, onInput, type = "text", hint, search = false, ...rest }) {
  const id = useId();
  return (
    <div class="field">
      <label for={id}>{label}</label>
      <input
        id={id}
        type={type}
        value={value}
        onInput={(event) => onInput(event.currentTarget.value)}
        autocomplete="off"
        spellcheck={false}
        autocapitalize="none"
        data-search={search ? "" : undefined}
        aria-describedby={hint ? `${id}-hint` : undefined}
        {...rest}
      />
      {hint && (
        <small id={`${id}-hint`} class="hint">
          {hint}
        </small>
      )}
    </div>
  );
}

export function Choice({ label, value, onChange, options }) {
  const id = useId();
  return (
    <div class="field">
      <label for={id}>{label}</label>
      <select id={id} value={value} onChange={(event) => onChange(event.currentTarget.value)}>
        {options.map(([name, text]) => (
          <option key={name} value={name}>
            {text}
          </option>
        ))}
      </select>
    </div>
  );
}

export function Check({ label, checked, onChange }) {
  return (
    <label class="check">
      <input type="checkbox" checked={checked} onChange={(event) => onChange(event.currentTarget.checked)} />
      {label}
    </label>
  );
}

// A button for operators that asks before it does anything. Viewers are not shown it. What the dialog says and does is fixed when it opens:
// what the view learns meanwhile changes nothing under the reader.
export function ActionButton({ label, name, danger = false, ...asked }) {
  const { isOperator, announce } = useSession();
  const [open, setOpen] = useState();
  if (!isOperator) return null;
  return (
    <>
      <button type="button" class={danger ? "danger" : ""} aria-label={name ? `${label}: ${visibleName(name)}` : undefined} onClick={() => setOpen(asked)}>
        {label}
      </button>
      {open && (
        <Confirm
          title={open.title}
          text={open.text}
          action={open.action ?? label}
          danger={danger}
          close={() => setOpen(undefined)}
          run={async () => {
            const said = await open.run();
            announce(typeof said === "string" ? said : open.done);
          }}
        />
      )}
    </>
  );
}

function Confirm({ title, text, action, danger, close, run }) {
  const dialog = useRef();
  const id = useId();
  const [state, setState] = useState({});
  useEffect(() => dialog.current.showModal(), []);
  const go = async () => {
    setState({ busy: true });
    try {
      await run();
      dialog.current?.close();
      // The button that opened it often goes away with what it was for: the focus is not to go with it.
      document.querySelector("main h1")?.focus({ preventScroll: true });
    } catch (problem) {
      setState({ problem });
    }
  };
  return (
    <dialog ref={dialog} aria-labelledby={id} onClose={close}>
      <h2 id={id}>{title}</h2>
      <div class="dialog-text">{text}</div>
      <ProblemNote problem={state.problem} />
      <div class="actions">
        <button type="button" autofocus onClick={() => dialog.current.close()}>
          Cancel
        </button>
        <button type="button" class={danger ? "danger" : "primary"} disabled={state.busy} onClick={go}>
          {action}
        </button>
      </div>
    </dialog>
  );
}

export function PayloadForms({ form, setForm }) {
  const name = useId();
  return (
    <fieldset class="forms">
      <legend>Show values as</legend>
      {PAYLOAD_FORMS.map(([value, text]) => (
        <label key={value}>
          <input type="radio" name={name} value={value} checked={form === value} onChange={() => setForm(value)} />
          {text}
        </label>
      ))}
    </fieldset>
  );
}

export function Payload({ message, form }) {
  if (message.payload_bytes === 0) return <i class="hint">(empty)</i>;
  return <pre class="payload">{payloadAs(form, message)}</pre>;
}

export const hasProperties = (message) =>
  message.content_type !== undefined || message.response_topic !== undefined || message.user_properties !== undefined || message.properties_left_out > 0;

// What MQTT 5.0 says about a payload, and what its publisher adds.
export function Properties({ message }) {
  const facts = [
    message.content_type !== undefined && ["Content type", message.content_type],
    message.response_topic !== undefined && ["Response topic", message.response_topic],
    ...(message.user_properties ?? []).map(({ name, value }) => [name, value, true]),
  ].filter(Boolean);
  if (!hasProperties(message)) return null;
  return (
    <ul class="properties" aria-label="Properties">
      {facts.map(([name, value, isOfUser], index) => (
        <li key={index}>
          <span class="hint">{isOfUser ? <Name text={name} full /> : name}</span> <Name text={value} full />
        </li>
      ))}
      {message.properties_left_out > 0 && <li class="hint">{plural(message.properties_left_out, "property", "properties")} more, too long to be shown</li>}
    </ul>
  );
}

// Facts by name, those without a value left out.
export function Facts({ facts }) {
  return (
    <dl class="facts">
      {facts
        .filter(([, value]) => value !== undefined && value !== null && value !== false)
        .map(([name, value]) => (
          <div key={name}>
            <dt>{name}</dt>
            <dd>{value}</dd>
          </div>
        ))}
    </dl>
  );
}
