"""OpenVINO: the fastest engine on x86 processors, and optional."""

import os
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from kdlight_edge.bundle import Bundle
from kdlight_edge.engines import Outputs
from kdlight_edge.errors import BundleError
from kdlight_edge.late import without
from kdlight_edge.manifest import Artifact

# Its package brings the model converter along where that can be imported, and with it telemetry, an HTTP client and
# parsers: memory and time of the start that no board needs, and OpenVINO does without them.
with without("openvino.tools.ovc"):
    import openvino

OUTPUTS = ("logits", "cam", "outlier")


class OpenVinoEngine:
    """A network compiled for one picture; its `run` may be called from several threads at once.

    Fixed shapes are a third faster than a free batch, so the pictures of a batch go through one by one.
    """

    name = "openvino"
    concurrent = True

    def __init__(self, compiled: Any, artifact: Artifact, settings: Mapping[str, Any]) -> None:
        """Take the network, compiled with ``settings``; of pictures that are in work at a time each needs one.

        One that is compiled for several (``NUM_STREAMS``) hands each picture to a thread of its own, which has to be
        woken, and whose time is not that of the thread that asks (scripts/measure_threads.py).
        """
        self._compiled, self._settings = compiled, settings
        self.artifact = artifact
        self._free = [_ready(compiled)]
        """Those that no picture is in; the last one used is the first one taken."""

    def run(self, batch: npt.NDArray[np.uint8], *, cam: bool = False) -> Outputs:
        """Answer a batch, uint8 [N, H, W, 3] RGB; the class activation map only when asked for."""
        try:
            one = self._free.pop()
        except IndexError:
            one = _ready(self._again())
        answers = [one.answer(picture, cam=cam) for picture in batch]
        self._free.append(one)
        if len(answers) == 1:
            return answers[0]
        logits, cams, outlier = zip(*answers, strict=True)
        return Outputs(np.concatenate(logits), np.concatenate(cams) if cam else None, np.concatenate(outlier))

    def _again(self) -> Any:
        """Return the network once more, in a fifth of the time that compiling it from the file takes."""
        return openvino.Core().import_model(self._compiled.export_model(), "CPU", self._settings)

    def __enter__(self) -> "OpenVinoEngine":
        return self

    def __exit__(self, *_: object) -> None:
        self._free.clear()
        self._compiled = None


class _Compiled(NamedTuple):
    """A request to a compiled network, with views of its input and outputs."""

    request: Any
    image: npt.NDArray[np.uint8]
    logits: npt.NDArray[np.float32]
    cam: npt.NDArray[np.float32]
    outlier: npt.NDArray[np.float32]

    def answer(self, picture: npt.NDArray[np.uint8], *, cam: bool) -> Outputs:
        """Answer one picture, uint8 [H, W, 3]; in copies, as the next picture overwrites the views."""
        self.image[0] = picture
        self.request.infer(share_inputs=True, share_outputs=True)
        return Outputs(self.logits.copy(), self.cam.copy() if cam else None, self.outlier.copy())


def _ready(compiled: Any) -> _Compiled:
    request = compiled.create_infer_request()
    return _Compiled(request, *(request.get_tensor(name).data for name in ("image", *OUTPUTS)))


def load(bundle: Bundle, artifact: Artifact, *, threads: int = 0) -> OpenVinoEngine:
    """Compile a bundle's IR for this processor; 0 threads take every core this process may use.

    Raises:
        BundleError: OpenVINO does not take the file, or its inputs and outputs are not ours.
    """
    settings = settings_of(threads)
    return OpenVinoEngine(compile_for(bundle, artifact, settings), artifact, settings)


def compile_for(bundle: Bundle, artifact: Artifact, settings: Mapping[str, Any]) -> Any:
    """Return the network compiled for one picture at a time.

    Raises:
        BundleError: OpenVINO does not take the file, or its inputs and outputs are not ours.
    """
    try:
        return openvino.Core().compile_model(input_of(bundle, artifact), "CPU", settings)
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[-1]
        raise BundleError(f"OpenVINO {openvino.__version__} does not take {artifact.file}: {reason}") from error


def input_of(bundle: Bundle, artifact: Artifact) -> Any:
    """Return the graph that is compiled: the file's, for one picture.

    Raises:
        BundleError: its inputs and outputs are not ours.
        RuntimeError: OpenVINO cannot read it.
    """
    model = openvino.Core().read_model(bundle.file_of(artifact))
    _check_graph(model, bundle, artifact)
    spec = bundle.manifest.input
    model.reshape({"image": [1, spec.height, spec.width, 3]})
    return model


def settings_of(threads: int) -> dict[str, Any]:
    """Return the plugin's settings; with one stream of one thread the thread that asks does the work."""
    return {
        "NUM_STREAMS": 1,
        "INFERENCE_NUM_THREADS": threads or len(os.sched_getaffinity(0)),
        # Otherwise float layers run in bfloat16 where the processor has it, and machines differ in their answers.
        "INFERENCE_PRECISION_HINT": "f32",
        # The core that decodes the next picture is not the engine's to take.
        "ENABLE_CPU_PINNING": False,
    }


def _check_graph(model: Any, bundle: Bundle, artifact: Artifact) -> None:
    """Refuse a file whose inputs and outputs are not what the manifest says."""
    spec, labels = bundle.manifest.input, len(bundle.manifest.labels)
    inputs = {name: (port.element_type.get_type_name(), _shape(port)) for port in model.inputs for name in port.names}
    outputs = {name: _shape(port) for port in model.outputs for name in port.names}
    if inputs.get("image") != ("u8", [spec.height, spec.width, 3]) or not outputs.keys() >= set(OUTPUTS):
        raise BundleError(
            f"{artifact.file} has inputs {inputs} and outputs {sorted(outputs)}, not image uint8 "
            f"[N, {spec.height}, {spec.width}, 3] -> {', '.join(OUTPUTS)}; export the bundle again"
        )
    if outputs["logits"] != [labels]:
        raise BundleError(
            f"{artifact.file} answers with {outputs['logits'][-1]} logits where the manifest has {labels} labels; "
            "export the bundle again"
        )


def _shape(port: Any) -> list[int]:
    """Return a port's shape behind the batch; -1 where a side is free."""
    return [side.get_length() if side.is_static else -1 for side in list(port.partial_shape)[1:]]
