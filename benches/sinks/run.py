"""Measures sinks; `scripts/sinks` says what and how. Arguments: the folder of the programs, and how many messages."""

import asyncio
import glob
import os
import pwd
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time

PROGRAMS, MESSAGES = sys.argv[1], int(sys.argv[2])
PUBLISHERS, INFLIGHT, PAYLOAD = 20, 20, 64
LIMIT_S = 600
# What runs, to be ended whatever happens.
STARTED = set()
TICK_S = 1 / os.sysconf("SC_CLK_TCK")


class Recorder:
    """An HTTP server that counts the lines that it is sent."""

    def __init__(self):
        self.lines = 0
        self.port = None
        ready = threading.Event()
        threading.Thread(target=lambda: asyncio.run(self.serve(ready)), daemon=True).start()
        ready.wait()

    async def serve(self, ready):
        server = await asyncio.start_server(self.handle, "127.0.0.1", 0, limit=1 << 20)
        self.port = server.sockets[0].getsockname()[1]
        ready.set()
        await server.serve_forever()

    async def handle(self, reader, writer):
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                fields = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:] if b": " in line)
                body = await reader.readexactly(int(fields.get(b"content-length", 0)))
                self.lines += body.count(b"\n") + (not body.endswith(b"\n"))
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
                await writer.drain()
        except asyncio.IncompleteReadError:
            writer.close()


class Postgres:
    """A cluster of its own, as `nobody` where this runs as root."""

    def __init__(self, folder):
        self.folder, self.port = folder, free_port()
        self.switch = {}
        if os.geteuid() == 0:
            nobody = pwd.getpwnam("nobody")
            os.chown(folder, nobody.pw_uid, nobody.pw_gid)
            self.switch = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
        data = folder + "/data"
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "cwd": folder, **self.switch}
        subprocess.run([program("initdb"), "-A", "trust", "-U", "dunlin", "-D", data], check=True, **quiet)
        command = [program("postgres"), "-D", data, "-k", folder, "-h", "127.0.0.1", "-p", str(self.port)]
        self.process = subprocess.Popen(command, **quiet)
        wait_for("PostgreSQL", lambda: self.psql("SELECT 1", "postgres", check=False) == "1")
        self.psql("CREATE DATABASE dunlin", "postgres")
        self.psql("CREATE TABLE readings (topic text, payload bytea)")

    def psql(self, sql, database="dunlin", check=True):
        command = [program("psql"), "-X", "-q", "-A", "-t", "-U", "dunlin", "-h", self.folder, "-p", str(self.port)]
        done = subprocess.run(command + ["-d", database, "-c", sql], capture_output=True, text=True, check=check)
        return done.stdout.strip()

    def cpu_s(self):
        children = subprocess.run(["pgrep", "-P", str(self.process.pid)], capture_output=True, text=True, check=False)
        return cpu_s(self.process.pid, *map(int, children.stdout.split()))


def program(name):
    return (sorted(glob.glob(f"/usr/lib/postgresql/*/bin/{name}")) or [shutil.which(name)])[-1]


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def wait_for(what, is_there):
    until = time.monotonic() + LIMIT_S
    while not is_there():
        if time.monotonic() > until:
            sys.exit(f"{what} takes longer than {LIMIT_S} s")
        time.sleep(0.02)


def cpu_s(*pids):
    total = 0
    for pid in pids:
        try:
            with open(f"/proc/{pid}/stat") as stat:
                fields = stat.read().rsplit(")", 1)[1].split()
        except FileNotFoundError:
            continue
        total += int(fields[11]) + int(fields[12])
    return total * TICK_S


def dunlin(folder, sink):
    """A broker with a data directory and perhaps a sink; gives the process and its port."""
    with open(folder + "/dunlin.toml", "w") as file:
        file.write("[admin]\nport = \"off\"\n" + sink)
    command = [PROGRAMS + "/dunlin", "--config", folder + "/dunlin.toml", "--port", "0", "--no-pin", "--storage", "disk"]
    # The sink is as far behind as the publishers are ahead: its queue must take that.
    command += ["--data-dir", folder + "/data", "--free-space-min", "0", "--max-queued-messages", "1000000", "--max-queued-bytes", "1GiB"]
    with open(folder + "/log", "w") as log:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True)
    STARTED.add(process)
    line = process.stdout.readline()
    if "listening on " not in line:
        sys.exit(open(folder + "/log").read())
    port = int(line.split("listening on 127.0.0.1:")[1].split()[0])
    if sink:
        wait_for("the sink", lambda: "connector_connected kind=sink" in open(folder + "/log").read())
    return process, port


def mosquitto(folder):
    port = free_port()
    with open(folder + "/mosquitto.conf", "w") as file:
        file.write(f"listener {port} 127.0.0.1\nallow_anonymous true\npersistence true\npersistence_location {folder}/\n")
        file.write("autosave_interval 1\nmax_queued_messages 0\nmax_inflight_messages 0\nuser root\n")
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    server = shutil.which("mosquitto") or "/usr/sbin/mosquitto"
    process = subprocess.Popen([server, "-c", folder + "/mosquitto.conf"], **quiet)
    STARTED.add(process)
    wait_for("Mosquitto", lambda: socket.socket().connect_ex(("127.0.0.1", port)) == 0)
    return process, port


def bridge(port, *target):
    command = [sys.executable, os.path.dirname(__file__) + "/bridge.py", str(port), *map(str, target)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    STARTED.add(process)
    if process.stdout.readline() != "subscribed\n":
        sys.exit("the bridge does not subscribe")
    return process


def carry(port, arrived, pids):
    """Publishes, and waits until everything has arrived: messages a second, CPU a message, and how long publishing took."""
    before, began = cpu_s(*pids), time.monotonic()
    load = [PROGRAMS + "/loadtest", "pub", "-p", str(port), "-c", str(PUBLISHERS), "-i", "0", "-I", "0", "-F", str(INFLIGHT)]
    load += ["-L", str(MESSAGES), "-s", str(PAYLOAD), "-q", "1", "-t", "plant/%i"]
    subprocess.run(load, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    published = time.monotonic() - began
    wait_for("carrying", lambda: arrived() >= MESSAGES)
    took = time.monotonic() - began
    return MESSAGES / took, (cpu_s(*pids) - before) / MESSAGES * 1e6, published


def p99(port):
    """What other clients notice: the p99 of pairs that send 500 messages a second in all, in the words of loadtest."""
    load = [PROGRAMS + "/loadtest", "one-to-one", "-p", str(port), "--clients", "20", "--rate", "500", "--duration", "10s"]
    told = subprocess.run(load + ["--qos", "1"], capture_output=True, text=True, check=False).stdout
    # The row of deliveries: a name, how many, then a number and a unit for each column.
    row = next((line for line in told.splitlines() if line.strip().startswith("delivery  ")), None)
    if row is None:
        sys.exit(f"loadtest tells no latency: {told}")
    fields = row.split()
    return " ".join(fields[6:8])


def end(*processes):
    for process in processes:
        process.terminate()
    for process in processes:
        process.wait()
        STARTED.discard(process)


def sink_to(target, recorder, postgres):
    head = "[[sink]]\nname = \"bench\"\ntopics = [\"plant/#\"]\n"
    if target == "http":
        # A line for each, whatever bytes a payload has.
        return head + "template = \"{{ payload_base64 }}\"\n" + f"[sink.http]\nurl = \"http://127.0.0.1:{recorder.port}/\"\nbody = \"lines\"\n"
    place = f"host = \"{postgres.folder}\"\nport = {postgres.port}\ndatabase = \"dunlin\"\nusername = \"dunlin\"\n"
    columns = "[sink.postgres.columns]\ntopic = \"topic\"\npayload = \"output_bytes\"\n"
    return head + "format = \"raw\"\n[sink.postgres]\n" + place + "table = \"readings\"\n" + columns


def main():
    base = tempfile.mkdtemp(prefix="dunlin-sinks-")
    os.chmod(base, 0o755)
    os.mkdir(base + "/postgres")
    recorder, postgres = Recorder(), Postgres(base + "/postgres")
    print(f"{MESSAGES} messages of QoS 1, {PUBLISHERS} publishers with {INFLIGHT} under way, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    print(f"{'target':<10}{'by':<22}{'messages/s':>12}{'CPU us/message':>16}{'published in s':>16}")
    try:
        for target in ("http", "postgres"):
            for way in ("dunlin", "mosquitto and paho"):
                folder = tempfile.mkdtemp(dir=base)
                recorder.lines = 0
                postgres.psql("TRUNCATE readings")
                arrived = (lambda: recorder.lines) if target == "http" else lambda: int(postgres.psql("SELECT count(*) FROM readings"))
                if way == "dunlin":
                    broker, port = dunlin(folder, sink_to(target, recorder, postgres))
                    running = [broker]
                else:
                    broker, port = mosquitto(folder)
                    place = ("http", recorder.port) if target == "http" else ("postgres", postgres.folder, postgres.port)
                    running = [broker, bridge(port, *place)]
                rate, cost, published = carry(port, arrived, [process.pid for process in running])
                print(f"{target:<10}{way:<22}{rate:>12.0f}{cost:>16.1f}{published:>16.1f}", flush=True)
                end(*reversed(running))
        others(base, recorder)
    finally:
        end(*STARTED, postgres.process)
        shutil.rmtree(base, ignore_errors=True)


def others(base, recorder):
    """The p99 of other clients without a sink, and beside one that is as busy as it can be."""
    for name, sink in (("no sink", ""), ("a busy sink to http", sink_to("http", recorder, None))):
        broker, port = dunlin(tempfile.mkdtemp(dir=base), sink)
        busy = None
        if sink:
            load = [PROGRAMS + "/loadtest", "pub", "-p", str(port), "-c", "5", "-i", "0", "-I", "10", "-s", str(PAYLOAD), "-q", "1"]
            busy = subprocess.Popen(load + ["-t", "plant/%i", "-D", "30"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        print(f"p99 of other clients, {name}: {p99(port)}", flush=True)
        end(*filter(None, (busy, broker)))


if __name__ == "__main__":
    main()
