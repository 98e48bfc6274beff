"""Figures as a report writes them: percentages, large counts, bytes, times; every text is safe inside HTML."""

MISSING = "&ndash;"
"""Stands where a figure is not defined or was not measured."""

GAP = "\N{NO-BREAK SPACE}"
"""Between a number and its unit, so that no line ends there."""


def percent(value: float | None) -> str:
    """Write a share as a percentage with one decimal."""
    return MISSING if value is None else f"{value * 100:.1f}{GAP}%"


def whole_percent(value: float) -> str:
    """Write a share as a percentage, with a decimal only where an axis needs one."""
    return f"{round(value * 100, 1):.4g}{GAP}%"


def fraction(value: float | None) -> str:
    """Write a figure between 0 and 1 with three decimals."""
    return MISSING if value is None else f"{value:.3f}"


def signed(value: float, form: str) -> str:
    """Write a difference with its sign, the minus as a minus; what rounds to nothing has none."""
    text = format(value, f"+{form}")
    return text.replace("-", "&minus;") if float(text) else text[1:]


def points(mine: float | None, theirs: float | None) -> str:
    """Write the difference of two shares in percentage points."""
    return "" if mine is None or theirs is None else f"{signed((mine - theirs) * 100, '.1f')} points"


def interval(low: float, high: float) -> str:
    """Write an interval of shares."""
    return f"{low * 100:.1f} to {percent(high)}"


def short(value: float) -> str:
    """Write a tick."""
    return f"{value:.4g}"


def count(value: float) -> str:
    """Write a large number with three digits and its unit: 293 k, 21.8 M."""
    for limit, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= limit:
            return f"{value / limit:.3g}{GAP}{unit}"
    return f"{value:,.0f}"


def size(value: float) -> str:
    """Write bytes as kB or MB (powers of ten)."""
    return f"{value / 1e6:.2f}{GAP}MB" if value >= 1e6 else f"{value / 1e3:.0f}{GAP}kB"  # noqa: PLR2004 - a million bytes


def duration(seconds: float) -> str:
    """Write a time as people say it: 42 s, 7 min, 3 h 20 min."""
    if seconds < 90:  # noqa: PLR2004 - below, seconds are the better unit
        return f"{seconds:.0f} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"
