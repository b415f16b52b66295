"""Asks the admin server of a broker with many clients, checks each answer, and prints what the answers took.

    DUNLIN_KEY=... admin_at_scale.py --admin HOST:PORT --mqtt HOST:PORT --pid PID --clients N [--cafile FILE] [--calls]

Waits until N clients are connected, connects some of its own to be kicked, and asks, one question at a time: metrics, the first page of clients, all pages
one after the other, clients by prefix, single ones, the first by queue; then it kicks its own. What is right is known: every client is on one
page of all, once; a search has exactly the clients of all pages whose ids begin so; who is kicked is told 0x98 and is gone.

Turns of the shards are read from the broker's own histogram, before and after each kind of question, and once while nobody asks. A turn is also long when the
system gives the shard's core to another thread, so all is asked twice: as the system schedules, which says what answers take; and with the shards on
cores of their own, from which the broker's other threads, this program and whatever else its parent has started are moved away, which says what turns take.

The exit status is 1 where an answer is wrong or an aim is missed. With --calls all is asked once, and times are told and not judged: answers are, and sizes.
"""

import argparse
import bisect
import gc
import http.client
import json
import os
import random
import re
import signal
import socket
import ssl
import statistics
import sys
import time
import urllib.parse

SAMPLES = 50
QUIET_S = 5
# Between two questions: whoever asks without a pause finds everything in the processor's caches.
PAUSE_S = 0.01
SCRAPE_MAX_BYTES = 100 * 1024
PAGE_AIM_MS = SCRAPE_AIM_MS = 20
KICK_AIM_MS = 5
TURN_AIM_MS = 1
ADMINISTRATIVE_ACTION = 0x98
OPEN_METRICS = {"Accept": "application/openmetrics-text; version=1.0.0"}
TOO_SHORT = "let them stay longer (HOLD)"


class Wrong(Exception):
    """An answer is not what it has to be."""


def check(is_right, what):
    if not is_right:
        raise Wrong(what)


class Admin:
    """One connection to the admin server, kept as a program keeps it."""

    def __init__(self, address, key):
        host, port = address.rsplit(":", 1)
        self.http = http.client.HTTPConnection(host, int(port), timeout=30)
        self.headers = {"Authorization": f"Bearer {key}"}

    def ask(self, path, method="GET", wanted=200, headers=None):
        """The body of the answer, and the milliseconds until its last byte was here."""
        headers = {**self.headers, **(headers or {})}
        begun = time.perf_counter()
        self.http.request(method, path, headers=headers)
        answer = self.http.getresponse()
        body = answer.read()
        took_ms = (time.perf_counter() - begun) * 1000
        check(answer.status == wanted, f"{method} {path}: {answer.status}, not {wanted}: {body[:300]!r}")
        return body, took_ms

    def metrics(self):
        body, _ = self.ask("/metrics")
        return body.decode()

    def connected(self):
        return sum(int(value) for value in re.findall(r"^dunlin_clients_connected(?:\{[^}]*\})? (\d+)", self.metrics(), re.M))


class OwnClient:
    """A client of MQTT 5.0 that waits to be kicked."""

    def __init__(self, address, client_id, context):
        host, port = address.rsplit(":", 1)
        self.client_id = client_id
        self.socket = socket.create_connection((host, int(port)), 30)
        if context:
            self.socket = context.wrap_socket(self.socket, server_hostname=host)
        name = client_id.encode()
        body = b"\x00\x04MQTT\x05\x02\x00\x00\x00" + len(name).to_bytes(2, "big") + name
        self.socket.sendall(b"\x10" + bytes([len(body)]) + body)
        answer = self.socket.recv(512)
        check(answer[:1] == b"\x20" and answer[3:4] == b"\x00", f"CONNACK of {client_id}: {answer!r}")

    def wait_for_end(self):
        """The reason code that it is told, and when."""
        data = self.socket.recv(512)
        told = time.perf_counter()
        check(data[:1] == b"\xe0" and len(data) > 2, f"{self.client_id} was sent {data!r} and not DISCONNECT")
        check(self.socket.recv(1) == b"", f"{self.client_id} was sent more after DISCONNECT")
        self.socket.close()
        return data[2], told


def threads_of(pid):
    """The threads of a process with their names; none of one that has gone."""
    try:
        for task in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{task}/comm", encoding="utf-8") as name:
                yield int(task), name.read().strip()
    except OSError:
        return


def give_shards_their_cores(broker):
    """Moves shards to the first cores, and all that takes part to the others. Returns whether there are enough."""
    cores = sorted(os.sched_getaffinity(0))
    names = {name for _, name in threads_of(broker) if name.startswith("shard-")}
    if len(names) >= len(cores):
        return False
    own = dict(zip(sorted(names), cores))
    others = set(cores[len(names):])
    for pid in [broker, os.getpid(), *siblings()]:
        for task, name in threads_of(pid):
            os.sched_setaffinity(task, {own[name]} if pid == broker and name in own else others)
    return True


def siblings():
    """What the parent of this process has started, too."""
    for entry in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{entry}/stat", encoding="utf-8") as stat:
                parent = int(stat.read().rpartition(")")[2].split()[1])
        except (OSError, ValueError):
            continue
        if parent == os.getppid():
            yield int(entry)


class Turns:
    """The turns of all shards so far, and how often their threads were taken off their cores."""

    def __init__(self, admin, pid):
        self.at = time.perf_counter()
        self.below = {}
        for end, count in re.findall(r'^dunlin_turn_seconds_bucket\{[^}]*le="([^"]+)"[^}]*\} (\d+)', admin.metrics(), re.M):
            end = float(end.replace("+Inf", "inf"))
            self.below[end] = self.below.get(end, 0) + int(count)
        check(self.below, "no turns in the metrics")
        self.taken_off = 0
        for task, name in threads_of(pid):
            if name.startswith("shard-"):
                with open(f"/proc/{pid}/task/{task}/status", encoding="utf-8") as status:
                    self.taken_off += int(re.search(r"^nonvoluntary_ctxt_switches:\s*(\d+)", status.read(), re.M)[1])


class Phase:
    """What happened to the shards between two moments."""

    HEAD = f"{'':<28} {'seconds':>7} {'turns':>9} {'the longest':>16} {'over 1 ms':>9} {'taken off':>9}"

    def __init__(self, name, before, after):
        self.name, self.seconds, self.taken_off = name, after.at - before.at, after.taken_off - before.taken_off
        ends = sorted(after.below)
        below = [after.below[end] - before.below[end] for end in ends]
        self.turns = below[-1]
        longest = bisect.bisect_left(below, self.turns)
        self.longest_ms = (1000 * ends[longest - 1] if longest else 0, 1000 * ends[longest])
        self.longer = self.turns - below[ends.index(TURN_AIM_MS / 1000)]

    def row(self):
        low, high = self.longest_ms
        longest = f"{low:g} to {high:g} ms" if high < float("inf") else f"over {low:g} ms"
        return f"{self.name:<28} {self.seconds:>7.1f} {self.turns:>9} {longest:>16} {self.longer:>9} {self.taken_off:>9}"


class Table:
    """Times and sizes by what was asked, each with its aim."""

    HEAD = f"{'answers':<28} {'samples':>7} {'median':>12} {'the longest':>12}  aim"

    def __init__(self, judges_times):
        self.judges_times, self.rows, self.missed = judges_times, [], []

    def add(self, name, values_ms, aim=None):
        is_missed = aim is not None and max(values_ms) >= aim and self.judges_times
        self.row(name, values_ms, lambda ms: f"{ms:.2f} ms", ("" if aim is None else f"< {aim} ms", is_missed))

    def add_sizes(self, name, values, most):
        self.row(name, values, lambda size: f"{size / 1024:.1f} KiB", (f"<= {most // 1024} KiB", max(values) > most))

    def row(self, name, values, form, judgement):
        check(len(values) >= SAMPLES, f"{name}: {len(values)} samples are too few")
        aim, is_missed = judgement
        if is_missed:
            self.missed.append(f"{name}: {form(max(values))} and not {aim}")
            aim += " MISSED"
        self.rows.append(f"{name:<28} {len(values):>7} {form(statistics.median(values)):>12} {form(max(values)):>12}  {aim}".rstrip())


class Asked:
    """Every kind of question, some dozens of times each."""

    def __init__(self, arguments, admin, name):
        self.arguments, self.admin, self.name = arguments, admin, name
        self.table, self.phases = Table(not arguments.calls), []
        self.random = random.Random(1)
        self.client_ids = []
        self.own = []

    def all(self):
        """One kind after the other."""
        context = ssl.create_default_context(cafile=self.arguments.cafile) if self.arguments.cafile else None
        self.own = [OwnClient(self.arguments.mqtt, f"kicked-{number}", context) for number in range(SAMPLES)]
        kinds = [
            ("nobody asks", lambda: time.sleep(1 if self.arguments.calls else QUIET_S)),
            ("an unknown path", self.unknown_paths),
            ("metrics", self.scrapes),
            ("first page", self.first_pages),
            ("all pages", self.all_pages),
            ("by prefix", self.searches),
            ("one client", self.single_clients),
            ("first by queue", self.tops),
            ("kick", self.kicks),
        ]
        for name, ask in kinds:
            before = Turns(self.admin, self.arguments.pid)
            ask()
            self.phases.append(Phase(name, before, Turns(self.admin, self.arguments.pid)))
        connected = self.admin.connected()
        check(connected >= self.arguments.clients, f"only {connected} clients were left at the end: {TOO_SHORT}")

    def turns(self):
        """The table of what shards did."""
        return [f"turns of the shards, {self.name}", Phase.HEAD, *(phase.row() for phase in self.phases), ""]

    def missed_turns(self):
        """The aim of turns, if it was missed while somebody asked."""
        longer, quiet = sum(phase.longer for phase in self.phases[1:]), self.phases[0].longer
        taken_off = sum(phase.taken_off for phase in self.phases[1:])
        told = f"turns of the shards: {longer} took more than {TURN_AIM_MS} ms while somebody asked (taken off their cores {taken_off} times), {quiet} while nobody did"
        return [told] if longer else []

    def several(self, path, times=SAMPLES, **more):
        """The last answer, and what all took."""
        took = []
        for _ in range(times):
            body, took_ms = self.admin.ask(path, **more)
            took.append(took_ms)
            time.sleep(PAUSE_S)
        return body, took

    def unknown_paths(self):
        """What the way there and back takes, and the client."""
        _, took = self.several("/nothing", wanted=404)
        self.table.add("an unknown path (404)", took)

    def scrapes(self):
        took, sizes = [], []
        for _ in range(SAMPLES):
            body, took_ms = self.admin.ask("/metrics", headers=OPEN_METRICS)
            check(body.endswith(b"# EOF\n"), f"metrics end with {body[-30:]!r}")
            responding = re.findall(rb"^dunlin_shard_responding\{[^}]*\} (\d)", body, re.M)
            check(responding and set(responding) == {b"1"}, f"shards that answered: {responding}")
            took.append(took_ms)
            sizes.append(len(body))
            time.sleep(PAUSE_S)
        self.table.add("metrics", took, aim=SCRAPE_AIM_MS)
        self.table.add_sizes("metrics, their size", sizes, SCRAPE_MAX_BYTES)

    def first_pages(self):
        body, took = self.several("/api/v1/clients?limit=100")
        check(len(json.loads(body)["clients"]) == 100, "the first page has no 100 clients")
        self.table.add("first page of 100 clients", took, aim=PAGE_AIM_MS)

    def all_pages(self):
        took = []
        while len(took) < SAMPLES:
            self.client_ids = sorted(self.walk(took))
            twice = [left for left, right in zip(self.client_ids, self.client_ids[1:]) if left == right]
            check(not twice, f"clients that are on two pages: {twice[:5]}")
            wanted = self.arguments.clients + SAMPLES
            check(len(self.client_ids) >= wanted, f"{len(self.client_ids)} clients on all pages, of {wanted}")
            own = {client.client_id for client in self.own}
            check(len(own.intersection(self.client_ids)) == SAMPLES, "a client of our own is on no page")
        self.table.add("each page of all", took, aim=PAGE_AIM_MS)

    def walk(self, took):
        """The ids of all pages; what each took is added."""
        cursor = None
        while cursor != "":
            body, took_ms = self.admin.ask("/api/v1/clients?limit=100" + (f"&cursor={cursor}" if cursor else ""))
            took.append(took_ms)
            page = json.loads(body)
            cursor = page.get("next", "")
            check(all(client["connected"] for client in page["clients"]), "a client of a page is not connected")
            yield from (client["client_id"] for client in page["clients"])

    def searches(self):
        """All that begin as one of them does, up to some hundred. A search of many clients takes several requests."""
        each, whole = [], []
        for _ in range(SAMPLES):
            prefix = self.random.choice(self.client_ids)[:-2]
            path = "/api/v1/clients?limit=100&prefix=" + urllib.parse.quote(prefix)
            found, cursor, sum_ms = [], None, 0
            while cursor != "":
                body, took_ms = self.admin.ask(path + (f"&cursor={cursor}" if cursor else ""))
                page = json.loads(body)
                found += [client["client_id"] for client in page["clients"]]
                cursor = page.get("next", "")
                each.append(took_ms)
                sum_ms += took_ms
            whole.append(sum_ms)
            first = bisect.bisect_left(self.client_ids, prefix)
            end = bisect.bisect_left(self.client_ids, prefix + "\U0010ffff")
            check(sorted(found) == self.client_ids[first:end], f"clients of {prefix}: {len(found)} and not {end - first}")
        self.table.add("by prefix, each request", each, aim=PAGE_AIM_MS)
        self.table.add("by prefix, the whole search", whole)

    def single_clients(self):
        took = []
        for _ in range(4 * SAMPLES):
            client_id = self.random.choice(self.client_ids)
            body, took_ms = self.admin.ask("/api/v1/clients/" + urllib.parse.quote(client_id, safe=""))
            client = json.loads(body)
            is_right = client["client_id"] == client_id and client["connected"] and client["connection"]["connected_ms"] > 0
            check(is_right, f"details of {client_id}: {client}")
            took.append(took_ms)
            time.sleep(PAUSE_S / 5)
        self.table.add("one client", took)

    def tops(self):
        body, took = self.several("/api/v1/top?by=queued&limit=10")
        check(all(client["value"] > 0 for client in json.loads(body)["clients"]), f"the first by queue: {body!r}")
        self.table.add("the first 10 by queue", took)

    def kicks(self):
        took, told = [], []
        for client in self.own:
            path = "/api/v1/clients/" + client.client_id
            begun = time.perf_counter()
            _, took_ms = self.admin.ask(path, "DELETE", 204)
            code, told_at = client.wait_for_end()
            check(code == ADMINISTRATIVE_ACTION, f"{client.client_id} was told {code:#x} and not {ADMINISTRATIVE_ACTION:#x}")
            took.append(took_ms)
            told.append((told_at - begun) * 1000)
            self.admin.ask(path, wanted=404)
            time.sleep(PAUSE_S)
        self.table.add("kick", took, aim=KICK_AIM_MS)
        self.table.add("kick, until its client knows", told, aim=KICK_AIM_MS)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--admin", required=True)
    parser.add_argument("--mqtt", required=True)
    parser.add_argument("--pid", required=True, type=int)
    parser.add_argument("--clients", required=True, type=int)
    parser.add_argument("--cafile")
    parser.add_argument("--calls", action="store_true")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, has_ended_early)
    # A pause of the collector would be told as one of the broker's.
    gc.disable()
    admin = Admin(arguments.admin, os.environ["DUNLIN_KEY"])
    scheduled, apart = Asked(arguments, admin, "as the system schedules"), Asked(arguments, admin, "shards on cores of their own")
    error = None
    try:
        while admin.connected() < arguments.clients:
            time.sleep(0.5)
        scheduled.all()
        if not arguments.calls and give_shards_their_cores(arguments.pid):
            apart.all()
    except (Wrong, OSError, http.client.HTTPException) as wrong:
        error = wrong
    print("\n".join([Table.HEAD, *scheduled.table.rows, "", *scheduled.turns(), *(apart.turns() if apart.phases else [])]))
    if error:
        sys.exit(f"wrong: {error}")
    missed = scheduled.table.missed
    if not arguments.calls:
        missed = missed + (apart if apart.phases else scheduled).missed_turns()
    if missed:
        sys.exit("aims that were missed:\n  " + "\n  ".join(missed))


def has_ended_early(*_):
    raise Wrong(f"the clients went before all was asked: {TOO_SHORT}")


main()
