"""What the two Python drivers share: commands and events as lines of JSON, bytes as Latin-1 text (see ../words.rs)."""

import json
import sys
import threading

_writing = threading.Lock()


def emit(event, **fields):
    """Writes one event. Clients call back from threads of their own."""
    with _writing:
        sys.stdout.write(json.dumps({"event": event, **fields}) + "\n")
        sys.stdout.flush()


def properties_of(message):
    """The properties of a message, which are left out where there are none."""
    return message.get("properties") or _NONE


_NONE = {
    "payload_format": None,
    "message_expiry_s": None,
    "content_type": None,
    "response_topic": None,
    "correlation_data": None,
    "user": [],
    "topic_alias": None,
}


def to_bytes(text):
    return None if text is None else text.encode("latin-1")


def to_text(data):
    return None if data is None else bytes(data).decode("latin-1")


class Aliases:
    """The server's topic aliases of one connection: neither library hands out what it resolved in every version."""

    def __init__(self):
        self._topics = {}

    def resolve(self, topic, alias):
        if alias is None:
            return topic
        if topic:
            self._topics[alias] = topic
        return self._topics[alias]
