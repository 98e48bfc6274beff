"""An archive that does not take every kind of object: that is learnt from the first, and may change."""

import copy
from pathlib import Path

import pytest
from pydicom.dataset import Dataset
from pydicom.uid import UID
from pynetdicom import AE, evt

from kdlight_edge.dicom.send import UNTAKEN, Node, Sender
from kdlight_edge.dicom.spool import Spool
from tests.edge.dicom.dcmtk import archive, needs_dcmtk
from tests.waiting import until

pytestmark = pytest.mark.usefixtures("sockets_of_pynetdicom")

SC, SR = UID("1.2.840.10008.5.1.4.1.1.7"), UID("1.2.840.10008.5.1.4.1.1.88.34")


def a_picture(answer: Dataset) -> Dataset:
    made = copy.deepcopy(answer)
    made.SOPClassUID = made.file_meta.MediaStorageSOPClassUID = SC
    return made


@needs_dcmtk
def test_that_an_archive_takes_no_reports_is_learnt_once_and_told_once(tmp_path: Path, answer: Dataset) -> None:
    told, tries = list[str](), list[str]()

    class Counted(Sender):
        def _associate_and_store(self, made: Dataset) -> str:
            tries.append(made.SOPClassUID)
            return super()._associate_and_store(made)

    with archive(tmp_path / "archive", kinds=[SC]) as port:
        spool = Spool(tmp_path / "spool", told.append)
        sender = Counted(Node("ARCHIVE", "127.0.0.1", port), told.append, waits=(0.01,) * 3, waiting=spool)
        for _ in range(5):
            sender.send(answer)
            sender.send(a_picture(answer))
        until(lambda: sender.lost == 5)
        sender.close()
    assert (sender.lost, tries.count(SR), tries.count(SC)) == (5, 4 + 4, 5)
    name, aside = f"ARCHIVE@127.0.0.1:{port}", f"in {tmp_path}/spool/refused"
    first = f"{UNTAKEN} (Comprehensive 3D SR Storage; further ones are told at the end)"
    assert told == [
        f"an answer was not sent to {name}: {first}; {aside}",
        f"4 answers were not sent to {name}: {UNTAKEN}; {aside}",
    ]
    assert len(list((tmp_path / "spool/refused").iterdir())) == 5


def test_an_archive_that_learnt_to_take_reports_gets_them(answer: Dataset) -> None:
    told, taken = list[str](), list[int]()
    statuses = iter([0x0122] * 3 + [0] * 2 + [0x0122] * 2)

    def take(_: evt.Event) -> int:
        taken.append(next(statuses))
        return taken[-1]

    entity = AE(ae_title="ARCHIVE")
    entity.add_supported_context(answer.SOPClassUID)
    server = entity.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_STORE, take)])
    assert server is not None
    sender = Sender(Node("ARCHIVE", "127.0.0.1", server.server_address[1]), told.append, waits=(0.01,))
    try:
        for _ in range(5):
            sender.send(answer)
        sender.close()
    finally:
        server.shutdown()
    name = f"ARCHIVE@127.0.0.1:{server.server_address[1]}"
    why = f"an answer was not sent to {name}: {UNTAKEN}"
    first = f"{why} (Comprehensive 3D SR Storage; further ones are told at the end)"
    assert told == [first, f"{name} takes Comprehensive 3D SR Storage now", first, why]
    assert (sender.lost, taken) == (3, [0x0122] * 3 + [0] * 2 + [0x0122] * 2)
