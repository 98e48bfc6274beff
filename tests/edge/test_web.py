"""The page: who may see it, hostile requests over raw sockets, and what it shows in a real browser."""

import contextlib
import http.client
import json
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from kdlight_edge.classifier import open_classifier
from kdlight_edge.cli import main
from kdlight_edge.decide import Prediction
from kdlight_edge.errors import KDLightError, UsageError
from kdlight_edge.evidence import glow, lay, place
from kdlight_edge.frame import Frame, Moment
from kdlight_edge.manifest import Input
from kdlight_edge.sinks.web import PANELS, Web
from kdlight_edge.web.door import TOKEN, Door, door_of
from kdlight_edge.web.server import CONNECTIONS, HEADER_BYTES
from tests.edge.browser import browser
from tests.edge.fakes import FakeSource

SECRET = "correct-horse-battery"  # noqa: S105 - of the tests


class Camera(FakeSource):
    """A live source."""

    live = True


def result(source: str = "cam", *, index: int = 0, decision: str = "accepted") -> Prediction:
    now = Moment.now()
    return Prediction(source, index, now, now, decision, "", "crack", 0.9, (("crack", 0.9),), 0.1, 2, {"infer": 2.0})


def picture(index: int = 0, source: str = "cam") -> Frame:
    image = np.zeros((480, 640, 3), np.uint8)
    image[:, :320, 0] = 230
    return Frame(image, Moment.now(), source, index)


@pytest.fixture
def make(tiny_bundle: Callable[..., Path]) -> Iterator[Callable[..., Web]]:
    """Return ``make(token) -> Web`` on a free port."""
    with contextlib.ExitStack() as stack:
        classifier = stack.enter_context(open_classifier(tiny_bundle(), threads=1))

        def made(token: str = "") -> Web:
            web = Web(Door("127.0.0.1", 0, token), classifier, Camera([]), stall_timeout=5.0)
            stack.callback(web.close)
            return web

        yield made


def get(web: Web, path: str, method: str = "GET", body: str | None = None, **headers: str) -> tuple[int, bytes, Any]:
    connection = http.client.HTTPConnection("127.0.0.1", web.port, timeout=20)
    connection.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
    answer = connection.getresponse()
    content = answer.read()
    connection.close()
    return answer.status, content, answer.headers


def decoded(content: bytes) -> Any:
    return cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)


def raw(web: Web, sent: bytes) -> bytes:
    with socket.create_connection(("127.0.0.1", web.port), 20) as client:
        with contextlib.suppress(ConnectionError):
            client.sendall(sent)
        got = b""
        with contextlib.suppress(ConnectionError):
            while part := client.recv(65536):
                got += part
    return got


def test_a_picture_is_kept_and_made_only_while_somebody_looks(make: Callable[..., Web]) -> None:
    web = make()
    web.write(result(), picture())
    assert get(web, "/picture/0")[0] == 204
    web.write(result(index=1), picture(1))
    status, content, headers = get(web, "/picture/0")
    assert (status, headers["X-Frame-Index"]) == (200, "1")
    assert decoded(content).shape == (360, 480, 3)
    assert get(web, "/picture/0?after=1")[0] == 204


def test_the_heat_map_lies_where_the_network_sees_the_class(make: Callable[..., Web]) -> None:
    web = make()
    web.look()
    web.write(result(), picture())
    plain, hot = (decoded(get(web, f"/picture/0?heat={on}")[1]) for on in (0, 1))
    changed = np.abs(plain.astype(int) - hot).mean(axis=2)
    assert changed[:, :200].mean() > 5
    assert changed[:, 280:].mean() < 3


@pytest.mark.parametrize(("resize", "looked"), [("squash", (0, 200)), ("crop", (50, 150)), ("fit", (0, 200))])
def test_a_map_is_laid_over_the_part_of_the_picture_that_the_network_saw(resize: Any, looked: tuple[int, int]) -> None:
    placed = place(np.ones((4, 4), np.float32), (200, 100), Input(32, 32, resize=resize))
    columns = np.flatnonzero(placed.max(axis=0))
    assert (columns[0], columns[-1] + 1) == looked
    assert placed.shape == (100, 200)


@pytest.mark.parametrize("size", [(480, 360), (481, 359), (50, 40), (3, 2)])
@pytest.mark.parametrize("resize", ["squash", "crop", "fit"])
def test_the_map_that_is_drawn_while_a_camera_runs_is_the_exact_one_to_the_eye(
    resize: Any, size: tuple[int, int]
) -> None:
    rng = np.random.default_rng(7)
    spec, shape = Input(128, 128, resize=resize), size[::-1]
    shown = np.asarray(cv2.GaussianBlur(rng.integers(0, 256, (*shape, 3), np.uint8), (0, 0), 3), np.uint8)
    share = np.clip(rng.random((8, 8), np.float32) * 1.5 - 0.3, 0, 1)
    drawn, exact = lay(share, shown, spec), glow(shown, place(share, size, spec))
    assert drawn.dtype == np.uint8
    assert drawn.shape == shown.shape
    off = np.abs(drawn - exact)
    assert off.mean() < (1 if min(size) >= 100 else 25)  # at 12 places across, the map itself is coarse
    if resize == "squash" and min(size) >= 100:
        assert off.max() < 6


def test_figures_tell_the_answer_its_history_and_what_was_dropped(make: Callable[..., Web]) -> None:
    web = make()
    for index in range(3):
        web.write(result(index=index), None)
    web.write(result(index=3, decision="error"), None)
    figures = json.loads(get(web, "/figures")[1])
    (panel,) = figures["panels"]
    assert (panel["label"], panel["decision"], panel["results"], panel["dropped"]) == ("crack", "error", 4, 8)
    assert panel["decisions"] == {"accepted": 3, "error": 1}
    assert panel["points"][0][2:5] == [0.9, "crack", "accepted"]
    assert figures["bundle"]["name"] == "tiny"


def test_cameras_stand_side_by_side_and_thousands_of_files_are_one(make: Callable[..., Web]) -> None:
    web = make()
    for index in range(3 * PANELS):
        web.write(result(f"cam{index}"), None)
    names = [panel["name"] for panel in web.figures()["panels"]]
    assert names == [*(f"cam{index}" for index in range(PANELS)), "pictures"]


def test_nothing_is_there_but_the_page(make: Callable[..., Web]) -> None:
    web = make()
    for path in ("/../../etc/passwd", "/page.css/../../door.py", "/%2e%2e/door.py", "//etc/passwd", "nothing",
                 "/picture/-1", "/picture/" + "9" * 20, "/picture/" + "9" * 5000, "/picture/0/.."):  # fmt: skip
        assert get(web, path)[0] == 404, path
    for path in ("/", "/page.css", "/page.js", "/chart.js", "/icon.svg"):
        status, content, headers = get(web, path)
        assert status == 200
        assert content
        assert "default-src 'none'" in headers["Content-Security-Policy"]
        assert b"://" not in content.replace(b"http://www.w3.org/2000/svg", b"")


def test_unknown_methods_and_bodies_are_refused(make: Callable[..., Web]) -> None:
    web = make()
    head = b" / HTTP/1.1\r\nHost: localhost\r\n"
    assert b" 501 " in raw(web, b"BREW" + head + b"\r\n")
    assert b" 400 " in raw(web, b"GET" + head + b"Content-Length: 5\r\n\r\nhello")
    assert b" 400 " in raw(web, b"POST" + head + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n")
    assert b" 400 " in raw(web, b"POST /enter HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999\r\n\r\n")
    for length in (b"\xb2", b"9" * 5000):  # digits to Python, and no number
        assert b" 400 " in raw(web, b"POST /enter HTTP/1.1\r\nHost: localhost\r\nContent-Length: %b\r\n\r\n" % length)
    assert b"\xff" not in raw(web, b"\xff\x00\xfe garbage\r\n\r\n")
    assert get(web, "/figures")[0] == 200


def test_a_huge_header_or_request_line_is_refused_early(make: Callable[..., Web]) -> None:
    web = make()
    assert b" 431 " in raw(web, b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"y" * 2 * HEADER_BYTES + b"\r\n\r\n")
    assert b" 431 " in raw(web, b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * HEADER_BYTES + b"\r\n")
    assert b" 414 " in raw(web, b"GET /" + b"a" * 2 * HEADER_BYTES + b" HTTP/1.1\r\n\r\n")
    assert get(web, "/figures")[0] == 200


def test_another_host_name_is_refused_so_that_no_foreign_page_can_be_pointed_here(make: Callable[..., Web]) -> None:
    web = make()
    for host in ("evil.example", f"evil.example:{web.port}", "127.0.0.1.evil.example", "localhost@evil.example", ""):
        assert get(web, "/figures", Host=host)[0] == 421, host
    assert b" 421 " in raw(web, b"GET /figures HTTP/1.0\r\n\r\n")
    assert get(web, "/figures", Host="localhost:9999")[0] == 200
    assert get(web, "/figures", Sec_Fetch_Site="cross-site")[0] == 403


def test_clients_that_stop_in_the_middle_of_a_request_cannot_keep_others_out(make: Callable[..., Web]) -> None:
    web = make()
    slow = [socket.create_connection(("127.0.0.1", web.port), 20) for _ in range(3 * CONNECTIONS)]
    for client in slow:
        with contextlib.suppress(ConnectionError):
            client.sendall(b"GET /fig")
    assert get(web, "/figures")[0] == 200
    with contextlib.suppress(ConnectionError):
        assert slow[-1].recv(10) == b""  # its time for a request is over
    for client in slow:
        client.close()


def test_a_viewer_that_reads_nothing_does_not_hold_the_run(make: Callable[..., Web]) -> None:
    web = make()
    dead = [socket.create_connection(("127.0.0.1", web.port), 20) for _ in range(4)]
    for client in dead:
        client.sendall(b"GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n")
    for index in range(5000):
        web.write(result(index=index), None)
    web.close()
    for client in dead:
        client.close()
    assert web.figures()["panels"][0]["results"] == 5000


def test_with_a_token_nothing_is_shown_before_it(make: Callable[..., Web]) -> None:
    web = make(SECRET)
    for path in ("/", "/figures", "/events", "/picture/0", "/page.js", "/nothing"):
        assert get(web, path)[0] == 401, path
        assert get(web, path, Authorization="Bearer wrong-wrong-wrong")[0] == 401
        assert get(web, path, Cookie=f'kdlight-{web.port}="bad; x')[0] == 401
    assert b'name="token"' in get(web, "/")[1]
    assert get(web, "/figures", Authorization=f"Bearer {SECRET}")[0] == 200
    assert get(web, "/figures", Host="board.local", Authorization=f"Bearer {SECRET}")[0] == 200
    assert get(web, "/enter", "POST", "token=wrong")[0] == 401
    status, _, headers = get(web, "/enter", "POST", f"token={SECRET}")
    cookie = headers["Set-Cookie"]
    assert status == 303
    assert SECRET not in cookie
    assert "HttpOnly; SameSite=Strict" in cookie
    assert get(web, "/figures", Cookie=cookie.partition(";")[0])[0] == 200


def test_the_token_comes_from_a_file_or_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(TOKEN, raising=False)
    assert door_of("8080", None) == Door("127.0.0.1", 8080)
    file = tmp_path / "token"
    file.write_text(f"{SECRET}\n")
    assert door_of("0.0.0.0:80", str(file)).token == SECRET
    monkeypatch.setenv(TOKEN, SECRET)
    door = door_of("[::]:80", None)
    assert (door.host, door.token) == ("::", SECRET)
    assert SECRET not in repr(door)


@pytest.mark.parametrize(
    ("web", "token", "said"),
    [
        ("0.0.0.0:8080", None, "shows pictures to others"),
        (":x", None, "is not"),
        ("99999", None, "is not"),
        ("8080", "short", "12 characters"),
        ("8080", " ", "is empty"),
    ],
)
def test_what_cannot_be_is_one_clear_error(
    web: str, token: str | None, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(TOKEN, raising=False)
    file = tmp_path / "token"
    file.write_text(token or "")
    with pytest.raises(UsageError, match=said):
        door_of(web, None if token is None else str(file))
    assert main(["infer", "--camera", "scene:crack", "--web-token", "x"]) == 2


def test_a_port_that_is_taken_is_one_clear_error(make: Callable[..., Web]) -> None:
    web = make()
    with pytest.raises(KDLightError, match="the page cannot listen on"):
        Web(Door("127.0.0.1", web.port), web._classifier, Camera([]), stall_timeout=5.0)


@pytest.mark.skipif(shutil.which("chromedriver") is None, reason="chromedriver is missing: apt install chromium-driver")
def test_a_browser_shows_picture_answer_and_heat_map_without_a_complaint(tiny_bundle: Callable[..., Path]) -> None:
    command = [sys.executable, "-m", "kdlight_edge.cli", "infer", "--camera", "scene:crack?size=320x240&fps=20"]
    run = [*command, "--model", str(tiny_bundle()), "--web", "0"]
    with subprocess.Popen(run, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        address = process.stderr.readline().split("page on ")[1].split()[0]
        with browser() as window:
            window.open(address)
            assert window.wait("document.querySelector('figure img')?.naturalWidth") == 320
            assert window.wait("document.querySelector('.label .text').textContent") != "no answer yet"
            window.run("document.getElementById('heat').click()")
            assert window.run("return document.getElementById('heat').getAttribute('aria-pressed')") == "true"
            window.size(390, 844, mobile=True)
            wide = "return document.documentElement.scrollWidth <= document.documentElement.clientWidth"
            assert window.run(wide) is True
            assert window.complaints() == []
        process.terminate()
