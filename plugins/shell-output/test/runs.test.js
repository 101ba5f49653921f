import assert from "node:assert/strict";
import { test } from "node:test";
import { MOST_RUNS, Runs } from "../src/runs.js";

function runs(...rows) {
  const all = new Runs();
  for (const row of rows) all.add(row);
  return all;
}
const text = (stream) => stream.head + stream.tail;

test("one row is one run", () => {
  const { runs: [run], found } = runs({ Stdout: "a\nb", Stderr: "", ReturnCode: 3, Complete: true });
  assert.ok(found);
  assert.deepEqual([text(run.stdout), text(run.stderr), run.code, run.ended], ["a\nb", "", 3, true]);
});

test("chunks are joined as they are", () => {
  const all = runs(
    { Stdout: "first\nsec", Stderr: "", ReturnCode: 0, Complete: false },
    { Stdout: "ond\n", Stderr: "oops", ReturnCode: 2, Complete: true },
  );
  assert.equal(all.runs.length, 1);
  assert.deepEqual([text(all.runs[0].stdout), text(all.runs[0].stderr), all.runs[0].code], ["first\nsecond\n", "oops", 2]);
});

test("a long chunk without a line break is no line", () => {
  const chunk = "x".repeat(10_240);
  const all = runs({ Stdout: chunk, ReturnCode: 0, Complete: false }, { Stdout: "y", ReturnCode: 0, Complete: true });
  assert.equal(text(all.runs[0].stdout), `${chunk}y`);
});

test("separated lines get their line breaks back", () => {
  const line = (Stdout) => ({ Stdout, Stderr: "", ReturnCode: 0, Complete: false });
  const all = runs(line("a"), line("b"), { Stdout: "", Stderr: "", ReturnCode: 0, Complete: true });
  assert.equal(text(all.runs[0].stdout), "a\nb\n");
});

test("commands one after the other", () => {
  const all = runs(
    { Stdout: "1", ReturnCode: 0, Complete: true },
    { Stdout: "2", ReturnCode: 1, Complete: true },
    { Stdout: "", Stderr: "no such file", ReturnCode: 1, Complete: false },
    { Stdout: "3", ReturnCode: 0, Complete: true },
  );
  assert.deepEqual(all.runs.map((run) => [text(run.stdout), run.code]), [["1", 0], ["2", 1], ["", 1], ["3", 0]]);
});

test("another command begins another run", () => {
  const all = runs({ Cmd: "id", Stdout: "a" }, { Cmd: ["ls", "-l"], Stdout: "b" }, { Cmd: ["ls", "-l"], Stdout: "c" });
  assert.deepEqual(all.runs.map((run) => [run.command, text(run.stdout)]), [["id", "a\n"], ["ls -l", "b\nc\n"]]);
});

test("an output that broke off has no code", () => {
  const [run] = runs({ Stdout: "a\n", Stderr: "", ReturnCode: 0, Complete: false }).runs;
  assert.deepEqual([run.code, run.ended], [undefined, false]);
});

test("other columns are remembered, shortened, in order", () => {
  const all = runs(...Array.from({ length: 9 }, (_, index) => ({ Stdout: "x", Host: `h${index}`, Big: "y".repeat(999) })));
  const { Host, Big } = Object.fromEntries(all.runs[0].extra);
  assert.deepEqual(Host, { values: ["h0", "h1", "h2", "h3", "h4"], more: true });
  assert.equal(Big.values[0].length, 200);
});

test("rows without output are not ours", () => assert.equal(runs({ Name: "x" }, { _value: 3 }).found, false));

test("values of any type are shown", () => {
  const [run] = runs({ Stdout: { a: 1 }, Stderr: null, ReturnCode: "7", Complete: true }).runs;
  assert.deepEqual([text(run.stdout), text(run.stderr), run.code], ['{"a":1}', "", 7]);
});

test("what is kept is bounded, and what is not is counted", () => {
  const all = new Runs();
  const chunk = `${"x".repeat(9_999)}\n`;
  for (let index = 0; index < 300; index += 1) all.add({ Stdout: chunk, ReturnCode: 0, Complete: false });
  const { stdout } = all.runs[0];
  stdout.trim();
  assert.equal(stdout.characters, 3_000_000);
  assert.equal(text(stdout).length, 2 * 128 * 1024);
  assert.equal(stdout.dropped, 3_000_000 - 2 * 128 * 1024);
  const lines = (part) => part.split("\n").length - 1;
  assert.equal(lines(stdout.head) + lines(stdout.tail) + stdout.droppedLines, 300);
  for (let index = 0; index < 50; index += 1) all.add({ Stdout: "x", ReturnCode: 0, Complete: true });
  assert.deepEqual([all.runs.length, all.more], [MOST_RUNS, 50 - MOST_RUNS]);
});
