"""The second state of a board's clocks: held at their highest while it is measured, and given back as they were."""

import contextlib
import shlex
from collections.abc import Iterator

from . import ssh
from .site import Site

GOVERNORS = "/sys/devices/system/cpu/cpufreq/policy*/scaling_governor"


def may_lock(facts: dict[str, str]) -> tuple[bool, str]:
    """Tell whether the board lets its clocks be held, and what to say of it; see `site.probe`."""
    if not facts.get("governor") and not facts.get("jetson"):
        return False, "not measured: this machine does not let its clocks be set"
    if facts.get("uid") != "0" and facts.get("sudo") == "missing":
        return False, "not measured: sudo is missing on the board; log in as root, or install it"
    if facts.get("uid") != "0" and facts.get("sudo") != "yes":
        return False, "not measured: sudo asks for a password on the board"
    return True, "measured, and set back"


@contextlib.contextmanager
def locked(site: Site, facts: dict[str, str]) -> Iterator[None]:
    """Hold the clocks; a Jetson by its ``jetson_clocks``, any other board by the governor ``performance``."""
    sudo = "" if facts.get("uid") == "0" else "sudo -n "
    kept = shlex.quote(f"{site.folder}/clocks")
    if facts.get("jetson"):
        hold = f"{sudo}jetson_clocks --store {kept} && {sudo}jetson_clocks"
        give_back = f"{sudo}jetson_clocks --restore {kept}"
    else:
        hold = (
            f'for file in {GOVERNORS}; do echo "$file $(cat $file)"; done >{kept}; '
            f"for file in {GOVERNORS}; do echo performance | {sudo}tee $file >/dev/null || exit 1; done"
        )
        give_back = f"while read -r file was; do echo $was | {sudo}tee $file >/dev/null; done <{kept}"
    ssh.ask(site.host, hold, "holding the clocks")
    try:
        yield
    finally:
        ssh.ask(site.host, give_back, "giving the clocks back")
