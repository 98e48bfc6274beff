"""A board is recognised by what its kernel says of it, on captured trees."""

from pathlib import Path

import pytest

from kdlight_devices import jetson, raspberry_pi, workstation
from kdlight_devices.board import Board
from kdlight_devices.detect import BOARDS, detect, find

PI_CPUINFO = """processor\t: 0
BogoMIPS\t: 108.00
Features\t: fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc dcpop asimddp
CPU implementer\t: 0x41
CPU architecture: 8
CPU part\t: 0xd0b

processor\t: 1
BogoMIPS\t: 108.00
"""

X86_CPUINFO = """processor\t: 0
vendor_id\t: GenuineIntel
model name\t: Intel(R) Celeron(R) N5105 @ 2.00GHz
flags\t\t: fpu vme de pse tsc msr sse4_1 sse4_2 {more}

processor\t: 1
flags\t\t: fpu
"""


def tree(root: Path, compatible: str = "", cpuinfo: str = PI_CPUINFO) -> Path:
    """Write the parts of /proc that tell what a board is; names in ``compatible`` are separated by blanks."""
    (root / "proc/device-tree").mkdir(parents=True)
    (root / "proc/cpuinfo").write_text(cpuinfo)
    if compatible:
        (root / "proc/device-tree/compatible").write_bytes(b"".join(f"{n}\0".encode() for n in compatible.split()))
    return root


@pytest.mark.parametrize(
    ("compatible", "board"),
    [
        ("nvidia,p3450-0000 nvidia,jetson-nano nvidia,tegra210", jetson.JETSON_NANO),
        ("nvidia,p3449-0000-b00+p3448-0000-b00 nvidia,jetson-nano nvidia,tegra210", jetson.JETSON_NANO),
        ("nvidia,p3768-0000+p3767-0005-super nvidia,p3767-0005 nvidia,tegra234", jetson.ORIN_NANO),
        ("nvidia,p3509-0000+p3767-0000 nvidia,p3767-0000 nvidia,tegra234", jetson.ORIN_NX),
        ("nvidia,p3737-0000+p3701-0005 nvidia,p3701-0005 nvidia,tegra234", jetson.AGX_ORIN),
        ("acme,carrier-7 nvidia,tegra234", jetson.ORIN_NANO),
        ("raspberrypi,model-zero-2-w brcm,bcm2837", raspberry_pi.PI_ZERO_2_W),
        ("raspberrypi,4-compute-module brcm,bcm2711", raspberry_pi.PI_4),
        ("raspberrypi,5-model-b brcm,bcm2712", raspberry_pi.PI_5),
        ("rockchip,rk3588", workstation.OTHER),
    ],
)
def test_the_device_tree_names_the_board(tmp_path: Path, compatible: str, board: Board) -> None:
    assert detect(tree(tmp_path, compatible)) is board


@pytest.mark.parametrize(
    ("more", "board"),
    [
        ("avx avx2", workstation.X86),
        ("avx avx2 avx_vnni", workstation.X86_VNNI),
        ("avx2 avx512f avx512_vnni", workstation.X86_VNNI),
    ],
)
def test_a_computer_is_judged_by_its_processor(tmp_path: Path, more: str, board: Board) -> None:
    assert detect(tree(tmp_path, cpuinfo=X86_CPUINFO.format(more=more))) is board


def test_a_machine_that_says_nothing_is_other_and_has_no_budget(tmp_path: Path) -> None:
    board = detect(tmp_path)
    assert board is workstation.OTHER
    assert board.budget is None


def test_a_name_finds_one_board_and_a_family_all_of_its_boards() -> None:
    assert find("orin-nano") == (jetson.ORIN_NANO,)
    assert find("rpi") == raspberry_pi.BOARDS
    assert find("jetson") == jetson.BOARDS
    assert find("cpu") == workstation.BOARDS


def test_an_unknown_board_is_an_error_that_lists_what_there_is() -> None:
    with pytest.raises(LookupError, match=r"'toaster' is unknown; choose one of jetson-nano, .*: jetson, rpi, cpu"):
        find("toaster")


def test_no_two_boards_answer_to_the_same_name() -> None:
    names = [board.name for board in BOARDS] + [board.target for board in BOARDS[:1]]
    assert len(set(names)) == len(names)
    trees = [name for board in BOARDS for name in board.compatible]
    assert len(set(trees)) == len(trees)


@pytest.mark.parametrize("board", [board for board in BOARDS if board.budget], ids=lambda board: board.name)
def test_every_budget_says_that_it_is_derived_and_grows_with_the_picture(board: Board) -> None:
    budget = board.budget
    assert budget is not None
    assert budget.source.startswith("derived, not measured: ")
    assert budget.p50_ms(64, 64) == budget.p50_ms(128, 128) == budget.p50_ms_128
    assert budget.p50_ms_128 < budget.p50_ms(160, 160) < budget.p50_ms(224, 224)
    assert budget.p50_ms(224, 224) == pytest.approx(budget.p50_ms_224)
    assert 0 < budget.bundle_bytes < budget.rss_bytes
    assert budget.p50_ms(150, 150) < budget.p99_ms(150, 150) < budget.p99_ms_224
    assert all((budget.p99_source, budget.size_source, budget.watts_source))
    assert budget.watts is None or 0 < budget.watts < 100


@pytest.mark.parametrize("board", BOARDS, ids=lambda board: board.name)
def test_every_board_says_what_runs_on_it_and_how(board: Board) -> None:
    assert set(board.engines) <= {"onnxruntime", "openvino", "tensorrt"}
    assert set(board.precisions) <= {"fp32", "fp16", "int8"}
    assert "onnxruntime" in board.engines
    assert board.threads >= 1


@pytest.mark.parametrize("board", [board for board in BOARDS if board.budget], ids=lambda board: board.name)
def test_the_page_about_bench_states_every_budget(board: Board) -> None:
    page = (Path(__file__).parents[2] / "docs/bench.md").read_text()
    row = next(line for line in page.splitlines() if line.startswith(f"| `{board.name}` |"))
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    budget = board.budget
    assert budget is not None
    memory = "1 GB" if budget.rss_bytes == 1_000_000_000 else f"{budget.rss_bytes / 1e6:g} MB"
    times = [f"{budget.p50_ms_128:g} ms", f"{budget.p50_ms_224:g} ms"]
    tails = [f"{budget.p99_ms_128:g} ms", f"{budget.p99_ms_224:g} ms"]
    watts = "-" if budget.watts is None else f"{budget.watts:g} W"
    assert cells[2:] == [*times, *tails, f"{budget.bundle_bytes / 1e6:g} MB", memory, watts]
