"""What the tests of several verbs share."""

import sys

import pytest

from mapdiff.cli import main as cli_main


@pytest.fixture
def call(monkeypatch, capsys):
    """`call(word, ...)` runs the command in this process: exit code, stdout, stderr."""

    def run(*words: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["mapdiff", *map(str, words)])
        monkeypatch.setenv("COLUMNS", "200")
        code = 0
        try:
            cli_main.run()
        except SystemExit as stop:
            code = int(stop.code or 0)
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run
