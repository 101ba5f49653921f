"""What is known good, and what is not. Knows nothing of plugins: the host's side is in `plugin.py`."""

import csv
import io
import json
import re
from dataclasses import dataclass, field
from typing import Any, Iterable

KNOWN = [
    ("columns", "columns that make a row's identity, a list of names; default: the columns of the known file, or all", False),
    ("sources", "regular expression: only result sources whose name it matches; default: all", False),
    ("case_sensitive", "whether upper and lower case differ in values, true or false; default false", False),
    ("on_empty", 'what to say if there are no rows: "abstain" or "drop"; default "abstain"', False),
    ("show", "how many unknown rows the note shows, 0 to 20; default 3", False),
]
FILES = [("known", "known-good rows: CSV with a header, JSON Lines, or one value a line", True)]

# A known file larger than this is a mistake; it would not fit into the plugin's memory.
MOST_KNOWN = 200_000


class Problem(Exception):
    """A mistake in the settings or in the known file: the key and a sentence."""

    def __init__(self, key: str, message: str):
        super().__init__(message)
        self.key = key
        self.message = message


@dataclass
class Settings:
    """The settings, checked."""

    columns: list[str] = field(default_factory=list)
    sources: re.Pattern[str] | None = None
    case_sensitive: bool = False
    on_empty: str = "abstain"
    show: int = 3


def read_settings(text: str) -> tuple[Settings, list[Problem]]:
    """Reads them from the text of a JSON object; every mistake is reported, not only the first."""
    given = json.loads(text)
    settings, problems = Settings(), []

    def wrong(key: str, message: str) -> None:
        problems.append(Problem(key, f"{message}; it is {json.dumps(given[key])}"))

    if "columns" in given:
        columns = given["columns"]
        if isinstance(columns, list) and columns and all(isinstance(name, str) and name for name in columns):
            settings.columns = columns
        else:
            wrong("columns", 'columns must be a list of column names, such as ["Name", "Hash"]')
    if "sources" in given:
        try:
            settings.sources = re.compile(given["sources"])
        except (TypeError, re.error) as error:
            wrong("sources", f"sources must be a regular expression ({error})")
    if "case_sensitive" in given:
        if isinstance(given["case_sensitive"], bool):
            settings.case_sensitive = given["case_sensitive"]
        else:
            wrong("case_sensitive", "case_sensitive must be true or false")
    if "on_empty" in given:
        if given["on_empty"] in ("abstain", "drop"):
            settings.on_empty = given["on_empty"]
        else:
            wrong("on_empty", 'on_empty must be "abstain" or "drop"')
    if "show" in given:
        if type(given["show"]) is int and 0 <= given["show"] <= 20:
            settings.show = given["show"]
        else:
            wrong("show", "show must be a whole number from 0 to 20")
    return settings, problems


def plain(value: Any) -> str:
    """A cell's value as text: the same for `7`, `7.0` and `"7"`, because a CSV file knows only texts."""
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return str(int(value))
    if isinstance(value, (int, float)):
        return str(value)
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


class Known:
    """The known-good rows."""

    def __init__(self, text: str, settings: Settings):
        self.fold = (lambda value: value.strip()) if settings.case_sensitive else (lambda value: value.strip().casefold())
        self.columns = settings.columns
        # Values of a list without columns: any cell of a row may be the one.
        self.any_cell = False
        self.identities: set[tuple[str, ...]] = set()
        text = text.removeprefix("\ufeff")
        first = next((line for line in text.splitlines() if line.strip()), "")
        if first.lstrip().startswith("{"):
            self._json(text)
        elif self._has_header(first):
            self._csv(text)
        else:
            self._values(text)
        if not self.identities:
            raise Problem("known", "the file known has no rows: nothing would ever be known good")

    def _add(self, identity: tuple[str, ...]) -> None:
        if not any(identity):
            return
        if len(self.identities) >= MOST_KNOWN:
            raise Problem("known", f"the file known has more than {MOST_KNOWN} rows: too many for a plugin")
        self.identities.add(identity)

    def _has_header(self, first: str) -> bool:
        """A list of values has no header. A header is told by the columns of the settings, or by having several."""
        names = next(csv.reader([first]), [])
        if not self.columns:
            return len(names) > 1
        missing = [name for name in self.columns if name not in [each.strip() for each in names]]
        if missing and len(names) > 1:
            raise Problem("known", f"known, line 1: there is no column {missing[0]} in the header {clip(first, 200)}")
        return not missing

    def _csv(self, text: str) -> None:
        # A quoted cell may have line breaks: the reader counts lines, so it is asked where it is.
        reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
        try:
            names = [name.strip() for name in reader.fieldnames or []]
            reader.fieldnames = names
            self.columns = self.columns or [name for name in names if name]
            for row in reader:
                if None in row or None in row.values():
                    raise Problem("known", f"known, line {reader.line_num}: the header has {len(names)} columns, this row has not")
                self._add(self.identity(row))
        except csv.Error as error:
            raise Problem("known", f"known, at line {reader.line_num}: {error}") from None

    def _json(self, text: str) -> None:
        rows = []
        for number, line in enumerate(text.splitlines(), 1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except ValueError as error:
                raise Problem("known", f"known, line {number}: no JSON ({error})") from None
            if not isinstance(row, dict):
                raise Problem("known", f"known, line {number}: a JSON object is wanted, as on the first line")
            if not self.columns:
                self.columns = list(row)
            missing = [name for name in self.columns if name not in row]
            if missing:
                raise Problem("known", f"known, line {number}: the column {missing[0]} is missing")
            rows.append(row)
        for row in rows:
            self._add(self.identity(row))

    def _values(self, text: str) -> None:
        if len(self.columns) > 1:
            wanted = ", ".join(self.columns)
            raise Problem("known", f"known, line 1: no header with the columns {wanted}; several columns need CSV or JSON Lines")
        self.any_cell = not self.columns
        for line in text.splitlines():
            # A comment, as such lists have them.
            if not line.lstrip().startswith("#"):
                self._add((self.fold(line),))

    def identity(self, row: dict[str, Any]) -> tuple[str, ...]:
        """What a row is known by; a `KeyError` if it lacks a column."""
        fold = self.fold
        return tuple([fold(plain(row[name])) for name in self.columns])

    def has(self, row: dict[str, Any]) -> bool:
        """Whether a row is known good. A row that lacks a column of the identity is not."""
        if self.any_cell:
            return any((self.fold(plain(value)),) in self.identities for value in row.values())
        try:
            return self.identity(row) in self.identities
        except KeyError:
            return False

    def shown(self, row: dict[str, Any]) -> str:
        """A row for the note: its identity, or its first cells."""
        names = [name for name in self.columns if name in row] or list(row)[:3]
        return ", ".join(f"{name}={clip(plain(row.get(name)), 120)}" for name in names)


def clip(text: str, most: int) -> str:
    """One line, at most so long."""
    text = " ".join(text.split())
    return text if len(text) <= most else text[: most - 1] + "…"


@dataclass
class Answer:
    """`abstain`, `keep` with a text for the note, or `drop` with a reason."""

    verdict: str
    text: str = ""


class Examination:
    """Takes one row after the other, and keeps next to nothing of them."""

    def __init__(self, known: Known, settings: Settings):
        self.known = known
        self.settings = settings
        self.rows = 0
        self.unknown = 0
        self.examples: list[str] = []
        self.unreadable: list[str] = []

    def wants(self, source: str) -> bool:
        """Whether a source is looked at."""
        return self.settings.sources is None or self.settings.sources.search(source) is not None

    def take(self, source: str, rows: Iterable[dict[str, Any]]) -> None:
        """Looks at some rows."""
        for row in rows:
            self.rows += 1
            if self.known.has(row):
                continue
            self.unknown += 1
            if len(self.examples) < self.settings.show:
                self.examples.append(f"{source}: {self.known.shown(row)}")

    def cannot_read(self, source: str, why: str) -> None:
        """Rows that could not be read are not known good."""
        self.unreadable.append(f"{source} could not be read to its end ({clip(why, 200)})")

    def answer(self) -> Answer:
        """What the filter says."""
        if self.unknown or self.unreadable:
            parts = []
            if self.unknown:
                which = counted(self.unknown, "row is", "rows are")
                parts.append(f"{which} not on the allow list, of {number(self.rows)}")
            text = ". ".join(parts + self.unreadable[:3])
            if self.examples:
                # A note is one paragraph.
                more = ["…"] if self.unknown > len(self.examples) else []
                text = f"{text}: {'; '.join(self.examples + more)}"
            return Answer("keep", text)
        if self.rows == 0:
            if self.settings.on_empty == "drop":
                return Answer("drop", "there are no rows that could be unknown")
            return Answer("abstain")
        return Answer("drop", f"{counted(self.rows, 'row is', 'rows are')} on the allow list: all there are")


def number(count: int) -> str:
    """`12 345`"""
    return f"{count:,}".replace(",", " ")


def counted(count: int, one: str, many: str) -> str:
    """`1 row is`, `2 rows are`"""
    return f"{number(count)} {one if count == 1 else many}"
