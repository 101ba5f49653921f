// From result rows to runs: one for each command that was started. Pure; knows nothing of plugins.
//
// Velociraptor's `execve` gives rows of Stdout, Stderr, ReturnCode and Complete. Long output comes in several rows, of
// which the last has `Complete` and the return code; with a separator, every line is a row, without its line break.

const ROLES = {
  stdout: ["stdout", "complexstdout"],
  stderr: ["stderr", "complexstderr"],
  code: ["returncode", "exitcode"],
  complete: ["complete"],
  command: ["cmd", "command", "commandline", "argv"],
};

// Rows shorter than this and without a line break are lines: the buffer of `execve` is never smaller by default.
const CHUNK = 10_240;

// Characters kept of a stream, from its beginning and from its end.
const KEPT = 128 * 1024;
const MOST_COLUMNS = 8;
const MOST_VALUES = 5;

/** Commands that are kept; more are counted. */
export const MOST_RUNS = 12;

/** What a column is for, by its name; `undefined`: nothing that this plugin knows. */
export function role(column) {
  const name = column.toLowerCase();
  return Object.keys(ROLES).find((key) => ROLES[key].includes(name));
}

/** Text that may be longer than what is kept of it. */
export class Stream {
  head = "";
  tail = "";
  characters = 0;
  droppedLines = 0;

  add(text) {
    this.characters += text.length;
    const room = KEPT - this.head.length;
    if (room > 0) {
      this.head += text.slice(0, room);
      text = text.slice(room);
    }
    this.tail += text;
    if (this.tail.length > 2 * KEPT) this.trim();
  }

  trim() {
    const over = this.tail.length - KEPT;
    if (over <= 0) return;
    this.droppedLines += breaks(this.tail, over);
    this.tail = this.tail.slice(over);
  }

  /** Characters that are gone for good. */
  get dropped() {
    return this.characters - this.head.length - this.tail.length;
  }
}

function breaks(text, end) {
  let count = 0;
  for (let at = text.indexOf("\n"); at !== -1 && at < end; at = text.indexOf("\n", at + 1)) count += 1;
  return count;
}

/** Takes rows one by one, in order. */
export class Runs {
  runs = [];
  /** Commands beyond those kept. */
  more = 0;
  /** Whether any row had output at all. */
  found = false;
  #open = null;

  add(row) {
    const parts = { extra: [] };
    for (const [column, value] of Object.entries(row)) {
      const key = role(column);
      if (key === undefined) parts.extra.push([column, value]);
      else parts[key] ??= value;
    }
    if (parts.stdout !== undefined || parts.stderr !== undefined) this.found = true;
    const command = parts.command === undefined ? "" : shown(parts.command);
    const run = this.#run(command);
    const complete = parts.complete === undefined ? undefined : parts.complete === true || parts.complete === "true";
    run.stdout.add(piece(parts.stdout, complete));
    run.stderr.add(piece(parts.stderr, complete));
    for (const [column, value] of parts.extra) remember(run.extra, column, value);
    const code = number(parts.code);
    // A row in the middle has no return code yet: it says 0. But a command that could not be started says 1 and ends.
    if (code !== undefined && (complete !== false || code !== 0)) run.code = code;
    if (complete || (complete === undefined && code !== undefined && code !== 0)) this.#open = null;
    else if (complete === false && code !== undefined && code !== 0) this.#open = null;
    run.ended ||= this.#open === null;
  }

  #run(command) {
    if (this.#open !== null && this.#open.command === command) return this.#open;
    const run = { command, stdout: new Stream(), stderr: new Stream(), code: undefined, ended: false, extra: new Map() };
    if (this.runs.length < MOST_RUNS) this.runs.push(run);
    else this.more += 1;
    this.#open = run;
    return run;
  }
}

// A row's share of a stream. `complete` is undefined if the rows do not say.
function piece(value, complete) {
  if (value === undefined || value === null) return "";
  const text = shown(value);
  if (text === "" || complete === true) return text;
  return text.length < CHUNK && !text.includes("\n") ? `${text}\n` : text;
}

function number(value) {
  if (typeof value === "number") return value;
  if (typeof value === "string" && /^-?\d{1,15}$/.test(value.trim())) return Number(value);
  return undefined;
}

function shown(value) {
  if (typeof value === "string") return value;
  if (Array.isArray(value) && value.every((part) => typeof part === "string")) return value.join(" ");
  return JSON.stringify(value);
}

function remember(extra, column, value) {
  if (value === null || value === "") return;
  if (!extra.has(column)) {
    if (extra.size >= MOST_COLUMNS) return;
    extra.set(column, { values: [], more: false });
  }
  const known = extra.get(column);
  const text = clip(shown(value), 200);
  if (known.values.includes(text)) return;
  if (known.values.length < MOST_VALUES) known.values.push(text);
  else known.more = true;
}

/** The beginning of a text, on a character's border. */
export function clip(text, most) {
  if (text.length <= most) return text;
  return `${text.slice(0, border(text, most - 1))}…`;
}

/** The place at or before `at` that is not inside a surrogate pair. */
export function border(text, at) {
  const code = text.charCodeAt(at);
  return at > 0 && at < text.length && code >= 0xdc00 && code <= 0xdfff ? at - 1 : at;
}
