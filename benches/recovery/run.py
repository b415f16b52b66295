"""Measures how dunlin starts again on much, and how it keeps queues that are longer than memory; `scripts/recovery` says what and how.
Arguments: the folder of the programs, one of this run's own, what to measure, how many sessions, how many messages for each of
them, and how many sessions with queues."""

import os
import shutil
import subprocess
import sys
import time

from broker import Broker, Load, Table, Watch, end_all

PROGRAMS, FOLDER, WHAT = sys.argv[1:4]
SESSIONS, EACH, QUEUES = map(int, sys.argv[4:7])
DUNLIN, LOADTEST = os.path.join(PROGRAMS, "dunlin"), os.path.join(PROGRAMS, "loadtest")
CORES = os.cpu_count()
# So many sessions want the same messages: a message is written once, and referred to.
GROUP = 10
PAYLOAD = "x" * 100
# What is queued beyond it has a place in memory and no more.
QUEUED_MEMORY = 16 << 20
MESSAGES_A_QUEUE = 100
# As little as may be, to have all of them on the disk alone.
LEAST_MEMORY = 64 << 10
# Who has the broker's core to itself, and what watches it from the other one.
BROKER_CORE, LOAD_CORE = 0, CORES - 1
OTHERS, OTHERS_RATE, OTHERS_S = 50, 2000, 1000
NO_LIMITS = ["--max-queued-messages", "10000000", "--max-queued-bytes", "1GiB", "--max-inflight", "1000"]
NO_LIMITS += ["--log-level", "info"]


def begin(shards):
    return f'{{"kind":"directory","format":2,"node_name":"bench","shards":{shards},"made_unix_ms":{int(time.time() * 1e3)}}}\n'


def session(client_id, filters):
    now = int(time.time() * 1e3)
    line = f'{{"kind":"session","client_id":"{client_id}","expiry_s":4294967295,"begun_unix_ms":{now},"disconnected_unix_ms":{now}}}\n'
    options = '"qos":1,"no_local":false,"retain_as_published":false,"retain_handling":0'
    return line + "".join(
        f'{{"kind":"subscription","client_id":"{client_id}","filter":"{one}",{options}}}\n' for one in filters
    )


def fleet():
    """Sessions of two subscriptions, those of a group with the same queued messages."""
    for group in range((SESSIONS + GROUP - 1) // GROUP):
        topic = f"group/{group}/news"
        message = f'"topic":"{topic}","published_qos":1,"published_retain":false,"payload":"%08d{PAYLOAD[8:]}"}}\n'
        messages = [message % number for number in range(EACH)]
        lines = []
        for member in range(group * GROUP, min((group + 1) * GROUP, SESSIONS)):
            head = f'{{"kind":"delivery","client_id":"client-{member}","state":"queued","qos":1,"retain":false,'
            lines.append(session(f"client-{member}", [f"device/{member}/commands", topic]))
            lines.extend(head + message for message in messages)
        yield "".join(lines)


def imported(folder, lines, shards):
    """Makes a data directory."""
    arguments = [DUNLIN, "store", "import", os.path.join(folder, "data")]
    with subprocess.Popen(arguments, stdin=subprocess.PIPE, text=True) as process:
        process.stdin.write(begin(shards))
        for some in lines:
            process.stdin.write(some)
        process.stdin.close()
        if process.wait() != 0:
            raise SystemExit(f"dunlin store import: status {process.returncode}")


def one_start(table, words, broker):
    """A start on what there is, and the memory of it."""
    told, most = broker.recovered(), broker.memory("VmHWM")
    after = broker.settled()
    table.row(f"{words}: until a CONNECT is answered", broker.accepting_s, "s", most=5)
    a_second = told["records"] / (told["took_ms"] / 1e3) if told["took_ms"] else 0
    table.row(f"{words}: records read", told["records"])
    table.row(f"{words}: records a second and core", a_second / CORES, least=3_000_000)
    table.row(f"{words}: most memory until then", most / 1e6, "MB")
    table.row(f"{words}: memory after it", after / 1e6, "MB")
    table.row(f"{words}: most by after", most / after, "times", most=1.3)
    missing = [
        f"{name} {told[name]:,} of {wanted:,}"
        for name, wanted in [("sessions", SESSIONS), ("subscriptions", 2 * SESSIONS), ("queued", SESSIONS * EACH)]
        if told[name] != wanted
    ]
    table.fault(f"{words}: what is missing", missing)


def recovery(folder):
    print(f"\n{SESSIONS:,} sessions with 2 subscriptions, {SESSIONS * EACH:,} queued messages, {CORES} shards\n")
    begun = time.monotonic()
    imported(folder, fleet(), CORES)
    made_s = time.monotonic() - begun
    table = Table()
    table.row("making the directory (`dunlin store import`)", made_s, "s")
    broker = Broker(DUNLIN, folder, CORES, NO_LIMITS)
    one_start(table, "from a log alone", broker)
    data = os.path.join(folder, "data")
    await_checkpoints(data)
    broker.kill()
    table.row("directory", disk_bytes(data) / 1e6, "MB on disk")
    broker = Broker(DUNLIN, folder, CORES, NO_LIMITS)
    one_start(table, "after kill -9", broker)
    broker.kill()
    return table.missed


def await_checkpoints(data, limit_s=180):
    """Until each log has one that is whole: nothing has grown for some seconds."""
    begin_s, before, since = time.monotonic(), None, time.monotonic()
    while time.monotonic() - begin_s < limit_s:
        names = [os.path.join(at, name) for at, _, files in os.walk(data) for name in files if name.startswith("checkpoint")]
        now = sorted((name, os.path.getsize(name)) for name in names if os.path.exists(name))
        if now != before:
            before, since = now, time.monotonic()
        if len({os.path.dirname(name) for name, _ in now}) == CORES and time.monotonic() - since > 5:
            return
        time.sleep(0.5)
    raise SystemExit(f"no checkpoint was made within {limit_s} s")


def disk_bytes(data):
    return sum(os.stat(os.path.join(at, name)).st_blocks * 512 for at, _, files in os.walk(data) for name in files)


SETTINGS = 'name = "queues"\ndrain = "10s"\n[broker]\nversion = "3.1.1"\nkeep_alive = "10m"\n'


def publishers(topic, targets, count=16, window=100):
    return f"""[[group]]
name = "pub"
clients = {count}
client_id = "pub-%i"
qos = 1
[group.publish]
topic = "{topic}/%r"
payload = 100
window = {window}
targets = {targets}
target_order = "in_turn"
"""


def stage(name, doing, **fields):
    lines = [f'[[stage]]\nname = "{name}"\ndo = "{doing}"']
    return "\n".join(lines + [f"{field} = {value}" for field, value in fields.items()]).replace("for_ =", "for =") + "\n"


def fill(broker, folder, topic, targets, each):
    """Sends so many to each of so many topics. Returns how many were acknowledged: all of them."""
    count = min(16, targets)
    one = -(-targets * each // count)
    scenario = SETTINGS + publishers(topic, targets, count)
    scenario += stage("connect", "ramp", groups='["pub"]')
    scenario += stage("fill", "burst", groups='["pub"]', messages=one)
    report = Load(LOADTEST, broker.port, scenario, folder, "fill", LOAD_CORE).report()
    told = report.value["verdict"]["messages"][1]
    if told["acknowledged"] != one * count:
        raise SystemExit(f"{told['acknowledged']:,} of {one * count:,} messages were acknowledged")
    return one * count


def others():
    text = SETTINGS + '[[group]]\nname = "osub"\nclients = %d\nclient_id = "osub-%%i"\nqos = 0\nsubscribe = ["others/%%i"]\n' % OTHERS
    text += '[[group]]\nname = "opub"\nclients = %d\nclient_id = "opub-%%i"\nqos = 0\n' % OTHERS
    text += f'[group.publish]\ntopic = "others/%i"\npayload = 64\nrate = {OTHERS_RATE}\n'
    text += stage("connect", "ramp", groups='["osub", "opub"]')
    return text + stage("measured", "hold", publish='["opub"]', for_=OTHERS_S, measure="true")


def queues(folder):
    count = QUEUES * MESSAGES_A_QUEUE
    print(f"\n{count:,} queued messages of 100 bytes, {MESSAGES_A_QUEUE} for each of {QUEUES:,} sessions, --max-queued-memory {QUEUED_MEMORY >> 20} MiB\n")
    table = Table()
    broker = Broker(DUNLIN, folder, 1, [*NO_LIMITS, "--max-queued-memory", str(QUEUED_MEMORY), "--max-connections", "1000000"], BROKER_CORE)
    watch = Watch(broker)
    scenario = SETTINGS + f'[[group]]\nname = "sub"\nclients = {QUEUES}\nclient_id = "sub-%i"\nclean_start = false\nqos = 1\nsubscribe = ["away/%i"]\n'
    scenario += publishers("away", QUEUES)
    scenario += stage("connect", "ramp", groups='["sub", "pub"]') + stage("leave", "drop", groups='["sub"]')
    scenario += stage("fill", "burst", groups='["pub"]', messages=-(-count // 16))
    scenario += stage("rest", "hold", for_=8) + stage("return", "resume", groups='["sub"]', measure="true", await_deliveries=200)
    beside = Load(LOADTEST, broker.port, others(), folder, "others", LOAD_CORE, ahead=True)
    report = Load(LOADTEST, broker.port, scenario, folder, "queues", LOAD_CORE).report(1200)
    beside.interrupt()
    seen = beside.report()
    watch.stop()
    broker.kill()
    fill_ms, rest, back = report.span("fill"), report.span("rest"), report.span("return")
    table.row("queued a second", count / (fill_ms[1] - fill_ms[0]) * 1e3)
    table.row("memory with all of them queued, most of it", watch.most(*rest) / 1e6, "MB", most=500)
    table.row("most memory while they are delivered", watch.most(*back) / 1e6, "MB")
    table.row("delivered a second when their clients return", count / (back[1] - back[0]) * 1e3, least=100_000)
    table.fault("lost, doubled, disordered", report.faults())
    (quiet, _), (busy, worst) = seen.p99_us(*rest), seen.p99_us(*back)
    table.row("others' p99 before, us", quiet)
    table.row("others' p99 meanwhile, us: median of the seconds", busy)
    table.row("others' p99 meanwhile, us: the worst second", worst)
    table.row("others' p99 meanwhile by before", busy / quiet, "times", most=2)
    table.fault("others: lost", [fault for fault in seen.faults() if "lost" in fault])
    return table.missed


def places(folder):
    sessions = QUEUES * 10
    print(f"\nMemory of a message that is on the disk alone: {sessions:,} sessions, --max-queued-memory {LEAST_MEMORY >> 10} KiB\n")
    table = Table()
    filters = ([f"away/{at}"] + ["warm/0"] * (at == 0) for at in range(sessions))
    imported(folder, (session(f"client-{at}", own) for at, own in enumerate(filters)), 1)
    broker = Broker(DUNLIN, folder, 1, [*NO_LIMITS, "--max-queued-memory", str(LEAST_MEMORY)], BROKER_CORE)
    # What is held while much is written is there before.
    fill(broker, folder, "warm", 1, sessions)
    before, queued, at_one = broker.settled(), 0, 0
    for each, most in [(1, 32), (10, 16)]:
        queued += fill(broker, folder, "away", sessions, each - queued // sessions)
        grown = broker.settled() - before
        table.row(f"bytes of memory a queued message, {each} for each session", grown / queued, most=most)
        if queued > sessions:
            table.row("the same of those behind the first", (grown - at_one) / (queued - sessions))
        at_one = grown
    broker.kill()
    return table.missed


def own(folder, name):
    path = os.path.join(folder, name)
    os.mkdir(path)
    return path


def main():
    parts = {"recovery": recovery, "places": places, "queues": queues}
    missed = 0
    try:
        for name, part in parts.items():
            if WHAT in ("all", name):
                folder = own(FOLDER, name)
                missed += part(folder)
                shutil.rmtree(folder)
    finally:
        end_all()
    if missed:
        raise SystemExit(f"\n{missed} aims were missed")


main()
