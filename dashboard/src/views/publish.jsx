// One message, published by an operator.
import { useState } from "preact/hooks";
import { ask, path } from "../api.js";
import { Check, Choice, Field, ProblemNote, useSession } from "../ui.jsx";

const QOS = [
  ["0", "0"],
  ["1", "1"],
  ["2", "2"],
];

export function Publish() {
  const { isOperator, announce } = useSession();
  const [topic, setTopic] = useState("");
  const [payload, setPayload] = useState("");
  const [qos, setQos] = useState("0");
  const [retain, setRetain] = useState(false);
  const [problem, setProblem] = useState();
  const [busy, setBusy] = useState(false);
  if (!isOperator) return null;
  const submit = async (event) => {
    event.preventDefault();
    setBusy(true);
    try {
      const { matched } = await ask("POST", path("publish"), { topic, payload, qos: Number(qos), retain });
      setProblem(undefined);
      announce(matched ? "Published." : "Published; nobody is subscribed to this topic.");
    } catch (wrong) {
      setProblem(wrong);
    }
    setBusy(false);
  };
  return (
    <form class="filters" aria-label="Publish a message" onSubmit={submit}>
      <Field label="Publish to" value={topic} onInput={setTopic} placeholder="plant/7/valve" required />
      <Field label="Text" value={payload} onInput={setPayload} />
      <Choice label="QoS" value={qos} onChange={setQos} options={QOS} />
      <Check label="Retain" checked={retain} onChange={setRetain} />
      <button type="submit" disabled={busy}>
        Publish
      </button>
      <ProblemNote problem={problem} />
    </form>
  );
}
