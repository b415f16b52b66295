"""Asks every call of the admin API by a client that openapi-python-client has made from the API's own description.

    every_call.py URL VIEWER_KEY OPERATOR_KEY

Each call is asked as nobody, as somebody who may look, and as somebody who may do all. Fails where a call is missing from the
client or from the table below, where a status is another than expected or is not described, and where an answer is not what the
description says: the client's own types read it.
"""

import importlib
import json
import pathlib
import subprocess
import sys
import tempfile
import urllib.request
from collections import Counter

NOBODY, VIEWER, OPERATOR = "nobody", "viewer", "operator"

# Calls in order: name, arguments (a function of the types that were made), the operator's status. Who may look gets the same of a GET and 403
# of everything else; nobody gets 401.
CALLS = [
    ("overview", lambda t: {}, 200),
    ("settings", lambda t: {}, 200),
    ("history", lambda t: {"after_ms": 0}, 200),
    ("list_certificates", lambda t: {}, 200),
    ("list_log_lines", lambda t: {}, 200),
    ("list_clients", lambda t: {"limit": 3, "connected": True}, 200),
    ("client", lambda t: {"client_id": "a"}, 200),
    ("client_by_query", lambda t: {"client_id": "a"}, 200),
    ("client_subscriptions", lambda t: {"client_id": "a"}, 200),
    ("client_subscriptions_by_query", lambda t: {"client_id": "a", "skip": 0}, 200),
    ("list_subscriptions", lambda t: {"topic": "x"}, 200),
    ("list_groups", lambda t: {"limit": 10}, 200),
    ("top", lambda t: {"by": t.TopBy("messages_sent")}, 200),
    ("topics", lambda t: {"limit": 5}, 200),
    ("publish", lambda t: {"body": t.NewMessage(topic="r/1", payload="kept", retain=True, qos=1)}, 200),
    ("publish_batch", lambda t: {"body": [t.NewMessage(topic="r/2", payload="one"), t.NewMessage(topic="r/2", payload="two")]}, 200),
    ("list_retained", lambda t: {"filter_": "r/#"}, 200),
    ("delete_retained", lambda t: {"filter_": "r/#"}, 200),
    ("tail", lambda t: {"filter_": "#", "seconds": 1}, 200),
    ("trace_live", lambda t: {"client_id": "a", "seconds": 1}, 200),
    ("add_trace", lambda t: {"body": t.TraceRequest(seconds=60, client_id="a")}, 200),
    ("list_traces", lambda t: {}, 200),
    ("remove_trace", lambda t: {"id": t.seen["add_trace"].id}, 204),
    ("add_ban", lambda t: {"body": t.NewBan(client_id="nobody", seconds=60, reason="a test")}, 200),
    ("list_bans", lambda t: {}, 200),
    ("remove_ban", lambda t: {"client_id": "nobody"}, 204),
    ("list_listeners", lambda t: {}, 200),
    ("stop_listener", lambda t: {"name": t.seen["list_listeners"][0].name}, 204),
    ("start_listener", lambda t: {"name": t.seen["list_listeners"][0].name}, 204),
    ("list_bridges", lambda t: {}, 200),
    ("bridge", lambda t: {"name": t.seen["list_bridges"][0].name}, 200),
    ("stop_bridge", lambda t: {"name": t.seen["list_bridges"][0].name}, 204),
    ("start_bridge", lambda t: {"name": t.seen["list_bridges"][0].name}, 204),
    ("list_sinks", lambda t: {}, 200),
    ("sink", lambda t: {"name": t.seen["list_sinks"][0].name}, 200),
    ("test_sink", lambda t: {"name": "copies", "body": t.SinkTestMessage(topic="s/1", payload="tried")}, 200),
    ("pause_sink", lambda t: {"name": "copies"}, 204),
    ("resume_sink", lambda t: {"name": "copies"}, 204),
    ("list_sources", lambda t: {}, 200),
    ("source", lambda t: {"name": t.seen["list_sources"][0].name}, 200),
    ("pause_source", lambda t: {"name": "orders"}, 204),
    ("resume_source", lambda t: {"name": "orders"}, 204),
    ("begin_drain", lambda t: {"body": t.DrainRequest(clients_per_s=1, wait_s=600)}, 200),
    ("show_drain", lambda t: {}, 200),
    ("end_drain", lambda t: {}, 200),
    ("disconnect", lambda t: {"client_id": "b", "reason": "a test"}, 204),
    ("disconnect_by_query", lambda t: {"client_id": "c", "end_session": True}, 204),
    # The file of its users has gone: nothing is changed.
    ("reload", lambda t: {}, 409),
    # A file names users: there is no password for one login.
    ("make_password", lambda t: {}, 409),
    ("show_login", lambda t: {}, 200),
    ("log_out", lambda t: {}, 204),
    ("log_in", lambda t: {"body": t.Credentials(user="ann", password="sesame")}, 200),
    ("metrics", lambda t: {}, 200),
    ("healthz", lambda t: {}, 200),
    ("readyz", lambda t: {}, 200),
]

# For everybody, whoever asks.
OPEN = {"log_in", "metrics", "healthz", "readyz"}

# About whoever asks, a viewer as well; with what nobody is answered.
OF_A_LOGIN = {"show_login": 204, "log_out": 401}


class Types:
    """What was made of the description, and what calls before have answered."""

    def __init__(self, package):
        self.models = importlib.import_module(f"{package}.models")
        self.seen = {}

    def __getattr__(self, name):
        return getattr(self.models, name)


def made_client(document, folder):
    """Makes the client; returns its calls by name."""
    described = folder / "openapi.json"
    described.write_text(json.dumps(document))
    command = [str(pathlib.Path(sys.executable).parent / "openapi-python-client"), "generate", "--path", str(described)]
    made = subprocess.run(
        [*command, "--output-path", str(folder / "made"), "--meta", "none"], capture_output=True, text=True, check=True, timeout=60
    )
    said = made.stdout + made.stderr
    left_out = [line for line in said.splitlines() if "WARNING" in line or "ERROR" in line or "Unable" in line]
    assert not left_out, said
    sys.path.insert(0, str(folder))
    calls = {}
    for path in sorted((folder / "made" / "api").glob("*/*.py")):
        if path.stem != "__init__":
            calls[path.stem.rstrip("_")] = importlib.import_module(f"made.api.{path.parent.name}.{path.stem}")
    return calls


def expected(name, method, who, operator_status):
    if name in OF_A_LOGIN:
        return OF_A_LOGIN[name] if who == NOBODY else operator_status
    if name in OPEN or who == OPERATOR:
        return operator_status
    if who == NOBODY:
        return 401
    return operator_status if method == "get" else 403


def main():
    url, viewer, operator = sys.argv[1:]
    with urllib.request.urlopen(f"{url}/api/v1/openapi.json") as answer:
        document = json.load(answer)
    described = {
        operation["operationId"]: (method, operation)
        for methods in document["paths"].values()
        for method, operation in methods.items()
    }
    count = sum(len(methods) for methods in document["paths"].values())
    assert len(described) == count, "names of calls are not unique"
    with tempfile.TemporaryDirectory() as folder:
        calls = made_client(document, pathlib.Path(folder))
        in_table = {name for name, _, _ in CALLS}
        assert set(calls) == set(described), set(calls) ^ set(described)
        assert in_table == set(described), in_table ^ set(described)
        made = importlib.import_module("made")
        types = Types("made")
        problem = types.models.HttpProblem
        askers = {
            NOBODY: made.Client(base_url=url),
            VIEWER: made.AuthenticatedClient(base_url=url, token=viewer),
            OPERATOR: made.AuthenticatedClient(base_url=url, token=operator),
        }
        asked = Counter()
        for name, arguments, operator_status in CALLS:
            method, operation = described[name]
            for who, client in askers.items():
                answer = calls[name].sync_detailed(client=client, **arguments(types))
                status, where = int(answer.status_code), f"{name} as {who}"
                assert status == expected(name, method, who, operator_status), f"{where}: {status} {answer.content[:500]}"
                assert str(status) in operation["responses"], f"{where}: {status} is not described"
                if status >= 400:
                    assert isinstance(answer.parsed, problem) and answer.parsed.status == status, f"{where}: {answer.content[:500]}"
                elif status == 200:
                    assert answer.parsed is not None and not isinstance(answer.parsed, problem), f"{where}: {answer.content[:500]}"
                    types.seen[name] = answer.parsed
                asked[who] += 1
        assert types.seen["overview"].clients_connected >= 5, "there is traffic"
        assert len(types.seen["list_clients"].clients) == 3
    print(f"{len(described)} calls, asked as {dict(asked)}")


main()
