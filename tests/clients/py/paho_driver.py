"""Drives one paho-mqtt client for a scenario of tests/clients (see ../words.rs)."""

import json
import sys

import paho.mqtt.client as paho
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.subscribeoptions import SubscribeOptions

from words import Aliases, emit, properties_of, to_bytes, to_text

V5 = 5
TRANSPORTS = {
    "tcp": "tcp",
    "tls": "tcp",
    "websocket": "websockets",
    "securewebsocket": "websockets",
    "unix": "unix",
}


def filled(kind, **values):
    """Properties of a packet, without those that are None or empty."""
    properties = Properties(kind)
    for name, value in values.items():
        if value is not None and value != []:
            setattr(properties, name, value)
    return properties


def of_message(kind, message, **more):
    """The properties of a PUBLISH or a will."""
    properties = properties_of(message)
    return filled(
        kind,
        PayloadFormatIndicator=properties["payload_format"],
        MessageExpiryInterval=properties["message_expiry_s"],
        ContentType=properties["content_type"],
        ResponseTopic=properties["response_topic"],
        CorrelationData=to_bytes(properties["correlation_data"]),
        UserProperty=[tuple(pair) for pair in properties["user"]],
        **more,
    )


class Driver:
    def __init__(self):
        self.client = None
        self.version = None
        self.aliases = Aliases()

    def connect(self, c):
        self.version = c["version"]
        arguments = {} if self.version == V5 else {"clean_session": c["clean"]}
        client = paho.Client(
            paho.CallbackAPIVersion.VERSION2,
            client_id=c["id"],
            protocol=self.version,
            transport=TRANSPORTS[c["transport"]],
            reconnect_on_failure=False,
            **arguments,
        )
        if c["ca"]:
            client.tls_set(ca_certs=c["ca"])
        client.on_connect = self.on_connect
        client.on_disconnect = self.on_disconnect
        client.on_message = self.on_message
        client.on_publish = lambda client, data, mid, reason, properties: emit("published", reason=reason.value)
        client.on_subscribe = lambda client, data, mid, reasons, properties: emit(
            "suback", reasons=[reason.value for reason in reasons]
        )
        client.on_unsubscribe = lambda client, data, mid, reasons, properties: emit(
            "unsuback", reasons=[reason.value for reason in reasons] if self.version == V5 else []
        )
        will = c["will"]
        if will:
            m = will["message"]
            properties = None
            if self.version == V5:
                properties = of_message(PacketTypes.WILLMESSAGE, m, WillDelayInterval=will["delay_s"])
            client.will_set(m["topic"], to_bytes(m["payload"]), m["qos"], m["retain"], properties)
        more = {}
        if self.version == V5:
            more["clean_start"] = c["clean"]
            more["properties"] = filled(
                PacketTypes.CONNECT,
                SessionExpiryInterval=c["session_expiry_s"],
                ReceiveMaximum=c["receive_maximum"],
                TopicAliasMaximum=c["topic_alias_maximum"],
            )
        self.client = client
        client.connect(c["host"], c["port"], keepalive=c["keep_alive_s"], **more)
        client.loop_start()

    def subscribe(self, c):
        if self.version == V5:
            topics = [
                (
                    s["filter"],
                    SubscribeOptions(s["qos"], s["no_local"], s["retain_as_published"], s["retain_handling"]),
                )
                for s in c["subscriptions"]
            ]
            properties = filled(PacketTypes.SUBSCRIBE, SubscriptionIdentifier=c["id"])
            self.client.subscribe(topics, properties=properties)
        else:
            self.client.subscribe([(s["filter"], s["qos"]) for s in c["subscriptions"]])

    def unsubscribe(self, c):
        self.client.unsubscribe(c["filters"])

    def publish(self, c):
        properties = None
        if self.version == V5:
            properties = of_message(PacketTypes.PUBLISH, c, TopicAlias=properties_of(c)["topic_alias"])
        self.client.publish(c["topic"], to_bytes(c["payload"]), c["qos"], c["retain"], properties)

    def disconnect(self, _):
        self.client.disconnect()

    def on_connect(self, client, data, flags, reason, properties):
        emit(
            "connack",
            reason=reason.value,
            session_present=flags.session_present,
            assigned_id=getattr(properties, "AssignedClientIdentifier", None),
            topic_alias_maximum=getattr(properties, "TopicAliasMaximum", None),
        )

    def on_disconnect(self, client, data, flags, reason, properties):
        if flags.is_disconnect_packet_from_server:
            emit("disconnected", reason=reason.value)
        emit("closed")

    def on_message(self, client, data, message):
        p = message.properties

        def value(name):
            return getattr(p, name, None)

        emit(
            "message",
            topic=self.aliases.resolve(message.topic, value("TopicAlias")),
            payload=to_text(message.payload),
            qos=message.qos,
            retain=bool(message.retain),
            properties={
                "payload_format": value("PayloadFormatIndicator"),
                "message_expiry_s": value("MessageExpiryInterval"),
                "content_type": value("ContentType"),
                "response_topic": value("ResponseTopic"),
                "correlation_data": to_text(value("CorrelationData")),
                "user": value("UserProperty") or [],
                "subscription_ids": value("SubscriptionIdentifier") or [],
            },
        )


def main():
    driver = Driver()
    for line in sys.stdin:
        command = json.loads(line)
        try:
            getattr(driver, command["do"])(command)
        except Exception as error:  # the scenario decides what a refusal means
            emit("failed", why=f"{type(error).__name__}: {error}")


main()
