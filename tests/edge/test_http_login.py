"""A camera that asks for a password by a digest: its own server here, with the algorithms that cameras offer."""

import hashlib
import http.server
import itertools
import re
import threading
from collections.abc import Callable, Iterator

import cv2
import numpy as np
import pytest

from kdlight_edge.errors import SourceError
from kdlight_edge.frame import Frame
from kdlight_edge.sources import Patience, open_source

USER, PASSWORD = "bob", "schön"
HASHES = {"SHA-256": "sha256", "MD5": "md5", "md5": "md5"}
JPEG = cv2.imencode(".jpg", np.zeros((30, 40, 3), np.uint8))[1].tobytes()


class Camera(http.server.ThreadingHTTPServer):
    """Offers algorithms and counts who comes with a wrong answer."""

    daemon_threads = True

    def __init__(self, offers: tuple[str, ...]) -> None:
        self.offers = offers
        self.moved = ""
        """Where its pictures are now, if not where they are asked for."""
        self.wrong = 0
        self.nonces = itertools.count()
        super().__init__(("127.0.0.1", 0), _Answer)
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()

    def uri(self, password: str) -> str:
        """Return its address."""
        return f"http://{USER}:{password}@127.0.0.1:{self.server_port}/live?n=1"


class _Answer(http.server.BaseHTTPRequestHandler):
    server: Camera

    def do_GET(self) -> None:
        given = dict(re.findall(r'(\w+)="?([^",]*)', self.headers.get("Authorization", "")))
        right = bool(given) and self._is_right(given)
        if right and self.path != (self.server.moved or self.path):
            self.send_response(302)
            self.send_header("Location", self.server.moved)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        if right:
            self.send_response(200)
            self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=edge")
            self.end_headers()
            self.wfile.write(b"--edge\r\nContent-Length: %d\r\n\r\n" % len(JPEG) + JPEG + b"\r\n--edge--\r\n")
            return
        self.server.wrong += bool(given)
        self.send_response(401)
        for offer in self.server.offers:
            more = f'nonce="n{next(self.server.nonces)}", qop="auth", algorithm={offer}'
            self.send_header("WWW-Authenticate", f'Digest realm="cam", {more}')
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _is_right(self, given: dict[str, str]) -> bool:
        def hashed(text: str) -> str:
            return hashlib.new(HASHES[given["algorithm"]], text.encode()).hexdigest()

        ask = hashed(f"GET:{self.path}")
        whole = f"{hashed(f'{USER}:cam:{PASSWORD}')}:{given['nonce']}:{given['nc']}:{given['cnonce']}:auth:{ask}"
        return given["response"] == hashed(whole)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def make() -> Iterator[Callable[..., Camera]]:
    made: list[Camera] = []

    def camera(*offers: str) -> Camera:
        made.append(Camera(offers))
        return made[-1]

    yield camera
    for each in made:
        each.shutdown()
        each.server_close()


@pytest.mark.parametrize("offers", [("MD5",), ("md5",), ("SHA-256",), ("SHA-256", "MD5"), ("SHA-512-256", "MD5")])
def test_a_digest_is_answered_by_any_algorithm_that_is_known(make: Callable[..., Camera], offers: tuple[str]) -> None:
    camera = make(*offers)
    source = open_source(camera.uri("sch%C3%B6n"), Patience(2.0, 0), lambda _: None)
    assert isinstance(next(iter(source)), Frame)
    source.close()
    assert camera.wrong == 0


def test_a_challenge_with_a_comma_too_many_is_answered(make: Callable[..., Camera]) -> None:
    source = open_source(make("MD5,, stale=false,").uri("sch%C3%B6n"), Patience(2.0, 0), lambda _: None)
    assert isinstance(next(iter(source)), Frame)
    source.close()


def test_an_address_that_leads_to_another_is_logged_in_to_at_both(make: Callable[..., Camera]) -> None:
    camera = make("MD5")
    camera.moved = "/live/"
    source = open_source(camera.uri("sch%C3%B6n"), Patience(2.0, 0), lambda _: None)
    assert isinstance(next(iter(source)), Frame)
    source.close()
    assert camera.wrong == 0


def test_a_wrong_password_is_tried_once_as_cameras_lock_out_who_guesses(make: Callable[..., Camera]) -> None:
    camera = make("MD5")
    with pytest.raises(SourceError, match="answers 401 Unauthorized; see the user and password"):
        open_source(camera.uri("s3cret"), Patience())
    assert camera.wrong == 1


def test_an_algorithm_that_is_not_known_is_named(make: Callable[..., Camera]) -> None:
    with pytest.raises(SourceError, match="asks for the password by SHA-512-256, which is not known here"):
        open_source(make("SHA-512-256").uri("x"), Patience())


def test_a_camera_that_wants_a_password_and_was_given_none_says_what_to_write(make: Callable[..., Camera]) -> None:
    with pytest.raises(SourceError, match="answers 401 Unauthorized; write USER:PASSWORD@"):
        open_source(make("MD5").uri("").replace("bob:@", ""), Patience())
