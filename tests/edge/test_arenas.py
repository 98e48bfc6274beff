"""Threads that begin after it share one heap, as glibc itself tells."""

import platform
import subprocess
import sys

import pytest

TELL = """
import ctypes, sys, threading
from kdlight_edge.arenas import share_one
if sys.argv[1] == "shared":
    share_one()
libc = ctypes.CDLL(None)
begun = threading.Barrier(4)
def take():
    begun.wait()
    libc.malloc(1000)
threads = [threading.Thread(target=take) for _ in range(4)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
libc.malloc_info(0, ctypes.c_void_p.in_dll(libc, "stdout"))
libc.fflush(None)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc gives threads heaps of their own")
@pytest.mark.parametrize(("how", "one"), [("shared", True), ("each its own", False)])
def test_threads_share_one_heap_where_they_are_told_to(how: str, *, one: bool) -> None:
    done = subprocess.run([sys.executable, "-c", TELL, how], capture_output=True, text=True, check=True)
    assert (done.stdout.count("<heap nr=") == 1) is one
