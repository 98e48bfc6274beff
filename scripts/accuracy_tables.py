"""Tables about accuracy from docs/results/, as Markdown: what `scripts/pages.py` fills into the pages."""

from typing import Any


def models_table(results: dict[str, Any]) -> str:
    """Return the bundles with what was measured about them, and where."""
    titles = ["bundle", "classes", "test pictures", "accuracy (95 % interval)", "its teacher", "balanced", "AUC"]
    titles += ["ECE (by chance)", "pixels", "parameters", "bundle size", "network p50"]
    rows = heading(titles)
    for entry in results["models"]:
        judged, teacher = entry["eval"], entry["teacher"]
        low, high = judged["ci95"]
        rows.append(
            f"| [`{entry['name']}`](models/{entry['name']}.kdl) | {', '.join(entry['labels'])} | {judged['n']:,} "
            f"| **{judged['accuracy']:.1%}** ({low:.1%} to {high:.1%}) | {teacher['accuracy']:.1%} "
            f"| {judged['balanced_accuracy']:.1%} | {judged['auc']:.3f} | {calibration(judged)} "
            f"| {entry['px']} | {entry['parameters'] / 1e6:.2f} M | {entry['bytes'] / 1e6:.2f} MB "
            f"| {entry['p50_ms']:.2f} ms |"
        )
    return "\n".join([*rows, "", measured(results)])


def calibration(judged: dict[str, Any]) -> str:
    """Return the calibration error, and in brackets the one that so few pictures alone cause."""
    return f"{judged['ece']:.3f} ({judged['ece_by_chance']:.3f})"


def sets_table(results: dict[str, Any]) -> str:
    """Return every bundle beside its teacher, and the class that its pictures are looked at for."""
    titles = ["bundle", "n", "student (95 % interval)", "teacher (95 % interval)", "difference", "balanced", "macro F1"]
    titles += ["AUC", "ECE (by chance)", "sensitivity by class", "accepted", "right of these"]
    rows = heading(titles)
    for entry in results["models"]:
        judged, teacher = entry["eval"], entry["teacher"]
        per_class = ", ".join(f"{name} {one['sensitivity']:.1%}" for name, one in judged["per_class"].items())
        rows.append(
            f"| `{entry['name']}` | {judged['n']:,} | **{interval(judged)}** | {interval(teacher)} "
            f"| {100 * (judged['accuracy'] - teacher['accuracy']):+.1f} points | {judged['balanced_accuracy']:.1%} "
            f"| {judged['macro_f1']:.3f} | {judged['auc']:.3f} | {calibration(judged)} | {per_class} "
            f"| {judged['coverage']:.1%} | {judged['accuracy_of_accepted']:.1%} |"
        )
        rows += [
            f"| &nbsp;&nbsp;{name} | {one['n']:,} | {interval(one)} |" + " |" * (len(titles) - 3)
            for name, one in entry.get("by_set", {}).items()
        ]
    return "\n".join([*rows, "", measured(results)])


def heading(titles: list[str]) -> list[str]:
    """Return the two lines that begin a table."""
    return [f"| {' | '.join(titles)} |", "|---" * len(titles) + "|"]


def interval(judged: dict[str, Any]) -> str:
    """Return an accuracy with its interval."""
    low, high = judged["ci95"]
    return f"{judged['accuracy']:.1%} ({low:.1%} to {high:.1%})"


def outliers_table(results: dict[str, Any]) -> str:
    """Return how well each bundle knows what it was not made for."""
    kinds = list(dict.fromkeys(kind for entry in results["bundles"] for kind in entry["kinds"]))
    rows = heading(["bundle", "own", *(kind.removeprefix("modality: ") for kind in kinds)])
    for entry in results["bundles"]:
        cells = [
            f"{entry['kinds'][kind]['auroc']:.3f} ({entry['kinds'][kind]['called_outlier']:.0%})"
            if kind in entry["kinds"]
            else "its own"
            for kind in kinds
        ]
        rows.append(f"| `{entry['name']}` | {entry['own_called_outlier']:.1%} | {' | '.join(cells)} |")
    return "\n".join([*rows, "", measured(results)])


def difference(found: dict[str, Any] | None) -> str:
    """Return how far a student is from its teacher on the same pictures; nothing where the training did not tell."""
    if found is None:
        return ""
    points, (low, high) = 100 * found["accuracy"], (100 * bound for bound in found["ci95"])
    return f"{points:+.1f} points ({low:+.1f} to {high:+.1f})"


def ablation_table(results: dict[str, Any]) -> str:
    """Return trainings that differ in one thing, judged on validation pictures."""
    rows = {(row["way"], row["set"]): row for row in results["rows"]}
    sets = list(dict.fromkeys(row["set"] for row in results["rows"]))
    lines = heading(["what differs", *sets, "seeds", "change (95 % interval)"])
    for way in dict.fromkeys(row["way"] for row in results["rows"]):
        found = [rows.get((way, name)) for name in sets]
        cells = ["" if one is None else f"{one['accuracy']:.1%} of {one['n']}" for one in found]
        both = rows[way, "both"]
        low, high = (f"{100 * end:+.1f}" for end in both.get("change_ci95", (0, 0)))
        change = ""
        if "change" in both:
            base = both["accuracy"] - both["change"]  # on the very same pictures, in the same run
            change = f"{100 * both['change']:+.1f} points ({low} to {high}) from {base:.1%}"
        seeds = "/".join(str(one["seeds"]) for one in found[:-1] if one is not None)
        lines.append(f"| {way} | {' | '.join(cells)} | {seeds} | {change} |")
    told = f"{results['epochs']} epochs, {results['views']} views, validation pictures of all seeds together."
    return "\n".join([*lines, "", told, "", measured(results)])


def leaks_table(results: dict[str, Any]) -> str:
    """Return what the splits of every set share."""
    titles = ["set", "train / val / test", "test pictures with an identical one in train", "with a near twin in train"]
    titles += ["validation pictures with a near twin in train", "groups on two sides", "identical pairs inside test"]
    rows = heading(titles)
    rows += [
        f"| {one['set']} | {' / '.join(f'{count:,}' for count in one['counts'].values())} | {one['exact_test']} "
        f"| {one['near_test']} ({one['near_test'] / one['tested']:.1%}) | {one['near_val']} | {one['groups_shared']} "
        f"| {one['within_test']} |"
        for one in results["sets"]
    ]
    return "\n".join([*rows, "", measured(results)])


def medmnist_table(results: dict[str, Any]) -> str:
    """Return teacher and student on MedMNIST beside what was published of others."""
    others = list(dict.fromkeys(name for row in results["rows"] for name in row["published"]))
    rows = heading(["set", "n", "student", "its AUC", "teacher", "its AUC", *others])
    for row in results["rows"]:
        student, teacher = row["student"], row["teacher"]
        published = [f"{accuracy:.1%}, {auc:.3f}" for accuracy, auc in (row["published"][name] for name in others)]
        rows.append(
            f"| {row['set']} | {student['n']:,} | **{interval(student)}** | {student['auc']:.3f} | {interval(teacher)} "
            f"| {teacher['auc']:.3f} | {' | '.join(published)} |"
        )
    return "\n".join([*rows, "", measured(results)])


def measured(results: dict[str, Any]) -> str:
    """Return the line that says where, when and by which command figures were measured."""
    return f"Measured on {results['machine']}, {results['date']}, by `{results['command']}`."


def all_table(results: dict[str, Any]) -> str:
    """Return the one student of all sets, part by part, beside the bundles made for each part alone."""
    titles = ["part", "n", "right of 28 classes (95 % interval)", "names this set", "names this modality"]
    titles += ["right of the set's own classes", "bundle of that set"]
    rows = heading(titles)
    for one in results["rows"]:
        alone = f"{one['alone']:.1%}" + ("" if one["alone_n"] == one["n"] else f" of {one['alone_n']:,}")
        rows.append(
            f"| {one['name']} | {one['n']:,} | **{interval(one)}** | {one['own_set']:.1%} | {one['modality']:.1%} "
            f"| {one['within']:.1%} ({one['within_ci95'][0]:.1%} to {one['within_ci95'][1]:.1%}) | {alone} |"
        )
    told = f"Over all {results['n']:,} test pictures {results['accuracy']:.1%} are right "
    told += f"(its teacher {results['teacher']:.1%}) "
    told += f"and {results['modality']:.1%} are of the modality named; {results['parameters'] / 1e6:.2f} M parameters, "
    told += f"{results['bytes'] / 1e6:.2f} MB."
    return "\n".join([*rows, "", told, "", measured(results)])


def gain_table(results: dict[str, Any]) -> str:
    """Return students beside ones that learnt without a teacher."""
    rows = heading(["bundle", "n", "taught", "labels alone", "gain on test", "gain on validation"])
    rows += [
        f"| `{one['name']}` | {one['n']:,} | {one['test_taught']:.1%} | {one['test_alone']:.1%} "
        f"| **{100 * one['gain']:+.1f} points** | {100 * (one['val_taught'] - one['val_alone']):+.1f} points |"
        for one in results["rows"]
    ]
    low, high = (f"{100 * end:+.1f}" for end in results["ci95"])
    told = f"Mean over the sets: **{100 * results['mean']:+.1f} points** on test ({low} to {high}; goal +1.5)."
    return "\n".join([*rows, "", told, "", measured(results)])


def training_table(results: dict[str, Any]) -> str:
    """Return how long trainings from scratch took."""
    titles = ["made", "student", "pictures", "epochs of teacher and student", "training", "export with its proofs"]
    rows = heading([*titles, "images/s of the student, median epoch", "outside the two networks"])
    rows += [
        f"| {one['name']} | {one['student']} | {one['pictures']:,} | {one['teacher_epochs']} + {one['epochs']} "
        f"| {one['train_s'] / 60:.1f} min | {one['export_s']:.0f} s | {one['images_per_second']:.0f} "
        f"| {one['making_pictures']:.1%} |"
        for one in results["rows"]
    ]
    return "\n".join([*rows, "", measured(results)])


def quantisers_table(results: dict[str, Any]) -> str:
    """Return our 8-bit files beside another quantiser's."""
    ways = list(dict.fromkeys(row["way"] for row in results["rows"]))
    found = {(row["name"], row["way"]): row for row in results["rows"]}
    names = list(dict.fromkeys(row["name"] for row in results["rows"]))
    lines = heading(["answers that differ from fp32; worst class; size; median time", *ways])
    for name in names:
        rows = [found[name, way] for way in ways]
        cells = [
            f"{one['differ']} of {one['n']}; {one['worst_class']:.1%}; "
            f"{one['bytes'] / 1e6:.2f} MB; {one['p50_ms']:.2f} ms"
            for one in rows
        ]
        lines.append(f"| `{name}`, fp32 {rows[0]['p50_ms_fp32']:.2f} ms | {' | '.join(cells)} |")
    sums = [sum(found[name, way]["differ"] for name in names) for way in ways]
    n = sum(found[name, ways[0]]["n"] for name in names)
    lines.append("| all | " + " | ".join(f"**{total}** of {n}" for total in sums) + " |")
    return "\n".join([*lines, "", measured(results)])


def sizes_table(results: dict[str, Any]) -> str:
    """Return other sizes beside the small bundles."""
    titles = ["bundle", "size", "pixels", "parameters", "MACs", "bundle size", "p50"]
    titles += ["validation", "test (95 % interval)", "teacher", "student less teacher, as trained"]
    rows = heading(titles)
    rows += [
        f"| {one['name']} | {one['size']} | {one['px']} | {one['parameters'] / 1e6:.2f} M | {one['macs'] / 1e6:.1f} M "
        f"| {one['bytes'] / 1e6:.2f} MB | {one['p50_ms']:.2f} ms | {one['val']:.1%} of {one['val_n']} "
        f"| **{interval(one)}** | {one['teacher']:.1%} | {difference(one.get('difference'))} |"
        for one in results["rows"]
    ]
    return "\n".join([*rows, "", measured(results)])
