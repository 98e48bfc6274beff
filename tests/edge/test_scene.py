"""The scene: a camera without hardware that comes by the clock and knows the truth."""

import time
from collections import Counter

import numpy as np
import pytest

from kdlight_edge.errors import UsageError
from kdlight_edge.frame import Frame
from kdlight_edge.sources import open_source
from kdlight_edge.sources.scene import Scene, Settings, read_settings

SMALL = "size=64x48"


def frames_of(uri: str) -> list[Frame]:
    source = open_source(uri)
    found = [item for item in source if isinstance(item, Frame)]
    source.close()
    return found


def test_a_scene_ends_after_its_frames_and_shows_its_size() -> None:
    found = frames_of(f"scene:crack?fps=1000&frames=6&{SMALL}")
    assert found[-1].index == 5
    assert sum(1 + frame.dropped for frame in found) == 6
    assert {frame.image.shape for frame in found} == {(48, 64, 3)}
    assert "truth" in found[0].meta


def test_a_scene_is_live_and_never_gives_a_frame_before_its_time() -> None:
    source = open_source(f"scene:crack?fps=50&frames=5&{SMALL}")
    assert source.live
    started = time.monotonic()
    moments = [frame.captured.monotonic - started for frame in source if isinstance(frame, Frame)]
    assert moments[-1] >= 4 / 50


def test_a_slow_taker_gets_the_newest_frame_and_the_count_of_those_it_missed() -> None:
    source = open_source(f"scene:crack?fps=200&frames=40&{SMALL}")
    items = iter(source)
    first = next(items)
    while source._slot._count < 20:  # type: ignore[attr-defined]
        time.sleep(0.001)
    second = next(items)
    source.close()
    assert isinstance(second, Frame)
    assert second.index >= 19
    assert second.dropped == second.index - first.index - 1


def test_frame_i_is_the_same_whenever_it_is_asked_for() -> None:
    settings = Settings(seed=3, width=64, height=48)
    one, other = Scene(settings), Scene(settings)
    for index in (0, 100, 449):
        assert np.array_equal(one.view(index)[0], other.view(index)[0])
    assert not np.array_equal(one.view(0)[0], Scene(Settings(seed=4, width=64, height=48)).view(0)[0])


def test_every_view_lies_on_the_surface_and_both_truths_are_seen_on_each_material() -> None:
    scene = Scene(Settings(width=96, height=96))
    seen = [scene.view(index) for index in range(0, 6 * 75, 3)]
    assert {image.shape for image, _ in seen} == {(96, 96, 3)}
    for surface in range(6):
        truths = Counter(truth for _, truth in seen[surface * 25 : surface * 25 + 25])
        assert truths["crack"] >= 3
        assert truths["no_crack"] >= 3


def test_the_truth_is_what_the_mask_shows() -> None:
    scene = Scene(Settings(width=96, height=96))
    cracked = [image for image, truth in map(scene.view, range(0, 450, 25)) if truth == "crack"]
    assert len(cracked) > 3
    assert all((image.mean(axis=2) < image.mean() * 0.55).mean() > 0.002 for image in cracked)


def test_closing_a_scene_that_was_never_read_is_quiet() -> None:
    open_source(f"scene:crack?{SMALL}").close()


@pytest.mark.parametrize(
    ("uri", "said"),
    [
        ("scene:flood", "there is scene:crack"),
        ("scene:crack?speed=3", "unknown option speed"),
        ("scene:crack?fps=fast", "write it like"),
        ("scene:crack?fps=0", "fps is above 0"),
        ("scene:crack?size=9x9", "size 32x32"),
        ("scene:crack?size=9", "write it like"),
        ("scene:crack?frames=-1", "0 or more"),
        ("scene:crack?fps=nan", "fps is above 0"),
    ],
)
def test_a_wrong_option_of_a_scene_is_refused_by_name(uri: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        read_settings(uri)
