// Keeps the beginning and the end of a text. Pure.

import { border } from "./runs.js";

/**
 * The first and the last lines that fit: half of `maxLines` and half of `maxChars` each; a line that is too long by
 * itself is cut inside. Answers `{ head, tail, lines, chars }`: two texts, and how many whole lines and how many
 * characters are missing between them. `tail` is null if nothing is missing.
 */
export function shorten(lines, maxLines, maxChars) {
  const whole = lines.join("\n");
  if (lines.length <= maxLines && whole.length <= maxChars) return { head: whole, tail: null, lines: 0, chars: 0 };
  const half = Math.max(1, Math.floor(maxChars / 2));
  const end = reach(lines, Math.ceil(maxLines / 2), half);
  const start = reach([...lines].reverse(), Math.floor(maxLines / 2), half);
  const from = end === null ? border(whole, Math.min(half, whole.length)) : end;
  const to = Math.max(from, start === null ? border(whole, whole.length - half) : whole.length - start);
  const missing = whole.slice(from, to);
  return {
    head: whole.slice(0, from),
    tail: whole.slice(to),
    lines: Math.max(0, missing.split("\n").length - 2),
    chars: missing.length,
  };
}

// How many characters the first lines have that fit; null if a first one is wanted and does not fit.
function reach(lines, most, room) {
  let used = 0;
  let count = 0;
  while (count < Math.min(most, lines.length) && used + lines[count].length + (count > 0 ? 1 : 0) <= room) {
    used += lines[count].length + (count > 0 ? 1 : 0);
    count += 1;
  }
  return count === 0 && most > 0 ? null : used;
}
