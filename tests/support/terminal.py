"""A terminal for tests: a real pseudo-terminal with the program on it, and a screen that obeys its codes."""

import os
import pty
import re
import struct
import subprocess
import sys
import termios
from collections.abc import Callable
from fcntl import ioctl
from pathlib import Path
from typing import Any

from support.jobs import environment

__all__ = ["Screen", "Terminal"]

COLUMNS, LINES = 80, 24
_CODE = re.compile(r"\x1b\[(\??)([0-9;]*)([A-Za-z])")


class Screen:
    """What stands on an endless sheet after some output; knows the codes that a progress bar uses.

    Attributes:
        rows: the lines, without white space at their ends.
        widest: the most characters that a line ever had.
        cursor_shown: whether the cursor is.
        unknown: codes that it does not know.
    """

    def __init__(self) -> None:
        self._cells: list[list[str]] = [[]]
        self._row = self._column = 0
        self._rest = ""
        self.widest = 0
        self.cursor_shown = True
        self.unknown: list[str] = []

    @property
    def rows(self) -> list[str]:
        """The lines."""
        return ["".join(row).rstrip() for row in self._cells]

    def feed(self, text: str) -> None:
        """Writes text on it."""
        text, self._rest = self._rest + text, ""
        place = 0
        while place < len(text):
            found = _CODE.match(text, place)
            if found:
                self._obey(*found.groups())
                place = found.end()
            elif text[place] == "\x1b" and len(text) - place < 12:
                self._rest = text[place:]
                return
            else:
                self._put(text[place])
                place += 1

    def _put(self, character: str) -> None:
        if character == "\n":
            self._row += 1
            self._column = 0
            if self._row == len(self._cells):
                self._cells.append([])
        elif character == "\r":
            self._column = 0
        else:
            row = self._cells[self._row]
            row[self._column :] = [*row[self._column : self._column], character, *row[self._column + 1 :]]
            self._column += 1
            self.widest = max(self.widest, len(row))

    def _obey(self, private: str, numbers: str, letter: str) -> None:
        if letter == "A":
            self._row = max(0, self._row - int(numbers or 1))
        elif letter == "K" and numbers == "2":
            self._cells[self._row] = []
        elif private and numbers == "25":
            self.cursor_shown = letter == "h"
        elif letter != "m":
            self.unknown.append(f"{private}{numbers}{letter}")


class Terminal:
    """The program as a process whose standard error is a terminal of 80 columns; standard output is a file.

    Attributes:
        process: the program.
        screen: what it has shown so far.
        seen: the rows after each piece of output.
    """

    def __init__(self, output: Path, *words: str | Path, **more: str) -> None:
        self._master, slave = pty.openpty()
        ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", LINES, COLUMNS, 0, 0))
        self._slave = slave
        self._modes = termios.tcgetattr(slave)
        variables = {key: value for key, value in environment(**more).items() if key not in ("COLUMNS", "NO_COLOR")}
        command = [sys.executable, "-m", "pipeline", *map(str, words)]
        with output.open("wb") as sink:
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=sink, stderr=slave, env={"TERM": "xterm", **variables}
            )
        self.screen = Screen()
        self.seen: list[list[str]] = []
        self.raw = ""

    def read_until(self, done: Callable[[list[str]], Any]) -> None:
        """Reads on until the rows are as wanted."""
        while not done(self.screen.rows):
            assert self._read(), self.raw

    def read_to_end(self) -> None:
        """Reads all that is written until the process has ended."""
        os.set_blocking(self._master, False)
        while self.process.poll() is None:
            self._read()
            os.sched_yield()
        while self._read():
            pass

    def hang_up(self) -> None:
        """The terminal goes away while the process runs."""
        os.close(self._slave)
        os.close(self._master)

    @property
    def modes_are_kept(self) -> bool:
        """Whether the terminal is in the modes that it began with."""
        return termios.tcgetattr(self._slave) == self._modes

    def _read(self) -> bool:
        try:
            text = os.read(self._master, 65_536).decode("utf-8", "replace")
        except BlockingIOError:
            return False
        self.raw += text
        self.screen.feed(text)
        self.seen.append(self.screen.rows)
        return bool(text)
