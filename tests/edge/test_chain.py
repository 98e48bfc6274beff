"""The audit: what was edited, removed or moved is found, and a line torn by a kill is not mistaken for it."""

import itertools
import json
import random
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kdlight_edge import chain
from kdlight_edge.chain import BEGIN, digest, read_key, verify
from kdlight_edge.cli import main
from kdlight_edge.errors import KDLightError
from kdlight_edge.sinks.audit import Audit
from kdlight_edge.sinks.rotate import earlier
from tests.edge.fakes import prediction

KEY = b"0123456789abcdef"
ORIGIN = {"engine": "fake", "bundle": {"name": "tiny"}}


def written(path: Path, count: int = 10, *, engine: str = "fake", **keywords: Any) -> list[str]:
    audit = Audit(path, {**ORIGIN, "engine": engine}, **keywords)
    for index in range(count):
        audit.write(prediction(index), None)
    audit.close()
    return path.read_text().splitlines(keepends=True)


def fault(path: Path, lines: list[str], key: bytes = b"") -> str:
    path.write_text("".join(lines))
    return verify(path, key).fault


@pytest.mark.parametrize("key", [b"", KEY])
def test_an_audit_as_it_was_written_is_whole(tmp_path: Path, key: bytes) -> None:
    lines = written(tmp_path / "a", key=key)
    found = verify(tmp_path / "a", key)
    assert (found.fault, found.lines, found.first, found.last.number, found.torn) == ("", 12, 1, 12, 0)
    assert found.closed
    records = [json.loads(line) for line in lines]
    assert records[0]["prev"] == BEGIN
    assert records[0]["record"]["event"] == "begin"
    assert records[3]["record"]["label"] == "crack"
    assert all(after["prev"] == before["hash"] for before, after in itertools.pairwise(records))


def test_the_hash_is_what_the_page_says_it_is(tmp_path: Path) -> None:
    line = written(tmp_path / "a")[4].rstrip("\n")
    assert json.loads(line)["hash"] == digest(line[: line.rindex(',"hash"')].encode(), b"")


def test_every_edit_of_one_byte_is_found(tmp_path: Path) -> None:
    path = tmp_path / "a"
    whole = "".join(written(path, 4))
    for position in random.Random(5).sample(range(len(whole) - 1), 150):
        changed = "x" if whole[position] != "x" else "y"
        path.write_text(whole[:position] + changed + whole[position + 1 :])
        assert verify(path, b"").fault, f"byte {position}"


def test_an_edited_a_removed_and_a_moved_line_are_told_apart(tmp_path: Path) -> None:
    path = tmp_path / "a"
    lines = written(path)
    edited = [*lines[:5], lines[5].replace('"label": "crack"', '"label": "no_crack"'), *lines[6:]]
    assert "line 6 was edited" in fault(path, edited)
    assert "line 6 has number 7 where 6 should be: 1 removed before it" in fault(path, lines[:5] + lines[6:])
    moved = [*lines[:5], lines[6], lines[5], *lines[7:]]
    assert "line 6 has number 7 where 6 should be: line 6 was moved behind it" in fault(path, moved)
    assert "repeated, or moved from its place" in fault(path, [*lines[:6], lines[5], *lines[6:]])
    assert "is not a line of an audit" in fault(path, [*lines[:5], "\n", *lines[5:]])
    assert fault(path, lines) == ""


def test_a_beginning_that_is_gone_is_found_unless_it_is_allowed(tmp_path: Path) -> None:
    path = tmp_path / "a"
    lines = written(path)
    assert "has number 4 where 1 should be: 3 removed before it" in fault(path, lines[3:])
    found = verify(path, b"", partial=True)
    assert (found.fault, found.first, found.lines) == ("", 4, 9)


def test_a_line_from_another_chain_is_found(tmp_path: Path) -> None:
    one, two = written(tmp_path / "a"), written(tmp_path / "b", engine="another")
    assert "does not follow the line before it" in fault(tmp_path / "a", [*one[:5], *two[5:]])


def test_a_last_line_torn_by_a_kill_is_told_apart(tmp_path: Path) -> None:
    path = tmp_path / "a"
    lines = written(path)
    path.write_text("".join(lines[:-1]) + lines[-1][:40])
    found = verify(path, b"")
    assert (found.fault, found.lines, found.torn, found.closed) == ("", 11, 40, False)
    whole_but_for_its_end = "".join(lines)[:-1]
    path.write_text(whole_but_for_its_end)
    assert verify(path, b"").torn == len(lines[-1]) - 1


def test_a_run_after_a_kill_goes_on_with_the_chain_and_notes_what_it_cut(tmp_path: Path) -> None:
    path = tmp_path / "a"
    lines = written(path)
    path.write_text("".join(lines[:-1]) + lines[-1][:40])
    again = written(path, 3)
    assert verify(path, b"").fault == ""
    assert json.loads(again[11])["record"]["torn_bytes_cut"] == 40
    assert verify(path, b"").lines == 11 + 5
    assert verify(path, b"").closed
    path.write_text("".join(written(path, 1)[:-1]))
    assert not verify(path, b"").closed, "a run that ended in order says nothing of the one after it"


def test_lines_cut_off_at_the_end_are_found_by_a_hash_noted_earlier(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "a"
    lines = written(path)
    head = json.loads(lines[-1])["hash"]
    assert main(["audit", "verify", str(path), "--head", head]) == 0
    assert f"head {head}" in capsys.readouterr().out
    path.write_text("".join(lines[:-2]))
    assert main(["audit", "verify", str(path)]) == 0
    assert main(["audit", "verify", str(path), "--head", head]) == 1
    assert "lines were removed at the end" in capsys.readouterr().err


def test_without_the_key_a_chain_cannot_be_sealed_anew(tmp_path: Path) -> None:
    path = tmp_path / "a"
    written(path, key=KEY)
    path.unlink()
    written(path)
    assert "or the chain has another key" in verify(path, KEY).fault
    with pytest.raises(KDLightError, match="not sealed with this key"):
        Audit(path, ORIGIN, key=KEY)


def test_the_chain_goes_through_the_files_of_a_rotation(tmp_path: Path) -> None:
    path = tmp_path / "a"
    written(path, 30, rotate=4000)
    written(path, 30, rotate=4000)
    files = earlier(path)
    assert len(files) > 4
    found = verify(path, b"")
    assert (found.fault, found.lines) == ("", 64)
    files[2].unlink()
    assert "removed before it" in verify(path, b"").fault


@pytest.mark.parametrize("when", ["listed", "read"])
def test_an_audit_that_goes_on_while_it_is_verified_is_no_forgery(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    path = tmp_path / "a"
    written(path, 30, rotate=4000)
    seen: list[str] = []

    def goes_on(at: str) -> None:
        if at == when and not seen:
            seen.append(at)
            written(path, 30, rotate=4000)

    def listed(audit: Path) -> list[Path]:
        goes_on("listed")
        return earlier(audit)

    def judged(body: bytes, key: bytes) -> str:
        goes_on("read")
        return digest(body, key)

    monkeypatch.setattr(chain, "earlier", listed)
    monkeypatch.setattr(chain, "digest", judged)
    found = verify(path, b"")
    assert seen
    assert (found.fault, found.first) == ("", 1)
    assert found.lines >= 32


def test_a_file_that_is_no_audit_is_not_gone_on_with(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("dear sir\n")
    with pytest.raises(KDLightError, match="another --audit begins anew"):
        Audit(tmp_path / "a", ORIGIN)
    assert (tmp_path / "a").read_text() == "dear sir\n"


def test_kill_9_at_any_moment_leaves_a_chain_that_holds(tmp_path: Path, tiny_bundle: Callable[..., Path]) -> None:
    path, bundle = tmp_path / "a", tiny_bundle()
    command = [
        sys.executable, "-m", "kdlight_edge.cli", "infer", "--camera", "scene:crack?size=64x64&fps=200", "--json",
        "--model", str(bundle), "--audit", str(path), "--rotate", "20kB",
    ]  # fmt: skip
    told = []
    for lines in (1, 40, 90):
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as child:
            assert child.stdout is not None
            told += [child.stdout.readline() for _ in range(lines)]
            child.send_signal(signal.SIGKILL)
        assert verify(path, b"").fault == ""
    sealed = [json.loads(line)["record"] for file in [*earlier(path), path] for line in file.read_text().splitlines()]
    kept = {(record["captured"], record["index"]) for record in sealed if "captured" in record}
    assert {(record["captured"], record["index"]) for record in map(json.loads, told)} <= kept


def test_the_verb_tells_people_and_programs(
    tmp_path: Path, tiny_bundle: Callable[..., Path], capfd: pytest.CaptureFixture[str]
) -> None:
    path, key = tmp_path / "a", tmp_path / "key"
    key.write_bytes(KEY + b"\n")
    arguments = ["infer", "--camera", "scene:crack?size=64x64&fps=200&frames=5", "--model", str(tiny_bundle())]
    assert main([*arguments, "--audit", str(path), "--audit-key", str(key)]) == 0
    capfd.readouterr()
    assert main(["audit", "verify", str(path), "--key", str(key), "--json"]) == 0
    found = json.loads(capfd.readouterr().out)
    assert found["whole"]
    assert found["closed"]
    path.write_text(path.read_text().replace('"dropped"', '"dripped"', 1))
    assert main(["audit", "verify", str(path), "--key", str(key)]) == 1
    out, err = capfd.readouterr()
    assert "lines follow each other" in out
    assert ", then the chain breaks; head " in out
    assert "was edited" in err


def test_of_a_chain_that_is_broken_at_its_first_line_nothing_is_said_to_hold(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "a"
    lines = written(path)
    path.write_text(lines[0].replace('"n":1', '"n":2', 1) + "".join(lines[1:]))
    assert main(["audit", "verify", str(path)]) == 1
    out, err = capsys.readouterr()
    assert (out, len(err.splitlines())) == ("", 1)


@pytest.mark.parametrize(
    ("number", "record", "said"),
    [
        ("1" * 5000, "{}", "is not a line of an audit"),
        ("1", '{"event": "gap"', "not how many"),
        ("1", '{"event": "gap"}', "not how many"),
        ("1", '{"event": "gap", "lost": 3}', "not how many"),
        ("1", '{"event": "gap", "lost": {"failed": "x"}}', "not how many"),
        ("1", '{"event": "gap", "lost": {"failed": 1e999}}', "not how many"),
    ],
    ids=["digits", "torn", "nothing", "number", "text", "endless"],
)
def test_a_line_that_somebody_prepared_is_one_clear_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], number: str, record: str, said: str
) -> None:
    body = f'{{"n":{number},"prev":"{BEGIN}","record":{record}'
    (tmp_path / "a").write_text(f'{body},"hash":"{digest(body.encode(), b"")}"}}\n')
    assert main(["audit", "verify", str(tmp_path / "a")]) == 1
    out, err = capsys.readouterr()
    assert (out, len(err.splitlines())) == ("", 1)
    assert said in err


def test_what_cannot_be_read_is_one_clear_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["audit", "verify", str(tmp_path / "none")]) == 1
    assert "cannot be read: No such file" in capsys.readouterr().err
    (tmp_path / "empty").touch()
    assert main(["audit", "verify", str(tmp_path / "empty")]) == 1
    assert "holds no line" in capsys.readouterr().err
    (tmp_path / "key").write_bytes(KEY[1:] + b"\n")
    with pytest.raises(KDLightError, match="has 15 bytes, 16 are the least"):
        read_key(str(tmp_path / "key"))
    (tmp_path / "key").write_bytes(b" " + KEY + b"\t\r\n")
    assert read_key(str(tmp_path / "key")) == b" " + KEY + b"\t"
