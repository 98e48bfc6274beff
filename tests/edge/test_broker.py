"""Where a broker is and what a device is called there: what can be is read, what cannot be is refused."""

import os

import pytest

from kdlight_edge.errors import UsageError
from kdlight_edge.sinks.broker import broker_of, check_device


@pytest.mark.parametrize(
    "url", ["127.0.0.1", "http://host", "mqtt://", "mqtt://h:0", "mqtt://h:99999", "mqtt://h/a+b", "mqtt://a..b"]
)
def test_what_is_no_address_of_a_broker_is_refused(url: str) -> None:
    with pytest.raises(UsageError, match="--mqtt is not the address of a broker"):
        broker_of(url)


def test_an_address_may_hold_user_port_and_prefix_and_the_password_may_come_from_outside(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = broker_of("mqtts://u:p%40ss@host/site/7")
    assert (found.host, found.port, found.tls, found.user) == ("host", 8883, True, "u")
    assert found.password == "p@ss"  # noqa: S105 - an example
    assert found.prefix == "site/7"
    monkeypatch.setitem(os.environ, "KDLIGHT_MQTT_PASSWORD", "\udcff")
    with pytest.raises(UsageError, match="KDLIGHT_MQTT_PASSWORD is no text"):
        broker_of("mqtt://user@site")
    monkeypatch.setitem(os.environ, "KDLIGHT_MQTT_PASSWORD", "other\n")
    assert broker_of("mqtt://u@host").password == "other"  # noqa: S105 - an example
    assert "other" not in f"{found}{found!r}"


@pytest.mark.parametrize("name", ["", "a/b", "a+b", "#", ".x", "a b", "a\nb"])
def test_a_device_whose_name_cannot_be_in_a_topic_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match="--mqtt-device"):
        check_device(name)
