"""One TOML file in the place of flags: its keys are the flags' own names, so that the two cannot drift apart."""

import argparse
import difflib
import itertools
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from kdlight_edge import __version__
from kdlight_edge.errors import UsageError

NOT_KEYS = frozenset({"help", "config", "print-config"})
"""Flags that say nothing about a run."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the flags of a verb whose parser is `Configurable`."""
    group = parser.add_argument_group("configuration (docs/config.md)")
    group.add_argument(
        "--config", metavar="FILE.toml", help="flags from a file; those given here win, --no-FLAG leaves one out"
    )
    group.add_argument("--print-config", action="store_true", help="print what would hold as such a file, and end")


class Configurable(argparse.ArgumentParser):
    """A parser that names flags that are none, and takes what is left open from the file that ``--config`` names."""

    def parse_known_args(  # type: ignore[override]  # argparse overloads by the kind of namespace, which we pass on
        self, args: Sequence[str] | None = None, namespace: Any = None
    ) -> tuple[Any, list[str]]:
        """Parse as argparse does, the file's words first.

        Raises:
            UsageError: the file cannot be read, or a key or value in it cannot be.
        """
        words = list(sys.argv[1:] if args is None else args)
        wanted = any(word.partition("=")[0] in {"--config", "--print-config"} for word in words)
        keys = keys_of(self) if wanted else {}  # none: the front door itself, or a verb without the flag
        if keys and "--print-config" in words:
            for group in self._mutually_exclusive_groups:
                group.required = False  # a file may be begun before its camera is known
        if keys:
            words = _expanded(self, keys, words)
        self._refuse_unknown(words)
        found, rest = super().parse_known_args(words, namespace)
        if rest:  # told here, by the verb: the front door's usage names none of its flags
            self.error(f"unrecognized arguments: {' '.join(rest)}")
        if keys and found.print_config:
            found.print_config = text_of(keys, found, self.prog)
        return found, rest

    def _refuse_unknown(self, words: Sequence[str]) -> None:
        """End at a flag that is none, before something it should have been is told to be missing."""
        actions = {name for action in self._actions if isinstance(action.choices, dict) for name in action.choices}
        own = list(itertools.takewhile(lambda word: word != "--" and word not in actions, words))
        options = [option for action in self._actions for option in action.option_strings]
        if not {"-h", "--help"}.isdisjoint(own):
            return
        for word in own:
            flag = word.partition("=")[0]
            short = self.allow_abbrev and any(option.startswith(flag) for option in options)
            if word.startswith("--") and " " not in word and flag not in options and not short:
                near = difflib.get_close_matches(flag, options, 1)
                self.error(f"unrecognized arguments: {flag}{f'; did you mean {near[0]}?' if near else ''}")


def keys_of(parser: argparse.ArgumentParser) -> dict[str, argparse.Action]:
    """Return what a file may hold: the long name of each flag; nothing where the parser has no ``--config``."""
    named = {
        option[2:]: action
        for action in parser._actions  # noqa: SLF001 - argparse has no public list of its flags
        for option in action.option_strings
        if option.startswith("--")
    }
    return {name: action for name, action in named.items() if name not in NOT_KEYS} if "config" in named else {}


def read(path: str, keys: Mapping[str, argparse.Action]) -> dict[str, Any]:
    """Read a file and check its keys and the types of its values.

    Raises:
        UsageError: it is not there, not TOML, has an unknown key (the nearest is named) or a value of another type.
    """
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib
    try:
        document: dict[str, Any] = tomllib.loads(Path(path).read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise UsageError(f"--config {path} cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:  # also a number of thousands of digits, and lists deeper than Python
        raise UsageError(f"--config {path} is not TOML: {error}") from error
    for key, value in document.items():
        if key not in keys:
            near = difflib.get_close_matches(key.replace("_", "-"), keys, 1)
            hint = f"did you mean '{near[0]}'?" if near else "--print-config shows those that are"
            raise UsageError(f"{path} has the unknown key '{key}'; {hint}")
        wanted = _unlike(keys[key], value)
        if wanted:
            raise UsageError(f"{path} key '{key}' holds {_shown(value)} where {wanted} should be")
    return document


def text_of(keys: Mapping[str, argparse.Action], found: argparse.Namespace, prog: str) -> str:
    """Return the flags that hold as TOML that `read` takes, those that say nothing named in a comment.

    Raises:
        UsageError: a value that is no text (bytes of another encoding), which TOML cannot hold.
    """
    lines = [f"# {prog} {__version__}; the keys are the flags of {prog} --help"]
    silent: list[str] = []
    for key in {id(action): key for key, action in reversed(list(keys.items()))}.values():  # of two names the first
        value = getattr(found, keys[key].dest)
        if value is None or value is False or value == []:
            silent.insert(0, key)
        else:
            lines.insert(1, f"{key} = {_toml(value, key)}")
    return "\n".join([*lines, *(["", f"# not set: {', '.join(silent)}"] if silent else [])])


def _expanded(parser: argparse.ArgumentParser, keys: Mapping[str, argparse.Action], words: list[str]) -> list[str]:
    """Return the command line with the file's words before its own, those left out that it overrides."""
    first = argparse.ArgumentParser(
        prog=parser.prog, usage=parser.format_usage()[7:], add_help=False, allow_abbrev=False
    )
    first.add_argument("--config", action="append")
    files = first.parse_known_args(words)[0].config or []
    if not files:
        return words
    if len(files) > 1:
        raise UsageError(f"--config is given {len(files)} times; one file says all of it")
    said = read(files[0], keys)
    _check_alternatives(parser, files[0], said)
    options = {option for action in keys.values() for option in action.option_strings}
    omitted = {word for word in words if word.startswith("--no-") and word not in options and word[5:] in keys}
    given = {word.partition("=")[0] for word in words} | {f"--{word[5:]}" for word in omitted}
    before = [
        word
        for key, value in said.items()
        if given.isdisjoint(_rivals(parser, keys[key]) if f"--no-{key}" not in omitted else {f"--{key}"})
        for word in _words(key, keys[key], value)
    ]
    return [*before, *(word for word in words if word not in omitted)]


def _rivals(parser: argparse.ArgumentParser, action: argparse.Action) -> set[str]:
    """Return every flag in whose presence this one says nothing: itself, and those that exclude it."""
    groups = [group._group_actions for group in parser._mutually_exclusive_groups]  # noqa: SLF001 - as in `keys_of`
    actions = [action, *(other for group in groups if action in group for other in group)]
    return {option for other in actions for option in other.option_strings}


def _check_alternatives(parser: argparse.ArgumentParser, path: str, said: Mapping[str, Any]) -> None:
    for group in parser._mutually_exclusive_groups:  # noqa: SLF001 - as in `keys_of`
        names = {option[2:] for action in group._group_actions for option in action.option_strings}  # noqa: SLF001
        both = [key for key, value in said.items() if key in names and value is not False]
        if len(both) > 1:
            raise UsageError(f"{path} has the keys {' and '.join(map(repr, both))}; only one of them can be")


def _words(key: str, action: argparse.Action, value: Any) -> Iterator[str]:
    """Turn one key into words of a command line."""
    if isinstance(value, bool):
        if value:
            yield f"--{key}"
    elif action.nargs in {"+", "*"} or isinstance(action.nargs, int):
        yield from (f"--{key}", *map(str, value))
    else:
        yield from (f"--{key}={item}" for item in (value if isinstance(value, list) else [value]))


def _unlike(action: argparse.Action, value: Any) -> str:
    """Return what should stand in the place of a value; empty where it is right."""
    if isinstance(value, bool):
        return "" if action.nargs in {0, "?"} else _wanted(action)
    if isinstance(value, list) and _is_list(action):
        return next((wanted for item in value if (wanted := _unlike_one(action, item))), "")
    return _unlike_one(action, value)


def _unlike_one(action: argparse.Action, value: Any) -> str:
    kinds: dict[Any, tuple[type, ...]] = {int: (int,), float: (int, float)}
    # A port or the number of a camera need no quotes.
    right = action.nargs != 0 and isinstance(value, kinds.get(action.type, (str, int))) and not isinstance(value, bool)
    if not right:
        return _wanted(action)
    if action.choices is not None and value not in action.choices:
        return f"one of {', '.join(map(str, action.choices))}"
    return ""


def _wanted(action: argparse.Action) -> str:
    if action.nargs == 0:
        return "true or false"
    name = {int: "a whole number", float: "a number"}.get(action.type, "text")  # type: ignore[call-overload]
    return f"{name}, or a list of them," if _is_list(action) else str(name)


def _is_list(action: argparse.Action) -> bool:
    several = action.nargs in {"+", "*"} or (isinstance(action.nargs, int) and action.nargs > 0)
    return several or type(action).__name__ in {"_AppendAction", "_ExtendAction"}


def _toml(value: Any, key: str) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(_toml(item, key) for item in value)}]"
    if isinstance(value, (int, float)):
        return repr(value)
    try:
        str(value).encode()
    except UnicodeEncodeError as error:
        raise UsageError(f"--{key} {_shown(value)} is no text that TOML can hold; name it in UTF-8") from error
    return json.dumps(str(value), ensure_ascii=False).replace("\x7f", "\\u007f")


def _shown(value: Any) -> str:
    text = "a table" if isinstance(value, dict) else ascii(value)
    return text if len(text) <= 60 else f"{text[:57]}..."  # noqa: PLR2004 - one line stays one line
