// Logging in.
import { useEffect, useRef, useState } from "preact/hooks";
import { ask, path } from "../api.js";
import { Field, ProblemNote } from "../ui.jsx";

export function LogIn({ enter, hasEnded }) {
  const [user, setUser] = useState("");
  const [password, setPassword] = useState("");
  const [state, setState] = useState({});
  const form = useRef();
  useEffect(() => {
    document.title = "Log in · dunlin";
    form.current.querySelector("input").focus();
  }, []);
  const submit = async (event) => {
    event.preventDefault();
    setState({ busy: true });
    try {
      enter(await ask("POST", path("login"), { user, password }));
    } catch (problem) {
      setPassword("");
      setState({ problem });
      form.current?.querySelector("input[type=password]").focus();
    }
  };
  return (
    <main class="login">
      <form ref={form} onSubmit={submit}>
        <h1>
          <img src="icon.svg" alt="" width="32" height="32" /> dunlin
        </h1>
        <p class="hint">Log in to the broker’s dashboard.</p>
        {hasEnded && !state.problem && (
          <p class="note" role="alert">
            Your login has ended: its time was over, somebody has ended it or changed the users, or the broker was started again. Log in to go on where you were.
          </p>
        )}
        <ProblemNote problem={state.problem} />
        <Field label="Name" value={user} onInput={setUser} autocomplete="username" required />
        <Field label="Password" type="password" value={password} onInput={setPassword} autocomplete="current-password" required />
        <button type="submit" class="primary" disabled={state.busy}>
          {state.busy ? "Logging in…" : "Log in"}
        </button>
        <p class="hint">
          Nobody has made users yet? Then the name is <code>admin</code>, and the password stands in the broker’s log
          (<code>admin_password</code>), or <code>dunlin ctl password</code> makes one.
        </p>
      </form>
    </main>
  );
}
