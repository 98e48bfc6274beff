"""Tells Home Assistant of a board: one retained message by which it makes a device with its sensors by itself."""

import json
from collections.abc import Mapping
from typing import Any

from kdlight_edge import __version__
from kdlight_edge.plain import told_apart
from kdlight_edge.sinks.broker import Broker, topic

Greeting = tuple[str, str]
"""A topic and the text that the broker keeps under it."""

SENSORS: tuple[tuple[str, str, str, str, dict[str, str]], ...] = (
    ("decision", "Decision", "result", "value_json.decision", {}),
    ("label", "Answer", "result", "value_json.label", {}),
    ("probability", "Probability", "result", "(value_json.probability or 0) * 100", {"unit_of_measurement": "%"}),
    ("fps", "Frames a second", "stats", "value_json.fps", {"state_class": "measurement"}),
    ("age", "Age, p99", "stats", "value_json.age_ms.p99",
     {"unit_of_measurement": "ms", "device_class": "duration", "state_class": "measurement"}),
    ("heat", "Temperature", "stats", "value_json.celsius",
     {"unit_of_measurement": "°C", "device_class": "temperature", "state_class": "measurement"}),
)  # fmt: skip
"""Key, name, last level of the topic, where the value stands, and what else Home Assistant is told of it."""


def greeting(broker: Broker, device: str, origin: Mapping[str, Any]) -> Greeting:
    """Return the message of device discovery (Home Assistant 2024.11 and newer, MQTT integration)."""
    name = f"kdlight_{told_apart(device, '_')}"
    bundle = origin.get("bundle") or {}
    sensors = {
        key: {"platform": "sensor", "unique_id": f"{name}_{key}", "name": text,
              "state_topic": topic(broker, device, last), "value_template": f"{{{{ {value} }}}}", **more}
        for key, text, last, value, more in SENSORS
    }  # fmt: skip
    slowed = {
        "platform": "binary_sensor", "unique_id": f"{name}_throttled", "name": "Slowed down", "device_class": "problem",
        "state_topic": topic(broker, device, "stats"),
        "value_template": "{{ 'ON' if value_json.throttled else 'OFF' }}",
    }  # fmt: skip
    said = {
        "device": {
            "identifiers": [name], "name": device, "manufacturer": "kdlight-edge", "sw_version": __version__,
            "model": f"{bundle.get('name')} {bundle.get('version')}",
        },
        "origin": {"name": "kdlight-edge", "sw_version": __version__},
        "availability": [
            {"topic": topic(broker, device, "status"), "value_template": "{{ value_json.state }}",
             "payload_available": "online", "payload_not_available": "offline"},
        ],
        "components": {**sensors, "throttled": slowed},
    }  # fmt: skip
    return f"homeassistant/device/{name}/config", json.dumps(said, ensure_ascii=False)
