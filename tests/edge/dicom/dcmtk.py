"""dcmtk, the real clients and readers of DICOM that tests meet, and scans on the disk for them."""

import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
from pydicom.dataset import Dataset

from tests.edge.ports import free_port, listens
from tests.waiting import LIMIT, until

# pynetdicom installs programs of the same names into the environment: the real ones are those of the system.
DCMTK = {
    name: shutil.which(name, path="/usr/bin:/usr/local/bin")
    for name in ("storescp", "storescu", "echoscu", "dsrdump", "dcmdump")
}
needs_dcmtk = pytest.mark.skipif(None in DCMTK.values(), reason="dcmtk is not installed (Debian: dcmtk)")


def save(scan: Dataset, file: Path) -> Path:
    """Write a scan and return its file."""
    file.parent.mkdir(parents=True, exist_ok=True)
    scan.save_as(file, enforce_file_format=True)
    return file


def call(program: str, port: int, *arguments: object) -> "subprocess.CompletedProcess[str]":
    """Call a listener on this machine; paths among the arguments are what is sent."""
    files = [str(word) for word in arguments if isinstance(word, Path)]
    flags = [str(word) for word in arguments if not isinstance(word, Path)]
    command = [str(DCMTK[program]), "-v", *flags, "127.0.0.1", str(port), *files]
    return subprocess.run(command, capture_output=True, text=True, timeout=LIMIT, check=False)


def words(tool: str, file: Path | str, *flags: str) -> str:
    """Return what a reader of dcmtk prints of a file."""
    done = subprocess.run([str(DCMTK[tool]), *flags, str(file)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@contextmanager
def archive(folder: Path, port: int = 0, *, kinds: Sequence[str] = ()) -> Iterator[int]:
    """Run dcmtk's storescp, which takes all kinds of objects or those alone, and yield its port."""
    folder.mkdir(exist_ok=True)
    port = port or free_port()
    command = [str(DCMTK["storescp"]), "--aetitle", "ARCHIVE", "--output-directory", str(folder)]
    if kinds:
        profile = folder.with_suffix(".cfg")
        taken = "".join(f"PresentationContext{i} = {kind}\\Plain\n" for i, kind in enumerate(kinds, 1))
        profile.write_text(
            "[[TransferSyntaxes]]\n[Plain]\nTransferSyntax1 = LittleEndianImplicit\n"
            f"[[PresentationContexts]]\n[Kinds]\n{taken}[[Profiles]]\n[Some]\nPresentationContexts = Kinds\n"
        )
        command += ["--config-file", str(profile), "Some"]
    command += [str(port)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            until(lambda: listens(port), "storescp")
            yield port
        finally:
            process.terminate()
            process.wait(LIMIT)
