"""OpenVINO: the fastest engine on x86 processors, and optional."""

import os
import threading
from collections.abc import Mapping
from types import MappingProxyType, TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt
import openvino

from kdlight_edge.bundle import Bundle
from kdlight_edge.engines import Outputs
from kdlight_edge.errors import BundleError
from kdlight_edge.manifest import Artifact

OUTPUTS = ("logits", "cam", "outlier")

NO_MORE: Mapping[str, Any] = MappingProxyType({})


class OpenVinoEngine:
    """A network compiled for one picture; its `run` may be called from several threads at once.

    Fixed shapes are a third faster than a free batch, so the pictures of a batch go through one by one.
    """

    name = "openvino"
    concurrent = True

    def __init__(self, compiled: Any, artifact: Artifact) -> None:
        self._compiled = compiled
        self._own = threading.local()
        self.artifact = artifact

    def run(self, batch: npt.NDArray[np.uint8], *, cam: bool = False) -> Outputs:
        """Answer a batch, uint8 [N, H, W, 3] RGB; the class activation map only when asked for."""
        request, image, tensors = self._request()
        wanted = OUTPUTS if cam else ("logits", "outlier")
        rows: dict[str, list[npt.NDArray[np.float32]]] = {name: [] for name in wanted}
        for picture in batch:
            image[0] = picture
            # Runs in the calling thread: handing over to another costs up to half of the answer's time.
            request.infer(share_inputs=True, share_outputs=True)
            for name, row in rows.items():
                # A copy: the next picture overwrites the tensor.
                row.append(tensors[name].copy())
        parts = {name: np.concatenate(row) for name, row in rows.items()}
        return Outputs(parts["logits"], parts.get("cam"), parts["outlier"])

    def _request(self) -> tuple[Any, npt.NDArray[np.uint8], dict[str, npt.NDArray[np.float32]]]:
        """Return this thread's request with views of its input and outputs."""
        if not hasattr(self._own, "request"):
            request = self._compiled.create_infer_request()
            tensors = {name: request.get_tensor(name).data for name in OUTPUTS}
            self._own.request = request, request.get_tensor("image").data, tensors
        kept: tuple[Any, npt.NDArray[np.uint8], dict[str, npt.NDArray[np.float32]]] = self._own.request
        return kept

    def __enter__(self) -> "OpenVinoEngine":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._compiled, self._own = None, threading.local()


def load(bundle: Bundle, artifact: Artifact, *, threads: int = 0) -> OpenVinoEngine:
    """Compile a bundle's IR for this processor.

    Args:
        bundle: the opened bundle.
        artifact: the IR's ``.xml``; its ``.bin`` is named in ``parts``.
        threads: threads inside one run; 0 takes every core this process may use.

    Raises:
        BundleError: OpenVINO does not take the file, or its inputs and outputs are not ours.
    """
    return OpenVinoEngine(compile_for(bundle, artifact, threads=threads), artifact)


def compile_for(bundle: Bundle, artifact: Artifact, *, threads: int, more: Mapping[str, Any] = NO_MORE) -> Any:
    """Return the network compiled for one picture at a time; ``more`` are settings beside the engine's own.

    Raises:
        BundleError: OpenVINO does not take the file, or its inputs and outputs are not ours.
    """
    cores = len(os.sched_getaffinity(0))
    threads = threads or cores
    streams = max(1, cores // threads)
    try:
        model = input_of(bundle, artifact)
        return openvino.Core().compile_model(model, "CPU", {**_settings(streams, threads), **more})
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


def _settings(streams: int, threads: int) -> dict[str, Any]:
    """Return the plugin's settings: one stream for each picture that can be in work at a time."""
    return {
        "NUM_STREAMS": streams,
        "INFERENCE_NUM_THREADS": streams * threads,
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
