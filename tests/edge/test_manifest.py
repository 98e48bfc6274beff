"""The manifest is read strictly: whatever is missing, unknown, mistyped or impossible is named."""

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kdlight_edge.errors import BundleError
from kdlight_edge.manifest import Manifest, Scans, digest_of, from_json, to_json

Record = dict[str, Any]


@pytest.fixture
def record(tiny_bundle: Callable[..., Path]) -> Record:
    """A good manifest as JSON types."""
    loaded: Record = json.loads((tiny_bundle(outlier=0.9) / "manifest.json").read_text())
    return loaded


def sealed(record: Record) -> Record:
    return {**record, "digest": digest_of(record)}


def changed(record: Record, path: str, value: Any) -> Record:
    """Return a sealed copy with the value at ``a.b.0.c`` replaced; ``...`` removes the key."""
    copied = copy.deepcopy(record)
    *parents, last = path.split(".")
    place: Any = copied
    for key in parents:
        place = place[int(key) if key.isdigit() else key]
    if value is ...:
        del place[last]
    else:
        place[int(last) if last.isdigit() else last] = value
    return sealed(copied)


def test_a_manifest_survives_the_way_to_json_and_back(record: Record) -> None:
    manifest = from_json(record)
    assert isinstance(manifest, Manifest)
    assert from_json(to_json(manifest)) == manifest
    assert to_json(manifest) == record
    assert [label.id for label in manifest.labels] == ["crack", "no_crack"]
    assert manifest.artifacts[0].thresholds.outlier == 0.9


def test_the_digest_does_not_depend_on_the_order_of_the_keys(record: Record) -> None:
    assert from_json(dict(reversed(record.items()))) == from_json(record)


@pytest.mark.parametrize(
    "key", ["name", "labels", "input.width", "artifacts.0.sha256", "golden.tolerance", "card.not_for"]
)
def test_a_missing_key_is_named(record: Record, key: str) -> None:
    written = key.replace(".0.", "[0].")
    with pytest.raises(BundleError) as caught:
        from_json(changed(record, key, ...))
    assert f"manifest lacks the key '{written}'" in str(caught.value)


@pytest.mark.parametrize("key", ["colour", "input.depth", "artifacts.0.speed", "labels.1.color"])
def test_an_unknown_key_is_named(record: Record, key: str) -> None:
    written = key.replace(".0.", "[0].").replace(".1.", "[1].")
    with pytest.raises(BundleError) as caught:
        from_json(changed(record, key, 1))
    assert f"manifest has the unknown key '{written}'" in str(caught.value)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("name", 7, "'name' holds 7 where str should be"),
        ("parameters", True, "'parameters' holds True where int should be"),
        ("parameters", 1.5, "'parameters' holds 1.5 where int should be"),
        ("input.width", "32", "'input.width' holds '32' where int should be"),
        ("input", [32, 32], "'input' holds [32, 32] where a table should be"),
        ("labels", "crack", "'labels' holds 'crack' where a list should be"),
        ("labels.0", "crack", "'labels[0]' holds 'crack' where a table should be"),
        ("input.resize", "stretch", "'input.resize' is 'stretch', not one of squash, fit, crop"),
        ("artifacts.0.thresholds.accept", None, "'artifacts[0].thresholds.accept' holds None where float should be"),
        ("golden.logits", [], "'golden.logits' holds [] where a table should be"),
    ],
)
def test_a_value_of_the_wrong_type_is_named_with_its_key(record: Record, key: str, value: Any, message: str) -> None:
    with pytest.raises(BundleError) as caught:
        from_json(changed(record, key, value))
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("labels.1.id", "crack", "'labels' needs two or more different ids"),
        ("artifacts", [], "'artifacts' is empty"),
        ("input.height", 0, "'input' has size 32x0"),
        ("input.width", 5000, "'input' has size 5000x32"),
        ("artifacts.0.temperature", 0, "'temperature' of model.onnx is 0.0, not above 0"),
        pytest.param("artifacts.0.temperature", 10**400, "'artifacts[0].temperature' holds 1000", id="400 digits"),
        ("scans", {"modalities": ["dx"]}, "'scans.modalities' holds 'dx', which no scan has"),
        ("scans", {"body_parts": ["CHEST "]}, "'scans.body_parts' holds 'CHEST ', which no scan has"),
        ("golden.seeds", [], "'golden.seeds' needs one or more whole numbers from 0 on, got []"),
        ("golden.seeds", [1, -2], "'golden.seeds' needs one or more whole numbers from 0 on, got [1, -2]"),
        ("golden.seeds", [1, 2, 3], "'golden.logits' does not cover model.onnx"),
        ("golden.logits", {}, "'golden.logits' does not cover model.onnx"),
        ("golden.logits", {"model.onnx": [[1.0], [2.0]]}, "'golden.logits' does not cover model.onnx"),
        ("golden.log_odds", {"model.onnx": [1.0]}, "'golden.log_odds' does not cover model.onnx"),
    ],
)
def test_what_cannot_be_true_is_refused(record: Record, key: str, value: Any, message: str) -> None:
    with pytest.raises(BundleError) as caught:
        from_json(changed(record, key, value))
    assert message in str(caught.value)


@pytest.mark.parametrize("version", [0, 2, "1", None, True])
def test_another_schema_version_is_refused_with_both_numbers(record: Record, version: object) -> None:
    with pytest.raises(BundleError) as caught:
        from_json(changed(record, "schema_version", version))
    assert "schema_version" in str(caught.value)
    assert repr(version) in str(caught.value)


def test_a_version_that_is_missing_is_another_version(record: Record) -> None:
    with pytest.raises(BundleError, match="schema_version is None, this program reads 1"):
        from_json(changed(record, "schema_version", ...))


def test_the_scans_that_may_be_asked_about_are_read(record: Record) -> None:
    stated = from_json(changed(record, "scans", {"modalities": ["DX", "CR"]})).scans
    assert stated == Scans(("DX", "CR"), ())


def test_a_manifest_from_before_scans_were_stated_is_read(record: Record) -> None:
    assert from_json(changed(record, "scans", ...)).scans is None


def test_an_edited_manifest_is_refused(record: Record) -> None:
    record["artifacts"][0]["thresholds"]["accept"] = 0.0
    with pytest.raises(BundleError, match="was changed after export"):
        from_json(record)


@pytest.mark.parametrize("value", [[], "manifest", 1, None])
def test_json_that_is_not_an_object_is_refused(value: object) -> None:
    with pytest.raises(BundleError, match="where an object should be"):
        from_json(value)


def test_a_whole_number_is_taken_where_a_real_one_should_be(record: Record) -> None:
    temperature = from_json(changed(record, "artifacts.0.temperature", 2)).artifacts[0].temperature
    assert temperature == 2.0
    assert isinstance(temperature, float)


@pytest.mark.parametrize("key", ["name", "version", "student"])
def test_a_name_that_would_write_on_the_terminal_is_refused(record: Record, key: str) -> None:
    with pytest.raises(BundleError, match=rf"manifest key '{key}' holds '\\x1b\[2K', which cannot be shown"):
        from_json(sealed(changed(record, key, "\x1b[2K")))


@pytest.mark.parametrize("key", ["labels.1.id", "labels.1.text"])
@pytest.mark.parametrize("value", ["a\nb", "a\x1b[2J", "a\u2028b"])
def test_a_label_that_breaks_a_line_is_refused(record: Record, key: str, value: str) -> None:
    with pytest.raises(BundleError, match=r"manifest key 'labels' holds .* line breaks or control characters"):
        from_json(changed(record, key, value))
