import assert from "node:assert/strict";
import { test } from "node:test";
import { fragment } from "../src/fragment.js";
import { Runs } from "../src/runs.js";
import { read } from "../src/settings.js";
import { shorten } from "../src/shorten.js";

function made(rows, settings = {}) {
  const runs = new Runs();
  for (const row of rows) runs.add(row);
  return fragment("Linux.Sys.BashShell", runs, read(JSON.stringify(settings)).settings);
}
const of = (answer, tag) => answer.blocks.filter((block) => block.tag === tag).map((block) => block.val);
const whole = { ReturnCode: 0, Complete: true };

test("output, its code, nothing else", () => {
  const answer = made([{ Stdout: "\x1b[1mhi\x1b[0m\n", Stderr: "", ...whole }]);
  assert.deepEqual(answer, {
    title: "",
    blocks: [
      { tag: "badge", val: { text: "Return code 0", tone: "good" } },
      { tag: "code", val: { caption: "Stdout", text: "hi" } },
    ],
    attachments: [],
  });
});

test("a failure is red, and Stderr is there", () => {
  const answer = made([{ Stdout: "", Stderr: "no\n", ReturnCode: 127, Complete: true }]);
  assert.deepEqual(of(answer, "badge"), [{ text: "Return code 127", tone: "danger" }]);
  assert.deepEqual(of(answer, "code"), [{ caption: "Stderr", text: "no" }]);
});

test("Stderr first, or hidden and said so", () => {
  const row = { Stdout: "out", Stderr: "err", ...whole };
  assert.deepEqual(of(made([row], { stderr: "first" }), "code").map((code) => code.caption), ["Stderr", "Stdout"]);
  const hidden = made([row], { stderr: "hide" });
  assert.deepEqual(of(hidden, "code").map((code) => code.caption), ["Stdout"]);
  assert.match(of(hidden, "note")[0].text, /Stderr is not shown/);
});

test("silence is said", () => assert.deepEqual(of(made([{ Stdout: "", Stderr: "", ...whole }]), "paragraph"), ["No output."]));

test("an output that broke off is marked", () => {
  assert.deepEqual(of(made([{ Stdout: "a\n", ReturnCode: 0, Complete: false }]), "badge"), [{ text: "No return code", tone: "warning" }]);
});

test("long output keeps both ends, and the whole is attached", () => {
  const Stdout = Array.from({ length: 1000 }, (_, index) => `line ${index + 1}`).join("\n");
  const answer = made([{ Stdout, Stderr: "", ...whole }], { max_lines: 10 });
  const [head, tail] = of(answer, "code");
  assert.equal(head.text, "line 1\nline 2\nline 3\nline 4\nline 5");
  assert.equal(tail.text, "line 996\nline 997\nline 998\nline 999\nline 1000");
  assert.equal(of(answer, "note")[0].text, "990 lines of Stdout left out here. The whole text is attached.");
  assert.equal(new TextDecoder().decode(answer.attachments[0].data), `${Stdout}\n`);
  assert.equal(answer.attachments[0].name, "Linux.Sys.BashShell-stdout.txt");
  assert.deepEqual(made([{ Stdout, ...whole }], { max_lines: 10, attach: false }).attachments, []);
});

test("the answer stays small, whatever comes", () => {
  const rows = [];
  for (let run = 0; run < 30; run += 1) {
    for (let part = 0; part < 8; part += 1) rows.push({ Stdout: "日本語\n".repeat(40_000), Stderr: "é".repeat(99_999), ReturnCode: 0, Complete: part === 7 });
  }
  const answer = made(rows, { max_chars: 100_000 });
  const size = new TextEncoder().encode(JSON.stringify(answer.blocks)).length + answer.attachments.reduce((sum, file) => sum + file.data.length, 0);
  assert.ok(size < 1024 * 1024, `${size} bytes`);
  assert.match(of(answer, "note").at(-1).text, /^18 more commands ran/);
  assert.match(of(answer, "note")[0].text, /lines of Stdout left out here\. More of it is attached/);
});

test("several commands have headings, or their own text", () => {
  const answer = made([{ Stdout: "1", ...whole }, { Stdout: "2", ...whole }]);
  assert.deepEqual(of(answer, "heading"), ["Command 1", "Command 2"]);
  assert.deepEqual(of(made([{ Cmd: "id", Stdout: "1", ...whole }]), "code")[0], { caption: "Command", text: "id" });
});

test("other columns are shown as facts", () => {
  assert.deepEqual(of(made([{ Stdout: "x", Fqdn: "ws-1", ...whole }]), "facts"), [[{ label: "Fqdn", value: "ws-1" }]]);
});

test("no output column, no fragment", () => assert.equal(made([{ Name: "x" }]), null));

test("shorten: what fits is untouched", () => {
  assert.deepEqual(shorten(["a", "b"], 2, 3), { head: "a\nb", tail: null, lines: 0, chars: 0 });
});

test("shorten: one endless line is cut inside", () => {
  const cut = shorten(["x".repeat(1000)], 10, 100);
  assert.deepEqual([cut.head.length, cut.tail.length, cut.lines, cut.chars], [50, 50, 0, 900]);
});

test("shorten: no half characters", () => {
  const cut = shorten(["\u{1f600}".repeat(100)], 10, 7);
  assert.ok(cut.head.isWellFormed() && cut.tail.isWellFormed());
});

test("shorten: nothing is lost or twice", () => {
  for (let lines = 1; lines < 12; lines += 1) {
    for (let most = 2; most < 8; most += 1) {
      for (let chars = 2; chars < 40; chars += 3) {
        const all = Array.from({ length: lines }, (_, index) => "abcdefg".slice(0, (index * 5) % 8));
        const cut = shorten(all, most, chars);
        const size = cut.head.length + cut.chars + (cut.tail?.length ?? 0);
        assert.equal(size, all.join("\n").length);
        assert.ok(cut.head.length <= chars && (cut.tail?.length ?? 0) <= chars);
      }
    }
  }
});

test("settings: every mistake is named", () => {
  const { problems } = read('{"max_lines":0,"max_chars":"x","attach":1,"stderr":"both"}');
  assert.deepEqual(problems.map((problem) => problem.key), ["max_lines", "max_chars", "attach", "stderr"]);
  assert.deepEqual(read("{}").problems, []);
});
