"""Reads mails with Python's own parser, strictly, and says what it found: one JSON object a line for each file named.

Standard library only. A defect anywhere in a mail is reported, never hidden.
"""
import email
import email.policy
import hashlib
import json
import sys


def defects(part):
    found = [repr(defect) for defect in part.defects]
    for name, value in part.items():
        found += [f"{name}: {defect!r}" for defect in getattr(value, "defects", ())]
    for child in part.iter_parts() if part.is_multipart() else ():
        found += defects(child)
    return found


def leaf(part):
    data = part.get_payload(decode=True) or b""
    text = None
    if part.get_content_maintype() == "text":
        text = data.decode(part.get_content_charset() or "ascii")
    return {
        "type": part.get_content_type(),
        "disposition": part.get_content_disposition(),
        "name": part.get_filename(),
        "encoding": str(part.get("Content-Transfer-Encoding", "")),
        "size": len(data),
        "sha256": hashlib.sha256(data).hexdigest(),
        "text": text,
        "head": data[:4096].decode("utf-8", "replace"),
    }


def shape(part):
    if part.is_multipart():
        return [part.get_content_type()] + [shape(child) for child in part.iter_parts()]
    return part.get_content_type()


for path in sys.argv[1:]:
    with open(path, "rb") as file:
        raw = file.read()
    mail = email.message_from_bytes(raw, policy=email.policy.default)
    print(json.dumps({
        "path": path,
        "size": len(raw),
        "headers": [[name, str(value)] for name, value in mail.items()],
        "defects": defects(mail),
        "shape": shape(mail),
        "parts": [leaf(part) for part in mail.walk() if not part.is_multipart()],
    }))
