"""Places on the network as a URL has them."""

import pytest

from kdlight_edge.plain import place_of
from kdlight_edge.sinks.broker import broker_of


@pytest.mark.parametrize(
    ("host", "place"), [("archive", "archive:104"), ("10.0.0.7", "10.0.0.7:104"), ("fe80::1", "[fe80::1]:104")]
)
def test_an_address_with_colons_stands_in_brackets(host: str, place: str) -> None:
    assert place_of(host, 104) == place


def test_a_broker_is_told_as_it_was_given() -> None:
    assert str(broker_of("mqtt://[::1]:1884")) == "mqtt://[::1]:1884"
