"""An engine's passport: every field that differs is found, told in one line, and before TensorRT sees the bytes."""

import dataclasses
import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from kdlight_edge.errors import EngineMismatch
from kdlight_edge.passport import Here, Passport, check, passport_of, to_text

HERE = Here("Orin (nvgpu)", "8.7", "tensorrt", "10.3.0", "12.6", "12.6")
FLAGS = ("strongly_typed", "no_tf32")
ONNX = "a" * 64
CONTENT = b"machine code"


@pytest.fixture
def engine(tmp_path: Path) -> Path:
    """An engine of this very machine with its passport."""
    file = tmp_path / "student.engine"
    file.write_bytes(CONTENT)
    told = Passport(
        schema=1,
        flags=FLAGS,
        onnx_sha256=ONNX,
        engine_sha256=hashlib.sha256(CONTENT).hexdigest(),
        **dataclasses.asdict(HERE),
    )
    passport_of(file).write_text(to_text(told))
    return file


def edit(engine: Path, **changes: Any) -> None:
    file = passport_of(engine)
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))


def checked(engine: Path) -> bytes:
    return check(engine, HERE, flags=FLAGS, onnx_sha256=ONNX)


def test_an_engine_of_this_machine_is_given_out(engine: Path) -> None:
    assert checked(engine) == CONTENT


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("gpu", "Tesla T4", r"built for the GPU Tesla T4, here is Orin \(nvgpu\)"),
        ("compute_capability", "7.5", "built for compute capability 7.5, here is 8.7"),
        ("kind", "tensorrt_rtx", "built for the kind of TensorRT tensorrt_rtx, here is tensorrt"),
        ("version", "8.6.1", "built for TensorRT 8.6.1, here is 10.3.0"),
        ("cuda", "11.8", "built for CUDA 11.8, here is 12.6"),
        ("driver", "12.2", "built for the driver's CUDA 12.2, here is 12.6"),
        ("flags", ["strongly_typed"], "built with strongly_typed, wanted is strongly_typed, no_tf32"),
        ("onnx_sha256", "b" * 64, "built from the ONNX file bbbbbbbbbbbbbbbb, the bundle's is aaaaaaaaaaaaaaaa"),
        ("engine_sha256", "c" * 64, "is not what its passport says"),
        ("schema", 2, "has schema 2, this program reads 1"),
        ("vendor", "x", "unknown key 'vendor'"),
        ("version", 10, "key 'version' holds 10 where str should be"),
    ],
)
def test_every_edited_field_is_refused_in_one_line(engine: Path, key: str, value: Any, message: str) -> None:
    edit(engine, **{key: value})
    with pytest.raises(EngineMismatch, match=message) as caught:
        checked(engine)
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 5


@pytest.mark.parametrize("key", ["gpu", "cuda", "driver"])
def test_what_was_unknown_where_an_engine_was_built_ahead_of_time_is_no_difference(engine: Path, key: str) -> None:
    edit(engine, **{key: None})
    assert checked(engine) == CONTENT


def test_one_flipped_byte_of_the_engine_is_refused(engine: Path) -> None:
    engine.write_bytes(CONTENT[:-1] + b"E")
    with pytest.raises(EngineMismatch, match="SHA-256 differs"):
        checked(engine)


@pytest.mark.parametrize("text", [None, "", "no json", "[]"])
def test_an_engine_without_a_passport_is_refused(engine: Path, text: str | None) -> None:
    file = passport_of(engine)
    if text is None:
        file.unlink()
    else:
        file.write_text(text)
    with pytest.raises(EngineMismatch, match=r"no passport that can be read|where a table should be"):
        checked(engine)


def test_a_missing_field_is_named(engine: Path) -> None:
    file = passport_of(engine)
    record = json.loads(file.read_text())
    del record["driver"]
    file.write_text(json.dumps(record))
    with pytest.raises(EngineMismatch, match="lacks the key 'driver'"):
        checked(engine)
