"""Jinja2 and Python's `email` as contenders: `peer.py FOLDER SECONDS` does for a turn of so many seconds what a line on
standard input names, and answers with the median in microseconds.

In FOLDER: `view.json`, what the templates see; `bench.html.j2` and `bench.txt.j2`; `text` and `html`, the parts of a mail.
"""

import json
import sys
import time
from email.message import EmailMessage
from email.policy import SMTP
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape

folder = Path(sys.argv[1])
seconds = float(sys.argv[2])

view = json.loads((folder / "view.json").read_text())
environment = Environment(
    loader=FileSystemLoader(folder),
    undefined=StrictUndefined,
    autoescape=select_autoescape(["html.j2"]),
    trim_blocks=True,
    lstrip_blocks=True,
)
html_template = environment.get_template("bench.html.j2")
text_template = environment.get_template("bench.txt.j2")
text = (folder / "text").read_text()
html = (folder / "html").read_text()


def jinja_html():
    return html_template.render(view)


def jinja_text():
    return text_template.render(view)


def email_alternative():
    message = EmailMessage(policy=SMTP)
    message["From"] = "Bewit <bewit@example.org>"
    message["To"] = "ana@example.org"
    message["Subject"] = "Client collection finished"
    message.set_content(text)
    message.add_alternative(html, subtype="html")
    return message.as_bytes()


contenders = {"html": jinja_html, "text": jinja_text, "email": email_alternative}

(folder / "jinja.html").write_text(jinja_html())
print("ready", flush=True)
for line in sys.stdin:
    contender = contenders[line.strip()]
    for _ in range(3):
        contender()
    times = []
    begun = time.perf_counter()
    while time.perf_counter() - begun < seconds or len(times) < 10:
        at = time.perf_counter()
        contender()
        times.append(time.perf_counter() - at)
    times.sort()
    print(times[len(times) // 2] * 1e6, flush=True)
