// From runs to a fragment: typed blocks and files. Pure.

import { border } from "./runs.js";
import { screen } from "./terminal.js";
import { shorten } from "./shorten.js";

// Bytes of all attached files together. An answer is 1 MiB at most unless the operator allows more.
const ATTACHED = 640 * 1024;

// What a run is shown of at least, however many there are.
const LEAST_LINES = 6;
const LEAST_CHARS = 400;

/** The fragment for a source, `null` if no row had output in it. */
export function fragment(source, runs, settings) {
  if (!runs.found) return null;
  const streams = runs.runs.flatMap((run) => [run.stdout, run.stderr]).filter((stream) => stream.characters > 0).length;
  const share = (total, least) => Math.max(least, Math.floor(total / Math.max(1, streams)));
  const out = {
    source,
    settings,
    maxLines: share(settings.max_lines, LEAST_LINES),
    maxChars: share(settings.max_chars, LEAST_CHARS),
    blocks: [],
    attachments: [],
    room: ATTACHED,
  };
  runs.runs.forEach((run, index) => show(out, run, runs.runs.length > 1 ? `${index + 1}` : ""));
  if (runs.more > 0) {
    note(out, "warning", `${counted(runs.more, "more command")} ran; Velociraptor has the rows.`);
  }
  return { title: "", blocks: out.blocks, attachments: out.attachments };
}

function show(out, run, number) {
  if (run.command !== "") out.blocks.push({ tag: "code", val: { caption: "Command", text: run.command } });
  else if (number !== "") out.blocks.push({ tag: "heading", val: `Command ${number}` });
  badge(out, run);
  const order = { last: ["stdout", "stderr"], first: ["stderr", "stdout"], hide: ["stdout"] }[out.settings.stderr];
  let shown = 0;
  for (const name of order) shown += stream(out, run[name], name, number);
  if (out.settings.stderr === "hide" && run.stderr.characters > 0) note(out, "neutral", "Stderr is not shown.");
  if (shown === 0) out.blocks.push({ tag: "paragraph", val: "No output." });
  if (run.extra.size > 0) {
    const facts = [...run.extra].map(([label, { values, more }]) => ({
      label: line(label),
      value: [...values, ...(more ? ["…"] : [])].join("\n"),
    }));
    out.blocks.push({ tag: "facts", val: facts });
  }
}

function badge(out, run) {
  if (run.code !== undefined) {
    const good = run.code === 0;
    const text = good ? "Return code 0" : `Return code ${run.code}`;
    out.blocks.push({ tag: "badge", val: { text, tone: good ? "good" : "danger" } });
  } else if (!run.ended) {
    out.blocks.push({ tag: "badge", val: { text: "No return code", tone: "warning" } });
  }
}

// Shows one stream; answers 1 if there was anything to see.
function stream(out, stream, name, number) {
  const caption = name === "stdout" ? "Stdout" : "Stderr";
  stream.trim();
  const first = screen(stream.head);
  // If the middle is gone, the two ends are two texts: the first line of the second one is cut.
  const second = stream.dropped > 0 ? screen(stream.tail) : null;
  const lines = second === null && stream.tail !== "" ? screen(stream.head + stream.tail) : first;
  trimEmpty(lines);
  if (lines.every((text) => text === "") && second === null) return 0;
  const cut = second === null ? shorten(lines, out.maxLines, out.maxChars) : ends(out, stream, lines, second);
  out.blocks.push({ tag: "code", val: { caption, text: cut.head } });
  if (cut.tail === null) return 1;
  const file = out.settings.attach ? attach(out, lines, second, stream, name, number) : "";
  note(out, "neutral", `${missing(cut)} of ${caption} left out here.${file}`);
  out.blocks.push({ tag: "code", val: { caption: `${caption}, the end`, text: cut.tail } });
  return 1;
}

// Two ends of a text whose middle was not kept.
function ends(out, stream, first, second) {
  trimEmpty(second);
  const lines = Math.max(1, Math.floor(out.maxLines / 2));
  const chars = Math.floor(out.maxChars / 2);
  const head = first.slice(0, lines).join("\n");
  const tail = second.slice(-lines).join("\n");
  const cutHead = head.slice(0, border(head, Math.min(head.length, chars)));
  const cutTail = tail.slice(border(tail, Math.max(0, tail.length - chars)));
  const shown = cutHead.split("\n").length + cutTail.split("\n").length;
  const all = first.length + second.length + stream.droppedLines;
  return { head: cutHead, tail: cutTail, lines: Math.max(0, all - shown), chars: stream.characters };
}

function missing({ lines, chars }) {
  return lines > 0 ? counted(lines, "line") : counted(chars, "character");
}

// Attaches the text; answers a sentence about it.
function attach(out, lines, second, stream, name, number) {
  const gap = (chars) => `\n[… ${counted(chars, "character")} left out …]\n`;
  let text = `${lines.join("\n")}\n`;
  if (second !== null) text += `${gap(stream.dropped)}${second.join("\n")}\n`;
  let data = new TextEncoder().encode(text);
  let whole = second === null;
  if (data.length > out.room) {
    // Three bytes a character at most.
    const half = Math.floor((out.room - 100) / 6);
    if (half < 1000) return " There was no room to attach it.";
    const from = border(text, half);
    const to = border(text, text.length - half);
    data = new TextEncoder().encode(`${text.slice(0, from)}${gap(to - from)}${text.slice(to)}`);
    whole = false;
  }
  out.room -= data.length;
  const file = `${[out.source, number, name].filter((part) => part !== "").join("-")}.txt`;
  out.attachments.push({ name: file, mediaType: "text/plain; charset=utf-8", data });
  return whole ? " The whole text is attached." : " More of it is attached; it was too long to attach all.";
}

function note(out, tone, text) {
  out.blocks.push({ tag: "note", val: { tone, text } });
}

function trimEmpty(lines) {
  while (lines.length > 0 && lines.at(-1) === "") lines.pop();
}

function line(text) {
  return text.replace(/\s+/g, " ");
}

/** `1 line`, `12 345 lines`. */
export function counted(count, what) {
  return `${String(count).replace(/\B(?=(\d{3})+$)/g, " ")} ${what}${count === 1 ? "" : "s"}`;
}
