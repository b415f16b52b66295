"""Drives one gmqtt client for a scenario of tests/clients (see ../words.rs)."""

import asyncio
import json
import ssl
import sys

import gmqtt
from gmqtt.storage import PersistentStorage

from words import emit, properties_of, to_bytes, to_text

V5 = 5
# gmqtt reconnects as long as the failures do not exceed this number, and there are none at first; -1 means for ever.
NEVER_RECONNECT = -2


def given(**values):
    """Properties that are not None or empty."""
    return {name: value for name, value in values.items() if value is not None and value != []}


def of_message(message, **more):
    """The properties of a PUBLISH or a will."""
    properties = properties_of(message)
    return given(
        payload_format_id=properties["payload_format"],
        message_expiry_interval=properties["message_expiry_s"],
        content_type=properties["content_type"],
        response_topic=properties["response_topic"],
        correlation_data=to_bytes(properties["correlation_data"]),
        user_property=[tuple(pair) for pair in properties["user"]],
        **more,
    )


class Storage(PersistentStorage):
    """gmqtt has no callback for the end of a PUBLISH, but it takes the message out of its storage then."""

    def remove_message_by_mid(self, mid):
        known = any(mid == stored for stored, _ in self.get_all())
        super().remove_message_by_mid(mid)
        if known:
            emit("published")


class Driver:
    def __init__(self):
        self.client = None
        self.version = None

    async def connect(self, c):
        self.version = c["version"]
        will = None
        if c["will"]:
            m = c["will"]["message"]
            properties = {}
            if self.version == V5:
                properties = of_message(m, **given(will_delay_interval=c["will"]["delay_s"]))
            will = gmqtt.Message(m["topic"], to_bytes(m["payload"]), m["qos"], m["retain"], **properties)
        properties = {}
        if self.version == V5:
            properties = given(
                session_expiry_interval=c["session_expiry_s"],
                receive_maximum=c["receive_maximum"],
                topic_alias_maximum=c["topic_alias_maximum"],
            )
        client = gmqtt.Client(
            c["id"], clean_session=c["clean"], will_message=will, persistent_storage=Storage(), **properties
        )
        client.set_config({"reconnect_retries": NEVER_RECONNECT})
        client.on_connect = self.on_connect
        client.on_disconnect = self.on_disconnect
        client.on_message = self.on_message
        client.on_subscribe = lambda client, mid, reasons, properties: emit("suback", reasons=list(reasons))
        client.on_unsubscribe = lambda client, mid, reasons: emit("unsuback", reasons=list(reasons))
        self.client = client
        context = ssl.create_default_context(cafile=c["ca"]) if c["ca"] else False
        await client.connect(c["host"], c["port"], ssl=context, keepalive=c["keep_alive_s"], version=self.version)

    async def subscribe(self, c):
        subscriptions = [
            gmqtt.Subscription(
                s["filter"],
                qos=s["qos"],
                no_local=s["no_local"],
                retain_as_published=s["retain_as_published"],
                retain_handling_options=s["retain_handling"],
            )
            for s in c["subscriptions"]
        ]
        self.client.subscribe(subscriptions, **given(subscription_identifier=c["id"]))

    async def unsubscribe(self, c):
        self.client.unsubscribe(c["filters"])

    async def publish(self, c):
        properties = {}
        if self.version == V5:
            properties = of_message(c, topic_alias=properties_of(c)["topic_alias"])
        self.client.publish(c["topic"], to_bytes(c["payload"]), c["qos"], c["retain"], **properties)
        if c["qos"] == 0:
            emit("published")

    async def disconnect(self, _):
        await self.client.disconnect()

    def on_connect(self, client, session_present, reason, properties):
        emit(
            "connack",
            reason=reason,
            session_present=bool(session_present),
            assigned_id=(properties.get("assigned_client_identifier") or [None])[0],
        )

    def on_disconnect(self, client, packet, exc=None):
        # The packet is the body of the server's DISCONNECT; an empty one is gmqtt's word for a closed socket.
        if packet:
            emit("disconnected", reason=packet[0])
        else:
            emit("closed")

    async def on_message(self, client, topic, payload, qos, properties):
        def first(name):
            return (properties.get(name) or [None])[0]

        emit(
            "message",
            topic=topic,
            payload=to_text(payload),
            qos=qos,
            retain=bool(properties["retain"]),
            properties={
                "payload_format": first("payload_format_id"),
                "message_expiry_s": first("message_expiry_interval"),
                "content_type": first("content_type"),
                "response_topic": first("response_topic"),
                "correlation_data": to_text(first("correlation_data")),
                "user": properties.get("user_property") or [],
                "subscription_ids": properties.get("subscription_identifier") or [],
            },
        )
        return 0


async def main():
    driver = Driver()
    loop = asyncio.get_running_loop()
    lines = asyncio.StreamReader(limit=1 << 24)
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    while line := await lines.readline():
        command = json.loads(line)
        try:
            await getattr(driver, command["do"])(command)
        except Exception as error:  # the scenario decides what a refusal means
            emit("failed", why=f"{type(error).__name__}: {error}")


asyncio.run(main())
