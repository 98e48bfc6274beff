"""The proof reads files as a device does, and a decoder that changes a pixel is found by it."""

import dataclasses
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from kdlight_edge.bundle import open_bundle, write_bundle
from kdlight_edge.cli import main
from kdlight_edge.manifest import Golden
from kdlight_export import encoded
from kdlight_export.encoded import encoded_golden

KINDS = ["JPEG", "PNG", "16-bit PNG", "DICOM", "compressed DICOM"]


def test_every_file_without_loss_gives_back_the_pixels_that_were_written() -> None:
    pytest.importorskip("pydicom", reason="the extra dicom is not installed")
    files = encoded_golden([3], dicom=True)
    assert [file.kind for file in files] == KINDS
    for file in files:
        if file.kind == "JPEG":
            assert file.shown is None
            assert file.known().shape == (192, 256, 3)
        else:
            np.testing.assert_array_equal(file.seen(), file.known(), err_msg=file.kind)
    raw, packed = (next(file for file in files if file.kind == kind) for kind in KINDS[3:])
    assert b"1.2.840.10008.1.2.5\0" in packed.content  # RLE Lossless
    assert b"1.2.840.10008.1.2.5\0" not in raw.content


def test_the_proof_tells_which_kinds_of_file_it_read(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("pydicom", reason="the extra dicom is not installed")
    assert main(["export", str(run), "--target", "other", "--out", str(tmp_path / "wall.kdl")]) == 0
    assert f"12 held-out and 40 procedural pictures ({', '.join(KINDS)})" in capsys.readouterr().err


def test_an_environment_for_training_alone_exports_without_scans_and_says_so(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "pydicom", None)  # what python does where a package is not installed
    assert main(["export", str(run), "--target", "other", "--out", str(tmp_path / "wall.kdl")]) == 0
    told = capsys.readouterr().err
    assert f"procedural pictures ({', '.join(KINDS[:3])})" in told
    assert "no DICOM among them: pip install 'kdlight-edge[dicom]'" in told


@pytest.mark.parametrize("reader", ["decode", "_read_scan"])
def test_a_decoder_that_shifts_a_picture_is_not_exported(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], reader: str
) -> None:
    pytest.importorskip("pydicom", reason="the extra dicom is not installed")
    honest: Callable[[bytes], npt.NDArray[np.uint8]] = getattr(encoded, reader)
    monkeypatch.setattr(encoded, reader, lambda content: np.roll(honest(content), 40, axis=1))
    assert main(["export", str(run), "--out", str(tmp_path / "wall.kdl")]) == 4
    assert "answers differently from the student" in capsys.readouterr().err
    assert not (tmp_path / "wall.kdl").exists()


def resealed(bundle: Path, change: Callable[[Golden], Golden], factor: float = 1.0) -> None:
    """Change golden rows or the temperature of a bundle and seal it again, as somebody with the program could."""
    manifest = open_bundle(bundle).manifest
    artifacts = tuple(dataclasses.replace(one, temperature=one.temperature * factor) for one in manifest.artifacts)
    changed = dataclasses.replace(manifest, artifacts=artifacts, golden=change(manifest.golden))
    write_bundle(bundle, changed, {"student.onnx": (bundle / "student.onnx").read_bytes()})


def test_one_flipped_bit_is_refused(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "wall.kdl"
    assert main(["export", str(run), "--target", "other", "--out", str(out)]) == 0
    content = bytearray((out / "student.onnx").read_bytes())
    content[len(content) // 2] ^= 1
    (out / "student.onnx").write_bytes(content)
    assert main(["verify", str(out)]) == 5
    assert "was changed after export (its SHA-256 differs)" in capsys.readouterr().err


def test_one_wrong_temperature_is_refused_by_verify_and_by_the_runtime(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "wall.kdl"
    assert main(["export", str(run), "--target", "other", "--out", str(out)]) == 0
    resealed(out, lambda golden: golden, factor=1.01)
    assert main(["verify", str(out)]) == 4
    assert "does not make the golden log-odds" in capsys.readouterr().err
    assert main(["infer", "--model", str(out), "--source", "scene:crack"]) == 4


def test_one_edited_logit_is_refused_by_verify_and_by_the_runtime(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "wall.kdl"
    assert main(["export", str(run), "--target", "other", "--out", str(out)]) == 0

    def edited(golden: Golden) -> Golden:
        rows = [list(row) for row in golden.logits["student.onnx"]]
        rows[3][1] += 0.1
        return dataclasses.replace(golden, logits={"student.onnx": tuple(map(tuple, rows))}, log_odds={})

    resealed(out, edited)
    assert main(["verify", str(out)]) == 4
    assert "with logits off by 0.1 (allowed 0.05)" in capsys.readouterr().err
    assert main(["infer", "--model", str(out), "--source", "scene:crack"]) == 4
