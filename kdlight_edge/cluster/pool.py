"""Classifiers on a Ray cluster, fed by Ray Data: the only file that imports Ray."""

import contextlib
import functools
import logging
import os
import re
import shutil
import socket
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",  # Ray would tell its makers
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # leave the variables of GPUs alone, and do not warn of it
    "RAY_DATA_LOG_LEVEL": "CRITICAL",
    "RAY_BACKEND_LOG_LEVEL": "fatal",
    "RAY_gcs_server_port_wait_time_s": "120",  # half a minute is short where Ray is read from a slow disk
}
"""Read by Ray when it is imported; what the user has set stays."""

for _name, _value in QUIET.items():
    os.environ.setdefault(_name, _value)

import pyarrow as pa  # noqa: E402 - see QUIET
import ray  # noqa: E402
import ray.data  # noqa: E402
import ray.exceptions  # noqa: E402
import ray.util.client  # noqa: E402

from kdlight_edge.cluster.job import Job  # noqa: E402
from kdlight_edge.cluster.member import Member  # noqa: E402
from kdlight_edge.errors import KDLightError, SourceError, UsageError  # noqa: E402

CHUNK = 256
"""Files that a classifier is handed at a time: under a second of work, which is what the death of one costs."""

STORE_BYTES = 128 << 20
"""Ray's shared memory on a cluster that is begun here: only keys and rows go through it, never pictures."""

DEATHS = 3
"""How often the files of a classifier that died are handed to another, before each is tried alone."""

STARTS = 3
"""How often a cluster is tried to be begun on this machine: Ray gives each of its processes half a minute, which a busy
machine may need to read their files, and the next time they are in memory."""

REACH_SECONDS = 5.0
"""How long a cluster may take to accept a connection."""

EXPLAIN_SECONDS = 60.0
"""How long one more machine may take to open the bundle, where none has answered."""

_ADDRESS = re.compile(r"(ray://)?(\[[0-9a-f:]+\]|[^\s:/\[\]]+):(\d{1,5})", re.IGNORECASE)


@contextlib.contextmanager
def joined(address: str, workers: int) -> Iterator[int]:
    """Join a cluster, or begin one on this machine for as long as the context lasts.

    Args:
        address: ``local``, ``ray://HOST:PORT`` (a Ray client) or ``HOST:PORT`` (from a machine of the cluster).
        workers: of a local one; 0 is one for each core that this process may use. Of a cluster: 0 is one a CPU.

    Yields:
        How many classifiers there are to be.

    Raises:
        UsageError: no address looks like that.
        SourceError: nothing answers there, or not a Ray that can be spoken with, or none can be begun here.
    """
    folder = None
    try:
        if address == "local":
            folder = tempfile.mkdtemp(prefix="kdlight-")
            count = workers or len(os.sched_getaffinity(0))
            _begin(count, folder)
        else:
            _reach(address)
            _join(address)
            count = workers or _cpus()
        if not count:
            raise SourceError(f"the cluster {address} has no CPU to give; start a worker there")
        yield count
    finally:
        ray.shutdown()
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)


def _begin(cpus: int, folder: str) -> None:
    for attempt in range(1, STARTS + 1):
        try:
            with _hushed():
                ray.init(
                    address="local", num_cpus=cpus, include_dashboard=False, log_to_driver=False,
                    object_store_memory=STORE_BYTES, logging_level=logging.CRITICAL, _temp_dir=folder,
                )  # fmt: skip
            return  # noqa: TRY300 - it has begun
        except Exception as error:  # noqa: PERF203 - as in `_join`; the next attempt may do
            ray.shutdown()
            if attempt == STARTS:
                raise SourceError(
                    f"--cluster local: Ray does not start here ({_said(error)}); see that nothing else takes the "
                    "whole machine, or give the address of a cluster"
                ) from error


def _cpus() -> int:
    resources: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
    return int(resources.get("CPU", 0))


def _reach(address: str) -> None:
    """Knock at the door: Ray itself would knock for half a minute, and then show a trace."""
    match = _ADDRESS.fullmatch(address)
    if match is None:
        raise UsageError(f"--cluster {address} is no cluster; give local, ray://HOST:10001 or HOST:6379")
    try:
        socket.create_connection((match[2].strip("[]"), int(match[3])), REACH_SECONDS).close()
    except (OSError, OverflowError) as error:
        said = getattr(error, "strerror", None) or str(error)
        raise SourceError(f"the cluster {address} cannot be reached: {said}; is ray started there?") from error


def _join(address: str) -> None:
    try:
        with _hushed():
            ray.init(address=address, log_to_driver=False, logging_level=logging.CRITICAL)
    except Exception as error:  # Ray raises what it likes: ConnectionError, RuntimeError, ValueError, gRPC's own
        raise SourceError(f"the cluster {address} cannot be joined: {_said(error)}") from error


@contextlib.contextmanager
def _hushed() -> Iterator[None]:
    """Keep what Ray's C++ writes past Python away from stderr; what goes wrong it raises."""
    if os.environ.get("KDLIGHT_DEBUG") == "1":
        yield
        return
    sys.stderr.flush()
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


def answers(job: Job, keys: Sequence[str], workers: int, lost: Callable[[str], pa.Table]) -> Iterator[pa.Table]:
    """Classify files on the cluster that was joined; yield tables of `parts.COLUMNS`, whole files in each, any order.

    ``lost`` makes the row of a file that killed every process that read it, at last one that had it alone.

    Raises:
        KDLightError: the pool cannot work at all.
    """
    left = dict.fromkeys(keys)
    chunk = max(1, min(CHUNK, -(-len(keys) // (workers * 8))))
    for handing in (Handing(chunk, DEATHS, 2), Handing(1, 1, 1)):
        before = len(left)
        hand_out = _through_a_client if _is_client() else _hand_out
        for table in hand_out(job, list(left), workers, handing):
            if (rows := _fresh(table, left)).num_rows:
                yield rows
        if len(left) == before:
            _explain(job)
        if not left:
            return
    yield from map(lost, left)


def _is_client() -> bool:
    found: bool = ray.util.client.ray.is_connected()  # type: ignore[no-untyped-call]
    return found


def _fresh(table: pa.Table, left: dict[str, None]) -> pa.Table:
    """Take the files of a table off what is left; rows of a file that is no more among them are not wanted twice."""
    named = table.column("key").to_pylist()
    new = {key for key in named if key in left}
    for key in new:
        del left[key]
    return table.filter(pa.array([key in new for key in named], pa.bool_()))


class Handing(NamedTuple):
    """How files are handed out."""

    chunk: int
    """Files that a classifier is handed at a time."""
    deaths: int
    """How often the files of one that died are handed to another."""
    waiting: int
    """Chunks that one has at a time; all of them die with it."""


def _hand_out(job: Job, keys: list[str], workers: int, handing: Handing) -> Iterator[pa.Table]:
    """Hand all keys out once; those of a process that died too often are missing in what comes back."""
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    context.max_errored_blocks = -1
    context.target_max_block_size = None  # rows of one file stay in one block
    size = min(workers, -(-len(keys) // handing.chunk))
    starts = range(0, len(keys), handing.chunk)
    blocks = [pa.table({"key": keys[start : start + handing.chunk]}) for start in starts]
    # Ray 2.64 takes the only way to bound the retries away; pyproject.toml asks for less.
    warnings.filterwarnings("ignore", message="`ray_remote_args_fn` is deprecated")
    data = ray.data.from_arrow(blocks).map_batches(
        Member, fn_constructor_args=(job,), batch_size=None, batch_format="pyarrow", num_cpus=1,
        compute=ray.data.ActorPoolStrategy(size=size, max_tasks_in_flight_per_actor=handing.waiting),
        ray_remote_args_fn=functools.partial(dict, max_task_retries=handing.deaths),
    )  # fmt: skip
    try:
        yield from data.iter_batches(batch_size=None, batch_format="pyarrow")
    except (ray.exceptions.RayError, RuntimeError) as error:
        _explain(job)
        raise KDLightError(f"the cluster gave up: {_said(error)}; run again, it goes on") from error


class Steward:
    """Runs Ray Data on the cluster for a client, as Ray Data does not run beyond it."""

    def __init__(self, job: Job, keys: list[str], workers: int, handing: Handing) -> None:
        self._tables = _hand_out(job, keys, workers, handing)

    def more(self) -> pa.Table | None:
        """Return the next table, None at the end."""
        return next(self._tables, None)


def _through_a_client(job: Job, keys: list[str], workers: int, handing: Handing) -> Iterator[pa.Table]:
    """As `_hand_out`, where a Ray client is connected."""
    steward: Any = ray.remote(num_cpus=0)(Steward).remote(job, keys, workers, handing)
    try:
        while (table := ray.get(steward.more.remote())) is not None:
            yield table
    except (ray.exceptions.RayError, ConnectionError) as error:
        cause = getattr(error, "cause", None)
        if isinstance(cause, KDLightError):
            raise cause from None
        raise KDLightError(f"the cluster gave up: {_said(error)}; run again, it goes on") from error


def _explain(job: Job) -> None:
    """Raise what keeps classifiers from being opened on the cluster, if that is what keeps answers away."""
    try:
        ray.get(ray.remote(num_cpus=1)(_open).remote(job), timeout=EXPLAIN_SECONDS)
    except ray.exceptions.GetTimeoutError:
        return
    except ray.exceptions.RayTaskError as error:
        cause = error.cause
        raise (cause if isinstance(cause, KDLightError) else KDLightError(_said(error))) from None


def _open(job: Job) -> None:
    Member(job)


def _said(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[-1] if lines else type(error).__name__)[:300]
