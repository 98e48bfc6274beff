"""The records of measurements name the command that made them, and no place of the machine that it ran on."""

import sys

import pytest

from scripts.records import typed


def test_a_command_is_told_as_it_was_typed_but_for_places_of_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    words = ["--data", "/home/me/sets", "--rounds", "3", "--model", "my bundle.kdl", "--folder", "../sets/x"]
    monkeypatch.setattr(sys, "argv", ["/home/me/clone/scripts/measure_it.py", *words])
    assert typed() == "scripts/measure_it.py --data DIR --rounds 3 --model 'my bundle.kdl' --folder DIR"
