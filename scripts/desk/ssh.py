"""A board by the OpenSSH client: the user's own keys, jump hosts and configuration; host keys are always checked."""

import os
import re
import shlex
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from kdlight_edge.errors import KDLightError, UsageError

OURS = {
    "StrictHostKeyChecking": "yes",  # whatever the configuration says: an unknown key is for a person to judge
    "BatchMode": "yes",
    "ConnectTimeout": "10",
    "ServerAliveInterval": "5",  # a cut link is noticed in 15 s
    "ServerAliveCountMax": "3",
}
"""Options before all others; the first value that ssh is given wins."""

UNSAFE = re.compile(r"\s*(StrictHostKeyChecking|UserKnownHostsFile[\s=]+/dev/null|BatchMode)\b", re.IGNORECASE)
"""Options that are not passed on."""

LINK = 255
"""Exit code of ssh itself; a command's own is passed through."""


class LinkCut(KDLightError):
    """The board could not be reached, or no longer."""


@dataclass(frozen=True, slots=True)
class Host:
    """How a board is reached."""

    name: str
    """What ssh takes: ``pi@board``, or a name of the configuration."""
    config: str | None = None
    """Of ``-F``; None takes the user's own."""
    options: Sequence[str] = ()
    """Of ``-o``."""

    def __post_init__(self) -> None:
        """Refuse what would not be a host, and options that would switch off the check of its key.

        Raises:
            UsageError: one of them.
        """
        if not re.fullmatch(r"[^\s-][^\s]*", self.name):
            raise UsageError(f"--host {self.name!r} is no host; write it as for ssh: pi@board")
        for option in self.options:
            if UNSAFE.match(option):
                raise UsageError(f"-o {option} is not passed on: the board's key is always checked, without questions")

    def flags(self) -> list[str]:
        """Return what stands before the host."""
        ours = [f"-o{name}={value}" for name, value in OURS.items()]
        theirs = [f"-o{option}" for option in self.options]
        return [*(["-F", self.config] if self.config is not None else []), *ours, *theirs]


def run(host: Host, command: str) -> "subprocess.CompletedProcess[str]":
    """Run a command of the board's shell and return how it ended.

    Raises:
        LinkCut: ssh itself failed; the message says why and what to do.
        KDLightError: it is missing here.
    """
    try:
        done = subprocess.run(
            ["ssh", *host.flags(), "--", host.name, command],
            stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, env=_environment(),
        )  # fmt: skip
    except FileNotFoundError as error:
        raise KDLightError("ssh is missing here; apt install openssh-client") from error
    if done.returncode == LINK:
        raise LinkCut(told(host.name, done.stderr))
    return done


def ask(host: Host, command: str, what: str) -> str:
    """Run a command that must succeed; return what it printed.

    Raises:
        KDLightError: it failed; the message names ``what`` and its last line.
    """
    done = run(host, command)
    if done.returncode:
        last = (done.stderr.strip() or done.stdout.strip() or "it said nothing").splitlines()[-1]
        raise KDLightError(f"{host.name}: {what} ended with {done.returncode}: {last}")
    return done.stdout


def copy(host: Host, paths: Sequence[Path], folder: str) -> None:
    """Copy files and folders into a folder of the board, as one tar archive over the same kind of connection.

    Raises:
        LinkCut: see `run`.
        KDLightError: the board could not write them, for instance for want of space.
    """
    parts = [word for path in paths for word in ("-C", str(path.resolve().parent), path.name)]
    unpack = f"tar -xf - -C {shlex.quote(folder)}"
    with subprocess.Popen(["tar", "-cf", "-", *parts], stdout=subprocess.PIPE) as pack:
        try:
            done = subprocess.run(
                ["ssh", *host.flags(), "--", host.name, unpack],
                stdin=pack.stdout, capture_output=True, text=True, check=False, env=_environment(),
            )  # fmt: skip
        finally:
            pack.kill()
    if done.returncode == LINK:
        raise LinkCut(told(host.name, done.stderr))
    if done.returncode:
        last = (done.stderr.strip() or "it said nothing").splitlines()[-1]
        advice = "; make room there" if "No space" in done.stderr else ""
        raise KDLightError(f"{host.name} cannot take the files: {last}{advice}")


def _environment() -> dict[str, str]:
    """Let ssh speak English, so that its complaints are understood."""
    return {**os.environ, "LC_ALL": "C"}


def told(host: str, complaint: str) -> str:
    """Turn what ssh complains about into one line that says what to do."""
    plain = host.rpartition("@")[2]
    for pattern, advice in COMPLAINTS:
        found = pattern.search(complaint)
        if found:
            return advice(host, plain)
    lines = [line.strip() for line in complaint.splitlines() if line.strip()]
    return f"{host}: ssh failed: {lines[-1] if lines else 'it said nothing'}"


def _rule(pattern: str, text: str) -> tuple["re.Pattern[str]", Callable[[str, str], str]]:
    return re.compile(pattern, re.IGNORECASE), lambda host, plain: text.format(host=host, plain=plain)


COMPLAINTS = (
    _rule(
        r"REMOTE HOST IDENTIFICATION HAS CHANGED",
        "the key of {plain} has changed since it was first seen: another machine may be answering; only if you know "
        "why (it was installed anew): ssh-keygen -R {plain}, then connect once with ssh {host} and compare",
    ),
    _rule(
        r"Host key verification failed|No \S+ host key is known",
        "the key of {plain} is not known here; connect once with ssh {host} and compare the fingerprint, "
        "or take it over a network you trust: ssh-keyscan {plain} >> ~/.ssh/known_hosts",
    ),
    _rule(r"Permission denied", "{host} does not accept your key; ssh-copy-id {host} brings it there"),
    _rule(r"Connection refused", "{plain} refuses ssh; see the port, and on the board: systemctl enable --now ssh"),
    _rule(r"Could not resolve|Name or service not known", "{plain} is not a known name; see --host and ~/.ssh/config"),
    _rule(r"timed out|No route to host|Network is unreachable", "{plain} does not answer; see that it is on and near"),
    _rule(
        r"Connection (closed|reset)|Broken pipe|client_loop|not responding|lost connection",
        "the link to {plain} was cut",
    ),
)  # fmt: skip
"""What OpenSSH says, the worst first, and what to tell a person."""
