"""The units by which a service looks for newer bundles: written, enabled and taken away with it."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from kdlight_edge import unit
from kdlight_edge.unit import Service

if TYPE_CHECKING:
    from kdlight_edge.commands.hands import Hands


def install(service: Service, hands: "Hands", settings: Mapping[str, str], program: str) -> None:
    """Write and enable them where the settings have a place to look at."""
    if "KDLIGHT_UPDATE_FROM" not in settings:
        return
    for kind in unit.UPDATE_KINDS:
        file = service.update_file(kind)
        if not hands.keeps(file, "remove it and install again to have ours"):
            hands.write(file, unit.unit_text(service, program, file.name))
    hands.systemctl("daemon-reload")
    for kind in unit.UPDATE_STARTERS:
        hands.systemctl("enable", "--now", service.update_unit(kind))


def uninstall(service: Service, hands: "Hands", others: Sequence[Service]) -> None:
    """Take them away, but for what a person edited, and for what a service of another name shares."""
    shared = any(other.template == service.template for other in others)
    for kind in (*unit.UPDATE_STARTERS, "service"):
        file = service.update_file(kind)
        if not file.is_file():
            continue
        hands.systemctl("disable", "--now", service.update_unit(kind))
        if not hands.keeps(file, "remove it yourself") and not shared:
            hands.remove(file)
