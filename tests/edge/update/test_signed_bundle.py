"""A bundle as one signed file: the same bytes everywhere, and refused for every kind of change."""

import base64
import io
import json
import os
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kdlight_devices.workstation import OTHER
from kdlight_edge import archive
from kdlight_edge.bundle import open_bundle
from kdlight_edge.cli import main
from kdlight_edge.errors import BundleError
from kdlight_edge.signature import PASSWORD, make_key, sign
from kdlight_edge.update.apply import Order, apply
from kdlight_edge.update.state import State

Bundles = Callable[..., Path]


@pytest.fixture
def packed(bundle: Bundles, keys: Path, tmp_path: Path) -> Path:
    file = tmp_path / "tiny-1.kdl.tar"
    assert main(["bundle", "sign", str(bundle("1")), "--key", str(keys / "field.key"), "--out", str(file)]) == 0
    return file


def verify(file: Path, keys: Path) -> int:
    return main(["bundle", "verify", str(file), "--keys", str(keys)])


def members(file: Path) -> dict[str, bytes]:
    with tarfile.open(file) as tar:
        return {member.name: (tar.extractfile(member) or io.BytesIO()).read() for member in tar}


def rewrite(file: Path, content: dict[str, bytes], *more: tarfile.TarInfo) -> Path:
    with tarfile.open(file, "w") as tar:
        for name, text in content.items():
            member = tarfile.TarInfo(name)
            member.size = len(text)
            tar.addfile(member, io.BytesIO(text))
        for member in more:
            tar.addfile(member)
    return file


def resealed(content: dict[str, bytes], change: Callable[[dict[str, Any]], object]) -> dict[str, bytes]:
    """Change what the seal says, as one without the key could."""
    envelope = json.loads(content[archive.SEAL])
    seal = json.loads(base64.b64decode(envelope["payload"]))
    change(seal)
    envelope["payload"] = base64.b64encode(json.dumps(seal).encode()).decode()
    return {**content, archive.SEAL: json.dumps(envelope).encode()}


def test_a_signed_bundle_is_taken_and_its_signer_named(
    packed: Path, keys: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert verify(packed, keys) == 0
    assert "whole, and signed by field" in capfd.readouterr().out
    assert main(["bundle", "verify", str(packed), "--keys", str(keys), "--json"]) == 0
    assert json.loads(capfd.readouterr().out)["trusted"] == "field"


def test_packing_twice_gives_the_same_bytes(packed: Path, keys: Path, tmp_path: Path) -> None:
    again = tmp_path / "again.tar"
    os.utime(tmp_path / "made/1/tiny.kdl/manifest.json", (0, 0))
    assert main(["bundle", "sign", str(tmp_path / "made/1/tiny.kdl"), "--key", str(keys / "field.key"),
                 "--out", str(again)]) == 0  # fmt: skip
    assert again.read_bytes() == packed.read_bytes()


def test_what_was_unpacked_is_the_bundle_that_was_packed(packed: Path, tmp_path: Path) -> None:
    unpacked = archive.unpack(packed, archive.read_envelope(packed), tmp_path / "out.kdl")
    assert unpacked.manifest == open_bundle(tmp_path / "made/1/tiny.kdl").manifest


def test_show_tells_what_a_file_and_a_folder_hold_and_trusts_nothing(
    packed: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(["bundle", "show", str(packed)]) == 0
    assert "says that 1 signed it" in capfd.readouterr().out
    assert main(["bundle", "show", str(tmp_path / "made/1/tiny.kdl")]) == 0
    assert "model.onnx" in capfd.readouterr().out


def test_a_key_that_is_not_trusted_is_refused(packed: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    make_key("other", tmp_path / "others")
    assert verify(packed, tmp_path / "others") == BundleError.exit_code
    assert "signed by a key that is not trusted here; trusted are other" in capfd.readouterr().err


def test_a_device_that_trusts_nobody_says_so(packed: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert verify(packed, tmp_path / "nowhere") == 2
    assert "nobody is trusted" in capfd.readouterr().err


def test_an_edited_signature_is_refused(packed: Path, keys: Path, capfd: pytest.CaptureFixture[str]) -> None:
    content = members(packed)
    envelope = json.loads(content[archive.SEAL])
    signature = bytearray(base64.b64decode(envelope["signatures"][0]["sig"]))
    signature[0] ^= 1
    envelope["signatures"][0]["sig"] = base64.b64encode(signature).decode()
    rewrite(packed, {**content, archive.SEAL: json.dumps(envelope).encode()})
    assert verify(packed, keys) == BundleError.exit_code
    assert "the signature does not belong to this content" in capfd.readouterr().err


def test_a_seal_that_was_changed_after_signing_is_refused(packed: Path, keys: Path) -> None:
    rewrite(packed, resealed(members(packed), lambda seal: seal.update(version="2")))
    assert verify(packed, keys) == BundleError.exit_code


def test_an_unsigned_file_is_refused(packed: Path, keys: Path, capfd: pytest.CaptureFixture[str]) -> None:
    content = members(packed)
    envelope = {**json.loads(content[archive.SEAL]), "signatures": []}
    rewrite(packed, {**content, archive.SEAL: json.dumps(envelope).encode()})
    assert verify(packed, keys) == BundleError.exit_code
    assert "the bundle is not signed" in capfd.readouterr().err


@pytest.mark.parametrize(
    "signature", [{"sig": "!!", "keyid": "1"}, {"keyid": "1"}, {"sig": 3}, {"sig": "AAAA", "keyid": []}, "x", None]
)
def test_a_signature_that_is_none_is_refused_in_one_line(packed: Path, keys: Path, signature: object) -> None:
    content = members(packed)
    envelope = {**json.loads(content[archive.SEAL]), "signatures": [signature]}
    rewrite(packed, {**content, archive.SEAL: json.dumps(envelope).encode()})
    assert verify(packed, keys) == BundleError.exit_code


def test_a_file_that_was_changed_after_signing_is_refused(
    packed: Path, keys: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    content = members(packed)
    rewrite(packed, {**content, "model.onnx": content["model.onnx"][:-1] + b"\0"})
    assert verify(packed, keys) == BundleError.exit_code
    assert "is not what was sealed" in capfd.readouterr().err


PREPARED = [
    {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.name": "x", "GNU.sparse.realsize": "x"},
    {"GNU.sparse.map": "1,2,x"},
    {"GNU.sparse.size": "x"},
    {"GNU.sparse.size": "5", "GNU.sparse.map": "a"},
    {"size": "9" * 30},
]
"""Extended headers whose numbers are none, of which the standard library's reader trips over each in its own way."""


@pytest.mark.parametrize("place", ["first", "second", "last"])
@pytest.mark.parametrize("headers", PREPARED, ids=lambda headers: next(reversed(headers)))
def test_headers_that_somebody_prepared_are_refused_in_one_line(
    packed: Path, keys: Path, headers: dict[str, str], place: str, capfd: pytest.CaptureFixture[str]
) -> None:
    content = members(packed)
    before = {"first": 0, "second": 1, "last": len(content)}[place]
    with tarfile.open(packed, "w", format=tarfile.PAX_FORMAT) as tar:
        for number, (name, text) in enumerate([*content.items(), ("more", b"abc")]):
            member = tarfile.TarInfo(name)
            member.size = len(text)
            member.pax_headers = headers if number == before else {}
            tar.addfile(member, io.BytesIO(text))
    assert verify(packed, keys) == BundleError.exit_code
    assert len(capfd.readouterr().err.splitlines()) == 1


@pytest.mark.parametrize("size", [7 << 30, 1 << 62])
@pytest.mark.parametrize("kind", [tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK])
@pytest.mark.parametrize("place", ["first", "last"])
def test_a_header_that_says_it_is_longer_than_the_memory_is_not_read(
    packed: Path, keys: Path, kind: bytes, size: int, place: str, capfd: pytest.CaptureFixture[str]
) -> None:
    prepared = tarfile.TarInfo("x")
    prepared.type, prepared.size = kind, size
    header = prepared.tobuf(tarfile.GNU_FORMAT)
    whole = packed.read_bytes()
    files = whole.rstrip(b"\0")
    files += bytes(-len(files) % 512)
    packed.write_bytes(header + whole if place == "first" else files + header)
    assert verify(packed, keys) == BundleError.exit_code
    assert len(capfd.readouterr().err.splitlines()) == 1


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9])
def test_a_half_copied_file_is_refused(
    packed: Path, keys: Path, share: float, capfd: pytest.CaptureFixture[str]
) -> None:
    content = packed.read_bytes()
    packed.write_bytes(content[: int(len(content.rstrip(b"\0")) * share)])
    assert verify(packed, keys) == BundleError.exit_code
    assert "copy it again" in capfd.readouterr().err


@pytest.mark.parametrize("name", ["../out", "/etc/cron.d/x", "a/../../b", "a\\..\\b", "./x", "a//b", "a\nb", ""])
def test_a_name_that_leads_out_of_the_bundle_is_refused(packed: Path, name: str) -> None:
    rewrite(packed, resealed(members(packed), lambda seal: seal["files"][1].update(file=name)))
    with pytest.raises(BundleError, match="leads out of a bundle"):
        archive.read_envelope(packed)


@pytest.mark.parametrize("text", ["\x1b[1A\x1b[2K", "x\ny 1, digest 0: whole, and signed by field", "x\r"])
@pytest.mark.parametrize("key", ["name", "version", "digest"])
def test_a_seal_that_would_write_on_the_terminal_is_refused(
    packed: Path, capfd: pytest.CaptureFixture[str], key: str, text: str
) -> None:
    rewrite(packed, resealed(members(packed), lambda seal: seal.update({key: text})))
    assert main(["bundle", "show", str(packed)]) == BundleError.exit_code
    said = capfd.readouterr()
    assert said.out == ""
    assert len(said.err.splitlines()) == 1
    assert said.err.rstrip("\n").isprintable()


@pytest.mark.parametrize("key", [5, None, "\x1b[2K", "a\nb"])
def test_a_key_whose_name_is_no_text_is_refused(
    packed: Path, keys: Path, capfd: pytest.CaptureFixture[str], key: object
) -> None:
    content = members(packed)
    envelope = json.loads(content[archive.SEAL])
    envelope["signatures"] = [{"keyid": key, "sig": "AAAA"}]
    rewrite(packed, {**content, archive.SEAL: json.dumps(envelope).encode()})
    for verb in (["show", str(packed)], ["verify", str(packed), "--keys", str(keys)]):
        assert main(["bundle", *verb]) == BundleError.exit_code
        assert "signatures cannot be read (the name of a key is no text)" in capfd.readouterr().err


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.DIRTYPE, tarfile.CHRTYPE])
def test_a_link_or_a_device_in_the_place_of_a_file_is_refused(packed: Path, tmp_path: Path, kind: bytes) -> None:
    content = members(packed)
    content.pop("model.onnx")
    link = tarfile.TarInfo("model.onnx")
    link.type, link.linkname = kind, "/etc/passwd"
    rewrite(packed, content, link)
    with pytest.raises(BundleError, match="no plain file"):
        archive.unpack(packed, archive.read_envelope(packed), tmp_path / "out.kdl")


def test_a_file_that_is_exchanged_once_its_signature_was_judged_is_refused(
    packed: Path, bundle: Bundles, keys: Path, state: State, tmp_path: Path
) -> None:
    unsigned = open_bundle(bundle("2"))
    archive.pack(unsigned, sign(archive.seal_of(unsigned), []), tmp_path / "unsigned.tar")

    def tell(line: str) -> None:
        if line == "signed by field":
            (tmp_path / "unsigned.tar").replace(packed)

    with pytest.raises(BundleError, match=f"{packed}.*; refuse its sender|in {packed} is not what was sealed"):
        apply(state, Order(str(packed), keys, board=OTHER), tell)
    assert not (tmp_path / "unsigned.tar").exists()
    assert state.whole() == set()


def test_more_than_the_seal_names_is_refused(packed: Path, tmp_path: Path) -> None:
    rewrite(packed, {**members(packed), "more.onnx": b"x"})
    with pytest.raises(BundleError, match="more than its seal names"):
        archive.unpack(packed, archive.read_envelope(packed), tmp_path / "out.kdl")


def test_sizes_that_no_bundle_has_are_refused_before_anything_is_read(packed: Path) -> None:
    rewrite(packed, resealed(members(packed), lambda seal: seal["files"][1].update(bytes=10**12)))
    with pytest.raises(BundleError, match="which no board's bundle has"):
        archive.read_envelope(packed)


def test_a_private_key_is_for_its_owner_only_and_never_replaced(keys: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert (keys / "field.key").stat().st_mode & 0o777 == 0o600
    before = (keys / "field.key").read_bytes()
    assert main(["bundle", "keygen", "field", "--out", str(keys)]) == 2
    assert "is there already and is never replaced" in capfd.readouterr().err
    assert (keys / "field.key").read_bytes() == before


def test_a_key_with_a_password_signs_only_with_it(
    bundle: Bundles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(PASSWORD, "correct horse")
    make_key("safe", tmp_path)
    command = ["bundle", "sign", str(bundle("1")), "--key", str(tmp_path / "safe.key"), "--out", str(tmp_path / "x")]
    assert main(command) == 0
    for wrong in ("", "battery staple"):
        monkeypatch.setenv(PASSWORD, wrong)
        assert main(command) == 2
        assert f"opens with {PASSWORD}" in capfd.readouterr().err
