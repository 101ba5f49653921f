"""What the host calls. Everything else is in `allow_list.py`, which is tested without it."""

import json

from componentize_py_types import Err
from wit_world import exports
from wit_world.exports import about
from wit_world.exports.filter import Verdict_Abstain, Verdict_Drop, Verdict_Keep
from wit_world.imports import results, settings
from wit_world.imports.types import Failure_Reject, Note, Tone

from allow_list import FILES, KNOWN, Examination, Known, Problem, read_settings

# Rows asked for at a time; the host keeps the text near 256 KiB.
BATCH = 1000

# The list, made once for each instance; the texts that it was made from tell whether it still holds.
cache = None


def prepared():
    """Settings and known rows. Raises `Problem`."""
    global cache
    texts = (settings.all(), settings.file("known"))
    if cache is None or cache[0] != texts:
        found, problems = read_settings(texts[0])
        if problems:
            raise problems[0]
        if texts[1] is None:
            raise Problem("known", 'the file known is missing: files = { known = "known-good.csv" }')
        cache = (texts, found, Known(texts[1], found))
    return cache[1], cache[2]


class About(exports.About):
    def describe(self):
        return about.Description(
            name="allow-list",
            version="0.1.0",
            summary="No mail if every result row is known good; else a note that says which are not.",
            settings=[about.Setting(*each) for each in KNOWN],
            files=[about.Setting(*each) for each in FILES],
            # Starting Python and reading the list is dear.
            warm=True,
        )

    def check_settings(self):
        problems = read_settings(settings.all())[1]
        if not problems:
            try:
                prepared()
            except Problem as problem:
                problems = [problem]
        if problems:
            raise Err([about.Problem(problem.key, problem.message) for problem in problems])


class Filter(exports.Filter):
    def decide(self, event):
        try:
            found, known = prepared()
        except Problem as problem:
            raise Err(Failure_Reject(problem.message))
        examination = Examination(known, found)
        for source in results.sources():
            if not examination.wants(source.name):
                continue
            try:
                with results.open(source.name) as cursor:
                    while (rows := cursor.next(BATCH)) is not None:
                        examination.take(source.name, json.loads(rows))
                    if cursor.skipped():
                        examination.cannot_read(source.name, f"{cursor.skipped()} rows are no JSON")
            except Err as error:
                examination.cannot_read(source.name, error.value)
        answer = examination.answer()
        if answer.verdict == "drop":
            return Verdict_Drop(answer.text)
        if answer.verdict == "keep":
            return Verdict_Keep([Note(Tone.WARNING, answer.text)])
        return Verdict_Abstain()
