"""dunlin with a data directory on disk: started, watched, killed. And the load generator."""

import json
import os
import re
import signal
import socket
import subprocess
import threading
import time

# Longer than any start here.
START_LIMIT_S = 120
# How often memory is looked at.
LOOK_S = 0.02
# MQTT 3.1.1, a clean session of the client "bench", and what is said to it.
CONNECT, CONNACK = b"\x10\x11\0\x04MQTT\x04\x02\0\x3c\0\x05bench", b"\x20\2\0\0"
# What runs, to be ended whatever happens.
STARTED = set()


class Broker:
    """One process, from its start until it is killed or told to stop."""

    def __init__(self, program, folder, shards, options=(), core=None):
        self.port, self.log = free_port(), os.path.join(folder, "log")
        pinned = [] if core is None else ["taskset", "--cpu-list", str(core)]
        arguments = ["--port", str(self.port), "--storage", "disk", "--data-dir", os.path.join(folder, "data")]
        arguments += ["--shards", str(shards), "--sys-interval", "off", "--log-format", "json", "--node-name", "bench"]
        arguments += options
        with open(self.log, "wb") as log:
            self.began = time.monotonic()
            self.process = subprocess.Popen([*pinned, program, *arguments], stdout=log, stderr=subprocess.STDOUT)
        STARTED.add(self.process)
        self.accepting_s = self.await_accepting()

    def await_accepting(self):
        """Seconds from its start until it answered a CONNECT."""
        while time.monotonic() - self.began < START_LIMIT_S:
            if self.process.poll() is not None:
                raise SystemExit(f"dunlin ended: {self.said()}")
            try:
                with socket.create_connection(("127.0.0.1", self.port), 1) as client:
                    client.settimeout(30)
                    client.sendall(CONNECT)
                    if client.recv(4) == CONNACK:
                        return time.monotonic() - self.began
            except OSError:
                time.sleep(0.005)
        raise SystemExit(f"dunlin did not answer within {START_LIMIT_S} s: {self.said()}")

    def said(self):
        with open(self.log, encoding="utf-8", errors="replace") as log:
            return log.read()[-2000:]

    def recovered(self):
        """The fields of its line on what it read back."""
        with open(self.log, encoding="utf-8", errors="replace") as log:
            for line in log:
                if "store_recovered" in line:
                    return json.loads(line)
        raise SystemExit(f"dunlin does not say what it read back: {self.said()}")

    def memory(self, field):
        """Bytes: VmRSS is what it has, VmHWM the most that it ever had."""
        with open(f"/proc/{self.process.pid}/status", encoding="ascii") as status:
            return int(re.search(rf"{field}:\s+(\d+) kB", status.read())[1]) * 1024

    def settled(self, limit_s=90):
        """What it has when that has not changed by a hundredth for ten seconds."""
        last, since, begin = self.memory("VmRSS"), time.monotonic(), time.monotonic()
        while time.monotonic() - since < 10 and time.monotonic() - begin < limit_s:
            time.sleep(0.2)
            now = self.memory("VmRSS")
            if abs(now - last) > last / 100:
                last, since = now, time.monotonic()
        return self.memory("VmRSS")

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.ended()

    def stop(self):
        self.process.terminate()
        try:
            self.ended(60)
        except subprocess.TimeoutExpired:
            self.kill()

    def ended(self, limit_s=30):
        self.process.wait(limit_s)
        STARTED.discard(self.process)


class Watch:
    """The memory of a process, looked at until it is told to stop: pairs of unix milliseconds and bytes."""

    def __init__(self, broker):
        self.seen, self.broker, self.stopped = [], broker, threading.Event()
        self.thread = threading.Thread(target=self.look, daemon=True)
        self.thread.start()

    def look(self):
        while not self.stopped.wait(LOOK_S):
            try:
                self.seen.append((time.time() * 1e3, self.broker.memory("VmRSS")))
            except (OSError, TypeError):
                return

    def most(self, from_ms, to_ms):
        return max(bytes_ for at, bytes_ in self.seen if from_ms <= at <= to_ms)

    def stop(self):
        self.stopped.set()
        self.thread.join()


class Load:
    """A run of loadtest on a scenario."""

    def __init__(self, program, port, scenario, folder, name, core=None, ahead=False):
        file, self.json = os.path.join(folder, name + ".toml"), os.path.join(folder, name + ".json")
        with open(file, "w", encoding="utf-8") as toml:
            toml.write(scenario)
        before = [] if core is None else ["taskset", "--cpu-list", str(core)]
        if ahead and subprocess.run(["chrt", "--fifo", "1", "true"], stderr=subprocess.DEVNULL, check=False).returncode == 0:
            before += ["chrt", "--fifo", "1"]
        command = [*before, program, "run", file, "--port", str(port), "--quiet", "--json", self.json]
        with open(os.path.join(folder, name + ".said"), "wb") as said:
            self.process = subprocess.Popen(command, stdout=said, stderr=subprocess.STDOUT)
        self.said = said.name
        STARTED.add(self.process)

    def interrupt(self):
        self.process.send_signal(signal.SIGINT)

    def report(self, limit_s=600):
        self.process.wait(limit_s)
        STARTED.discard(self.process)
        try:
            with open(self.json, encoding="utf-8") as report:
                return Report(json.load(report))
        except FileNotFoundError:
            with open(self.said, encoding="utf-8", errors="replace") as said:
                raise SystemExit(f"loadtest reported nothing: {said.read()[-2000:]}") from None


class Report:
    """What a run of loadtest told."""

    def __init__(self, value):
        self.value, self.began = value, value["started_unix_ms"]

    def span(self, name):
        """A stage by the wall clock; one that waits for deliveries ends with the last."""
        stage = next(stage for stage in self.value["stages"] if stage["name"] == name)
        begin = self.began + stage["started_ms"]
        done = stage.get("completed_in_ms")
        return begin, begin + done if done is not None else self.began + stage["ended_ms"]

    def p99_us(self, from_ms, to_ms):
        """Of the whole seconds between two moments: the median of their p99, and the worst."""
        all_us = []
        for second in self.value["series"]:
            end = self.began + second["at_s"] * 1e3
            if end - 1e3 >= from_ms and end <= to_ms and second["messages_received"] > 0:
                all_us.append(second["p99_ns"] / 1e3)
        all_us.sort()
        return (all_us[len(all_us) // 2], all_us[-1]) if all_us else (float("nan"), float("nan"))

    def faults(self):
        """All that may not happen, in words."""
        verdict, connections = self.value["verdict"], self.value["connections"]
        kinds = [*verdict["deliveries"], verdict["retained"]]
        counts = {
            "lost": sum(max(0, kind["expected"] - kind["excused"] - kind["received"]) for kind in kinds),
            "duplicated": sum(kind["duplicated"] for kind in kinds),
            "reordered": sum(kind["reordered"] for kind in kinds),
            "corrupted": verdict["corrupted"],
            "misdirected": verdict["misdirected"],
            "connections lost": sum(connections["lost"].values()),
            "not served": connections["attempted"] - connections["subscribed"],
        }
        return [f"{count} {what}" for what, count in counts.items() if count > 0]


class Table:
    """Lines of figures, some with what was to be reached."""

    def __init__(self):
        self.missed = 0
        print("| figure | measured | wanted | kept |\n|---|---|---|---|", flush=True)

    def row(self, words, value, unit="", least=None, most=None):
        wanted, kept = "", ""
        if least is not None or most is not None:
            wanted = f">= {least:,}" if most is None else f"<= {most:,}"
            is_kept = value >= least if most is None else value <= most
            kept = "yes" if is_kept else "**no**"
            self.missed += not is_kept
        digits = 0 if abs(value) >= 1000 or value == int(value) else 2
        print(f"| {words} | {value:,.{digits}f}{' ' * bool(unit)}{unit} | {wanted} | {kept} |", flush=True)

    def fault(self, words, faults):
        self.missed += bool(faults)
        print(f"| {words} | {', '.join(faults) or 'none'} | none | {'**no**' if faults else 'yes'} |", flush=True)


def end_all():
    for process in list(STARTED):
        process.kill()
        process.wait()


def free_port():
    """Below those that the system gives to clients: what listens must not find its port taken by one of them."""
    for port in range(21_000 + os.getpid() % 5_000, 32_000):
        with socket.socket() as one:
            try:
                one.bind(("127.0.0.1", port))
                return port
            except OSError:
                continue
    raise SystemExit("no port is free")
