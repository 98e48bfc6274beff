"""Plain JSON or TOML values to frozen dataclasses, strictly: every wrong key is named."""

import dataclasses
import difflib
import sys
import types
import typing
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from kdlight_edge.errors import KDLightError

Record = TypeVar("Record")

LARGEST = sys.float_info.max
"""A whole number above it, of 309 digits or more, is no float."""


def one_line(text: str) -> bool:
    """Tell whether a text can stand in a line, a table and a log: no line breaks, no control characters."""
    return not any(unicodedata.category(letter) in {"Cc", "Zl", "Zp"} for letter in text)


def shown(text: str) -> str:
    """Return a text for a terminal: what could move its cursor, and so write a verdict of its own, as escapes."""
    return "".join(letter if one_line(letter) else ascii(letter)[1:-1] for letter in text)


@dataclass(frozen=True, slots=True)
class Reader:
    """Reads one kind of document; knows what to call it and which error to raise."""

    what: str
    """Name of the document, for messages (``manifest``, ``recipe``)."""
    error: type[KDLightError]
    mend: str
    """What the person should do about a missing key."""

    def record(self, kind: type[Record], value: Any, where: str = "") -> Record:
        """Build the dataclass ``kind`` from a mapping.

        Supported field types: scalars, Literal, tuple[T, ...], Mapping[str, T], T | None, Any and nested dataclasses.

        Raises:
            KDLightError: of the reader's kind, for an unknown, missing or wrongly typed key.
        """
        if not isinstance(value, Mapping):
            raise self.error(f"{self.what} key '{where.rstrip('.') or '.'}' holds {value!r} where a table should be")
        hints = typing.get_type_hints(kind)
        fields = {entry.name: entry for entry in dataclasses.fields(kind)}  # type: ignore[arg-type]
        for key in value:
            if key not in fields:
                near = difflib.get_close_matches(key, fields, 1)
                hint = f"did you mean '{where}{near[0]}'?" if near else f"known here: {', '.join(fields)}"
                raise self.error(f"{self.what} has the unknown key '{where}{key}'; {hint}")
        arguments = {}
        for name, entry in fields.items():
            if name in value:
                arguments[name] = self._value(hints[name], value[name], f"{where}{name}")
            elif entry.default is dataclasses.MISSING and entry.default_factory is dataclasses.MISSING:
                raise self.error(f"{self.what} lacks the key '{where}{name}'; {self.mend}")
        return kind(**arguments)

    def check_line(self, text: str, where: str) -> None:
        """Refuse a text that cannot stand in a line (see `one_line`); raises as `record`."""
        if not one_line(text):
            raise self.error(f"{self.what} key '{where}' holds {text!r}, which has line breaks or control characters")

    def _value(self, hint: Any, value: Any, where: str) -> Any:  # noqa: PLR0911 - one return a kind of type
        origin, arguments = typing.get_origin(hint), typing.get_args(hint)
        if hint is Any:
            return value
        if origin in (typing.Union, types.UnionType):
            return None if value is None else self._value(arguments[0], value, where)
        if origin is Literal:
            if value not in arguments:
                raise self.error(f"{self.what} key '{where}' is {value!r}, not one of {', '.join(map(str, arguments))}")
            return value
        if origin in (tuple, Mapping):
            return self._collection(origin, arguments, value, where)
        if dataclasses.is_dataclass(hint):
            return self.record(typing.cast("type[Any]", hint), value, f"{where}.")
        if hint is float and isinstance(value, int) and not isinstance(value, bool) and abs(value) <= LARGEST:
            return float(value)
        if not isinstance(value, hint) or (hint is int and isinstance(value, bool)):
            raise self.error(f"{self.what} key '{where}' holds {value!r} where {hint.__name__} should be")
        return value

    def _collection(self, origin: Any, arguments: tuple[Any, ...], value: Any, where: str) -> Any:
        if origin is tuple and isinstance(value, (list, tuple)):
            return tuple(self._value(arguments[0], item, f"{where}[{i}]") for i, item in enumerate(value))
        if origin is Mapping and isinstance(value, Mapping):
            return {key: self._value(arguments[1], item, f"{where}.{key}") for key, item in value.items()}
        wanted = "list" if origin is tuple else "table"
        raise self.error(f"{self.what} key '{where}' holds {value!r} where a {wanted} should be")
