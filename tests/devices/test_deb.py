"""The Debian package: what is in it, what dpkg, systemd and shellcheck say; scripts/lab-deb installs it for real."""

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.skipif(shutil.which("dpkg-deb") is None, reason="dpkg-deb is missing: apt install dpkg")


def say(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def fake_wheel(folder: Path, name: str) -> None:
    """Write a wheel that holds one module and nothing else: the real ones are 70 MB."""
    info = f"{name}-99.0.dist-info"
    files = {
        f"{name}/__init__.py": "",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name.replace('_', '-')}\nVersion: 99.0\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/RECORD": f"{name}/__init__.py,,\n{info}/METADATA,,\n{info}/WHEEL,,\n{info}/RECORD,,\n",
    }
    with zipfile.ZipFile(folder / f"{name}-99.0-py3-none-any.whl", "w") as wheel:
        for path, text in files.items():
            wheel.writestr(path, text)


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("deb")
    runtime = ("numpy", "opencv_python_headless", "onnxruntime", "simplejpeg")
    wanted = (*runtime, "paho_mqtt", "tuf", "securesystemslib", "packaging")
    for name in wanted:
        fake_wheel(folder, name)
    pytest.importorskip("hatchling", reason="hatchling builds the wheel")
    command = [sys.executable, str(ROOT / "scripts/build_deb.py"), "--arch", "arm64", "--wheels", str(folder)]
    done = subprocess.run([*command, "--out", str(folder)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return Path(done.stdout.strip())


@pytest.fixture(scope="module")
def tree(package: Path) -> Path:
    folder = package.parent / "unpacked"
    subprocess.run(["dpkg-deb", "--raw-extract", str(package), str(folder)], check=True)
    return folder


def test_it_says_for_which_processor_and_python_it_is(package: Path) -> None:
    told = say("dpkg-deb", "--info", str(package))
    assert "Architecture: arm64" in told
    assert "Depends: python3 (>= 3.11~), python3 (<< 3.12~), libc6 (>= 2.34)" in told
    assert "numpy 99.0" in told
    assert package.name.endswith("+py3.11_arm64.deb")


def test_every_file_belongs_to_root_and_none_is_outside_its_places(package: Path) -> None:
    lines = say("dpkg-deb", "--contents", str(package)).splitlines()
    assert all(line.split()[1] == "root/root" for line in lines)
    tops = ("./usr/lib/", "./usr/bin/", "./usr/share/doc/", "./usr/share/lintian/", "./etc/kdlight-edge/")
    files = [line.split()[5] for line in lines if not line.startswith("d")]
    assert [file for file in files if not file.startswith(tops)] == []


def test_it_carries_program_packages_units_camera_name_and_settings(tree: Path) -> None:
    site = tree / "usr/lib/kdlight-edge/lib/python3.11/site-packages"
    assert {"kdlight_edge", "kdlight_devices", "numpy"} <= {path.name for path in site.iterdir()}
    assert (tree / "usr/lib/kdlight-edge/bin/python").readlink() == Path("/usr/bin/python3")
    assert (tree / "usr/bin/kdlight-edge").resolve() == (tree / "usr/lib/kdlight-edge/bin/kdlight-edge").resolve()
    assert "kdlight-camera" in (tree / "usr/lib/udev/rules.d/70-kdlight-edge.rules").read_text()
    assert (tree / "DEBIAN/conffiles").read_text() == "/etc/kdlight-edge/kdlight-edge.env\n"
    assert (tree / "etc/kdlight-edge/kdlight-edge.env").stat().st_mode & 0o777 == 0o600


def test_the_build_machine_has_left_no_trace(tree: Path) -> None:
    found = [file for file in tree.rglob("*") if file.is_file() and not file.is_symlink()]
    assert not any(file.name == "direct_url.json" or file.suffix == ".pyc" for file in found)
    assert [file for file in found if str(ROOT).encode() in file.read_bytes()] == []


def test_the_sums_of_dpkg_are_those_of_the_files(tree: Path) -> None:
    command = ["md5sum", "--check", "--quiet", "DEBIAN/md5sums"]
    assert subprocess.run(command, cwd=tree, capture_output=True, check=False).returncode == 0


@pytest.mark.skipif(shutil.which("lintian") is None, reason="lintian is missing: apt install lintian")
def test_lintian_finds_neither_an_error_nor_a_warning(package: Path) -> None:
    command = ["lintian", "--allow-root", "--fail-on", "error,warning", str(package)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, ""), done.stdout + done.stderr


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is missing: apt install systemd")
@pytest.mark.parametrize("unit", ["kdlight-edge.service", "kdlight-edge@.service"])
def test_systemd_finds_nothing_to_say_about_its_units(tree: Path, tmp_path: Path, unit: str) -> None:
    text = (tree / "usr/lib/systemd/system" / unit).read_text()
    assert "ExecStart=/usr/lib/kdlight-edge/bin/kdlight-edge infer" in text
    name = unit.replace("@.", "@yard.")
    (tmp_path / name).write_text(text.replace("/usr/lib/kdlight-edge/bin/kdlight-edge", "/bin/true"))
    command = ["systemd-analyze", "verify", str(tmp_path / name)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.skipif(shutil.which("shellcheck") is None, reason="shellcheck is missing: apt install shellcheck")
def test_shellcheck_finds_nothing_in_its_scripts() -> None:
    scripts = [ROOT / "devices/debian" / name for name in ("postinst", "prerm", "postrm")]
    scripts += [ROOT / "scripts/lab-deb", ROOT / "scripts/lab_deb_story.sh", ROOT / "scripts/build"]
    done = subprocess.run(["shellcheck", *map(str, scripts)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_the_packages_own_unit_serves_and_install_writes_none(tmp_path: Path, tree: Path) -> None:
    from kdlight_edge.cli import main
    from kdlight_edge.unit import Service, installed

    root = tmp_path / "system"
    shutil.copytree(tree / "usr/lib/systemd", root / "usr/lib/systemd")
    shutil.copytree(tree / "etc", root / "etc")
    assert installed(root) == []
    model = str(ROOT / "models/surface-crack.kdl")
    assert main(["service", "install", "--root", str(root), "--model", model, "--source", "scene:crack"]) == 0
    assert installed(root) == [Service(None, root)]
    assert not (root / "etc/systemd/system/kdlight-edge.service").exists()
