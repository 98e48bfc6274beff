#!/usr/bin/env python3
"""Make a Debian package of this checkout with every Python package of the runtime in it, for a board without a network.

usage: scripts/build_deb.py [--arch amd64|arm64] [--python 3.11] [--wheels DIR] [--revision 1] [--level 3] [--out dist]

The environment under /usr/lib/kdlight-edge is unpacked here, by pip, from wheels of the architecture asked for: nothing
is downloaded or resolved when the package is installed, dpkg knows every file, and the build machine may be another.
So a package is for one architecture and one series of Python, and says so in its name.
"""

import argparse
import gzip
import hashlib
import importlib.metadata
import os
import shutil
import subprocess
import sys
import tempfile
import time
from email.utils import formatdate
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
DEBIAN = ROOT / "devices" / "debian"
UNITS = ROOT / "devices" / "kdlight_devices" / "units"

PLACE = "usr/lib/kdlight-edge"
"""The environment; its bin/python is the system's."""

EXTRAS = "runtime,mqtt,update"

PLATFORMS = {
    "amd64": [f"manylinux_2_{minor}_x86_64" for minor in (34, 28, 27, 17)] + ["manylinux2014_x86_64"],
    "arm64": [f"manylinux_2_{minor}_aarch64" for minor in (34, 28, 27, 17)] + ["manylinux2014_aarch64"],
}
"""Wheels that run on Debian 12, Ubuntu 22.04 (JetPack 6) and newer."""

CONFIGURATION = """home = /usr/bin
include-system-site-packages = true
version = {python}
"""
"""As `python3 -m venv` writes it. The system's packages stand behind our own: a Jetson's TensorRT is one of them."""

PROGRAM = """#!/usr/lib/kdlight-edge/bin/python -s
import sys
from kdlight_edge.cli import program
sys.exit(program())
"""
"""``-s``: packages of the calling user's home are not for a service."""


def main() -> int:
    """Build it and print its path."""
    parser = argparse.ArgumentParser(description="Make a Debian package; see the file's own first lines.")
    parser.add_argument("--arch", choices=sorted(PLATFORMS), default=None, help="default: this machine's")
    parser.add_argument("--python", default="3.11", help="of the board: 3.11 Debian 12, 3.10 JetPack 6, 3.13 Debian 13")
    parser.add_argument("--wheels", type=Path, metavar="DIR", help="take wheels from here and nothing from the network")
    parser.add_argument("--revision", default="1", help="of the package, behind the program's version (default 1)")
    parser.add_argument("--level", default="3", metavar="0-9", help="of xz: 0 is fast (default 3)")
    parser.add_argument("--out", type=Path, default=ROOT / "dist", metavar="DIR")
    args = parser.parse_args()
    if shutil.which("dpkg-deb") is None:
        raise SystemExit("dpkg-deb is missing: apt install dpkg")
    arch = args.arch or ask("dpkg", "--print-architecture")
    if arch not in PLATFORMS:
        raise SystemExit(f"there are no wheels for {arch}; choose --arch {' or '.join(PLATFORMS)}")
    args.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="kdlight-deb-") as folder:
        print(build(Path(folder), arch, args))
    return 0


def build(folder: Path, arch: str, args: argparse.Namespace) -> Path:
    """Lay the files out and pack them; return the package."""
    tree = folder / "tree"
    wheel = make_wheel(folder)
    packages = unpack(wheel, tree, arch, args.python, args.wheels)
    version = f"{packages.pop('kdlight-edge')}-{args.revision}+py{args.python}"
    lay_out(tree, args.python)
    write_papers(tree, version)
    write_control(tree, arch, args.python, version, packages)
    file: Path = args.out / f"kdlight-edge_{version}_{arch}.deb"
    for path in [tree, *tree.rglob("*")]:
        if not path.is_symlink():
            program = path.parent.name in {"bin", "DEBIAN"} and path.stat().st_mode & 0o100
            path.chmod(0o755 if path.is_dir() or program else 0o644)
    (tree / "etc/kdlight-edge/kdlight-edge.env").chmod(0o600)  # a camera's address may hold a password
    ask(
        "dpkg-deb",
        "--root-owner-group",
        "-Zxz",
        f"-z{args.level}",
        "--build",
        str(tree),
        str(file),
        SOURCE_DATE_EPOCH=str(changed()),
    )
    return file


def make_wheel(folder: Path) -> Path:
    """Build this checkout's wheel."""
    pip("wheel", "--no-deps", "--wheel-dir", str(folder), str(ROOT))
    return next(folder.glob("*.whl"))


def unpack(wheel: Path, tree: Path, arch: str, python: str, wheels: Path | None) -> dict[str, str]:
    """Put wheel and packages where they belong on the board; return name and version of each."""
    site = tree / PLACE / "lib" / f"python{python}" / "site-packages"
    flags = [word for platform in PLATFORMS[arch] for word in ("--platform", platform)]
    flags += ["--only-binary=:all:", "--implementation", "cp", "--python-version", python, "--no-compile"]
    flags.append("--no-warn-conflicts")  # with packages of this Python, which are none of the board's
    flags += [] if wheels is None else ["--no-index", "--find-links", str(wheels.resolve())]
    pip("install", *flags, "--target", str(site), f"{wheel}[{EXTRAS}]")
    shutil.rmtree(site / "bin", ignore_errors=True)  # programs of the packages, for the build machine's Python
    for info in site.glob("*.dist-info"):
        (info / "direct_url.json").unlink(missing_ok=True)  # the build machine's folder
    for info in site.glob("kdlight_edge-*.dist-info/RECORD"):
        info.unlink()  # dpkg keeps the record, and pip must not take files away from it
    found = importlib.metadata.distributions(path=[str(site)])
    return {found_one.metadata["Name"].lower(): found_one.version for found_one in found}


def lay_out(tree: Path, python: str) -> None:
    """Add what makes it an environment and a service."""
    place = tree / PLACE
    (place / "bin").mkdir()
    (place / "bin/python").symlink_to("/usr/bin/python3")
    (place / "pyvenv.cfg").write_text(CONFIGURATION.format(python=python))
    program = place / "bin/kdlight-edge"
    program.write_text(PROGRAM)
    program.chmod(0o755)
    (tree / "usr/bin").mkdir()
    (tree / "usr/bin/kdlight-edge").symlink_to("../lib/kdlight-edge/bin/kdlight-edge")
    units = tree / "usr/lib/systemd/system"
    units.mkdir(parents=True)
    for unit in (UNITS / "kdlight-edge.service", UNITS / "kdlight-edge@.service"):  # service install writes the others
        text = unit.read_text(encoding="utf-8")
        (units / unit.name).write_text(text.replace("/opt/kdlight-edge/bin/", f"/{PLACE}/bin/"), encoding="utf-8")
    rules = tree / "usr/lib/udev/rules.d"
    rules.mkdir(parents=True)
    for rule in UNITS.glob("*.rules"):
        shutil.copyfile(rule, rules / rule.name)
    settings = tree / "etc/kdlight-edge"
    settings.mkdir(parents=True)
    shutil.copyfile(DEBIAN / "kdlight-edge.env", settings / "kdlight-edge.env")


def write_papers(tree: Path, version: str) -> None:
    """Add copyright, changes and what lintian is told."""
    papers = tree / "usr/share/doc/kdlight-edge"
    papers.mkdir(parents=True)
    text = (DEBIAN / "copyright.in").read_text(encoding="utf-8")
    year = time.gmtime(changed()).tm_year
    (papers / "copyright").write_text(text.format(year=year, maintainer=maintainer()), encoding="utf-8")
    entry = (
        f"kdlight-edge ({version}) unstable; urgency=medium\n\n  * See CHANGELOG.md of the program.\n\n"
        f" -- {maintainer()}  {formatdate(changed())}\n"
    )
    (papers / "changelog.Debian.gz").write_bytes(gzip.compress(entry.encode(), 9, mtime=0))
    overrides = tree / "usr/share/lintian/overrides"
    overrides.mkdir(parents=True)
    shutil.copyfile(DEBIAN / "lintian-overrides", overrides / "kdlight-edge")


def write_control(tree: Path, arch: str, python: str, version: str, packages: dict[str, str]) -> None:
    """Add what dpkg reads."""
    major, _, minor = python.partition(".")
    control = tree / "DEBIAN"
    size = sum(file.lstat().st_size for file in tree.rglob("*") if file.is_file())
    control.mkdir()
    text = (DEBIAN / "control.in").read_text(encoding="utf-8").format(
        version=version,
        architecture=arch,
        maintainer=maintainer(),
        kibibytes=size // 1024,
        python=python,
        next_python=f"{major}.{int(minor) + 1}",
        packages=",\n ".join(f"{name} {of}" for name, of in sorted(packages.items())),
    )  # fmt: skip
    (control / "control").write_text(text, encoding="utf-8")
    (control / "conffiles").write_text("/etc/kdlight-edge/kdlight-edge.env\n")
    for script in ("postinst", "prerm", "postrm"):
        shutil.copy(DEBIAN / script, control / script)
    sums = [
        f"{hashlib.md5(file.read_bytes(), usedforsecurity=False).hexdigest()}  {file.relative_to(tree)}"
        for file in sorted(tree.rglob("*"))
        if file.is_file() and not file.is_symlink() and control not in file.parents and tree / "etc" not in file.parents
    ]
    (control / "md5sums").write_text("\n".join(sums) + "\n")


def maintainer() -> str:
    """Return who answers for the package: Debian's own variables, else who changed this checkout last."""
    if "DEBEMAIL" in os.environ:
        return f"{os.environ.get('DEBFULLNAME', 'kdlight-edge')} <{os.environ['DEBEMAIL']}>"
    return ask("git", "log", "-1", "--format=%an <%ae>", cwd=ROOT)


def changed() -> int:
    """Return the time of the last change, so that two builds of one commit are alike."""
    return int(os.environ.get("SOURCE_DATE_EPOCH") or ask("git", "log", "-1", "--format=%ct", cwd=ROOT))


def pip(*words: str) -> None:
    """Run pip of this Python; its own words on failure are the message."""
    command = [sys.executable, "-m", "pip", words[0], "--quiet", "--disable-pip-version-check", *words[1:]]
    environment = {**os.environ, "PIP_ROOT_USER_ACTION": "ignore"}
    if subprocess.run(command, check=False, stdout=subprocess.DEVNULL, env=environment).returncode:
        raise SystemExit(f"pip {words[0]} failed; above it says why")


def ask(*command: str, cwd: Path | None = None, **environment: str) -> str:
    """Return what a program says."""
    done = subprocess.run(
        command, cwd=cwd, env={**os.environ, **environment}, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(f"{command[0]} failed: {done.stderr.strip()}")
    return done.stdout.strip()


if __name__ == "__main__":
    raise SystemExit(main())
