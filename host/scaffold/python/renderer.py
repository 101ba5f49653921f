"""@summary@"""

import json

from componentize_py_types import Err
from wit_world import exports
from wit_world.exports import about
from wit_world.exports.renderer import Alignment, Block_Table, Column, Fragment, Table
from wit_world.imports import results, settings


class About(exports.About):
    def describe(self):
        return about.Description(
            name="@name@",
            version="0.1.0",
            summary="@summary@",
            settings=[about.Setting("rows", "how many rows are shown, from 1 to 100; default 5", False)],
            files=[],
            warm=True,  # Starting Python takes a while: ask for instances that are kept.
        )

    # What is raised here is seen by `bewit check`, and not in the night.
    def check_settings(self):
        rows = json.loads(settings.all()).get("rows", 5)
        if type(rows) is not int or not 1 <= rows <= 100:
            raise Err([about.Problem("rows", "rows must be a whole number from 1 to 100")])


class Renderer(exports.Renderer):
    # Asked for each source that the rule gives it. Rows come as a stream: what is not read costs nothing.
    def render(self, source, event):
        limit = json.loads(settings.all()).get("rows", 5)
        rows = []
        with results.open(source.name) as cursor:
            names = cursor.columns()
            while len(rows) < limit and (text := cursor.next(limit - len(rows))) is not None:
                rows += json.loads(text)
            total = cursor.total()
        columns = [Column(name, Alignment.START) for name in names]
        cells = [[cell(row.get(name, "")) for name in names] for row in rows]
        return Fragment("", [Block_Table(Table(columns, cells, total))], [])


def cell(value):
    return value if isinstance(value, str) else json.dumps(value)
