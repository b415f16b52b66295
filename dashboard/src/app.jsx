// The frame around the views: who is logged in, where the page is, keys.
import { Component } from "preact";
import { useCallback, useEffect, useMemo, useRef, useState } from "preact/hooks";
import { ask, get, path, useLogin, whenLoggedOut } from "./api.js";
import { visibleName } from "./format.js";
import { placeOf, usePlace } from "./hooks.js";
import { chooseTheme, chosenTheme, THEMES } from "./theme.js";
import { Choice, Session } from "./ui.jsx";
import { Bans } from "./views/bans.jsx";
import { Bridge, Bridges } from "./views/bridges.jsx";
import { Client } from "./views/client.jsx";
import { Clients } from "./views/clients.jsx";
import { Drain } from "./views/drain.jsx";
import { Listeners } from "./views/listeners.jsx";
import { Log } from "./views/log.jsx";
import { LogIn } from "./views/login.jsx";
import { Overview } from "./views/overview.jsx";
import { Retained } from "./views/retained.jsx";
import { Settings } from "./views/settings.jsx";
import { Sink, Sinks } from "./views/sinks.jsx";
import { Source, Sources } from "./views/sources.jsx";
import { Subscriptions } from "./views/subscriptions.jsx";
import { Tail } from "./views/tail.jsx";
import { Top } from "./views/top.jsx";
import { Topics } from "./views/topics.jsx";

const GROUPS = [
  ["Broker", [["overview", "Overview", Overview]]],
  [
    "Clients",
    [
      ["clients", "Clients", Clients],
      ["top", "Slow and busy", Top],
      ["bans", "Bans", Bans],
    ],
  ],
  [
    "Messages",
    [
      ["topics", "Topics", Topics],
      ["tail", "Live tail", Tail],
      ["retained", "Retained", Retained],
      ["subscriptions", "Subscriptions", Subscriptions],
    ],
  ],
  [
    "Other systems",
    [
      ["sinks", "Sinks", Sinks],
      ["sources", "Sources", Sources],
      ["bridges", "Bridges", Bridges],
    ],
  ],
  [
    "Operation",
    [
      ["listeners", "Listeners", Listeners],
      ["drain", "Drain", Drain],
      ["log", "Log", Log],
      ["settings", "Settings", Settings],
    ],
  ],
];
// Views of one thing, whose name follows.
const VIEWS_OF_ONE = { clients: Client, sinks: Sink, sources: Source, bridges: Bridge };
const VIEWS = new Map(GROUPS.flatMap(([, views]) => views).map(([name, title, view]) => [name, { title, view }]));

export function App() {
  const [login, setLogin] = useState();
  const [hasEnded, setEnded] = useState(false);
  const accept = useCallback((known) => {
    useLogin(known);
    setLogin(known);
    setEnded(false);
  }, []);
  useEffect(() => {
    whenLoggedOut(() => {
      accept(null);
      setEnded(true);
    });
    get(path("login")).then(accept, () => accept(null));
  }, []);
  if (login === undefined) return null;
  return login ? <Frame login={login} leave={() => accept(null)} /> : <LogIn enter={accept} hasEnded={hasEnded} />;
}

function Frame({ login, leave }) {
  const place = usePlace();
  const [said, setSaid] = useState("");
  const [isOpen, setOpen] = useState(false);
  const main = useRef();
  const isOperator = login.role === "operator";
  const session = useMemo(() => ({ isOperator, announce: setSaid }), [isOperator]);
  const known = VIEWS.get(place.view);
  const title = known?.title ?? "Not found";
  // Whatever somebody goes to begins anew, also another search within one view.
  const where = `${place.turn} ${place.view}/${place.parts.join("/")}`;
  const isFirst = useRef(true);
  useKeys();
  useEffect(() => {
    document.title = `${visibleName(place.parts[0] ?? title).slice(0, 100)} · dunlin`;
    setOpen(false);
    setSaid("");
    if (!isFirst.current) {
      scrollTo(0, 0);
      main.current.querySelector("h1")?.focus({ preventScroll: true });
    }
    isFirst.current = false;
  }, [where]);
  useEffect(() => {
    if (!said) return undefined;
    const timer = setTimeout(() => setSaid(""), 8000);
    return () => clearTimeout(timer);
  }, [said]);
  const logOut = () => ask("POST", path("logout")).then(leave, leave);
  const View = place.parts.length > 0 && known ? (VIEWS_OF_ONE[place.view] ?? known.view) : known?.view;
  return (
    <Session.Provider value={session}>
      <a
        class="skip"
        href="#main"
        onClick={(event) => {
          event.preventDefault();
          main.current.focus();
        }}
      >
        Skip to the content
      </a>
      <header class="top">
        <a class="brand" href={placeOf("overview")}>
          <img src="icon.svg" alt="" width="24" height="24" /> dunlin
        </a>
        <button type="button" class="menu" aria-expanded={isOpen} aria-controls="views" onClick={() => setOpen(!isOpen)}>
          Menu
        </button>
        <Account login={login} logOut={logOut} />
      </header>
      <div class="frame">
        <Views current={place.view} isOpen={isOpen} />
        <main id="main" ref={main} tabIndex={-1}>
          <Guard key={where}>{View ? <View key={where} parts={place.parts} query={place.query} /> : <h1>There is no such view</h1>}</Guard>
        </main>
      </div>
      <div class={said ? "said" : "said unseen"} role="status">
        {said}
      </div>
    </Session.Provider>
  );
}

const Views = ({ current, isOpen }) => (
  <nav id="views" class={isOpen ? "views open" : "views"} aria-label="Views">
    {GROUPS.map(([group, views]) => (
      <div key={group} role="group" aria-label={group}>
        <p class="group" aria-hidden="true">
          {group}
        </p>
        <ul>
          {views.map(([name, title]) => (
            <li key={name}>
              <a href={placeOf(name)} aria-current={current === name ? "page" : undefined}>
                {title}
              </a>
            </li>
          ))}
        </ul>
      </div>
    ))}
    <p class="hint keys">
      <kbd>/</kbd> searches, <kbd>Esc</kbd> leaves
    </p>
  </nav>
);

function Account({ login, logOut }) {
  const [theme, setTheme] = useState(chosenTheme);
  const choose = (name) => {
    chooseTheme(name);
    setTheme(name);
  };
  return (
    <div class="account">
      <Choice label="Colours" value={theme} onChange={choose} options={THEMES} />
      <span class="who">
        <b>{login.user}</b> <span class="hint">{login.role}</span>
      </span>
      <button type="button" onClick={logOut}>
        Log out
      </button>
    </div>
  );
}

// "/" goes to the search field of the view, Esc leaves a field.
function useKeys() {
  useEffect(() => {
    const pressed = (event) => {
      const isField = event.target.matches?.("input, select, textarea");
      if (event.key === "Escape" && isField) event.target.blur();
      if (event.key !== "/" || isField || event.ctrlKey || event.metaKey || event.altKey) return;
      const field = document.querySelector("main [data-search]");
      if (field) {
        event.preventDefault();
        field.focus();
        field.select();
      }
    };
    addEventListener("keydown", pressed);
    return () => removeEventListener("keydown", pressed);
  }, []);
}

// What goes wrong in one view leaves the others.
class Guard extends Component {
  componentDidCatch(error) {
    console.error(error);
    this.setState({ error });
  }

  render({ children }, { error }) {
    if (!error) return children;
    return (
      <p class="note bad" role="alert">
        This view has failed: {String(error.message)}. Load the page again; if it happens again, it is a bug of dunlin.
      </p>
    );
  }
}
