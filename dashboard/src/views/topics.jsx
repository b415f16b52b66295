// The busiest topics as a tree, with what each branch comes to.
import { useMemo, useState } from "preact/hooks";
import { path } from "../api.js";
import { bytes, compact, count, plural, span, visible } from "../format.js";
import { placeOf, usePoll } from "../hooks.js";
import { Choice, Field, Heading, Name, ProblemNote } from "../ui.jsx";

const ORDERS = [
  ["messages", "Most messages"],
  ["bytes", "Most bytes"],
  ["last", "Latest message"],
];
const TOPICS_MAX = 256;

// Branches with the sums of what is in them.
function treeOf(topics, wanted) {
  const root = { children: new Map() };
  for (const topic of topics) {
    if (wanted && !topic.topic.toLowerCase().includes(wanted)) continue;
    let node = root;
    let way = "";
    for (const [depth, level] of topic.topic.split("/").entries()) {
      way = depth === 0 ? level : `${way}/${level}`;
      if (!node.children.has(level)) node.children.set(level, { level, way, children: new Map(), rate: 0, bytes: 0, topics: 0, lastAgo: Infinity });
      node = node.children.get(level);
      node.rate += topic.messages_per_s;
      node.bytes += topic.bytes_per_s;
      node.topics += 1;
      node.lastAgo = Math.min(node.lastAgo, topic.last_ago_ms);
    }
    node.topic = topic;
  }
  return root;
}

// A branch that has nothing but one other is shown in one row with it.
function joined(node) {
  let at = node;
  let level = node.level;
  while (!at.topic && at.children.size === 1) {
    [at] = at.children.values();
    level += `/${at.level}`;
  }
  return at === node ? node : { ...at, level };
}

// Which of two branches comes first, by what they come to.
const FIRST = {
  messages: (left, right) => right.rate - left.rate,
  bytes: (left, right) => right.bytes - left.bytes,
  last: (left, right) => left.lastAgo - right.lastAgo,
};

export function* rowsOf(node, isOpen, by, depth = 0) {
  for (const child of [...node.children.values()].sort(FIRST[by])) {
    const row = { ...joined(child), depth };
    yield row;
    if (isOpen(row)) yield* rowsOf(row, isOpen, by, depth + 1);
  }
}

export function Topics() {
  const [by, setBy] = useState("messages");
  const [wanted, setWanted] = useState("");
  const [turned, setTurned] = useState(new Set());
  const { data, problem } = usePoll(path("topics", { by, limit: TOPICS_MAX }), 3000);
  const root = useMemo(() => treeOf(data?.topics ?? [], wanted.toLowerCase()), [data, wanted]);
  // The first level is open, all where something is searched for, and what somebody has turned over is the other way.
  const isOpen = (node) => (node.depth < 1 || wanted !== "") !== turned.has(node.way);
  const turn = (node) => {
    const next = new Set(turned);
    if (!next.delete(node.way)) next.add(node.way);
    setTurned(next);
  };
  const rows = [...rowsOf(root, isOpen, by)];
  return (
    <>
      <Heading title="Topics" />
      <form class="filters" role="search" aria-label="Topics" onSubmit={(event) => event.preventDefault()}>
        <Field label="Topic contains" type="search" value={wanted} onInput={setWanted} search />
        <Choice label="Order" value={by} onChange={setBy} options={ORDERS} />
      </form>
      <ProblemNote problem={problem} stale={data !== undefined} />
      {rows.length === 0 ? (
        <p class="empty">{data ? "No message since counting began. It counts while this page is open." : "Looking…"}</p>
      ) : (
        <Tree rows={rows} isOpen={isOpen} turn={turn} />
      )}
      {data && (
        <p class="hint">
          The {plural(data.topics.length, "first topic")} of those that clients publish on, counted for {span(data.counted_ms)}: while somebody looks, and for a minute
          after. Rates are averages of that time.
        </p>
      )}
    </>
  );
}

const Tree = ({ rows, isOpen, turn }) => (
  <div class="scroll" role="region" aria-label="Topics" tabIndex={0}>
    <table class="tree">
      <caption class="unseen">Topics by level</caption>
      <thead>
        <tr>
          <th scope="col">Topic</th>
          <th scope="col" class="number">
            Messages/s
          </th>
          <th scope="col" class="number wide">
            Bytes/s
          </th>
          <th scope="col" class="number wide">
            Clients
          </th>
          <th scope="col" class="number wide">
            Last
          </th>
          <th scope="col" class="wide">
            Look
          </th>
        </tr>
      </thead>
      <tbody>
        {rows.map((node) => (
          <Row key={`${node.way}`} node={node} isOpen={isOpen(node)} turn={() => turn(node)} />
        ))}
      </tbody>
    </table>
  </div>
);

function Row({ node, isOpen, turn }) {
  const { topic, children, way, depth } = node;
  const filter = topic ? way : `${way}/#`;
  return (
    <tr>
      <th scope="row">
        <span class={`level depth${Math.min(depth, 8)}`}>
          {children.size > 0 ? (
            <button type="button" class="turn" aria-expanded={isOpen} aria-label={`${visible(way)}: ${plural(node.topics, "topic")}`} onClick={turn}>
              {isOpen ? "▾" : "▸"}
            </button>
          ) : (
            <span class="leaf" aria-hidden="true" />
          )}
          <Name text={node.level} />
          {children.size > 0 && <span class="hint">{count(node.topics)}</span>}
        </span>
        <span class={`narrow depth${Math.min(depth, 8)}`}>
          <Looks filter={filter} topic={topic && way} />
        </span>
      </th>
      <td class="number">{compact(node.rate)}</td>
      <td class="number wide">{bytes(node.bytes)}</td>
      <td class="number wide">{topic ? (topic.publishers >= 266 ? "266+" : count(topic.publishers)) : ""}</td>
      <td class="number wide">{node.lastAgo < 1000 ? "now" : `${span(node.lastAgo)} ago`}</td>
      <td class="wide">
        <Looks filter={filter} topic={topic && way} />
      </td>
    </tr>
  );
}

// Where more is to be seen of a branch, and of a topic.
const Looks = ({ filter, topic }) => (
  <>
    <a href={placeOf("tail", [], { filter })}>Watch</a> {topic && <a href={placeOf("subscriptions", [], { topic })}>Who gets it</a>}
  </>
);
