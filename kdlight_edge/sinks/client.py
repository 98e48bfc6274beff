"""A client of paho for a broker: version 3.1.1 of the protocol, with who logs in and by what it is encrypted."""

import ssl

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion

from kdlight_edge.sinks.broker import Broker


def client_of(broker: Broker, name: str = "") -> paho.Client:
    """Return a client that is not connected yet; without a name the broker gives it one."""
    client = paho.Client(CallbackAPIVersion.VERSION2, name, protocol=paho.MQTTv311)
    if broker.user is not None:
        client.username_pw_set(broker.user, broker.password)
    if broker.tls:
        client.tls_set_context(ssl.create_default_context())
    return client
