#!/usr/bin/env python3
"""Compare `kdlight-edge infer --folder` with ultralytics on the same pictures, the same machine and in the same run.

usage: scripts/compare_pipelines.py [--model NAME.kdl] [--folder DIR] [--pictures N] [--repeats N] [--cores N]
    [--cache DIR] [--out FILE.json]

The peer is installed into an environment of its own below the cache folder (2 to 6 GB, once). Its classifier is
YOLO11n-cls for two classes at 224 px, exported to ONNX by itself; the weights are random, which does not change speed.
It runs as its documentation shows it, `YOLO(model).predict(folder, stream=True)`, and once more in batches of 16, which
is faster for it; both ratios are told. Where the bundle holds an OpenVINO IR, OpenVINO's own Model API answers too, by
the very same network in the loop of its documentation.

Everything is measured from outside, on whole processes, one program after the other in turn: cold start is the time
from the start of the process to its first line of output; images per second is (N - 1) / (time of N pictures - time of
one), so that starting up does not count; memory is the kernel's high-water mark (VmHWM). Files come from the page
cache.
"""

import argparse
import json
import os
import shlex
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from records import stamp, typed

from kdlight_devices.fingerprint import describe, fingerprint, versions
from kdlight_edge.scenarios import encoded_pictures

ROOT = Path(__file__).resolve().parent.parent
SIZES = ((224, 224), (320, 240), (480, 360), (640, 480))
"""Width and height of the generated pictures, a quarter of them each."""
DIFFERENT = 64
"""Different generated pictures of each size; the folder repeats them."""

OURS = """
import sys
from kdlight_edge.cli import main
code = main(["infer", "--source", sys.argv[2], "--model", sys.argv[1], "--json"])
from kdlight_edge.meter import peak_rss_bytes
print(peak_rss_bytes(), file=sys.stderr)
sys.exit(code)
"""

PEER = """
import json, sys
answers, sys.stdout = sys.stdout, sys.stderr  # its log lines are no answers
from ultralytics import YOLO
model = YOLO(sys.argv[1], task="classify")
for result in model.predict(sys.argv[2], imgsz=224, stream=True, verbose=False, batch=int(sys.argv[3])):
    print(json.dumps([result.path, result.probs.top1, float(result.probs.top1conf)]), file=answers, flush=True)
with open("/proc/self/status") as status:
    print(next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM")), file=sys.stderr)
"""

MODEL_API = """
import json, pathlib, sys, cv2
from model_api.models import Model
model = Model.create_model(sys.argv[1])
given = pathlib.Path(sys.argv[2])
for file in sorted(given.iterdir()) if given.is_dir() else [given]:
    told = model(cv2.cvtColor(cv2.imread(str(file)), cv2.COLOR_BGR2RGB)).top_labels[0]
    print(json.dumps([str(file), told.name, float(told.confidence)]), flush=True)
with open("/proc/self/status") as status:
    print(next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM")), file=sys.stderr)
"""

API = "OpenVINO Model API"

MAKE_PEER = """
import json, os, importlib.metadata, pathlib, ultralytics
from ultralytics import YOLO
text = next(pathlib.Path(ultralytics.__file__).parent.rglob("yolo11-cls.yaml")).read_text()
pathlib.Path("yolo11n-cls.yaml").write_text(text.replace("nc: 1000", "nc: 2"))
for name, dynamic in (("single", False), ("batch", True)):
    os.replace(YOLO("yolo11n-cls.yaml").export(format="onnx", imgsz=224, dynamic=dynamic), name + ".onnx")
names = ("ultralytics", "torch", "onnxruntime", "opencv-python", "numpy")
print(json.dumps({name: importlib.metadata.version(name) for name in names}))
"""


def main() -> int:
    """Measure and write the figures."""
    args = _arguments()
    cores = sorted(os.sched_getaffinity(0))[: args.cores]
    os.sched_setaffinity(0, cores)
    args.cache.mkdir(parents=True, exist_ok=True)
    folder = (
        args.folder.resolve() if args.folder else _pictures(args.cache / f"pictures-{args.pictures}", args.pictures)
    )
    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in {".jpg", ".jpeg"})
    if len(files) < 2:  # noqa: PLR2004 - a rate needs two
        print(f"{folder} holds fewer than two JPEG files", file=sys.stderr)
        return 1
    peer = _environment(args.cache / "ultralytics", "ultralytics", "onnx", "onnxruntime")
    peer_versions = _make_peer(peer, args.cache)
    commands = {
        "kdlight-edge": [sys.executable, "-c", OURS, str(args.model.resolve())],
        "ultralytics": [str(peer), "-c", PEER, str(args.cache / "single.onnx")],
        "ultralytics, batches of 16": [str(peer), "-c", PEER, str(args.cache / "batch.onnx")],
    }
    tails = {"kdlight-edge": [], "ultralytics": ["1"], "ultralytics, batches of 16": ["16"]}
    network = next(iter(sorted(args.model.resolve().glob("*.xml"))), None)
    if network is not None:
        python = _environment(args.cache / "openvino-model-api", "openvino-model-api")
        commands[API], tails[API] = [str(python), "-c", MODEL_API, str(network)], []
    runs = _alternate(commands, tails, files[0], folder, args)
    record = _record(runs, len(files), args, folder, cores, peer_versions)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    print("\n".join(_lines(record)))
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Compare with ultralytics; see the file's own first lines.")
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"), "kdlight-edge", "peers")
    parser.add_argument("--model", type=Path, default=ROOT / "models" / "road-crack.kdl", metavar="NAME.kdl")
    parser.add_argument("--folder", type=Path, metavar="DIR", help="JPEG files of your own (default: generated)")
    parser.add_argument("--pictures", type=int, default=2000, metavar="N", help="how many to generate (default 2000)")
    parser.add_argument("--repeats", type=int, default=5, metavar="N", help="rounds (default 5)")
    parser.add_argument("--cores", type=int, default=2, metavar="N", help="cores both may use (default 2)")
    parser.add_argument("--cache", type=Path, default=cache, metavar="DIR", help=f"default {cache}")
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "results" / "pipelines.json", metavar="FILE.json")
    return parser.parse_args()


def _pictures(folder: Path, count: int) -> Path:
    """Generate the folder once: the same bytes on every machine with the same JPEG encoder."""
    if len(list(folder.glob("*.jpg"))) != count:
        folder.mkdir(parents=True, exist_ok=True)
        made = [encoded_pictures(width, height, DIFFERENT) for width, height in SIZES]
        for index in range(count):
            content = made[index % len(SIZES)][index // len(SIZES) % DIFFERENT]
            (folder / f"{index:06}.jpg").write_bytes(content)
    return folder


def _environment(folder: Path, *packages: str) -> Path:
    """Return the Python of a peer's environment, which is made once."""
    python = folder / "bin" / "python"
    if not (folder / ".ready").exists():
        print(f"installing {packages[0]} into {folder} (this takes minutes, once)", file=sys.stderr)
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", *packages], check=True)
        (folder / ".ready").write_text("")
    return python


def _make_peer(python: Path, folder: Path) -> dict[str, str]:
    """Let the peer export its own classifier; return the versions of its packages."""
    ran = subprocess.run(
        [python, "-c", MAKE_PEER], cwd=folder, stdout=subprocess.PIPE, stderr=sys.stderr, text=True, check=True
    )
    found: dict[str, str] = json.loads(ran.stdout.strip().splitlines()[-1])
    return found


def _alternate(
    commands: dict[str, list[str]], tails: dict[str, list[str]], first: Path, folder: Path, args: argparse.Namespace
) -> dict[str, list[dict[str, float]]]:
    """Run every program in turn, round after round; the first round warms the page cache and is not kept."""
    runs: dict[str, list[dict[str, float]]] = {name: [] for name in commands}
    for turn in range(args.repeats + 1):
        for name, command in commands.items():
            one = _timed([*command, str(first), *tails[name]], args.cache)
            whole = _timed([*command, str(folder), *tails[name]], args.cache)
            count = whole["lines"]
            found = {
                "cold_start_ms": one["first_ms"],
                "folder_s": whole["all_ms"] / 1000,
                "images_per_second": (count - 1) / (whole["all_ms"] - one["all_ms"]) * 1000,
                "peak_rss_bytes": whole["peak"],
                "lines": count,
            }
            if turn:
                runs[name].append(found)
            print(f"round {turn}: {name}: {json.dumps(found)}", file=sys.stderr)
    return runs


def _timed(command: list[str], where: Path) -> dict[str, float]:
    """Run a program that prints a line a picture and at the end, on stderr, its peak memory."""
    started = time.perf_counter()
    with subprocess.Popen(
        command, cwd=where, stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=1 << 20
    ) as process:
        assert process.stdout is not None  # noqa: S101 - it was asked for above
        assert process.stderr is not None  # noqa: S101 - as above
        line = process.stdout.readline()
        first = time.perf_counter() - started
        lines = bool(line) + sum(1 for _ in process.stdout)
        complaint = process.stderr.read().decode()
        code = process.wait()
    taken = time.perf_counter() - started
    if code:
        raise SystemExit(f"{shlex.join(command[:1])} ended with exit code {code}:\n{complaint}")
    return {"first_ms": first * 1000, "all_ms": taken * 1000, "lines": lines, "peak": int(complaint.split()[-1])}


def _record(
    runs: dict[str, list[dict[str, float]]],
    count: int,
    args: argparse.Namespace,
    folder: Path,
    cores: list[int],
    peer_versions: dict[str, str],
) -> dict[str, Any]:
    answered = {int(run["lines"]) for found in runs.values() for run in found}
    if answered != {count}:
        raise SystemExit(f"{count} pictures, but the programs answered {sorted(answered)}: nothing to compare")
    figures = {name: {key: _spread([run[key] for run in found]) for key in found[0]} for name, found in runs.items()}
    machine = {**fingerprint(), "cores": len(cores)}
    return {
        **stamp(typed()),
        "machine": describe(machine),
        "peer": f"ultralytics {peer_versions['ultralytics']}",
        "rows": _rows(figures),
        "fingerprint": machine,
        "versions": {"kdlight-edge": versions(), "ultralytics": peer_versions},
        "models": {
            "kdlight-edge": args.model.name,
            "ultralytics": "yolo11n-cls, 2 classes, 224 px, ONNX, random weights",
        },
        "pictures": {"count": count, "source": "generated" if args.folder is None else folder.name},
        "rounds": args.repeats,
        "figures": figures,
    }


def _rows(figures: dict[str, dict[str, dict[str, float]]]) -> list[dict[str, str]]:
    """Put the medians side by side: ours, and the peer's in both ways of running it where they differ much."""
    ours, single, batched, *others = figures.values()
    best_start = min((single, batched), key=lambda found: found["cold_start_ms"]["median"])
    leanest = min((single, batched), key=lambda found: found["peak_rss_bytes"]["median"])
    rate, size = "images_per_second", "peak_rss_bytes"
    api = [_row(f"the same beside {API}, the same network", "{:.0f} images/s", 1, ours, row, rate) for row in others]
    return [
        _row("cold start to first result", "{:.2f} s", 1000, ours, best_start, "cold_start_ms"),
        _row("folder, JPEG bytes to result, as its documentation shows", "{:.0f} images/s", 1, ours, single, rate),
        _row("folder, JPEG bytes to result, in batches of 16", "{:.0f} images/s", 1, ours, batched, rate),
        *api,
        _row("peak memory of the folder run", "{:.0f} MB", 1e6, ours, leanest, size),
    ]


def _row(what: str, form: str, unit: float, ours: dict[str, Any], peer: dict[str, Any], key: str) -> dict[str, str]:
    mine, theirs = ours[key]["median"], peer[key]["median"]
    times = mine / theirs if key == "images_per_second" else theirs / mine
    better = "less" if key == "peak_rss_bytes" else "faster"
    row = {"what": what, "ours": form.format(mine / unit), "peer": form.format(theirs / unit)}
    return {**row, "ratio": f"{times:.1f} times {better}"}


def _spread(values: list[float]) -> dict[str, float]:
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}


def _lines(record: dict[str, Any]) -> list[str]:
    lines = [f"{'':<28}{'cold start':>14}{'images/s':>12}{'peak memory':>14}"]
    for name, found in record["figures"].items():
        cold, rate, peak = (found[key]["median"] for key in ("cold_start_ms", "images_per_second", "peak_rss_bytes"))
        lines.append(f"{name:<28}{cold / 1000:>12.2f} s{rate:>12.0f}{peak / 1e6:>11.0f} MB")
    lines += [f"{row['what']}: {row['ours']} against {row['peer']}, {row['ratio']}" for row in record["rows"]]
    return lines


if __name__ == "__main__":
    raise SystemExit(main())
