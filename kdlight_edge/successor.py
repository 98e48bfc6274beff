"""An engine that is built in the background, in a process of its own, and takes over between two pictures."""

import subprocess
import sys
import threading
from collections.abc import Callable

from kdlight_edge.bundle import Bundle
from kdlight_edge.engines import Engine, load
from kdlight_edge.engines.tensorrt_module import lack
from kdlight_edge.errors import EngineNotReady, KDLightError
from kdlight_edge.manifest import Artifact

Build = Callable[[Bundle, Artifact], list[str]]
Prove = Callable[[Engine], object]


class Successor:
    """Builds, loads and proves an engine while another one answers.

    A process and not a thread: a builder that crashes or takes all memory must not take the answers with it.
    """

    def __init__(
        self,
        bundle: Bundle,
        artifact: Artifact,
        prove: Prove,
        tell: Callable[[str], None],
        *,
        build: "Build | None" = None,
    ) -> None:
        """Begin.

        Args:
            bundle: the opened bundle.
            artifact: of format ``tensorrt``.
            prove: replays the golden pictures on the new engine, and raises a `KDLightError` where it must not serve.
            tell: is given a line for people when it is ready, or why it never will be.
            build: the command that builds; the program's own by default.
        """
        self._bundle, self._artifact, self._prove, self._tell = bundle, artifact, prove, tell
        self._command = (build or build_command)(bundle, artifact)
        self._lock = threading.Lock()
        self._closed = False
        self._process: subprocess.Popen[str] | None = None
        self._ready: Engine | None = None
        self._thread = threading.Thread(target=self._work, name="successor", daemon=True)
        self._thread.start()

    def take(self) -> Engine | None:
        """Return the engine once it is proved, once; None until then and ever after."""
        if self._ready is None:  # without the lock: this is asked for every picture
            return None
        with self._lock:
            ready, self._ready = self._ready, None
            return ready

    def wait(self) -> None:
        """Wait until it is ready or has failed."""
        self._thread.join()

    def close(self) -> None:
        """End the building, and close an engine that was never taken."""
        with self._lock:
            self._closed = True
            if self._process is not None:
                self._process.terminate()
        self._thread.join()
        if (left := self.take()) is not None:
            left.__exit__(None, None, None)

    def _work(self) -> None:
        try:
            self._build()
            if self._closed:
                return
            engine = load(self._bundle, self._artifact, engine="tensorrt")
            try:
                self._prove(engine)
            except BaseException:
                engine.__exit__(None, None, None)
                raise
        except (KDLightError, OSError) as error:
            if not self._closed:
                self._tell(f"no TensorRT engine takes over: {error}")
        else:
            self._ready = engine

    def _build(self) -> None:
        with self._lock:
            if self._closed:
                return
            self._process = subprocess.Popen(  # noqa: S603 - our own interpreter and module
                self._command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
            )
        _, said = self._process.communicate()
        _judge(self._process.returncode, said)


def build_command(bundle: Bundle, artifact: Artifact) -> list[str]:
    """Return the command that builds an artifact's engine into the cache."""
    return [sys.executable, "-m", "kdlight_edge.engines.tensorrt_build", str(bundle.path), artifact.file]


def build_now(bundle: Bundle) -> None:
    """Build the engine of the bundle's first TensorRT artifact and wait for it.

    Raises:
        EngineNotReady: it cannot be built; the line says why.
    """
    artifact = wanted(bundle)
    if artifact is None:
        raise EngineNotReady(f"{bundle.path} holds nothing for TensorRT; kdlight-edge export --target jetson makes it")
    ran = subprocess.run(build_command(bundle, artifact), capture_output=True, text=True, check=False)  # noqa: S603 - as above
    _judge(ran.returncode, ran.stderr)


def wanted(bundle: Bundle) -> Artifact | None:
    """Return the artifact that an engine is to be built for: the first of its format."""
    return next((one for one in bundle.manifest.artifacts if one.format == "tensorrt"), None)


def buildable(bundle: Bundle) -> bool:
    """Tell whether the bundle prefers TensorRT and this machine can build for it."""
    return bundle.manifest.artifacts[0].format == "tensorrt" and lack() is None


def _judge(code: int, said: str) -> None:
    if code != 0:
        ended = f"the builder was ended by signal {-code}" if code < 0 else "the builder failed"
        raise EngineNotReady((said.strip().splitlines() or [ended])[-1])
