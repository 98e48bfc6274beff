"""A repository that breaks off while it is read: one line that says so, and of its address nothing secret."""

import http.server
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from kdlight_edge.errors import SourceError
from kdlight_edge.update.publish import Publisher
from kdlight_edge.update.state import State

Bundles = Callable[..., Path]
Update = Callable[..., str | None]


class Breaking(http.server.BaseHTTPRequestHandler):
    """Gives the metadata whole; of what ends as the query of the server says, something else."""

    server: "Site"

    def do_GET(self) -> None:
        """Answer."""
        file = self.server.folder / self.path.lstrip("/")
        content = file.read_bytes() if file.is_file() else b""
        self.send_response(200 if content else 404)
        broken = self.path.endswith(self.server.breaks)
        if broken and self.server.how == "packed":
            self.send_header("Content-Encoding", "gzip")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content[: len(content) // 2] if broken and self.server.how == "cut" else content)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name of the standard library
        """Say nothing."""


class Site(http.server.ThreadingHTTPServer):
    """What is served, and what of it breaks how."""

    folder: Path
    breaks = "?"
    how = ""


@pytest.fixture
def site(publisher: Publisher) -> Iterator[Site]:
    with Site(("127.0.0.1", 0), Breaking) as server:
        server.folder = publisher.metadata.parent
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("how", ["cut", "packed"])
@pytest.mark.parametrize("breaks", ["timestamp.json", ".kdl.tar"])
def test_a_server_that_breaks_off_is_told_in_one_line_and_asked_again_the_next_time(
    publisher: Publisher, bundle: Bundles, update: Update, state: State, site: Site, breaks: str, how: str
) -> None:
    publisher.add(bundle("1"))
    site.breaks, site.how = breaks, how
    location = f"http://127.0.0.1:{site.server_port}"
    with pytest.raises(SourceError, match=rf"^{location} cannot be reached: [^\n]+; check the address and the net"):
        update(location=location)
    last = state.ledger().last
    assert last is not None
    assert last.what == "refused"
    site.breaks = "?"
    assert (update(location=location) or "").startswith("tiny-1-")


def test_a_stick_that_cannot_be_read_is_told_and_not_the_card_of_the_device(
    publisher: Publisher, bundle: Bundles, update: Update
) -> None:
    publisher.add(bundle("1"))
    file = publisher.metadata / "timestamp.json"
    file.unlink()
    file.symlink_to("/proc/self/mem")  # a file like any other, whose first byte gives an error of the disk
    with pytest.raises(SourceError, match=r"timestamp\.json cannot be read: Input/output error"):
        update()


@pytest.mark.parametrize("password", ["geheim", "geh[eim", "geh#eim", "geh/eim"])
@pytest.mark.parametrize("place", ["127.0.0.1:99999", "127.0.0.1:9"])
def test_a_password_in_the_address_is_not_in_the_line_that_refuses_it(
    update: Update, state: State, place: str, password: str
) -> None:
    with pytest.raises(SourceError) as refused:
        update(location=f"http://board:{password}@{place}/walls?token=abcdef")
    last = state.ledger().last
    assert last is not None
    said = f"{refused.value} {last.version} {last.reason}"
    assert place in said
    assert not [secret for secret in ("geh", "eim", "abcdef") if secret in said]
