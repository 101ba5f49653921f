"""python3 -m unittest discover -s tests"""

import json
import sys
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "src"))

from allow_list import Examination, Known, Problem, plain, read_settings  # noqa: E402


def settings(**given):
    found, problems = read_settings(json.dumps(given))
    assert not problems, problems
    return found


def answer(known, results, **given):
    found = settings(**given)
    examination = Examination(Known(known, found), found)
    for source, rows in results.items():
        if examination.wants(source):
            examination.take(source, rows)
    return examination.answer()


CSV = 'Name,Path\nsvchost.exe,"C:\\Windows\\System32\\svchost.exe"\nlsass.exe,C:\\Windows\\System32\\lsass.exe\n'
GOOD = {"Name": "SVCHOST.EXE", "Path": "c:\\windows\\system32\\svchost.exe", "Pid": 4}
BAD = {"Name": "svchost.exe", "Path": "C:\\Temp\\svchost.exe", "Pid": 5}


class Verdicts(unittest.TestCase):
    def test_all_known(self):
        said = answer(CSV, {"Pslist": [GOOD, GOOD]})
        self.assertEqual((said.verdict, said.text), ("drop", "2 rows are on the allow list: all there are"))

    def test_one_unknown(self):
        said = answer(CSV, {"Pslist": [GOOD, BAD]})
        self.assertEqual(said.verdict, "keep")
        self.assertEqual(
            said.text,
            "1 row is not on the allow list, of 2: Pslist: Name=svchost.exe, Path=C:\\Temp\\svchost.exe",
        )

    def test_few_are_shown(self):
        said = answer(CSV, {"Pslist": [{**BAD, "Name": f"p{number}"} for number in range(1500)]}, show=2)
        path = BAD["Path"]
        self.assertEqual(
            said.text,
            f"1 500 rows are not on the allow list, of 1 500: Pslist: Name=p0, Path={path}; Pslist: Name=p1, Path={path}; …",
        )
        self.assertEqual(answer(CSV, {"Pslist": [BAD]}, show=0).text, "1 row is not on the allow list, of 1")

    def test_columns_that_are_not_there_are_not_shown(self):
        self.assertTrue(answer(CSV, {"s": [{"Name": "x", "Pid": 3}]}).text.endswith("s: Name=x"))
        self.assertTrue(answer(CSV, {"s": [{"Pid": 3, "Ppid": 1}]}).text.endswith("s: Pid=3, Ppid=1"))

    def test_no_rows(self):
        self.assertEqual(answer(CSV, {}).verdict, "abstain")
        self.assertEqual(answer(CSV, {"Pslist": []}, on_empty="drop").verdict, "drop")

    def test_sources(self):
        rows = {"Windows.System.Pslist": [GOOD], "Other": [BAD]}
        self.assertEqual(answer(CSV, rows, sources="Pslist$").verdict, "drop")
        self.assertEqual(answer(CSV, rows).verdict, "keep")
        self.assertEqual(answer(CSV, rows, sources="nothing").verdict, "abstain")

    def test_case(self):
        self.assertEqual(answer(CSV, {"s": [GOOD]}, case_sensitive=True).verdict, "keep")

    def test_a_missing_column_is_unknown(self):
        self.assertEqual(answer(CSV, {"s": [{"Name": "lsass.exe"}]}).verdict, "keep")
        self.assertEqual(answer("x\n", {"s": [{"Hash": "x"}, {}]}, columns=["Hash"]).verdict, "keep")

    def test_unreadable_rows_are_not_known_good(self):
        found = settings()
        examination = Examination(Known(CSV, found), found)
        examination.take("s", [GOOD])
        examination.cannot_read("s", "the file\nis cut")
        said = examination.answer()
        self.assertEqual(said.verdict, "keep")
        self.assertEqual(said.text, "s could not be read to its end (the file is cut)")

    def test_hostile_values_stay_short_and_on_one_line(self):
        said = answer(CSV, {"s": [{"Name": "x\n" * 5000, "Path": "y" * 5000}]})
        self.assertLess(len(said.text), 500)
        self.assertEqual(len(said.text.splitlines()), 1)


class Lists(unittest.TestCase):
    def test_columns_of_the_settings(self):
        self.assertEqual(answer(CSV, {"s": [{"Name": "lsass.exe", "Path": "elsewhere"}]}, columns=["Name"]).verdict, "drop")

    def test_json_lines(self):
        known = '{"Name":"a","Port":80}\n\n{"Name":"b","Port":443}\n'
        self.assertEqual(answer(known, {"s": [{"Name": "A", "Port": 80.0}, {"Name": "b", "Port": "443"}]}).verdict, "drop")
        self.assertEqual(answer(known, {"s": [{"Name": "a", "Port": 443}]}).verdict, "keep")

    def test_values(self):
        known = "# hashes\nABCD\n ef01 \n"
        self.assertEqual(answer(known, {"s": [{"Hash": "abcd"}, {"Hash": "EF01"}]}, columns=["Hash"]).verdict, "drop")
        self.assertEqual(answer(known, {"s": [{"Other": "abcd", "Hash": "?"}]}, columns=["Hash"]).verdict, "keep")
        # Without columns, any cell counts.
        self.assertEqual(answer(known, {"s": [{"Other": "abcd", "Hash": "?"}]}).verdict, "drop")

    def test_a_header_of_one_column(self):
        self.assertEqual(answer("Hash\nabcd\n", {"s": [{"Hash": "abcd"}]}, columns=["Hash"]).verdict, "drop")
        self.assertEqual(answer("Hash\nabcd\n", {"s": [{"Hash": "hash"}]}, columns=["Hash"]).verdict, "keep")

    def test_byte_order_mark_and_windows_line_breaks(self):
        self.assertEqual(answer("\ufeffName,Port\r\na,1\r\n", {"s": [{"Name": "a", "Port": 1}]}).verdict, "drop")

    def test_empty_values_are_no_identity(self):
        known = "Name,Path\n,\na,b\n"
        self.assertEqual(answer(known, {"s": [{"Name": "", "Path": None}]}).verdict, "keep")

    def test_mistakes_say_where(self):
        for text, given, part in [
            ("", {}, "has no rows"),
            ("# nothing\n", {}, "has no rows"),
            ("Name,Path\na\n", {}, "line 2: the header has 2 columns"),
            ('Name,Path\n"a,b\n', {}, "unexpected end of data"),
            ("Name,Path\na,b\n", {"columns": ["Hash"]}, "line 1: there is no column Hash in the header Name,Path"),
            ('{"a":1}\nno\n', {}, "line 2: no JSON"),
            ('{"a":1}\n[1]\n', {}, "line 2: a JSON object"),
            ('{"a":1}\n{"b":1}\n', {}, "line 2: the column a is missing"),
            ("abc\n", {"columns": ["Name", "Hash"]}, "no header with the columns Name, Hash"),
        ]:
            with self.subTest(text=text), self.assertRaises(Problem) as caught:
                Known(text, settings(**given))
            self.assertEqual(caught.exception.key, "known")
            self.assertIn(part, caught.exception.message)


class Settings(unittest.TestCase):
    def test_every_mistake_is_named(self):
        given = {"columns": "Hash", "sources": "(", "case_sensitive": 1, "on_empty": "keep", "show": True}
        problems = read_settings(json.dumps(given))[1]
        self.assertEqual([problem.key for problem in problems], list(given))

    def test_plain(self):
        for value, text in [(None, ""), (True, "true"), (7.0, "7"), (7, "7"), ("7", "7"), (0.5, "0.5"), ({"b": 1, "a": [2]}, '{"a":[2],"b":1}')]:
            self.assertEqual(plain(value), text)


if __name__ == "__main__":
    unittest.main()
