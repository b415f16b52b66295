// The busiest topics as a tree, with what each branch comes to.
import { useMemo, useRef, useState } from "preact/hooks";
import { path } from "../api.js";
import { bytes, compact, count, plural, span, visible } from "../format.js";
import { placeOf, useNarrow, usePoll, useRates, useSettled } from "../hooks.js";
import { Below, Choice, Field, Heading, Name, ProblemNote } from "../ui.jsx";

const ORDERS = [
  ["messages", "Most messages"],
  ["bytes", "Most bytes"],
  ["last", "Latest message"],
];
const TOPICS_MAX = 256;

// Branches with the sums of what is in them. `rates` is by topic; what is not known of any topic of a branch is not known of the branch.
function treeOf(topics, rates) {
  const root = { children: new Map() };
  for (const topic of topics) {
    const { messages: rate, bytes: bytesRate } = rates.get(topic.topic) ?? {};
    let node = root;
    let way = "";
    for (const [depth, level] of topic.topic.split("/").entries()) {
      way = depth === 0 ? level : `${way}/${level}`;
      if (!node.children.has(level)) node.children.set(level, { level, way, children: new Map(), messages: 0, bytes: 0, topics: 0, lastAgo: Infinity });
      node = node.children.get(level);
      if (rate !== undefined) node.rate = (node.rate ?? 0) + rate;
      if (bytesRate !== undefined) node.bytesRate = (node.bytesRate ?? 0) + bytesRate;
      node.messages += topic.messages;
      node.bytes += topic.bytes;
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
  messages: (left, right) => right.messages - left.messages,
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

// A topic that lost its place among those that are counted, and has it again, is counted anew.
const COUNTED_BY_TOPIC = { keyOf: (row) => row.topic, isSameCount: (now, before) => now.overcount === before.overcount };

export function Topics() {
  const [by, setBy] = useState("messages");
  const [wanted, setWanted] = useState("");
  const settled = useSettled(wanted);
  const [turned, setTurned] = useState(new Set());
  const { data, problem } = usePoll(path("topics", { by, contains: settled, limit: TOPICS_MAX }), 3000);
  const rates = useRates(data?.topics, ["messages", "bytes"], COUNTED_BY_TOPIC);
  // What was found before stays until what is searched for now has an answer.
  const last = useRef();
  last.current = data ?? last.current;
  const shown = last.current;
  const root = useMemo(() => treeOf(shown?.topics ?? [], rates), [shown, rates]);
  const search = (text) => {
    // What was turned over is another thing while all is open.
    if ((text === "") !== (wanted === "")) setTurned(new Set());
    setWanted(text);
  };
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
        <Field label="Topic contains" type="search" value={wanted} onInput={search} hint="Letter by letter." search />
        <Choice label="Order" value={by} onChange={setBy} options={ORDERS} />
      </form>
      <ProblemNote problem={problem} stale={data !== undefined} />
      {rows.length === 0 ? <p class="empty">{shown ? none(settled) : problem ? "" : "Looking…"}</p> : <Tree rows={rows} isOpen={isOpen} turn={turn} />}
      {shown && (
        <p class="hint">
          {settled === "" ? `The ${plural(shown.topics.length, "first topic")} of those` : `${plural(shown.topics.length, "topic")} of those`} that clients publish on, counted for{" "}
          {span(shown.counted_ms)}: while somebody looks, and for a minute after. The busiest are counted, 512 on each shard. What a branch comes to is the sum of the topics
          that are shown. Rates are of the last three seconds.
        </p>
      )}
    </>
  );
}

const none = (contains) =>
  contains === "" ? "No message since counting began. It counts while this page is open." : <>None of the topics that are counted contains <Name text={contains} full />.</>;

function Tree({ rows, isOpen, turn }) {
  const isNarrow = useNarrow();
  return (
    <div class="scroll" role="region" aria-label="Topics" tabIndex={0}>
      <table class="tree">
        <caption class="unseen">Topics by level</caption>
        <thead>
          <tr>
            <th scope="col">Topic</th>
            <th scope="col" class="number">
              Messages/s
            </th>
            {!isNarrow && MORE.map((title) => <th key={title} scope="col" class="number">{title}</th>)}
            {!isNarrow && <th scope="col">Look</th>}
          </tr>
        </thead>
        <tbody>
          {rows.map((node) => (
            <Row key={node.way} node={node} isOpen={isOpen(node)} turn={() => turn(node)} isNarrow={isNarrow} />
          ))}
        </tbody>
      </table>
    </div>
  );
}

const MORE = ["Messages", "Bytes/s", "Clients", "Last"];

// What stands under those.
const more = ({ topic, messages, bytesRate, lastAgo }) => [
  compact(messages),
  bytes(bytesRate),
  topic ? (topic.publishers >= 266 ? "266+" : count(topic.publishers)) : "",
  lastAgo < 1000 ? "now" : `${span(lastAgo)} ago`,
];

function Row({ node, isOpen, turn, isNarrow }) {
  const { topic, children, way, depth } = node;
  // Whoever watches a branch watches all of it: a filter a/# matches a as well.
  const filter = children.size > 0 ? `${way}/#` : way;
  const looks = <Looks filter={filter} topic={topic && way} />;
  return (
    <>
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
            <span class="unseen">{visible(way.slice(0, way.length - node.level.length))}</span>
            <Name text={node.level} />
            {children.size > 0 && <span class="hint">{count(node.topics)}</span>}
          </span>
        </th>
        <td class="number">{node.rate === undefined ? "–" : compact(node.rate)}</td>
        {!isNarrow && more(node).map((text, index) => <td key={MORE[index]} class="number">{text}</td>)}
        {!isNarrow && <td>{looks}</td>}
      </tr>
      {isNarrow && <Below span={2} facts={[...more(node).map((text, index) => [MORE[index], text]), ["Look", looks]]} />}
    </>
  );
}

// Where more is to be seen of a branch, and of a topic.
const Looks = ({ filter, topic }) => (
  <>
    <a href={placeOf("tail", [], { filter })}>Watch</a> {topic && <a href={placeOf("subscriptions", [], { topic })}>Who gets it</a>}
  </>
);
