"""Events: a class held for a while begins one, with the frames around it on a disk that does not fill up."""

import dataclasses
import itertools
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from kdlight_edge.cli import main
from kdlight_edge.decide import Prediction
from kdlight_edge.events import Event, Events, to_record
from kdlight_edge.evidence import Picture
from kdlight_edge.frame import Frame, Moment
from kdlight_edge.picture import read_picture
from kdlight_edge.sinks import events as folder_of_events
from kdlight_edge.sinks.events import AFTER, BEFORE, LARGEST, SPACING, EventFolder
from kdlight_edge.sinks.rotate import earlier
from kdlight_edge.sinks.store import Store
from kdlight_edge.sinks.watch import Watch
from kdlight_edge.web.panel import Panel


def result(at: float, label: str = "crack", decision: str = "accepted", source: str = "cam") -> Prediction:
    moment = Moment(1.8e9 + at, at)
    return Prediction(source, round(at * 10), moment, moment, decision, "", label, 0.9, ((label, 0.9),))


def states(events: Events, *results: Prediction) -> list[tuple[float, str]]:
    return [(entry.captured.monotonic, event.state) for entry in results for event in events.add(entry)]


def test_a_class_held_long_enough_begins_an_event_once_and_its_absence_ends_it() -> None:
    events = Events({"crack"}, 2.0)
    found = states(events, *(result(at) for at in (0, 1, 2, 3)), *(result(at, "no_crack") for at in (4, 4.5, 5, 6)))
    assert found == [(2, "held"), (5, "ended")]


def test_a_glimpse_another_class_or_another_camera_is_no_event() -> None:
    events = Events({"crack"}, 2.0)
    assert states(events, result(0), result(1), result(1.5, "no_crack"), result(2), result(3)) == []
    assert states(Events({"crack"}, 2.0), result(0), result(2.5), result(3)) == []
    assert states(Events({"crack"}, 2.0), result(0), result(1, source="b"), result(1.9), result(2.5, source="b")) == []


def test_an_event_whose_beginning_had_to_make_room_in_a_full_store_is_told_whole_by_its_end(tmp_path: Path) -> None:
    events, store = Events({"crack"}, 2.0), Store(tmp_path / "box", limit=20_000)
    told = []
    for step in range(1000):
        for event in events.add(result(step / 10)):
            told.append(to_record(event))
            store.put(json.dumps(told[-1]))
        store.put(json.dumps({"schema": "kdlight-edge/prediction/1", "index": step}))
    for event in events.end():
        told.append(to_record(event))
        store.put(json.dumps(told[-1]))
    records = [json.loads(text) for _, text in store.after(0, 10_000)]
    left = [record for record in records if record["schema"] == told[0]["schema"]]
    assert [record["state"] for record in told] == ["held", "ended"]
    assert left == told[1:]
    assert {key: left[0][key] for key in ("source", "label", "began")} == {
        key: told[0][key] for key in ("source", "label", "began")
    }
    store.close()


def test_results_that_abstain_neither_feed_nor_break_an_event() -> None:
    results = (result(0), result(0.5, decision="abstained"), result(1), result(1.5, decision="stale"), result(2))
    assert states(Events({"crack"}, 2.0), *results) == [(2, "held")]


def test_the_end_of_a_run_ends_what_goes_on() -> None:
    events = Events({"crack"}, 1.0)
    for at, chance in ((0, 0.7), (0.5, 0.95), (1, 0.8)):
        events.add(dataclasses.replace(result(at), probability=chance))
    told = [(event.state, event.frames, event.seconds, event.peak) for event in events.end()]
    assert told == [("ended", 3, 1.0, 0.95)]
    assert events.end() == []


def write(
    sink: EventFolder, at: float, label: str = "crack", source: str = "cam", size: tuple[int, int] = (64, 48)
) -> None:
    image = np.full((size[1], size[0], 3), round(at) % 200, np.uint8)
    prediction = result(at, label, source=source)
    sink.write(prediction, Frame(image, prediction.captured, source, prediction.index))


def fill(sink: EventFolder, count: int, frames: int = 15) -> None:
    """Let so many events come and go."""
    for number in range(count):
        for step in range(frames):
            write(sink, number * 10 + step / 10)


def lines(folder: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in (folder / "events.jsonl").read_text().splitlines()]


def test_an_event_has_the_frames_around_it_and_a_line_at_its_beginning_and_end(tmp_path: Path) -> None:
    sink = EventFolder(tmp_path / "ev", Events({"crack"}, 2.0), {"engine": "fake"})
    for step in range(200):
        write(sink, step / 10, "no_crack" if step < 100 else "crack")
    sink.close()
    sink.close()
    held, ended = lines(tmp_path / "ev")
    assert (held["state"], ended["state"], ended["frames"], ended["engine"]) == ("held", "ended", 100, "fake")
    place = tmp_path / "ev" / str(held["folder"])
    pictures = sorted(place.iterdir())
    assert BEFORE <= len(pictures) <= BEFORE + AFTER
    assert {read_picture(path).shape for path in pictures} == {(48, 64, 3)}
    taken = [int(path.stem[-8:]) / 10 for path in pictures]
    assert all(after - before >= SPACING for before, after in itertools.pairwise(taken))


def test_large_frames_are_kept_smaller(tmp_path: Path) -> None:
    sink = EventFolder(tmp_path, Events({"crack"}, 1.0), {})
    for step in range(11):
        write(sink, step / 10, size=(2 * LARGEST, LARGEST))
    sink.close()
    assert {read_picture(path).shape for path in tmp_path.glob("*/*.jpg")} == {(LARGEST // 2, LARGEST, 3)}


def test_an_event_that_goes_on_never_makes_room_for_those_of_another_camera(tmp_path: Path) -> None:
    sink = EventFolder(tmp_path, Events({"crack"}, 1.0), {}, limit=20_000)
    for step in range(400):
        write(sink, step / 10, source="gate")
        if step >= 20:
            write(sink, step / 10, "crack" if step % 30 < 15 else "no_crack")
    going_on = tmp_path / str(lines(tmp_path)[0]["folder"])
    assert len({line["folder"] for line in lines(tmp_path)}) > 10
    assert list(going_on.glob("*.jpg"))
    sink.close()


def test_the_oldest_events_make_room_on_the_disk(tmp_path: Path) -> None:
    sink = EventFolder(tmp_path, Events({"crack"}, 1.0), {}, limit=20_000)
    fill(sink, 40)
    sink.close()
    places = [path for path in tmp_path.iterdir() if path.is_dir()]
    assert 0 < len(places) < 40
    assert sum(file.stat().st_size for place in places for file in place.iterdir()) < 30_000
    newest = str(lines(tmp_path)[-1]["folder"])
    assert newest == max(place.name for place in places)


def test_events_of_a_run_whose_clock_was_ahead_make_room_for_those_of_now(tmp_path: Path) -> None:
    for number in range(9):
        old = tmp_path / f"2036-12-01T12173312{number}Z-crack-0123a{number}"
        old.mkdir()
        (old / "x.jpg").write_bytes(bytes(3000))
    sink = EventFolder(tmp_path, Events({"crack"}, 1.0), {}, limit=20_000)
    for number in range(5):
        for step in range(15):
            write(sink, number * 10 + step / 10)
    sink.close()
    told = {str(line["folder"]) for line in lines(tmp_path)}
    left = {path.name for path in tmp_path.iterdir() if path.is_dir()}
    assert len(told) == 5
    assert told <= left
    assert len(left) < 5 + 9


def test_a_label_longer_than_the_name_of_a_folder_is_an_event_like_any_other(tmp_path: Path) -> None:
    told: list[str] = []
    sink = EventFolder(tmp_path, Events({"b" * 250}, 1.0), {}, report=told.append)
    for step in range(15):
        write(sink, step / 10, "b" * 250)
    sink.close()
    held, ended = lines(tmp_path)
    assert (held["label"], ended["state"], told) == ("b" * 250, "ended", [])
    assert list((tmp_path / str(held["folder"])).glob("*.jpg"))


def test_the_lines_of_events_do_not_fill_the_disk_either(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folder_of_events, "LINES_BYTES", 2000)
    sink = EventFolder(tmp_path, Events({"crack"}, 1.0), {}, limit=20_000)
    fill(sink, 80, 11)
    sink.close()
    files = [*earlier(tmp_path / "events.jsonl"), tmp_path / "events.jsonl"]
    assert len(files) == 10
    assert sum(file.stat().st_size for file in files) <= 20_000
    assert lines(tmp_path)[-1]["state"] == "ended"


def test_only_folders_of_events_make_room_and_never_those_of_a_person(tmp_path: Path) -> None:
    mine = [tmp_path / name / "thesis.odt" for name in ("0-photos", "2026-01-01", "2026-01-01T000000000Z-crack-mine")]
    for file in mine:
        file.parent.mkdir()
        file.write_bytes(bytes(30_000))
    sink = EventFolder(tmp_path, Events({"crack"}, 1.0), {}, limit=20_000)
    fill(sink, 40)
    sink.close()
    assert [file for file in mine if not file.exists()] == []
    others = [path for path in tmp_path.iterdir() if path.is_dir() and path not in {file.parent for file in mine}]
    assert 0 < len(others) < 40, "events have the whole room, and no more than that"


def test_folders_of_events_that_are_over_are_looked_into_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[Path] = []
    into = Path.iterdir

    def look(path: Path) -> Iterator[Path]:
        looked.append(path)
        yield from into(path)

    monkeypatch.setattr(Path, "iterdir", look)
    sink = EventFolder(tmp_path, Events({"crack"}, 1.0), {})
    fill(sink, 20)
    sink.close()
    inside = [path for path in looked if path != tmp_path]
    assert len(inside) == len(set(inside)) == 19


def test_a_disk_that_refuses_is_told_once_and_the_next_event_is_tried(tmp_path: Path) -> None:
    told: list[str] = []
    sink = EventFolder(tmp_path / "ev", Events({"crack"}, 1.0), {}, report=told.append)
    hidden = tmp_path / "away"
    for number in (1, 2):
        (tmp_path / "ev").rename(hidden)
        for step in range(15):
            write(sink, 20 * number + step / 10)
        hidden.rename(tmp_path / "ev")
        for step in range(15):
            write(sink, 20 * number + 10 + step / 10)
        assert len([line for line in told if "trying again" in line]) == number
        assert len([path for path in (tmp_path / "ev").iterdir() if path.is_dir()]) == number
    sink.close()


def test_a_full_disk_keeps_no_empty_folder_of_each_event(disk_of: Callable[[int], Path]) -> None:
    disk = disk_of(64)
    sink = EventFolder(disk, Events({"crack"}, 1.0), {}, report=lambda _: None)
    (disk / "other").write_bytes(bytes(60 << 10))
    fill(sink, 20)
    sink.close()
    empty = [path for path in disk.iterdir() if path.is_dir() and not list(path.glob("*.jpg"))]
    assert empty == []


def test_a_camera_run_writes_its_events(tmp_path: Path, tiny_bundle: Callable[..., Path]) -> None:
    scene = "scene:crack?size=64x64&fps=50&frames=60"
    model = str(tiny_bundle(accept=0.0))
    more = ["--event-dir", str(tmp_path / "ev"), "--event-hold", "0.2", "--json"]
    assert main(["infer", "--camera", scene, "--model", model, *more]) == 0
    found = lines(tmp_path / "ev")
    assert {entry["state"] for entry in found} == {"held", "ended"}
    assert found[0]["label"] == "crack"
    assert list((tmp_path / "ev" / str(found[0]["folder"])).glob("*.jpg"))
    assert main(["infer", "--folder", ".", "--model", model, "--event-hold", "1"]) == 2


def test_a_camera_run_tells_its_events_to_every_outlet(
    tmp_path: Path, tiny_bundle: Callable[..., Path], capfd: pytest.CaptureFixture[str]
) -> None:
    scene = "scene:crack?size=64x64&fps=50&frames=60"
    file = tmp_path / "all.jsonl"
    more = ["--event-hold", "0.2", "--json", "--json-file", str(file)]
    assert main(["infer", "--camera", scene, "--model", str(tiny_bundle(accept=0.0)), *more]) == 0
    told = [json.loads(line) for line in capfd.readouterr().out.splitlines()]
    assert [json.loads(line) for line in file.read_text().splitlines()] == told
    found = [line for line in told if line["schema"] == "kdlight-edge/event/1"]
    assert {event["state"] for event in found} == {"held", "ended"}
    assert found[0]["state"] == "held"
    assert found[0]["bundle"]["name"] == "tiny"
    place = told.index(found[0])
    after = next(line for line in told[place:] if line["schema"] != "kdlight-edge/event/1")
    assert after["captured"] == found[0]["last"], "the result by which it was known follows it"


class Ear:
    """Hears events."""

    wants_frames = False

    def __init__(self) -> None:
        self.heard: list[Event] = []

    def tell(self, event: Event) -> None:
        """Keep it."""
        self.heard.append(event)


def test_the_end_of_a_run_ends_an_event_for_all_who_listen() -> None:
    ear, other = Ear(), Ear()
    watch = Watch(Events({"crack"}, 1.0), [ear, other])
    for at in (0, 0.5, 1.0):
        watch.write(result(at), None)
    watch.close()
    watch.close()
    assert [event.state for event in ear.heard] == ["held", "ended"]
    assert other.heard == ear.heard


def test_the_page_lists_an_event_among_the_changes() -> None:
    panel = Panel("cam")
    moment = Moment(1.8e9, 100.0)
    panel.tell(Event("cam", "crack", moment, Moment(1.8e9 + 2, 102.0), 60, 0.97, "held"))
    panel.tell(Event("cam", "crack", moment, Moment(1.8e9 + 9, 109.0), 200, 0.99, "ended"))
    newest, first = panel.figures()["changes"]
    assert (first["event"], newest["event"], newest["probability"]) == ("event", "event over, 9.0 s", 0.99)
    assert newest["reason"] == "seen since 2027-01-15T08:00:00.000Z, in 200 pictures"


def test_an_event_has_a_map_of_the_frame_it_was_held_with_beside_frames_without_one(tmp_path: Path) -> None:
    def white(_: Prediction, image: Picture, drawn: Picture) -> Picture:
        assert image.shape == (48, 64, 3)
        return np.full_like(drawn, 255)

    sink = EventFolder(tmp_path, Events({"crack"}, 2.0), {}, explain=white)
    for step in range(40):
        write(sink, step / 10)
    sink.close()
    pictures = sorted((tmp_path / str(lines(tmp_path)[0]["folder"])).iterdir())
    (shown,) = (path for path in pictures if path.stem.endswith("-map"))
    assert shown.stem.endswith("-00000020-map")
    assert read_picture(shown).min() > 250
    assert all(read_picture(path).max() < 50 for path in pictures if path != shown)


def test_a_camera_run_explains_its_events_only_where_it_is_asked_to(
    tmp_path: Path, tiny_bundle: Callable[..., Path]
) -> None:
    run = ["infer", "--camera", "scene:crack?size=64x64&fps=50&frames=60", "--model", str(tiny_bundle(accept=0.0))]
    for name, flags in (("with", ["--explain"]), ("without", [])):
        more = ["--event-dir", str(tmp_path / name), "--event-hold", "0.2", *flags]
        assert main([*run, *more]) == 0
        folders = {str(line["folder"]) for line in lines(tmp_path / name)}
        assert folders
        maps = [len(list((tmp_path / name / folder).glob("*-map.jpg"))) for folder in folders]
        assert maps == [len(flags)] * len(folders)
