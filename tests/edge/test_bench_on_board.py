"""A board is measured over a real ssh: what it answers, what is refused in one line, and that nothing is left on it."""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from scripts.desk import clocks, site
from scripts.desk.site import Site
from scripts.desk.ssh import Host
from tests.edge import sshd as servers
from tests.edge.ports import free_port
from tests.edge.sshd import Server
from tests.waiting import until

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = Path(sys.executable).with_name("kdlight-edge")

pytestmark = pytest.mark.skipif(bool(servers.missing()), reason=servers.missing() or "there is an sshd")
Make = Callable[..., Path]

PATIENT = ("--budget", str(Path(__file__).with_name("patient_budget.json")))
"""A budget that a machine busy with other tests keeps: speed is measured in benchmarks."""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    folder, tools = tmp_path / "ssh", tmp_path / "tools"
    folder.mkdir()
    tools.mkdir()
    with servers.sshd(folder, tools=tools) as running:
        yield running


def command(config: Path, model: Path, out: Path, *flags: str, host: str = "board") -> list[str]:
    script = str(ROOT / "scripts/bench_on_board.py")
    return [
        sys.executable, script, "-F", str(config), "--host", host, "--model", str(model), "--out", str(out),
        "--quick", *flags,
    ]  # fmt: skip


def bench(server: Server, model: Path, out: Path, *flags: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        command(server.config, model, out, *flags), capture_output=True, text=True, check=False, timeout=300
    )


def refused(done: "subprocess.CompletedProcess[str]", code: int = 1) -> str:
    """Return the one line that it said, after checking that it is one."""
    assert done.returncode == code, done.stderr
    lines = [line for line in done.stderr.splitlines() if not line.endswith("making the environment")]
    assert len(lines) == 1, done.stderr
    return lines[0]


def tool(server: Server, name: str, text: str) -> None:
    """Put a program on the board that is found before the system's own."""
    file = server.folder.parent / "tools" / name
    file.write_text(f"#!/bin/sh\n{text}\n")
    file.chmod(0o755)


def test_a_board_is_measured_judged_and_left_as_it_was(server: Server, tiny_bundle: Make, tmp_path: Path) -> None:
    (tmp_path / "budget.json").write_text('{"p50_ms": 1e-9}')
    flags = "--use", str(PROGRAM), "--scenario", "a", "--seconds", "1"
    done = bench(server, tiny_bundle(), tmp_path / "out", *flags, "--budget", str(tmp_path / "budget.json"))
    assert done.returncode == 3, done.stderr
    assert "tiny misses the budget: a.p50" in done.stderr
    record = json.loads((tmp_path / "out/bench.json").read_text())
    assert [trial["scenario"] for trial in record["trials"]] == ["a"]
    assert record["left"] == []
    assert record["fingerprint"]["machine"] == record["trials"][0]["machine"]
    assert list(server.home.iterdir()) == []
    assert {file.name for file in (tmp_path / "out").iterdir()} == {
        "bench.json", "bench.md", "bench.html", "reference.csv",
    }  # fmt: skip


def test_a_board_behind_a_jump_host_is_reached_as_the_users_configuration_says(
    server: Server, tiny_bundle: Make, tmp_path: Path
) -> None:
    (tmp_path / "gate").mkdir()
    with servers.sshd(tmp_path / "gate") as gate:
        jump = gate.config.read_text().replace("Host board", "Host gate")
        server.config.write_text(f"{server.config.read_text()}  ProxyJump gate\n{jump}")
        flags = *PATIENT, "--use", str(PROGRAM), "--scenario", "a", "--seconds", "1"
        done = bench(server, tiny_bundle(), tmp_path / "out", *flags)
        assert done.returncode == 0, done.stderr
        assert list(server.home.iterdir()) == []
        (gate.folder / "authorized").write_text("")
        said = refused(bench(server, tiny_bundle(), tmp_path / "closed", *flags))
    assert "does not accept your key" in said, "it went through the gate and not around it"


def test_a_cut_link_tells_what_is_missing_and_the_run_goes_on_where_it_was(
    server: Server, tiny_bundle: Make, tmp_path: Path
) -> None:
    model, out = tiny_bundle(), tmp_path / "out"
    flags = *PATIENT, "--use", str(PROGRAM), "--scenario", "a,c", "--seconds", "4"
    with subprocess.Popen(
        command(server.config, model, out, *flags, "--patience", "0"), stderr=subprocess.PIPE, text=True
    ) as running:
        until(lambda: list(server.home.glob("kdlight-bench-*/out/c.boot")))
        # Between two connections there is nothing to cut.
        until(lambda: servers.cut(server) and running.poll() is not None)
        _, said = running.communicate(timeout=60)
    assert running.returncode == 1, said
    assert "finished: a; missing: c" in said
    assert "is still on board; --resume goes on" in said
    (folder,) = server.home.iterdir()
    refusal = bench(server, model, out, *flags)
    assert "holds an unfinished run; --resume goes on with it" in refused(refusal, 2)
    done = bench(server, model, out, *flags, "--resume")
    assert done.returncode == 0, done.stderr
    assert "scenario c" in done.stderr
    assert "scenario a" not in done.stderr, "what was finished is not measured again"
    record = json.loads((out / "bench.json").read_text())
    assert [trial["scenario"] for trial in record["trials"]] == ["a", "c"]
    assert not folder.exists()


def test_ctrl_c_ends_the_job_on_the_board_and_takes_everything_away(
    server: Server, tiny_bundle: Make, tmp_path: Path
) -> None:
    flags = "--use", str(PROGRAM), "--scenario", "e", "--soak", "1h"
    with subprocess.Popen(
        command(server.config, tiny_bundle(), tmp_path / "out", *flags), stderr=subprocess.PIPE, text=True
    ) as running:
        until(lambda: list(server.home.glob("kdlight-bench-*/out/e.boot")))
        (pid,) = server.home.glob("kdlight-bench-*/out/e.pid")
        job = int(pid.read_text())
        running.send_signal(signal.SIGINT)
        _, said = running.communicate(timeout=60)
    assert running.returncode == 130, said
    assert "finished: nothing; missing: e" in said
    assert list(server.home.iterdir()) == []
    until(lambda: not Path(f"/proc/{job}").exists())


def test_clocks_are_held_while_it_is_measured_and_given_back_after_an_error(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clocks, "GOVERNORS", f"{tmp_path}/policy*/scaling_governor")
    governors = [tmp_path / f"policy{number}/scaling_governor" for number in (0, 4)]
    for file, governor in zip(governors, ("ondemand", "schedutil"), strict=True):
        file.parent.mkdir()
        file.write_text(f"{governor}\n")
    place = Site(Host("board", str(server.config)), str(server.home), "", "")

    def fail() -> None:
        with clocks.locked(place, {"uid": "0", "governor": "ondemand"}):
            assert [file.read_text() for file in governors] == ["performance\n", "performance\n"]
            raise InterruptedError

    with pytest.raises(InterruptedError):
        fail()
    assert [file.read_text() for file in governors] == ["ondemand\n", "schedutil\n"]


def test_a_folder_is_kept_where_that_is_wanted(server: Server, tiny_bundle: Make, tmp_path: Path) -> None:
    flags = *PATIENT, "--use", str(PROGRAM), "--scenario", "a", "--seconds", "1", "--keep"
    assert bench(server, tiny_bundle(), tmp_path / "out", *flags).returncode == 0
    (kept,) = server.home.iterdir()
    assert json.loads((tmp_path / "out/bench.json").read_text())["kept"] == str(kept)


def test_a_scenario_that_fails_is_told_in_its_own_words_and_leaves_nothing(
    server: Server, tiny_bundle: Make, tmp_path: Path
) -> None:
    flags = "--use", str(PROGRAM), "--scenario", "a", "--engine", "abacus"
    done = bench(server, tiny_bundle(), tmp_path / "out", *flags)
    assert done.returncode == 1
    assert "a ended with 2 on board: kdlight-edge: --engine abacus is unknown" in done.stderr
    assert list(server.home.iterdir()) == []


def test_a_refused_connection_is_one_line(tiny_bundle: Make, tmp_path: Path) -> None:
    config = tmp_path / "config"
    config.write_text(f"Host board\n  HostName 127.0.0.1\n  Port {free_port()}\n")
    done = subprocess.run(
        command(config, tiny_bundle(), tmp_path / "out"), capture_output=True, text=True, check=False, timeout=60
    )
    assert "127.0.0.1 refuses ssh" in refused(done) or "board refuses ssh" in refused(done)


def test_an_unknown_host_key_is_for_a_person_to_judge(server: Server, tiny_bundle: Make, tmp_path: Path) -> None:
    server.known_hosts.write_text("")
    server.config.write_text(server.config.read_text() + "  StrictHostKeyChecking no\n")
    said = refused(bench(server, tiny_bundle(), tmp_path / "out", "--use", str(PROGRAM)))
    assert "the key of board is not known here; connect once with ssh board" in said
    assert "ssh-keyscan" in said
    assert server.known_hosts.read_text() == "", "whatever the configuration says, no key is taken by itself"


def test_a_changed_host_key_is_refused(server: Server, tiny_bundle: Make, tmp_path: Path) -> None:
    servers.know(server, server.folder / "client.pub")
    said = refused(bench(server, tiny_bundle(), tmp_path / "out", "--use", str(PROGRAM)))
    assert "the key of board has changed since it was first seen" in said


def test_a_key_that_the_board_does_not_take_is_one_line(server: Server, tiny_bundle: Make, tmp_path: Path) -> None:
    (server.folder / "authorized").write_text("")
    said = refused(bench(server, tiny_bundle(), tmp_path / "out", "--use", str(PROGRAM)))
    assert "board does not accept your key; ssh-copy-id board" in said


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("python3", "echo 3.9.2", "has Python 3.9.2, 3.10 is needed"),
        ("python3", "exit 127", "has no python3; sudo apt install"),
        ("python3", 'case "$*" in *venv*) exit 1;; *) echo 3.11.2;; esac', "lacks python3-venv; sudo apt install"),
        ("df", "echo; echo disk 9 9 42 9% /", "has 42 MB free in"),
    ],
)
def test_a_board_that_lacks_something_is_told_in_one_line(
    server: Server, tiny_bundle: Make, tmp_path: Path, name: str, text: str, said: str
) -> None:
    tool(server, name, text)
    assert said in refused(bench(server, tiny_bundle(), tmp_path / "out", "--wheel", str(PROGRAM)))
    assert list(server.home.iterdir()) == []


@pytest.mark.parametrize(
    ("sudo", "said"),
    [
        (None, "sudo is missing on the board; log in as root, or install it"),
        ("exit 1", "sudo asks for a password on the board"),
        ("exit 0", "measured, and set back"),
    ],
)
def test_a_board_without_sudo_is_measured_as_it_is_and_the_page_says_why(
    server: Server, sudo: str | None, said: str
) -> None:
    if sudo is None and shutil.which("sudo"):
        pytest.skip("sudo is installed here")
    tool(server, "id", "echo 1000")
    tool(server, "cat", 'case "$1" in *scaling_governor) echo ondemand;; *) exec /bin/cat "$@";; esac')
    if sudo is not None:
        tool(server, "sudo", sudo)
    facts = site.probe(Host("board", str(server.config)))
    assert said in clocks.may_lock(facts)[1]


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["-o", "StrictHostKeyChecking=no"], "-o StrictHostKeyChecking=no is not passed on"),
        (["-o", "stricthostkeychecking accept-new"], "is not passed on"),
        (["-o", "UserKnownHostsFile=/dev/null"], "is not passed on"),
        (["--host=-oProxyCommand=x"], "is no host"),
        (["--scenario", "a,z"], "--scenario z is none of a, b, c, d, e"),
        (["--soak", "30"], "--soak 30 is no time; write it like 90s, 30m or 24h"),
        (["--wheels", "gone"], "--wheels gone is not there"),
        (["--seconds", "nan"], "--seconds nan is not between"),
        (["--resume"], "there is nothing to resume in"),
    ],
)
def test_a_flag_that_cannot_be_is_exit_code_2(tiny_bundle: Make, tmp_path: Path, flags: list[str], said: str) -> None:
    (tmp_path / "none").write_text("")
    model, out = tiny_bundle(), tmp_path / "out"
    done = subprocess.run(
        command(tmp_path / "none", model, out, "--wheel", str(PROGRAM), *flags),
        capture_output=True, text=True, check=False, timeout=60, env={**os.environ},
    )  # fmt: skip
    assert said in refused(done, 2)
