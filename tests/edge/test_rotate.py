"""Files that go on over many runs and are followed by the next when they are full."""

import errno
import fcntl
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from kdlight_edge.cli import main
from kdlight_edge.errors import KDLightError, UsageError
from kdlight_edge.sinks import rotate
from kdlight_edge.sinks.lines import open_lines
from kdlight_edge.sinks.rotate import Rotating, earlier, size_of


def test_a_file_goes_on_where_it_was_left(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    for text in ("one", "two"):
        lines = Rotating(path)
        lines.write(text)
        lines.close()
    assert path.read_text() == "one\ntwo\n"


def test_a_full_file_is_put_aside_and_the_oldest_go(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    lines = Rotating(path, limit=1000, keep=3)
    for number in range(100):
        lines.write(f"{number:099}")
    lines.close()
    assert [file.name for file in earlier(path)] == [f"out.jsonl.{n:06}" for n in (7, 8, 9)]
    kept = [int(line) for file in [*earlier(path), path] for line in file.read_text().splitlines()]
    assert kept == list(range(60, 100))
    assert all(file.stat().st_size <= 1000 for file in tmp_path.iterdir())


def test_numbers_go_on_after_a_restart_and_all_are_kept_when_told(tmp_path: Path) -> None:
    path = tmp_path / "out"
    for run in range(4):
        lines = Rotating(path, limit=1000)
        for number in range(20):
            lines.write(f"{run * 20 + number:099}")
        lines.close()
    kept = [int(line) for file in [*earlier(path), path] for line in file.read_text().splitlines()]
    assert kept == list(range(80))


@pytest.mark.parametrize("restarted", [False, True])
def test_a_number_is_not_given_again_once_its_file_was_moved_to_an_archive(tmp_path: Path, *, restarted: bool) -> None:
    path, archive = tmp_path / "out", tmp_path / "archive"
    archive.mkdir()
    lines = Rotating(path, limit=1000)
    for night in range(3):
        for number in range(35):
            lines.write(f"{night * 35 + number:099}")
        for file in earlier(path):
            file.replace(archive / file.name)  # as mv does
        if restarted:
            lines.close()
            lines = Rotating(path, limit=1000)
    lines.close()
    kept = [int(line) for file in [*earlier(archive / "out"), path] for line in file.read_text().splitlines()]
    assert kept == list(range(105))


def test_a_line_larger_than_the_limit_has_a_file_of_its_own(tmp_path: Path) -> None:
    path = tmp_path / "out"
    lines = Rotating(path, limit=1000)
    for text in ("a", "b" * 5000, "c"):
        lines.write(text)
    lines.close()
    assert [file.read_text() for file in [*earlier(path), path]] == ["a\n", "b" * 5000 + "\n", "c\n"]


def test_a_line_that_a_kill_has_torn_is_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "out"
    path.write_bytes(b"one\ntwo\n" + b"x" * 100_000)
    lines = Rotating(path)
    lines.write("three")
    lines.close()
    assert lines.torn == 100_000
    assert path.read_text() == "one\ntwo\nthree\n"


@pytest.mark.parametrize("limit", [0, 1000])
@pytest.mark.parametrize("moved", [False, True])
def test_a_file_that_somebody_removes_or_moves_is_begun_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: int, *, moved: bool
) -> None:
    monkeypatch.setattr(rotate, "LOOK", 0.0)
    path, aside = tmp_path / "out", tmp_path / "out.1"
    lines = Rotating(path, limit=limit)
    for number in range(5):
        lines.write(f"{number:099}")
    path.rename(aside) if moved else path.unlink()
    for number in range(5, 100):
        lines.write(f"{number:099}")
    lines.close()
    kept = [int(line) for file in [*earlier(path), path] for line in file.read_text().splitlines()]
    assert kept == list(range(5, 100))
    assert not moved or len(aside.read_text().splitlines()) == 5


def test_a_file_that_is_removed_in_the_moment_it_is_full_costs_no_later_line(tmp_path: Path) -> None:
    path = tmp_path / "out"
    lines = Rotating(path, limit=1000)
    for number in range(10):
        lines.write(f"{number:099}")
    path.unlink()  # a moment ago it was there: not looked for again so soon
    for number in range(10, 15):
        lines.write(f"{number:099}")
    lines.close()
    assert [int(line) for line in path.read_text().splitlines()] == list(range(10, 15))


def test_an_old_file_that_cannot_be_removed_costs_a_line_and_no_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, lost = tmp_path / "out", 0
    lines = Rotating(path, limit=1000, keep=1)

    def refuse(file: Path, *, missing_ok: bool = False) -> None:
        raise PermissionError(1, f"Operation not permitted ({missing_ok})", str(file))

    monkeypatch.setattr(Path, "unlink", refuse)  # another user's, in a folder with the sticky bit
    for number in range(40):
        try:
            lines.write(f"{number:099}")
        except KDLightError:  # noqa: PERF203 - each line by itself
            lost += 1
    lines.close()
    assert lost == 2
    assert len(earlier(path)) == 3


def test_two_programs_cannot_write_one_file(tmp_path: Path) -> None:
    lines = Rotating(tmp_path / "out")
    with pytest.raises(KDLightError, match="being written by another process"):
        Rotating(tmp_path / "out")
    lines.close()


def test_a_share_that_knows_no_locks_takes_lines_all_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", unknown)
    for text in ("one", "two"):
        lines = Rotating(tmp_path / "out")
        lines.write(text)
        lines.close()
    assert (tmp_path / "out").read_text() == "one\ntwo\n"


def test_two_runs_do_not_share_a_table(tmp_path: Path) -> None:
    table = open_lines(tmp_path / "a.csv", at_once=True)
    table.write("first")
    with pytest.raises(KDLightError, match=r"a\.csv is being written by another process; name another file"):
        open_lines(tmp_path / "a.csv", at_once=True)
    table.write("second")
    assert (tmp_path / "a.csv").read_text() == "first\nsecond\n"
    table.close()
    open_lines(tmp_path / "a.csv", at_once=True).close()
    assert (tmp_path / "a.csv").read_text() == ""
    for nowhere in [open_lines(os.devnull, at_once=True) for _ in range(2)]:
        nowhere.write("third")
        nowhere.close()


def test_a_folder_that_is_not_there_is_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(KDLightError, match="No such file or directory; name a file"):
        Rotating(tmp_path / "none" / "out")


@pytest.mark.parametrize(("text", "size"), [("10MB", 10**7), ("1.5k", 1500), ("1GiB", 1 << 30), ("2000", 2000)])
def test_sizes_are_read_as_people_write_them(text: str, size: int) -> None:
    assert size_of(text) == size


@pytest.mark.parametrize("text", ["", "ten", "-1MB", "999", "10 parsecs"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="--rotate"):
        size_of(text)


def test_kill_9_while_files_turn_leaves_whole_lines_and_no_gap(tmp_path: Path) -> None:
    path = tmp_path / "out"
    script = (
        "import sys\nfrom pathlib import Path\nfrom kdlight_edge.sinks.rotate import Rotating\n"
        "lines = Rotating(sys.argv[1], limit=1000)\n"
        "for n in range(int(sys.argv[2]), 10**9):\n    lines.write(f'{n:050}')\n    print(n, flush=True)\n"
    )
    begin = 0
    for _ in range(4):
        command = [sys.executable, "-c", script, str(path), str(begin)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
            assert child.stdout is not None
            for _ in range(300):
                child.stdout.readline()
            child.send_signal(signal.SIGKILL)
            child.stdout.read()
        Rotating(path).close()
        kept = [int(line) for file in [*earlier(path), path] for line in file.read_text().splitlines()]
        assert kept == list(range(len(kept)))
        begin = len(kept)
    assert begin >= 1200


def test_infer_appends_json_lines_and_rotates(
    tmp_path: Path, tiny_bundle: Callable[..., Path], capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "out.jsonl"
    arguments = ["infer", "--camera", "scene:crack?size=64x64&fps=200", "--frames", "20", "--json"]
    arguments += ["--model", str(tiny_bundle())]
    said: list[str] = []
    for _ in range(2):
        assert main([*arguments, "--json-file", str(path), "--rotate", "2kB"]) == 0
        said += capfd.readouterr().out.splitlines()
    kept = [line for file in [*earlier(path), path] for line in file.read_text().splitlines()]
    assert len(earlier(path)) > 2
    assert [json.loads(line) for line in kept] == [json.loads(line) for line in said][-len(kept) :]


def test_flags_that_say_nothing_alone_are_refused(
    tiny_bundle: Callable[..., Path], capfd: pytest.CaptureFixture[str]
) -> None:
    arguments = ["infer", "--camera", "scene:crack?frames=2", "--model", str(tiny_bundle())]
    for flags in (["--rotate", "1MB"], ["--audit-key", "k"], ["--mqtt-device", "x"], ["--mqtt-store", "x"]):
        assert main([*arguments, *flags]) == 2
        assert f"{flags[0]} says nothing without" in capfd.readouterr().err
