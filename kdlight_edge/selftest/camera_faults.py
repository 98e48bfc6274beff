"""Faults of a camera: each injected into a real run, which must tell it, recover and count right."""

import time

from kdlight_edge.selftest.bench import SETTLED, Bench, finish
from kdlight_edge.selftest.camera import Camera
from kdlight_edge.selftest.child import HASTY, Run, infer
from kdlight_edge.selftest.outcome import Found, Wrong


def unplug(bench: Bench) -> Found:
    """Pull the cable in the middle of a picture; it is back after two attempts to reconnect have failed."""
    return _lost(bench, "off", "closed the connection", away=2.2)


def freeze(bench: Bench) -> Found:
    """Send one and the same picture again and again."""
    return _lost(bench, "frozen", "same picture")


def slow(bench: Bench) -> Found:
    """Send a picture byte by byte, so that it is never whole within the stall timeout."""
    return _lost(bench, "slow", "no whole frame for")


def _lost(bench: Bench, mode: str, reason: str, *, away: float = 0.0) -> Found:
    """Inject what makes a camera count as lost, and judge that the run tells why, answers nothing and recovers."""
    with Camera() as camera, infer(camera.uri, bench.model, patience=HASTY) as run:
        run.more(SETTLED)
        told, back = _survived(run, camera, mode, reason, away=away)
        figures = finish(run, camera)
    return Found(
        f"told after {told:.1f} s ({reason}), back {back:.1f} s after its end; {_numbers(figures)}",
        {**figures, "told_seconds": round(told, 2), "recovery_seconds": round(back, 2)},
    )


def _survived(run: Run, camera: Camera, mode: str, reason: str, *, away: float = 0.0) -> tuple[float, float]:
    """Inject a fault, wait until a loss is told with its reason, end it, and wait until results flow again.

    The fault lasts ``away`` seconds more.

    Returns:
        Seconds from the fault until it was told, and from its end to the next result.

    Raises:
        Wrong: one of them did not come.
    """
    since, injected = len(run.told), time.monotonic()  # before the switch: the word may come before it returns
    camera.switch(mode)
    run.wait(lambda: run.said("lost", reason, since=since) is not None, f"word of a lost camera ({reason})")
    time.sleep(away)
    seen = len(run.records)
    mended = time.monotonic()
    camera.switch("well")
    run.wait(lambda: run.said("is back", since=since) is not None, "word of the camera being back")
    run.wait(lambda: len(run.records) >= seen + SETTLED, "results after the fault")
    told = run.said("lost", reason, since=since) or mended
    return told - injected, max(run.arrived[seen] - mended, 0.0)


def corrupt(bench: Bench) -> Found:
    """Send pictures cut short, empty and of zeros, each an error with its reason; then bytes that are no stream."""
    with Camera() as camera, infer(camera.uri, bench.model, patience=HASTY) as run:
        run.more(SETTLED)
        camera.switch("truncated")
        run.wait(lambda: _errors(run) >= SETTLED, "errors for damaged pictures")
        _, back = _survived(run, camera, "garbage", "not an MJPEG stream")
        figures = finish(run, camera)
    errors = _errors(run)
    if errors > camera.damaged:
        raise Wrong(f"{errors} errors for {camera.damaged} damaged pictures")
    if not all(record["reason"] for record in run.records if record["decision"] == "error"):
        raise Wrong("an error was told without its reason")
    return Found(
        f"{errors} errors with reasons for {camera.damaged} damaged pictures, back {back:.1f} s after nonsense; "
        + _numbers(figures),
        {**figures, "errors": errors, "damaged": camera.damaged, "recovery_seconds": round(back, 2)},
    )


def _errors(run: Run) -> int:
    return sum(record["decision"] == "error" for record in run.records)


def black(bench: Bench) -> Found:
    """Cover the lens: with ``--quality`` every dark picture is abstained from with the reason, and no other is."""
    with Camera() as camera, infer(camera.uri, bench.model, "--quality") as run:
        run.more(SETTLED)
        camera.switch("dark")
        run.wait(lambda: _dark(run) >= SETTLED, "abstentions from dark pictures")
        camera.switch("well")
        run.wait(lambda: not run.records[-1]["reason"].startswith("dark"), "results that are not dark")
        run.more(SETTLED)
        figures = finish(run, camera)
    dark = [record["reason"].startswith("dark") for record in run.records]
    first, last = dark.index(True), len(dark) - dark[::-1].index(True)
    if not all(dark[first:last]):
        raise Wrong("between dark pictures one was answered as if it were none")
    if any(record["decision"] != "abstained" for record in run.records[first:last]):
        raise Wrong("a dark picture was not abstained from")
    return Found(
        f"{sum(dark)} abstained as dark, none before or after; {_numbers(figures)}", {**figures, "dark": sum(dark)}
    )


def _dark(run: Run) -> int:
    return sum(record["reason"].startswith("dark") for record in run.records)


def resize(bench: Bench) -> Found:
    """Change the resolution while running, and back; every picture is answered."""
    with Camera() as camera, infer(camera.uri, bench.model) as run:
        for mode in ("well", "large", "well"):
            camera.switch(mode)
            run.more(2 * SETTLED)
        lost = run.said("lost")
        figures = finish(run, camera)
    if _errors(run):
        raise Wrong(f"{_errors(run)} errors after the resolution changed")
    if lost:
        raise Wrong("a change of the resolution was taken for a loss")
    return Found(f"answered in both sizes, no error; {_numbers(figures)}", figures)


def duplicate(bench: Bench) -> Found:
    """Send each picture three times; each is answered once."""
    with Camera() as camera, infer(camera.uri, bench.model) as run:
        run.more(SETTLED)
        camera.switch("thrice")
        run.more(3 * SETTLED)
        figures = finish(run, camera)
    return Found(f"each picture came three times and was answered once; {_numbers(figures)}", figures)


def _numbers(figures: dict[str, int]) -> str:
    return f"{figures['sent']} sent = {figures['answered']} answered + {figures['dropped']} dropped"
