"""What people write where a broker has no sinks: a paho client that takes messages with QoS 1 and hands them on in batches.

Arguments: port of the broker, `http` and a port, or `postgres` and a folder and port. A message is acknowledged when its batch has arrived.
"""

import base64
import http.client
import subprocess
import sys
import threading

import paho.mqtt.client as mqtt

BATCH = 500
SECONDS = 0.2


class Http:
    def __init__(self, port):
        self.connection = http.client.HTTPConnection("127.0.0.1", int(port))

    def deliver(self, batch):
        body = b"".join(base64.b64encode(message.payload) + b"\n" for message in batch)
        self.connection.request("POST", "/", body)
        answer = self.connection.getresponse()
        answer.read()
        assert answer.status == 200


class Postgres:
    """`psql` that is told one COPY after another: no driver has to be installed."""

    def __init__(self, folder, port):
        command = ["psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", "-U", "dunlin", "-h", folder, "-p", port, "-d", "dunlin"]
        self.psql = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def deliver(self, batch):
        rows = b"".join(message.topic.encode() + b"\t\\\\x" + message.payload.hex().encode() + b"\n" for message in batch)
        self.psql.stdin.write(b"COPY readings (topic, payload) FROM STDIN;\n" + rows + b"\\.\n\\echo done\n")
        self.psql.stdin.flush()
        assert self.psql.stdout.readline() == b"done\n"


def main():
    target = Http(sys.argv[3]) if sys.argv[2] == "http" else Postgres(sys.argv[3], sys.argv[4])
    batch, lock = [], threading.Lock()
    client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, "bridge", clean_session=False, manual_ack=True)
    client.max_inflight_messages_set(0)

    def flush():
        if batch:
            target.deliver(batch)
            for message in batch:
                client.ack(message.mid, message.qos)
            batch.clear()

    def on_message(_client, _data, message):
        with lock:
            batch.append(message)
            if len(batch) >= BATCH:
                flush()

    def on_connect(*_):
        client.subscribe("plant/#", 1)

    def on_subscribe(*_):
        print("subscribed", flush=True)

    client.on_message, client.on_connect, client.on_subscribe = on_message, on_connect, on_subscribe
    client.connect("127.0.0.1", int(sys.argv[1]))
    client.loop_start()
    while True:
        threading.Event().wait(SECONDS)
        with lock:
            flush()


if __name__ == "__main__":
    main()
