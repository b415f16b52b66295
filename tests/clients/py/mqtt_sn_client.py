"""MQTT-SN's side of tests/sn: mqtt-sn-12, a client that others wrote, against the broker at 127.0.0.1 and the port that is given.

It subscribes with QoS 0: version 1.0.9 of the client acknowledges nothing that it is sent. It ends with "passed", or with what was wrong.
"""

import logging
import sys
import time

from mqttsn12.client.MqttSnClient import MqttSnClient, MqttSnListener

logging.disable(logging.CRITICAL)
PORT = int(sys.argv[1])


class Heard(MqttSnListener):
    def __init__(self):
        self.messages = []

    def message_arrived(self, msg):
        self.messages.append((msg.get_topic_name(), msg.get_payload().decode()))


def client(name, **will):
    made = MqttSnClient()
    made.set_client_id(name)
    made.set_clean_session(True)
    made.set_keep_alive(30)
    if will:
        made.set_will(will["topic"], will["message"], 0, False)
    made.open("127.0.0.1", PORT)
    made.send_connect()
    return made


def wait(listening, heard, expected):
    deadline = time.monotonic() + 20
    while len(heard.messages) < len(expected) and time.monotonic() < deadline:
        listening.polling()
    assert sorted(heard.messages, key=str) == sorted(expected, key=str), (heard.messages, expected)


subscriber, heard = client("py-subscriber"), Heard()
subscriber.send_subscribe("fleet/+/t", 0, heard)
subscriber.send_subscribe_predefined(7, 0, heard)
publisher = client("py-publisher", topic="fleet/will/t", message="gone")
publisher.send_register("fleet/a/t")
for qos in (0, 1, 2):
    publisher.send_publish("fleet/a/t", b"qos %d" % qos, qos)
publisher.send_publish_predefined(7, b"predefined", 1)
publisher.send_ping_req()
of_name = [("fleet/a/t", "qos %d" % qos) for qos in (0, 1, 2)]
wait(subscriber, heard, of_name + [(None, "predefined")])
publisher.send_will_topic_update("fleet/last/t")
publisher.send_will_message_update("changed")
publisher.send_disconnect()
sleeper, slept = client("py-sleeper"), Heard()
sleeper.send_subscribe("naps", 0, slept)
sleeper.send_disconnect(60)
waker = client("py-waker")
waker.send_publish("naps", b"while it slept", 1)
sleeper.set_clean_session(False)
sleeper.send_connect()
wait(sleeper, slept, [("naps", "while it slept")])
subscriber.send_unsubscribe("fleet/+/t")
subscriber.send_disconnect()
print("passed")
