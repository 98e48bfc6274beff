"""The front door: help without any package, light imports, and every error as one line with its exit code."""

import errno
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from kdlight_edge import __version__, cli
from kdlight_edge.cli import ALIASES, COMMANDS, main
from kdlight_edge.errors import (
    BudgetExceeded,
    BundleError,
    DataError,
    EngineMismatch,
    KDLightError,
    MissingPackage,
    ParityError,
    SelfTestFailed,
    SourceError,
    UsageError,
)

Make = Callable[..., Path]
ROOT = Path(__file__).parents[2]
OURS = os.pathsep.join(str(ROOT / folder) for folder in ("", "devices", "train", "export"))
HEAVY = ("numpy", "cv2", "onnxruntime", "onnx", "torch", "torchvision")


def bare(*code: str, arguments: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    """Run Python without site-packages: nothing but the standard library and this project."""
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": OURS}
    command = [sys.executable, "-S", "-W", "error", "-c", "\n".join(code), *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def started(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the command line as a program."""
    command = [sys.executable, "-m", "kdlight_edge.cli", *arguments]
    return subprocess.run(command, env={**os.environ, **environment}, capture_output=True, text=True, check=False)


RUN = "import sys; from kdlight_edge.cli import main; sys.exit(main())"


@pytest.mark.parametrize("verb", COMMANDS)
def test_every_verb_helps_in_an_empty_environment(verb: str) -> None:
    ran = bare(RUN, arguments=(verb, "--help"))
    assert ran.stderr == ""
    assert ran.returncode == 0
    assert ran.stdout.startswith(f"usage: kdlight-edge {verb}")


def test_the_program_helps_in_an_empty_environment_and_lists_every_verb() -> None:
    ran = bare(RUN, arguments=("--help",))
    assert ran.returncode == 0
    for verb, (_, line) in COMMANDS.items():
        assert f"    {verb} " in ran.stdout
        assert line in ran.stdout
    told = " ".join(ran.stdout.split())
    assert "predict, val, benchmark mean infer, eval, bench." in told
    assert "KDLIGHT_DEBUG=1" in told


@pytest.mark.parametrize("verb", ["", *COMMANDS])
def test_help_imports_no_heavy_package(verb: str) -> None:
    ran = started_with_imports(f"from kdlight_edge.cli import build_parser; build_parser({verb or None!r})")
    assert ran == []


def test_importing_the_runtime_imports_no_heavy_package() -> None:
    assert started_with_imports("import kdlight_edge, kdlight_edge.manifest, kdlight_edge.bundle") == []


def test_importing_everything_that_answers_imports_no_torch() -> None:
    heavy = started_with_imports(
        "import kdlight_edge.classifier, kdlight_edge.stream, kdlight_edge.engines.onnxruntime"
    )
    assert heavy == ["cv2", "numpy", "onnxruntime"]


def started_with_imports(code: str) -> list[str]:
    """Run code in a fresh interpreter and return the heavy packages it has imported."""
    code += f"\nimport sys; print(*sorted(set(sys.modules) & set({HEAVY!r})))"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return ran.stdout.split()


def test_the_version_is_printed() -> None:
    assert bare(RUN, arguments=("--version",)).stdout == f"kdlight-edge {__version__}\n"


@pytest.mark.parametrize("arguments", [("dance",), (), ("infer", "--no-such-flag"), ("eval",), ("bench", "--thr", "1")])
def test_a_command_line_that_cannot_be_is_exit_code_2(arguments: tuple[str, ...]) -> None:
    ran = bare(RUN, arguments=arguments)
    assert ran.returncode == 2
    assert "usage: kdlight-edge" in ran.stderr
    assert "Traceback" not in ran.stderr
    assert ran.stdout == ""


@pytest.mark.parametrize(
    ("arguments", "verb", "last"),
    [
        (("eval", "a.kdl", "--dat", "x"), "eval", "--dat; did you mean --data?"),  # what it should have been is missing
        (("infer", "--modle=x", "--camera"), "infer", "--modle; did you mean --model?"),
        (("infer", "--print-config", "--no-camra"), "infer", "--no-camra; did you mean --camera?"),
        (("bundle", "sign", "--kye", "x"), "bundle sign", "--kye; did you mean --key?"),
        (("verify", "a.kdl", "--frobnicate"), "verify", "--frobnicate"),
        (("verify", "a.kdl", "b.kdl"), "verify", "b.kdl"),
    ],
)
def test_a_misspelt_flag_is_answered_by_its_verb_with_the_nearest(
    arguments: tuple[str, ...], verb: str, last: str
) -> None:
    ran = bare(RUN, arguments=arguments)
    assert ran.returncode == 2
    assert ran.stderr.startswith(f"usage: kdlight-edge {verb} [-h]")
    assert ran.stderr.endswith(f"\nkdlight-edge {verb}: error: unrecognized arguments: {last}\n")


def test_help_is_given_beside_a_misspelt_flag() -> None:
    assert bare(RUN, arguments=("verify", "--enigne", "x", "--help")).returncode == 0


def test_an_unknown_verb_is_answered_with_the_known_ones() -> None:
    assert "invalid choice: 'dance' (choose from" in bare(RUN, arguments=("dance",)).stderr


@pytest.mark.parametrize(("alias", "verb"), ALIASES.items())
def test_the_verbs_of_the_best_known_peer_mean_the_same(alias: str, verb: str) -> None:
    assert bare(RUN, arguments=(alias, "--help")).stdout.startswith(f"usage: kdlight-edge {verb}")


def test_a_missing_package_is_one_line_that_names_the_extra(tmp_path: Path) -> None:
    (tmp_path / "tiny.kdl").mkdir()
    (tmp_path / "crack").mkdir()
    ran = bare(RUN, arguments=("bench", str(tmp_path / "tiny.kdl")))
    assert ran.returncode == 1
    assert ran.stderr.endswith(" is not installed; pip install 'kdlight-edge[runtime]' brings it\n")
    assert ran.stderr.count("\n") == 1


def test_an_error_is_one_line_without_a_trace(tmp_path: Path) -> None:
    ran = started("verify", str(tmp_path / "two\nlines.kdl"))
    assert ran.returncode == 5
    assert (
        ran.stderr == f"kdlight-edge: there is no bundle at {tmp_path}/two lines.kdl; kdlight-edge export makes one\n"
    )


def test_kdlight_debug_shows_the_trace(tmp_path: Path) -> None:
    ran = started("verify", str(tmp_path / "gone.kdl"), KDLIGHT_DEBUG="1")
    assert ran.returncode == 1
    assert "Traceback" in ran.stderr
    assert "BundleError: there is no bundle at" in ran.stderr


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (KDLightError("x"), 1),
        (DataError("x"), 1),
        (MissingPackage("x"), 1),
        (UsageError("x"), 2),
        (BudgetExceeded("x"), 3),
        (ParityError("x"), 4),
        (BundleError("x"), 5),
        (EngineMismatch("x"), 5),
        (SourceError("x"), 6),
        (SelfTestFailed("x"), 7),
        (KeyboardInterrupt(), 130),
        (BrokenPipeError(), 0),
        (OSError(errno.ENOSPC, "No space left on device", "out.csv"), 1),
    ],
    ids=lambda value: type(value).__name__,
)
def test_every_error_has_its_exit_code(
    error: BaseException, code: int, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def fail(_: object) -> int:
        raise error

    monkeypatch.setattr("kdlight_edge.commands.doctor.run", fail)
    assert main(["doctor"]) == code
    said = capfd.readouterr().err
    assert "Traceback" not in said
    assert said.count("\n") == (0 if isinstance(error, (KeyboardInterrupt, BrokenPipeError)) else 1)
    if isinstance(error, UsageError):
        assert said == "kdlight-edge: x; --help shows the flags\n"
    if isinstance(error, OSError) and error.filename:
        assert said == "kdlight-edge: No space left on device: out.csv\n"


def test_a_fault_of_the_program_is_not_dressed_up(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: object) -> int:
        raise ModuleNotFoundError("No module named 'kdlight_edge.nothing'", name="kdlight_edge.nothing")

    monkeypatch.setattr("kdlight_edge.commands.doctor.run", fail)
    with pytest.raises(ModuleNotFoundError):
        main(["doctor"])


def test_a_full_disk_behind_stdout_is_one_line() -> None:
    command = f"exec {sys.executable} -m kdlight_edge.cli doctor --json >/dev/full"
    ran = subprocess.run(["sh", "-c", command], stderr=subprocess.PIPE, text=True, check=False)
    assert ran.returncode == 1
    assert ran.stderr == "kdlight-edge: No space left on device\n"


def test_a_reader_that_goes_away_is_no_error() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    ran = subprocess.run(
        [sys.executable, "-m", "kdlight_edge.cli", "doctor", "--json"],
        stdout=writing, stderr=subprocess.PIPE, text=True, check=False,
    )  # fmt: skip
    os.close(writing)
    assert (ran.returncode, ran.stderr) == (0, "")


def test_every_command_module_has_the_two_functions() -> None:
    import importlib

    for module, _ in COMMANDS.values():
        loaded = importlib.import_module(module)
        assert callable(loaded.add_arguments)
        assert callable(loaded.run)


def test_the_installed_program_is_this_one() -> None:
    from importlib.metadata import entry_points

    (script,) = entry_points(group="console_scripts", name="kdlight-edge")
    assert script.load() is cli.program


def test_onnx_runtime_is_told_to_send_no_telemetry_before_it_is_imported(tmp_path: Path) -> None:
    code = (
        "import sys, kdlight_edge, kdlight_edge.engines.onnxruntime, os;"
        "print(os.environ['ORT_DISABLE_TELEMETRY'], list(__import__('pathlib').Path(sys.argv[1]).rglob('*')))"
    )
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("ORT_", "XDG_"))}
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)],
        capture_output=True, text=True, check=True, env={**environment, "HOME": str(tmp_path)},
    )  # fmt: skip
    assert done.stdout.strip() == "1 []", "nothing is kept in the home folder"
    assert "telemetry" not in done.stderr


@pytest.mark.parametrize(
    "words",
    [
        ["train", "--data", "pictures", "--out", ""], ["train", "--data", "", "--out", "run"],
        ["train", "--data", "pictures", "--out", "run", "--cache", ""], ["pretrain", "--data", "", "--out", "x.pt"],
        ["data", "check", ""], ["export", ""], ["eval", "x.kdl", "--data", ""],
    ],
)  # fmt: skip
def test_an_empty_path_is_refused_and_not_taken_for_the_folder_one_is_in(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert ended.value.code == 2
    assert "it is empty; give a path" in capsys.readouterr().err


def test_a_camera_that_hangs_at_the_end_changes_no_exit_code_and_aborts_nothing() -> None:
    code = (
        "import atexit, sys, threading, time",
        "from kdlight_edge import cli",
        "def main():",
        "    threading.Thread(target=time.sleep, args=(60,), name='capture cam', daemon=True).start()",
        "    atexit.register(print, 'Python ends its threads')",
        "    print('told')",
        "    return 6",
        "cli.main = main",
        "sys.exit(cli.program())",
    )
    done = bare(*code)
    assert (done.returncode, done.stdout, done.stderr) == (6, "told\n", "")
