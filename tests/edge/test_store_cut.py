"""What a kill and a power cut leave of a store: every text that waited, none twice, and no number again."""

import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from kdlight_edge.sinks.store import Store
from tests.edge.stores import bodies, settle


def test_a_process_that_is_killed_leaves_all_that_it_put_in(tmp_path: Path) -> None:
    script = (
        "import sys\nfrom kdlight_edge.sinks.store import Store\n"
        "store = Store(sys.argv[1])\n"
        "for n in range(10**9):\n    store.put(str(n))\n    print(n, flush=True)\n"
    )
    for _ in range(3):
        child = subprocess.Popen(
            [sys.executable, "-c", script, tmp_path / "q.sqlite"], stdout=subprocess.PIPE, text=True
        )
        with child:
            assert child.stdout is not None
            for _ in range(200):
                child.stdout.readline()
            child.send_signal(signal.SIGKILL)
            rest = child.stdout.read().splitlines(keepends=True)
        told = max([199, *(int(line) for line in rest if line.endswith("\n"))])
        store = Store(tmp_path / "q.sqlite")
        found = store.after(0, 10**6)
        assert [int(body) for _, body in found] == list(range(len(found)))
        assert len(found) > told
        store.take([number for number, _ in found])
        store.close()


def test_what_waits_is_on_the_disk_after_some_seconds_and_outlives_a_power_cut(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(tmp_path / "q.sqlite")
    settle(store, "ab", monkeypatch)
    store.put("young")
    store.tidy()
    cut = tmp_path / "cut"  # what a disk has when the power goes: the file, and not what is in memory
    cut.mkdir()
    for file in tmp_path.glob("q.sqlite*"):
        if file.suffix != ".tail":
            (cut / file.name).write_bytes(file.read_bytes())
    again = Store(cut / "q.sqlite")
    assert (again.name, bodies(again)) == (store.name, ["a", "b"])
    again.put("c")
    (number, text) = again.after(2, 9)[0]
    assert text == "c"
    assert number > 3, "the number of what was lost may have been sent already, and is not used again"
    again.close()
    store.close()


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed: apt install strace")
def test_numbers_are_set_aside_on_the_disk_before_the_first_is_given_and_no_other_put_waits_for_it(
    tmp_path: Path,
) -> None:
    script = (
        "import os, sys\nfrom kdlight_edge.sinks import store as module\n"
        "module.BLOCK = 4\nstore = module.Store(sys.argv[1])\nos.getppid()\n"  # the marks between the parts
        "for _ in range(4):\n    store.put('x')\nos.getppid()\nstore.put('x')\nos.getppid()\nstore.close()\n"
    )
    told = tmp_path / "trace"
    command = ["strace", "-f", "-e", "trace=fsync,fdatasync,getppid", "-o", str(told)]
    for _ in range(2):  # the second start finds the numbers that an orderly end has left
        child = [sys.executable, "-c", script, str(tmp_path / "q.sqlite")]
        done = subprocess.run([*command, *child], capture_output=True, text=True, check=False)
        if "ptrace" in done.stderr.lower():
            pytest.skip("strace may not trace here")
        assert done.returncode == 0, done.stderr
        opened, put, put_beyond, _ = told.read_text().split("getppid()")
        assert [part.count("sync(") > 0 for part in (opened, put, put_beyond)] == [True, False, True]


def test_a_tail_of_another_boot_or_of_another_store_is_not_believed(tmp_path: Path) -> None:
    for wrong in (f"=name {'0' * 32} 7", "=other 1 7", "garbage", ""):
        (tmp_path / "q.sqlite.tail").write_text(f"{wrong}\n+8 text\n")
        store = Store(tmp_path / "q.sqlite")
        assert bodies(store) == []
        store.close()


def test_a_process_that_is_killed_between_file_and_tail_leaves_no_text_twice(tmp_path: Path) -> None:
    script = (
        "import os, signal, sys\nfrom kdlight_edge.sinks import store as module\n"
        "module.WAITED = 0.0\nstore = module.Store(sys.argv[1])\nstore.put('a')\nstore.put('b')\nstore.take([1])\n"
        "store._tail.restart = lambda *_: os.kill(os.getpid(), signal.SIGKILL)\nstore.tidy()\n"
    )
    done = subprocess.run([sys.executable, "-c", script, tmp_path / "q.sqlite"], check=False)
    assert done.returncode == -signal.SIGKILL
    store = Store(tmp_path / "q.sqlite")
    assert store.after(0, 9) == [(2, "b")]
    assert len(store) == 1
    store.close()


def test_a_text_that_was_taken_out_before_a_kill_does_not_come_again(tmp_path: Path) -> None:
    script = (
        "import os, signal, sys\nfrom kdlight_edge.sinks.store import Store\nstore = Store(sys.argv[1])\n"
        "for text in 'abc':\n    store.put(text)\nstore.take([1, 3])\n"
        "os.write(store._tail._handle, b'+4 torn')\nos.kill(os.getpid(), signal.SIGKILL)\n"
    )
    subprocess.run([sys.executable, "-c", script, tmp_path / "q.sqlite"], check=False)
    store = Store(tmp_path / "q.sqlite")
    store.put("d")
    assert store.after(0, 9) == [(2, "b"), (4, "d")]
    store.close()
