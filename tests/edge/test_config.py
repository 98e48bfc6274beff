"""One TOML file in the place of flags: it means the same, flags win, and what cannot be is one line."""

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kdlight_edge.cli import build_parser, main
from kdlight_edge.config import Configurable, add_arguments, keys_of
from kdlight_edge.errors import UsageError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

SITE = Path(__file__).parents[2] / "devices" / "setup" / "site.toml"


@pytest.fixture
def written(tmp_path: Path) -> Callable[[str], str]:
    """Return ``write(text) -> path`` of a configuration."""

    def write(text: str) -> str:
        file = tmp_path / "site.toml"
        file.write_text(text, encoding="utf-8")
        return str(file)

    return write


def effective(*words: str, capfd: pytest.CaptureFixture[str]) -> dict[str, Any]:
    """Return what ``--print-config`` prints, read as TOML."""
    assert main(["infer", *words, "--print-config"]) == 0
    out, err = capfd.readouterr()
    assert err == ""
    return tomllib.loads(out)


def test_a_run_by_a_file_is_the_run_by_the_same_flags(
    written: Callable[[str], str], tiny_bundle: Callable[..., Path], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    table = tmp_path / "table.csv"
    said = f"""
        camera = "scene:crack?size=64x64&fps=100&frames=4"
        model = {json.dumps(str(tiny_bundle()))}
        csv = {json.dumps(str(table))}
        json = true
        topk = 2
        conf = 0
        max-age = 60
    """
    assert main(["infer", "--config", written(said)]) == 0
    lines = [json.loads(line) for line in capfd.readouterr().out.splitlines()]
    assert len(lines) == 4
    assert {len(line["top"]) for line in lines} == {2}
    assert {line["decision"] for line in lines} == {"accepted"}
    assert len(table.read_text().splitlines()) == 5


def test_a_flag_wins_over_the_file(written: Callable[[str], str], capfd: pytest.CaptureFixture[str]) -> None:
    file = written('camera = "a"\nmodel = "m.kdl"\nmax-age = 1\njson = true\nmqtt = "mqtt://x"')
    assert effective("--config", file, capfd=capfd)["max-age"] == 1.0
    assert effective(f"--config={file}", "--max-age", "3", capfd=capfd)["max-age"] == 3.0
    assert effective("--max-age=2", "--config", file, capfd=capfd)["max-age"] == 2.0
    other = effective("--config", file, "--folder", "pictures", capfd=capfd)
    assert (other["folder"], "camera" in other) == ("pictures", False)
    less = effective("--config", file, "--no-json", "--no-mqtt", capfd=capfd)
    assert less.keys() & {"json", "mqtt"} == set()
    assert less["model"] == "m.kdl"


def test_what_is_printed_can_be_fed_back_and_says_the_same(
    written: Callable[[str], str], capfd: pytest.CaptureFixture[str]
) -> None:
    odd = r"""C:\walls "north" — ünï 😀 #1=2"""
    words = ["--source", odd, "--model", "m.kdl", "--retries", "0", "--conf", "1e-05", "--await-camera", "--csv=-x"]
    assert main(["infer", *words, "--print-config"]) == 0
    first = capfd.readouterr().out
    assert tomllib.loads(first)["source"] == odd
    assert tomllib.loads(first)["retries"] == 0
    assert main(["infer", "--config", written(first), "--print-config"]) == 0
    assert capfd.readouterr().out == first


def test_every_flag_of_a_run_is_a_key_and_no_other_is(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["infer", "--print-config"]) == 0
    out = capfd.readouterr().out
    named = set(tomllib.loads(out)) | set(out.partition("# not set: ")[2].strip().split(", "))
    with pytest.raises(SystemExit):
        build_parser("infer").parse_args(["infer", "--help"])
    told = {word.strip("[],()") for word in capfd.readouterr().out.split() if word.lstrip("[(").startswith("--")}
    flags = {word.lstrip("[(").removeprefix("--") for word in told}
    assert named == flags - {"help", "config", "print-config", "no-FLAG"}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("max_age = 3", "the unknown key 'max_age'; did you mean 'max-age'?"),
        ("modell = 'x'", "the unknown key 'modell'; did you mean 'model'?"),
        ("zzzz = 1", "the unknown key 'zzzz'; --print-config shows"),
        ("config = 'x'", "the unknown key 'config'"),
        ("topk = 'two'", "key 'topk' holds 'two' where a whole number should be"),
        ("topk = 1.5", "key 'topk' holds 1.5 where a whole number should be"),
        ("topk = true", "key 'topk' holds True where a whole number should be"),
        ("conf = '0.5'", "key 'conf' holds '0.5' where a number should be"),
        ("json = 1", "key 'json' holds 1 where true or false should be"),
        ("csv = 1.5", "key 'csv' holds 1.5 where text should be"),
        ("model = ['a', 'b']", "key 'model' holds ['a', 'b'] where text should be"),
        ("camera = [true]", "key 'camera' holds [True] where text, or a list of them, should be; --help"),
        ("camera = ['a', 1.5]", "key 'camera' holds ['a', 1.5] where text, or a list of them, should be; --help"),
        ("[mqtt]\nurl = 'x'", "key 'mqtt' holds a table where text should be"),
        ("when = 2026-01-01", "the unknown key 'when'"),
        ("camera = 'a'\nfolder = 'b'", "has the keys 'camera' and 'folder'; only one of them can be"),
        ("conf = 7\ncamera = 'a'", "--conf 7 is not a probability"),
        ("\ufeffwhen = 2026-01-01", "the unknown key 'when'"),
        ("camera =", "is not TOML"),
        ("camera = 'a'\ncamera = 'b'", "is not TOML"),
        (f"frames = {'9' * 5000}", "is not TOML"),
        (f"camera = {'[' * 5000}", "is not TOML"),
    ],
)
def test_what_a_file_cannot_say_is_one_line(
    text: str, said: str, written: Callable[[str], str], capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(["infer", "--config", written(text)]) == 2
    out, err = capfd.readouterr()
    assert (out, len(err.splitlines())) == ("", 1)
    assert said in err


def test_a_file_that_cannot_be_read_is_one_line(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    latin = tmp_path / "latin.toml"
    latin.write_bytes(b"model = 'w\xe4nde'")
    for file, said in ((tmp_path / "no.toml", "No such file"), (tmp_path, "Is a directory"), (latin, "is not TOML")):
        assert main(["infer", "--config", str(file)]) == 2
        (line,) = capfd.readouterr().err.splitlines()
        assert said in line
    assert main(["infer", "--config", "a", "--config", "b"]) == 2
    assert "given 2 times" in capfd.readouterr().err


def parser_with_lists() -> Configurable:
    parser = Configurable(prog="verb", allow_abbrev=False)
    parser.add_argument("--camera", action="append", nargs="?", const="0")
    parser.add_argument("--size", nargs=2, type=int)
    parser.add_argument("--mode", choices=["fast", "exact"])
    parser.add_argument("--web", nargs="?", const="8080")
    parser.add_argument("--wide", "--broad", action=argparse.BooleanOptionalAction)
    add_arguments(parser)
    return parser


def test_a_flag_that_is_given_several_times_is_a_list(written: Callable[[str], str]) -> None:
    file = written('camera = ["rtsp://a", "rtsp://b"]\nsize = [3, 4]\nweb = true\nmode = "fast"\nwide = true')
    found = parser_with_lists().parse_args(["--config", file])
    assert (found.camera, found.size, found.web, found.mode, found.wide) == (
        ["rtsp://a", "rtsp://b"], [3, 4], "8080", "fast", True,
    )  # fmt: skip
    assert parser_with_lists().parse_args(["--config", file, "--camera", "x"]).camera == ["x"]
    again = written(parser_with_lists().parse_args(["--config", file, "--print-config"]).print_config)
    assert parser_with_lists().parse_args(["--config", again]) == argparse.Namespace(**{**vars(found), "config": again})
    assert parser_with_lists().parse_args(["--config", written('camera = "one"\nweb = 80')]).camera == ["one"]
    assert parser_with_lists().parse_args(["--config", file, "--no-wide"]).wide is False


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("camera = [1.5]", r"holds \[1.5\] where text, or a list of them, should be"),
        ("mode = 'slow'", "holds 'slow' where one of fast, exact"),
        ("size = 'x'", "holds 'x' where a whole number, or a list of them"),
        ("web = 1.5", "holds 1.5 where text"),
    ],
)
def test_lists_and_choices_are_checked_too(text: str, said: str, written: Callable[[str], str]) -> None:
    with pytest.raises(UsageError, match=said):
        parser_with_lists().parse_args(["--config", written(text)])


def test_verbs_without_the_flag_are_as_they_were() -> None:
    assert keys_of(argparse.ArgumentParser()) == {}
    assert build_parser("verify").parse_args(["verify", "x.kdl"]).verb == "verify"


def test_the_documented_example_holds_with_every_line_switched_on(
    written: Callable[[str], str], capfd: pytest.CaptureFixture[str]
) -> None:
    text = SITE.read_text(encoding="utf-8")
    assert effective("--config", str(SITE), capfd=capfd)["camera"] in (
        "rtsp://10.0.0.7/live",
        ["rtsp://10.0.0.7/live"],
    )
    lines = [line.removeprefix("# ") if " = " in line else line for line in text.splitlines()]
    whole = effective("--config", written("\n".join(lines)), capfd=capfd)
    assert len(whole) >= text.count(" = ")
