"""Every error that a person can meet, with the exit code that tells a script the same.

::

    KDLightError                    1  something failed
     ├─ UsageError(ValueError)      2  a flag, a recipe key or a combination that cannot be
     ├─ DataError(ValueError)       1  pictures or labels that cannot be used
     ├─ BundleError(ValueError)     5  a bundle that is damaged, foreign or from another version
     ├─ EngineMismatch              5  an engine that does not belong to this machine
     ├─ EngineNotReady              1  an engine that this machine cannot run, or has not built yet
     ├─ MissingPackage(ImportError) 1  an optional package that is not installed
     ├─ SourceError(OSError)        6  a camera, folder or stream that cannot be read
     ├─ BudgetExceeded              3  slower or larger than the board allows
     ├─ ParityError                 4  an engine that answers differently from the student
     └─ SelfTestFailed              7  a self-test that did not pass

The text of an error is one line for people: what is wrong, with the value, and what to do next.
``KDLIGHT_DEBUG=1`` shows the trace.
"""

from typing import ClassVar


class KDLightError(Exception):
    """Something failed; the message says what, and what to do next."""

    exit_code: ClassVar[int] = 1


class UsageError(KDLightError, ValueError):
    """A flag, a recipe key or a combination of them that cannot be."""

    exit_code = 2


class DataError(KDLightError, ValueError):
    """Pictures or labels that cannot be used as they are."""


class BundleError(KDLightError, ValueError):
    """A bundle that is damaged, foreign or from another version."""

    exit_code = 5


class EngineMismatch(KDLightError):
    """An engine that was built for another machine or another version."""

    exit_code = 5


class EngineNotReady(KDLightError):
    """An engine that this machine cannot run, or has not built yet; another one answers where there is one."""


class MissingPackage(KDLightError, ImportError):
    """An optional package that is not installed; the message names the extra that brings it."""


class SourceError(KDLightError, OSError):
    """A camera, folder or stream that cannot be read."""

    exit_code = 6


class BudgetExceeded(KDLightError):
    """A bundle that is slower or larger than its board allows."""

    exit_code = 3


class ParityError(KDLightError):
    """An engine that answers differently from the student it was made from."""

    exit_code = 4


class SelfTestFailed(KDLightError):
    """A self-test that did not pass."""

    exit_code = 7


EXTRA_OF_PACKAGE = {
    "numpy": "runtime",
    "cv2": "runtime",
    "onnxruntime": "runtime",
    "simplejpeg": "runtime",
    "pydicom": "dicom",
    "pynetdicom": "dicom",
    "highdicom": "dicom",
    "imagecodecs": "dicom",
    "openvino": "openvino",
    "onnx": "export",
    "torch": "train",
    "torchvision": "train",
    "tifffile": "survey",
    "tomli": "runtime",
    "paho": "mqtt",
    "tuf": "update",
    "securesystemslib": "update",
    "cryptography": "update",
    "packaging": "update",
    "ray": "archive",
    "pyarrow": "archive",
}
"""Which extra of this distribution brings which import name."""


def missing_package(error: ModuleNotFoundError) -> MissingPackage | None:
    """Turn the import error of an optional package into one line that names its extra; None for any other module."""
    package = (error.name or "").split(".")[0]
    extra = EXTRA_OF_PACKAGE.get(package)
    if extra is None:
        return None
    return MissingPackage(f"{package} is not installed; pip install 'kdlight-edge[{extra}]' brings it")
