"""A bundle opens whole or not at all, and is written whole or not at all."""

import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from kdlight_edge import durable
from kdlight_edge.bundle import Bundle, open_bundle, sha256_of, write_bundle
from kdlight_edge.commands.hands import Hands
from kdlight_edge.errors import BundleError
from kdlight_edge.manifest import digest_of
from kdlight_edge.unit import Service

Make = Callable[..., Path]


@pytest.fixture
def path(tiny_bundle: Make) -> Path:
    return tiny_bundle()


def rename_artifact(path: Path, name: str) -> None:
    """Let the sealed manifest name another file."""
    file = path / "manifest.json"
    record = json.loads(file.read_text())
    record["artifacts"][0]["file"] = name
    record["golden"]["logits"] = {name: record["golden"]["logits"]["model.onnx"]}
    record["digest"] = digest_of(record)
    file.write_text(json.dumps(record))


def names(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


def files_of(bundle: Bundle) -> dict[str, bytes]:
    return {artifact.file: bundle.file_of(artifact).read_bytes() for artifact in bundle.manifest.artifacts}


def test_a_good_bundle_opens_and_knows_its_size(path: Path) -> None:
    bundle = open_bundle(path)
    assert bundle.manifest.name == "tiny"
    assert bundle.bytes == sum(file.stat().st_size for file in path.iterdir())
    assert bundle.file_of(bundle.manifest.artifacts[0]) == path / "model.onnx"


def test_a_bundle_with_one_byte_changed_is_refused(path: Path) -> None:
    content = bytearray((path / "model.onnx").read_bytes())
    content[len(content) // 2] ^= 1
    (path / "model.onnx").write_bytes(content)
    with pytest.raises(BundleError, match=r"model\.onnx was changed after export \(its SHA-256 differs\)"):
        open_bundle(path)


def test_a_bundle_with_a_missing_file_is_refused(path: Path) -> None:
    (path / "model.onnx").unlink()
    with pytest.raises(BundleError, match=r"lacks its file model\.onnx \(No such file or directory\)"):
        open_bundle(path)


def test_a_bundle_with_a_folder_in_the_place_of_a_file_is_refused(path: Path) -> None:
    (path / "model.onnx").unlink()
    (path / "model.onnx").mkdir()
    with pytest.raises(BundleError, match=r"lacks its file model\.onnx \(Is a directory\)"):
        open_bundle(path)


def test_an_edited_manifest_is_refused(path: Path) -> None:
    file = path / "manifest.json"
    file.write_text(file.read_text().replace('"accept": 0.6', '"accept": 0.1'))
    with pytest.raises(BundleError, match="was changed after export"):
        open_bundle(path)


@pytest.mark.parametrize(
    "name", ["../model.onnx", "sub/../../model.onnx", "/etc/passwd", "", ".", "..\\model.onnx", "a\0b"]
)
def test_a_path_that_climbs_out_is_refused(path: Path, name: str) -> None:
    shutil.copy(path / "model.onnx", path.parent / "model.onnx")
    rename_artifact(path, name)
    with pytest.raises(BundleError, match="lies outside the bundle; refuse its sender"):
        open_bundle(path)


def test_a_file_whose_name_cannot_be_shown_is_refused(path: Path) -> None:
    rename_artifact(path, "a\x1b[2J.onnx")
    with pytest.raises(BundleError, match=r"the file 'a\\x1b\[2J\.onnx', which cannot be shown; refuse its sender"):
        open_bundle(path)


def test_a_link_that_leads_out_is_refused(path: Path) -> None:
    shutil.move(path / "model.onnx", path.parent / "elsewhere.onnx")
    (path / "model.onnx").symlink_to("../elsewhere.onnx")
    with pytest.raises(BundleError, match=r"'model\.onnx' leads out of the bundle by a link"):
        open_bundle(path)


def test_a_folder_link_that_leads_out_is_refused(path: Path) -> None:
    (path.parent / "outside").mkdir()
    shutil.copy(path / "model.onnx", path.parent / "outside" / "model.onnx")
    (path / "inside").symlink_to(path.parent / "outside")
    rename_artifact(path, "inside/model.onnx")
    with pytest.raises(BundleError, match="leads out of the bundle by a link"):
        open_bundle(path)


def test_a_bundle_may_itself_be_reached_by_a_link(path: Path) -> None:
    (path.parent / "current.kdl").symlink_to(path)
    assert open_bundle(path.parent / "current.kdl").manifest.name == "tiny"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("not json", "is not JSON"),
        ('{"schema_version": NaN}', "is not JSON .it holds NaN"),
        ('{"schema_version": 1e999}', "is not JSON .it holds 1e999, which is too large"),
        ("[" * 100_000, "is not JSON"),
        ("[]", "holds list where an object should be"),
        ("{}", "schema_version is None"),
    ],
    ids=["text", "NaN", "huge", "deep", "list", "empty"],
)
def test_a_manifest_that_is_none_is_refused(path: Path, text: str, message: str) -> None:
    (path / "manifest.json").write_text(text)
    with pytest.raises(BundleError, match=message):
        open_bundle(path)


def test_a_manifest_that_is_not_text_is_refused(path: Path) -> None:
    (path / "manifest.json").write_bytes(b"\xff\xfe\0")
    with pytest.raises(BundleError, match=r"is not a bundle: manifest\.json cannot be read"):
        open_bundle(path)


def test_what_is_no_bundle_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="there is no bundle at"):
        open_bundle(tmp_path / "gone.kdl")
    with pytest.raises(BundleError, match=r"is not a bundle: manifest\.json cannot be read \(No such file"):
        open_bundle(tmp_path)
    file = tmp_path / "file.kdl"
    file.write_text("")
    with pytest.raises(BundleError, match=r"is not a bundle: manifest\.json cannot be read \(Not a directory"):
        open_bundle(file)


def test_a_bundle_is_written_anew_over_an_older_one_and_leaves_nothing_beside_it(path: Path) -> None:
    bundle = open_bundle(path)
    (path / "left_over.txt").write_text("from an older version")
    written = write_bundle(path, bundle.manifest, files_of(bundle))
    assert written.manifest == bundle.manifest
    assert names(path) == ["manifest.json", "model.onnx"]
    assert names(path.parent) == [path.name]


def test_files_in_folders_are_written_there(path: Path) -> None:
    bundle = open_bundle(path)
    rename_artifact(path, "openvino/model.xml")
    (path / "openvino").mkdir()
    (path / "model.onnx").rename(path / "openvino" / "model.xml")
    nested = open_bundle(path)
    copied = write_bundle(
        path.parent / "copy.kdl", nested.manifest, {"openvino/model.xml": next(iter(files_of(nested).values()))}
    )
    assert sha256_of((copied.path / "openvino" / "model.xml").read_bytes()) == bundle.manifest.artifacts[0].sha256


def test_a_folder_that_is_no_bundle_is_never_overwritten(path: Path) -> None:
    bundle = open_bundle(path)
    precious = path.parent / "photos"
    precious.mkdir()
    (precious / "holiday.jpg").write_text("")
    with pytest.raises(BundleError, match="exists and is not a bundle; choose another --out"):
        write_bundle(precious, bundle.manifest, files_of(bundle))
    assert (precious / "holiday.jpg").exists()


def test_a_bundle_that_would_not_open_is_not_put_in_its_place(path: Path) -> None:
    bundle = open_bundle(path)
    with pytest.raises(BundleError, match="was changed after export"):
        write_bundle(path, bundle.manifest, {"model.onnx": b"something else"})
    assert open_bundle(path).manifest == bundle.manifest
    assert names(path.parent) == [path.name]


def test_a_file_that_is_not_in_the_manifest_cannot_climb_out_while_writing(path: Path) -> None:
    bundle = open_bundle(path)
    with pytest.raises(BundleError, match="lies outside the bundle"):
        write_bundle(path.parent / "new.kdl", bundle.manifest, {**files_of(bundle), "../evil": b""})
    assert names(path.parent) == [path.name]


def test_a_place_that_cannot_be_a_folder_is_one_line(path: Path) -> None:
    bundle = open_bundle(path)
    (path.parent / "file").write_text("")
    with pytest.raises(BundleError, match=r"could not be written \(File exists\)"):
        write_bundle(path.parent / "file" / "new.kdl", bundle.manifest, files_of(bundle))


@pytest.mark.parametrize("steps", [1, 2])
def test_a_bundle_is_on_the_disk_before_the_older_one_is_removed(
    path: Path, steps: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle, older = open_bundle(path), path.stat().st_ino
    synced: set[int] = set()
    at_the_swap: list[set[int]] = []
    older_is_there: list[bool] = []
    fsync, exchange = os.fsync, durable._exchange

    def seen_fsync(handle: int) -> None:
        synced.add(os.fstat(handle).st_ino)
        if os.fstat(handle).st_ino == path.parent.stat().st_ino:
            assert path.stat().st_ino != older
            older_is_there.append(older in {entry.stat().st_ino for entry in path.parent.rglob("*")})
        fsync(handle)

    def seen_exchange(new: Path, place: Path) -> bool:
        assert place == path
        at_the_swap.append(set(synced))
        return steps == 1 and exchange(new, place)

    monkeypatch.setattr(os, "fsync", seen_fsync)
    monkeypatch.setattr(durable, "_exchange", seen_exchange)
    write_bundle(path, bundle.manifest, files_of(bundle))
    assert {entry.stat().st_ino for entry in (path, *path.rglob("*"))} <= at_the_swap[0]
    assert older_is_there == [True]


def test_at_no_time_is_there_no_bundle_where_one_is_replaced(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle, replace = open_bundle(path), Path.replace

    def seen_replace(source: Path, target: Path) -> Path:
        moved = replace(source, target)
        open_bundle(path)
        return moved

    monkeypatch.setattr(Path, "replace", seen_replace)
    write_bundle(path, bundle.manifest, files_of(bundle))
    hands = Hands(Service(), dry=True)
    hands.dry = False
    hands.copy_bundle(older := shutil.copytree(path, path.parent / "older.kdl"), path)
    assert names(path.parent) == [older.name, path.name]
    rename_artifact(older, "b.onnx")
    (older / "model.onnx").rename(older / "b.onnx")
    hands.copy_bundle(older, path)
    assert names(path) == ["b.onnx", "manifest.json"]
    assert names(path.parent) == [older.name, path.name]


def test_a_bundle_that_a_cut_of_power_left_beside_its_place_is_named(path: Path) -> None:
    (left := path.parent / f".{path.name}.x1").mkdir()
    path.rename(left / "old")  # between the two renames of a file system that knows no exchange
    with pytest.raises(BundleError, match=f"a cut of power left it behind: mv {left}/old {path}"):
        open_bundle(path)


def test_a_file_system_that_cannot_sync_a_folder_is_written_to_all_the_same() -> None:
    durable.sync(Path("/proc"))  # has no such call, as some network shares


def test_a_full_disk_leaves_the_older_bundle_as_it_was(path: Path, disk_of: Callable[[int], Path]) -> None:
    bundle, small_disk = open_bundle(path), disk_of(64)
    older = write_bundle(small_disk / "tiny.kdl", bundle.manifest, files_of(bundle))
    (small_disk / "ballast").write_bytes(bytes(64 * 1024 - older.bytes - 20 * 1024))
    with pytest.raises(BundleError, match=r"could not be written \(No space left on device\); nothing was changed"):
        write_bundle(older.path, bundle.manifest, {**files_of(bundle), "notes.bin": bytes(60_000)})
    assert open_bundle(older.path).manifest == bundle.manifest
    assert names(small_disk) == ["ballast", "tiny.kdl"]


def test_a_disk_that_may_only_be_read_is_one_line(path: Path, disk_of: Callable[[int], Path]) -> None:
    bundle, small_disk = open_bundle(path), disk_of(64)
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    with pytest.raises(BundleError, match=r"could not be written \(Read-only file system\)"):
        write_bundle(small_disk / "new.kdl", bundle.manifest, files_of(bundle))


def test_what_a_killed_writer_left_is_cleared_and_nothing_else(path: Path) -> None:
    bundle, mine, old = open_bundle(path), {}, time.time() - 7200
    for name, inside in (("dead", path.name), ("older", "old"), ("empty", ""), ("live", path.name), ("strange", "x")):
        mine[name] = path.parent / f".{path.name}.{name}"
        (mine[name] / inside / "part").mkdir(parents=True) if inside else mine[name].mkdir()
        os.utime(mine[name], None if name == "live" else (old, old))
    write_bundle(path.parent / "other.kdl", bundle.manifest, files_of(bundle))
    assert all(left.is_dir() for left in mine.values())
    write_bundle(path, bundle.manifest, files_of(bundle))
    assert {name for name, left in mine.items() if left.exists()} == {"live", "strange"}


def test_what_a_cut_of_power_took_from_its_place_is_not_cleared(path: Path) -> None:
    bundle, files, old = open_bundle(path), files_of(open_bundle(path)), time.time() - 7200
    (left := path.parent / f".{path.name}.x1").mkdir()
    path.rename(left / "old")
    os.utime(left, (old, old))
    write_bundle(path, bundle.manifest, files)
    assert open_bundle(left / "old").manifest == bundle.manifest
