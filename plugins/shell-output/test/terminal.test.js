import assert from "node:assert/strict";
import { test } from "node:test";
import { screen } from "../src/terminal.js";

const cases = [
  ["plain lines", "one\ntwo\n", ["one", "two"]],
  ["no line break at the end", "one\ntwo", ["one", "two"]],
  ["empty lines stay", "a\n\nb\n", ["a", "", "b"]],
  ["Windows line breaks", "a\r\nb\r\r\nc", ["a", "b", "c"]],
  ["tabs are kept", "a\tb\n\tc", ["a\tb", "\tc"]],
  ["trailing spaces of an untouched line stay", "a  \nb", ["a  ", "b"]],
  ["colours go", "\x1b[1;31mred\x1b[0m and \x1b[38;2;1;2;3mblue\x1b[m", ["red and blue"]],
  ["colon parameters go", "\x1b[4:3mwave\x1b[m", ["wave"]],
  ["private modes go", "\x1b[?25l\x1b[?1049hx\x1b[?25h", ["x"]],
  ["8-bit introducers, too", "\x9b31mred\x9b0m \x9d0;t\x9cy", ["red y"]],
  ["titles go", "\x1b]0;a title\x07text", ["text"]],
  ["hyperlinks leave their text", "see \x1b]8;;https://example.org/\x1b\\this\x1b]8;;\x1b\\ now", ["see this now"]],
  ["device control strings go", "a\x1bPq#0;2;0\x1b\\b", ["ab"]],
  ["character sets go", "\x1b(0lqk\x1b(B", ["lqk"]],
  ["bells and NULs show nothing", "a\x07b\0c", ["abc"]],
  ["a carriage return overwrites", "50 %\r100 %", ["100 %"]],
  ["only as far as it writes", "12345\rab", ["ab345"]],
  ["erase the line's rest", "12345\rab\x1b[K", ["ab"]],
  ["erase the line", "12345\x1b[2K\rab", ["ab"]],
  ["erase to the cursor", "12345\x1b[3G\x1b[1K", ["   45"]],
  ["backspace overwrites", "man\b\b\bM", ["Man"]],
  ["bold by overstriking", "b\bbo\bo", ["bo"]],
  ["backspace stops at the margin", "\b\b\bx", ["x"]],
  ["spinner", "|\b/\b-\b\\\bdone", ["done"]],
  ["cursor to the right leaves a gap", "a\x1b[3Cb", ["a   b"]],
  ["delete and insert characters", "abcdef\x1b[2G\x1b[2P\x1b[1@", ["a def"]],
  ["cursor up rewrites a line", "layer 1: 10 %\nlayer 2: 0 %\n\x1b[2Alayer 1: done\x1b[K\n\x1b[Blayer 3", ["layer 1: done", "layer 2: 0 %", "layer 3"]],
  ["up stops at the top", "a\n\x1b[99Ab", ["b"]],
  ["a cleared screen keeps what was there", "old\n\x1b[H\x1b[2Jnew", ["old", "new"]],
  ["wide characters take two columns", "日本\r日x", ["日x"]],
  ["half a wide character becomes a space", "日本\rx", ["x 本"]],
  ["combining marks stay with their letter", "e\u0301x\b", ["e\u0301x"]],
  ["a tab moves over what is there", "abcdefghij\rx\ty", ["xbcdefghyj"]],
  ["overwriting a tab", "\tz\rab", ["ab      z"]],
  ["emoji are not broken", "\u{1f600}\x1b[m!", ["\u{1f600}!"]],
  ["an unfinished title hides nothing", "\x1b]0;rm -rf /\nnext", ["]0;rm -rf /", "next"]],
  ["an unfinished sequence hides nothing", "a\x1b[31", ["a[31"]],
  ["a lone escape at the end", "a\x1b", ["a"]],
];

for (const [name, text, lines] of cases) {
  test(name, () => assert.deepEqual(screen(text), lines));
}

test("a cursor sent far away costs little and does not hang", () => {
  const text = "\x1b[999999999C\x1b[999999999Bx\x1b[999999999@y".repeat(50);
  const lines = screen(text);
  assert.equal(lines.length, 1);
  assert.ok(lines[0].length < 10_000, `${lines[0].length} columns`);
});

test("no input leaves a control character", () => {
  let seed = 7;
  const random = (below) => (seed = (seed * 1103515245 + 12345) % 2147483648) % below;
  const parts = ["\x1b", "[", "]", "\x07", "\\", "3", ";", "A", "K", "J", "H", "P", "@", "\r", "\b", "\t", "\n", "日", "e", "\u0301", "\x9b", "\x9d", "\0", "\x7f", "X"];
  for (let round = 0; round < 3000; round += 1) {
    const text = Array.from({ length: 40 }, () => parts[random(parts.length)]).join("");
    for (const line of screen(text)) assert.doesNotMatch(line, /[\x00-\x08\x0a-\x1f\x7f-\x9f]/, JSON.stringify(text));
  }
});

test("after very many movements they are dropped, and the text stays", () => {
  const lines = screen(`${"\x1b[A\x1b[Cx\n".repeat(60_000)}\x1b[31mfirst\rlast\b\x1b[K\x1b\n`);
  assert.equal(lines.at(-1), "last");
});

test("plain overwriting and cells agree", () => {
  for (const text of ["abc\rx", "abc\rabcd\rz", "a  \rb", "\r\rx", "abc\r", "abc\r   "]) {
    // A sequence makes cells; this one erases what is not there.
    assert.deepEqual(screen(`${text}`), screen(`\x1b[99X${text}`), JSON.stringify(text));
  }
});

test("long output is quick", () => {
  const line = "\x1b[32mok\x1b[0m some test with a name\r\n";
  const start = performance.now();
  assert.equal(screen(line.repeat(20_000)).length, 20_000);
  assert.ok(performance.now() - start < 3000);
});
