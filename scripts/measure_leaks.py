#!/usr/bin/env python3
"""Look for pictures that training and test share, in every set of the bundles, and write docs/results/leaks.json.

usage: scripts/measure_leaks.py --data DIR

The audit is the one of `kdlight-edge data check`: byte-identical pictures, near-duplicates (thumbnails that correlate),
and groups (patient, lesion, wall, photograph) with pictures on both sides; here with validation cut as `train` cuts it.
"""

import argparse
from pathlib import Path
from typing import Any

from measure_models import ROOT, TESTS
from records import write_record

from kdlight_train.audit import Cluster, audit
from kdlight_train.data import open_data

RESULTS = ROOT / "docs" / "results" / "leaks.json"


def main() -> int:
    """Audit and write."""
    parser = argparse.ArgumentParser(description="Audit the sets of the bundles; see the file's own first lines.")
    parser.add_argument("--data", type=Path, required=True, metavar="DIR", help="folder with the data sets")
    args = parser.parse_args()
    sets = sorted({folder.split("/")[0] for folders in TESTS.values() for folder in folders})
    write_record(RESULTS, "scripts/measure_leaks.py --data DIR", sets=[leaks(name, args.data / name) for name in sets])
    print(RESULTS)
    return 0


def leaks(name: str, folder: Path) -> dict[str, Any]:
    """Return what one set shares between its splits."""
    found = audit(open_data([folder]))
    tested = sum(found.counts["test"].values())
    return {
        "set": name,
        "counts": {split: sum(classes.values()) for split, classes in found.counts.items()},
        "exact_test": len(seen_before(found.exact)),
        "near_test": len(seen_before(found.near)),
        "tested": tested,
        "within_test": sum(len({member.split for member in cluster.members}) == 1 for cluster in found.exact),
        "exact_val": len(seen_before(found.exact, "val")),
        "near_val": len(seen_before(found.near, "val")),
        "groups_shared": len(found.shared_groups),
    }


def seen_before(clusters: tuple[Cluster, ...], split: str = "test") -> set[str]:
    """Return the pictures of a split that have a twin among those that were learnt from."""
    return {
        member.name
        for cluster in clusters
        if any(member.split == "train" for member in cluster.members)
        for member in cluster.members
        if member.split == split
    }


if __name__ == "__main__":
    raise SystemExit(main())
