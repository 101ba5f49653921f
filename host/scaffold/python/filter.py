"""@summary@"""

import json

from componentize_py_types import Err
from wit_world import exports
from wit_world.exports import about
from wit_world.exports.filter import Verdict_Abstain, Verdict_Keep
from wit_world.imports import settings
from wit_world.imports.types import Note, Tone


class About(exports.About):
    def describe(self):
        return about.Description(
            name="@name@",
            version="0.1.0",
            summary="@summary@",
            settings=[about.Setting("label", "the client label to look for, a text", True)],
            files=[],
            warm=True,  # Starting Python takes a while: ask for instances that are kept.
        )

    # What is raised here is seen by `bewit check`, and not in the night.
    def check_settings(self):
        label = json.loads(settings.all()).get("label")
        if not isinstance(label, str) or not label:
            raise Err([about.Problem("label", "label must be a text that is not empty")])


class Filter(exports.Filter):
    # Asked for each event. Keep adds notes to the mail, Drop prevents the mail, Abstain says nothing.
    def decide(self, event):
        label = json.loads(settings.all())["label"]
        if label.casefold() in (each.casefold() for each in event.labels):
            return Verdict_Keep([Note(Tone.NEUTRAL, f"{event.host} has the label {label}.")])
        return Verdict_Abstain()
