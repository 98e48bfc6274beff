"""The boards of a target, told to people before anything is built for them."""

from collections.abc import Sequence

from kdlight_devices.board import Board


def facts(boards: Sequence[Board]) -> list[str]:
    """Return what is known about each board and where every number of its budget comes from, a line each."""
    return [line for board in boards for line in (*_board(board), *_budget(board))]


def _board(board: Board) -> list[str]:
    threads = f"{board.threads} thread{'s' * (board.threads > 1)} a picture"
    order = f"engines {', then '.join(board.engines)}; {', then '.join(board.precisions)}"
    return [f"{board.name}: {board.text}", f"  {order}; {threads}; camera {board.camera}"]


def _budget(board: Board) -> list[str]:
    budget = board.budget
    if budget is None:
        return ["  no budget: there is nothing to derive one from"]
    median = f"p50 {budget.p50_ms_128:g} ms at 128 px, {budget.p50_ms_224:g} at 224 (judged on the board)"
    tail = f"p99 {budget.p99_ms_128:g} ms at 128 px, {budget.p99_ms_224:g} at 224 (judged on the board)"
    sizes = f"{budget.bundle_bytes:,} bytes of files (judged by export), {budget.rss_bytes:,} of memory"
    watts = "no watts" if budget.watts is None else f"{budget.watts:g} W"
    return [
        f"  {sizes}: {budget.size_source}",
        f"  {median}: {budget.source}",
        f"  {tail}: {budget.p99_source}",
        f"  {watts}: {budget.watts_source}",
    ]
