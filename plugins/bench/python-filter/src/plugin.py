"""Looks at a few things in an event. `host/benches/plugins.rs` asks the same in a native closure."""

import json

from wit_world import exports
from wit_world.exports import about
from wit_world.exports.filter import Verdict_Abstain, Verdict_Keep
from wit_world.imports.types import Note, Tone

# Rows from which on a flow is of interest.
MANY = 100


class About(exports.About):
    def describe(self):
        return about.Description(
            name="python-filter",
            version="0.1.0",
            summary="Looks at a few things in an event: a guest of the benchmark.",
            settings=[],
            files=[],
            warm=True,
        )

    def check_settings(self):
        pass


class Filter(exports.Filter):
    def decide(self, event):
        document = json.loads(event.document)
        flow, client = document["Flow"], document["client_info"]
        rows = flow["total_collected_rows"]
        found = (
            flow["state"] == "FINISHED"
            and "vip" in client["labels"]
            and rows >= MANY
            and any(name.startswith("Windows.EventLogs.") for name in flow["request"]["artifacts"])
        )
        if not found:
            return Verdict_Abstain()
        return Verdict_Keep([Note(Tone.WARNING, f"{client['os_info']['fqdn']}: {rows} rows")])
