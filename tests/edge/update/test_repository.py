"""A repository of The Update Framework, published by us and read by a device: what is fetched, and what is refused."""

import datetime as dt
import functools
import http.server
import ipaddress
import json
import os
import shutil
import ssl
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from kdlight_edge.errors import BundleError, KDLightError, SourceError, UsageError
from kdlight_edge.update.publish import Publisher
from kdlight_edge.update.state import State

Bundles = Callable[..., Path]
Update = Callable[..., str | None]


class Quiet(http.server.SimpleHTTPRequestHandler):
    """A static server that says nothing."""

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name of the standard library
        """Say nothing."""


@pytest.fixture
def url(tmp_path: Path) -> Iterator[str]:
    handler = functools.partial(Quiet, directory=str(tmp_path / "repository"))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_the_newest_version_is_fetched_from_a_folder(
    publisher: Publisher, bundle: Bundles, update: Update, state: State
) -> None:
    for version in ("1.9", "1.10", "1.2"):
        publisher.add(bundle(version))
    taken = update()
    assert taken is not None
    assert taken.startswith("tiny-1.10-")
    assert state.current() == taken


def test_a_static_web_server_is_a_repository(publisher: Publisher, bundle: Bundles, update: Update, url: str) -> None:
    publisher.add(bundle("1"))
    assert (update(location=url) or "").startswith("tiny-1-")
    publisher.add(bundle("2"))
    assert (update(location=url, root=None) or "").startswith("tiny-2-")  # trusted by what was seen, without --root


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """Return a certificate of 127.0.0.1 that only those trust who are told to, with its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "a site")])
    now = dt.datetime.now(dt.timezone.utc)
    address = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    day = dt.timedelta(days=1)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), now - day, now + day)
        .add_extension(address, critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    file = tmp_path / "site.pem"
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    file.write_bytes(private + made.public_bytes(Encoding.PEM))
    return file


def test_a_web_server_over_tls_is_believed_only_with_a_certificate_that_is_trusted(
    publisher: Publisher, bundle: Bundles, update: Update, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publisher.add(bundle("1"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    handler = functools.partial(Quiet, directory=str(publisher.metadata.parent))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        server.handle_error = lambda *_: None  # type: ignore[method-assign] # a client that does not trust goes away
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            location = f"https://127.0.0.1:{server.server_port}"
            with pytest.raises(SourceError, match="certificate verify failed"):
                update(location=location)
            monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
            assert (update(location=location) or "").startswith("tiny-1-")
        finally:
            server.shutdown()
            thread.join()


def test_where_nothing_is_newer_nothing_is_done(
    publisher: Publisher, bundle: Bundles, update: Update, state: State
) -> None:
    publisher.add(bundle("1"))
    first = update()
    assert update() is None
    assert state.current() == first


def test_what_the_offer_alone_tells_to_refuse_is_not_fetched(
    publisher: Publisher, bundle: Bundles, update: Update, state: State, monkeypatch: pytest.MonkeyPatch
) -> None:
    publisher.add(bundle("1"))
    second = publisher.add(bundle("2"))
    update()
    publisher.withdraw(second)  # it serves here, and the newest on offer is the one before
    fetched: list[object] = []
    monkeypatch.setattr("kdlight_edge.update.fetch.Repository.fetch", lambda *given: fetched.append(given))
    for _ in range(2):
        with pytest.raises(BundleError, match="tiny 1 is not newer than 2, which serves; --allow-downgrade takes it"):
            update()
    state.roll_back("a person asked for it")
    publisher.add(bundle("2"))
    with pytest.raises(BundleError, match=f"{second} was rolled back here before; --again tries it once more"):
        update()
    assert not fetched


def test_two_bundles_of_one_version_are_refused_by_the_publisher(publisher: Publisher, bundle: Bundles) -> None:
    publisher.add(bundle("1"))
    with pytest.raises(UsageError, match="offered already as"):
        publisher.add(bundle("1", student="other"))
    publisher.add(bundle("1"))


def test_a_version_without_an_order_is_refused_by_the_publisher(publisher: Publisher, bundle: Bundles) -> None:
    with pytest.raises(BundleError, match="cannot be compared; use numbers with dots"):
        publisher.add(bundle("last_week"))


def test_of_several_names_the_device_takes_its_own(publisher: Publisher, bundle: Bundles, update: Update) -> None:
    publisher.add(bundle("1"))
    publisher.add(bundle("7", name="other"))
    with pytest.raises(BundleError, match="offers other, tiny, and not one name alone"):
        update()
    assert (update(name="tiny") or "").startswith("tiny-1-")
    assert update() is None


def test_a_withdrawn_version_is_not_offered(publisher: Publisher, bundle: Bundles, update: Update) -> None:
    publisher.add(bundle("1"))
    publisher.withdraw(publisher.add(bundle("2")))
    assert (update() or "").startswith("tiny-1-")
    with pytest.raises(UsageError, match="tiny-9 is not offered"):
        publisher.withdraw("tiny-9")


def test_expired_metadata_is_refused_until_it_is_refreshed(
    publisher: Publisher, bundle: Bundles, update: Update, tmp_path: Path
) -> None:
    short = Publisher(tmp_path / "repository", tmp_path / "private", days=1e-9)
    short.add(bundle("1"))
    with pytest.raises(BundleError, match=r"has expired .*; its publisher runs kdlight-edge update refresh"):
        update()
    publisher.refresh()
    assert update() is not None


def test_a_repository_that_shows_an_older_state_is_refused(
    publisher: Publisher, bundle: Bundles, update: Update, tmp_path: Path
) -> None:
    publisher.add(bundle("1"))
    shutil.copytree(tmp_path / "repository", tmp_path / "older")
    publisher.add(bundle("2"))
    update()
    with pytest.raises(BundleError, match="shows older metadata than was seen here before"):
        update(location=str(tmp_path / "older"))


@pytest.mark.parametrize("role", ["timestamp.json", "3.snapshot.json", "2.targets.json"])
def test_metadata_that_was_edited_is_refused(
    publisher: Publisher, bundle: Bundles, update: Update, role: str, state: State
) -> None:
    publisher.add(bundle("1"))
    publisher.refresh()
    file = publisher.metadata / role
    told = json.loads(file.read_text())
    told["signed"]["expires"] = "2099-01-01T00:00:00Z"
    file.write_text(json.dumps(told))
    with pytest.raises(BundleError):
        update()
    assert state.current() is None


def test_a_repository_of_another_publisher_is_refused(
    publisher: Publisher, bundle: Bundles, update: Update, tmp_path: Path
) -> None:
    publisher.add(bundle("1"))
    foreign = Publisher(tmp_path / "foreign", tmp_path / "foreign-keys")
    foreign.create()
    foreign.add(bundle("2"))
    with pytest.raises(BundleError, match="not signed by the keys that are trusted here"):
        update(location=str(tmp_path / "foreign"))


@pytest.mark.parametrize("change", ["half", "edited"])
def test_a_packed_bundle_that_was_cut_or_changed_is_refused(
    publisher: Publisher, bundle: Bundles, update: Update, change: str, state: State
) -> None:
    publisher.add(bundle("1"))
    file = next(publisher.targets.iterdir())
    content = file.read_bytes()
    file.write_bytes(content[: len(content) // 2] if change == "half" else content[:-1] + b"x")
    with pytest.raises(BundleError, match="is not what its metadata says"):
        update()
    assert state.current() is None


@pytest.mark.parametrize("role", ["root", "targets", "snapshot", "timestamp"])
def test_devices_follow_a_new_key_of_any_role(
    publisher: Publisher, bundle: Bundles, update: Update, tmp_path: Path, role: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    publisher.add(bundle("1"))
    update()
    publisher.rotate(role)
    publisher.add(bundle("2"))
    assert (update() or "").startswith("tiny-2-")
    (tmp_path / f"private/{role}.key").unlink()
    (tmp_path / f"private/{role}.key.old").rename(tmp_path / f"private/{role}.key")
    if role in {"snapshot", "timestamp"}:  # the old key's word counts for nothing any more
        monkeypatch.setattr(Publisher, "_known", Publisher._signer)  # whoever has it does not ask
        publisher.refresh()
        with pytest.raises(BundleError, match="not signed by the keys that are trusted here"):
            update()


def test_a_server_that_is_not_there_is_unavailable(update: Update, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"http://127.0.0.1:9 cannot be reached: "):
        update(location="http://127.0.0.1:9")
    with pytest.raises(SourceError, match="there is nothing at /nowhere"):
        update(location="/nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(SourceError, match=r"cannot be reached: there is no .*timestamp.json"):
        update(location=str(tmp_path / "empty"))


def test_without_a_root_no_repository_is_trusted(update: Update) -> None:
    with pytest.raises(KDLightError, match="no repository is trusted yet; give --root"):
        update(root=None)


def test_a_root_that_is_none_is_refused(update: Update, tmp_path: Path) -> None:
    (tmp_path / "bad.json").write_text("{}")
    with pytest.raises(BundleError, match=r"the metadata of .* is refused"):
        update(root=tmp_path / "bad.json")


def test_a_repository_is_not_made_twice(publisher: Publisher) -> None:
    with pytest.raises(UsageError, match="is a repository already"):
        publisher.create()


LOOK_AS_OWNER = """
import os, sys
from pathlib import Path
from kdlight_edge.update.apply import as_owner
from kdlight_edge.update.fetch import Repository
from kdlight_edge.update.state import State
repository, warm, service = sys.argv[1:]
root = Path(repository, "metadata/1.root.json")
State(Path(warm)).prepare()
Repository(repository, State(Path(warm)), root)  # imports what the owner may have no right to read
state = as_owner(State(Path(service)))
print(Repository(repository, state, root).newest("tiny").version, os.geteuid(), (state.trust / "root.json").exists())
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_root_looks_into_a_repository_as_the_owner_of_a_state_that_only_root_may_reach(
    publisher: Publisher, bundle: Bundles, tmp_path: Path, state: State
) -> None:
    publisher.add(bundle("1"))
    state.prepare()
    inner = tmp_path / "var-lib-private"  # as systemd has it for a service with a user of its own
    inner.mkdir(mode=0o700)
    service = state.folder.rename(inner / "state")
    for path in (service, *service.rglob("*")):
        os.chown(path, 61_234, 61_235)
    with tempfile.TemporaryDirectory() as everybody:
        Path(everybody).chmod(0o755)
        repository = shutil.copytree(tmp_path / "repository", f"{everybody}/repository")
        command = [sys.executable, "-c", LOOK_AS_OWNER, repository, str(tmp_path / "warm"), str(service)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stdout == "1 61234 True\n", done.stderr
