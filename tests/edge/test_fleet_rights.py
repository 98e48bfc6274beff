"""The rights that docs/mqtt.md offers, given by a real mosquitto: a board cannot speak for another, nor command."""

import re
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from tests.edge.mosquitto import Broker, needs_broker
from tests.waiting import LIMIT, until

PAGE = Path(__file__).parents[2] / "docs/mqtt.md"

pytestmark = needs_broker


def rights() -> str:
    found = re.search(r"    # acl_file: .*\n((?:    \S.*\n)+)", PAGE.read_text(encoding="utf-8"))
    assert found is not None
    return re.sub(r"^    ", "", found[1], flags=re.MULTILINE)


@pytest.fixture
def port(tmp_path: Path) -> Iterator[int]:
    (tmp_path / "rights").write_text(rights())
    for flags, user in ((["-c"], "wall-3"), ([], "wall-4"), ([], "desk")):
        subprocess.run(["mosquitto_passwd", *flags, "-b", str(tmp_path / "users"), user, user], check=True)
    known = f"allow_anonymous false\npassword_file {tmp_path}/users\nacl_file {tmp_path}/rights\n"
    with Broker(tmp_path, known) as broker:
        yield broker.port


class Speaker:
    """One user of the broker, who hears all that may be heard."""

    def __init__(self, port: int, user: str) -> None:
        self.heard: list[str] = []
        ready = threading.Event()
        self._client = paho.Client(CallbackAPIVersion.VERSION2, user)
        self._client.username_pw_set(user, user)
        self._client.on_connect = lambda client, *_: client.subscribe("#", qos=1)
        self._client.on_subscribe = lambda *_: ready.set()
        self._client.on_message = lambda _client, _data, message: self.heard.append(message.topic)
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()
        assert ready.wait(LIMIT)

    def say(self, *topics: str) -> None:
        """Publish to each, and wait until the broker has dealt with it."""
        for topic in topics:
            self._client.publish(topic, "x", qos=1).wait_for_publish(LIMIT)

    def close(self) -> None:
        """Leave."""
        self._client.disconnect()
        self._client.loop_stop()


def test_a_board_speaks_for_itself_alone_and_only_the_desk_commands(port: int) -> None:
    board, other, desk = (Speaker(port, user) for user in ("wall-3", "wall-4", "desk"))
    board.say("kdlight/wall-4/status", "kdlight/wall-4/command", "kdlight/wall-3/stats")
    desk.say("kdlight/wall-3/result", "kdlight/wall-3/command")
    until(lambda: "kdlight/wall-3/command" in board.heard and "kdlight/wall-3/command" in desk.heard)
    for speaker in (board, other, desk):
        speaker.close()
    assert (board.heard, other.heard) == (["kdlight/wall-3/command"], [])
    assert desk.heard == ["kdlight/wall-3/stats", "kdlight/wall-3/command"]
