"""kdlight-edge: a tiny classifier distilled from a MobileNet teacher, at work on a small board."""

import os

__version__ = "0.1.0"

# Newer ONNX Runtimes collect and upload telemetry unless this is set before they are imported, wherever that happens.
# A device in a hospital or a wall makes no request that nobody asked for.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
