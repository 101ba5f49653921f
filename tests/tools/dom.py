"""What of an HTML file is structure: its tags and attributes in order, without any text. One JSON object for each file.

Two mails of the same template must have the same structure, whatever the data says. Standard library only.
"""
import html.parser
import json
import sys


class Skeleton(html.parser.HTMLParser):
    def __init__(self):
        super().__init__(convert_charrefs=True)
        self.tags, self.links, self.text = [], [], []

    def handle_starttag(self, tag, attrs):
        if tag in ("wbr", "br"):  # line breaks of a long or many-lined value: text, in effect
            return
        links = [value for name, value in attrs if name in ("href", "src", "background", "action")]
        self.links += links
        # Where a link leads is data of its own; that it is one is structure.
        kept = [[name, None if name in ("href", "title", "alt") else value] for name, value in attrs]
        self.tags.append([tag, kept])

    handle_startendtag = handle_starttag

    def handle_endtag(self, tag):
        self.tags.append(["/" + tag])

    def handle_decl(self, decl):
        self.tags.append(["!" + decl])

    def handle_comment(self, data):
        self.tags.append(["!--", data])

    def handle_data(self, data):
        self.text.append(data)


for path in sys.argv[1:]:
    skeleton = Skeleton()
    with open(path, encoding="utf-8") as file:
        skeleton.feed(file.read())
    skeleton.close()
    print(json.dumps({"tags": skeleton.tags, "links": skeleton.links, "text": "".join(skeleton.text)}))
