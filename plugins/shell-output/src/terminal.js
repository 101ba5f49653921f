// What a terminal would show of a program's output, as lines of plain text. Pure; knows nothing of plugins.
//
// Endpoint output is hostile: a sequence that is not finished on its own line hides nothing, it is dropped and the text
// after it stays. Whoever wants to hide text by overwriting it can do so here as on the screen: that is what a screen does.

const ESC = "\x1b";

// Colours and the like, which move nothing: most output has no other sequence.
const COLOUR = /(?:\x1b\[|\x9b)[0-9;:]{0,64}m/g;

// Whatever is not just text and tabs. A line without any of it is taken as it is.
const SPECIAL = /[\x00-\x08\x0e-\x1f\x7f-\x9f]/;

// OSC (titles, hyperlinks), DCS, SOS, PM and APC: an introducer, a text, BEL or ST. The text stays on one line.
const STRING = /(?:\x1b[\]PX^_]|[\x90\x98\x9d-\x9f])[^\n\x07\x1b\x9c]{0,8192}(?:\x07|\x1b\\|\x9c)/y;
const CONTROL = /(?:\x1b\[|\x9b)([0-?]{0,64})[ -/]{0,8}([@-~])/y;
const ANY = /(?:\x1b[\]PX^_]|[\x90\x98\x9d-\x9f])[^\n\x07\x1b\x9c]{0,8192}(?:\x07|\x1b\\|\x9c)|(?:\x1b\[|\x9b)[0-?]{0,64}[ -/]{0,8}[@-~]/g;
const SHORT = /\x1b[ -/]{0,4}[0-~]/y;

const TAB = 8;
// A column beyond this is a mistake or an attack: no terminal is that wide.
const WIDEST = 4096;

// Characters and cells after which the cursor is followed no more: what comes then is shown without its sequences. A
// call has little time, and whoever wants it to be over can send a million cursor movements.
const WORK = 40_000;

// Ranges, not \p{M}: the engine inside a plugin knows no Unicode properties.
const COMBINING =
  /^[\u0300-\u036f\u0483-\u0489\u0591-\u05bd\u0610-\u061a\u064b-\u065f\u0670\u06d6-\u06dc\u06df-\u06e4\u0900-\u0903\u093a-\u093c\u093e-\u094f\u0e31\u0e34-\u0e3a\u0e47-\u0e4e\u1ab0-\u1aff\u1dc0-\u1dff\u200b-\u200d\u20d0-\u20ff\u3099\u309a\ufe00-\ufe0f\ufe20-\ufe2f]$/u;
const WIDE =
  /^[\u1100-\u115f\u2e80-\u303e\u3041-\ua4cf\uac00-\ud7a3\uf900-\ufaff\ufe30-\ufe6f\uff01-\uff60\uffe0-\uffe6\u{1f300}-\u{1f64f}\u{1f680}-\u{1f6ff}\u{1f900}-\u{1f9ff}\u{20000}-\u{3fffd}]$/u;

/** Lines as they would stand on a terminal without an edge, from the text that was written to it. */
export function screen(text) {
  const lines = [];
  const parts = text.replace(COLOUR, "").split(/\r*\n|\v|\f/);
  // The line break at the very end begins no line that anybody would see.
  if (parts.length > 1 && parts.at(-1) === "") parts.pop();
  const pen = new Pen(lines);
  let next = 0;
  while (next < parts.length && pen.work <= WORK) {
    const simple = pen.row >= lines.length ? plain(parts[next]) : null;
    if (simple !== null) lines.push(simple);
    else pen.write(parts[next]);
    pen.newline();
    next += 1;
  }
  if (next < parts.length) for (const line of bare(parts.slice(next).join("\n"))) lines.push(line);
  return lines.map((line) => (typeof line === "string" ? line : flat(line)));
}

// A line that needs no cells: nothing special in it, or only ASCII text that is written over from the left. Else null.
function plain(part) {
  if (!SPECIAL.test(part) && !part.includes("\r")) return part;
  if (/[^\r -~]/.test(part)) return null;
  let shown = "";
  for (const over of part.split("\r")) shown = over.length >= shown.length ? over : over + shown.slice(over.length);
  return withoutEnd(shown);
}

// Lines without any sequence; of what was written over, the last.
function bare(text) {
  const lines = text.replace(ANY, "").replace(/[\x00-\x08\x0e-\x1f\x7f-\x9f]/g, "");
  return lines.split("\n").map((line) => line.slice(line.lastIndexOf("\r") + 1));
}

// Without spaces at the end. Not by a pattern: that looks at each space of a long gap again and again.
function withoutEnd(text) {
  let end = text.length;
  while (end > 0 && text[end - 1] === " ") end -= 1;
  return text.slice(0, end);
}

// Cells to text. A cell is one character with its combining marks; the second half of a wide one, or of a tab, is "".
function flat(cells) {
  return withoutEnd(cells.join(""));
}

class Pen {
  constructor(lines) {
    this.lines = lines;
    this.row = 0;
    this.column = 0;
    // The lowest row that the pen has been in: a terminal's edge would stop it there.
    this.bottom = 0;
    this.work = 0;
  }

  newline() {
    this.row += 1;
    this.bottom = Math.max(this.bottom, this.row);
    this.column = 0;
    while (this.lines.length < this.row) this.lines.push("");
  }

  // The cells of the row that the pen is in.
  cells() {
    while (this.lines.length <= this.row) this.lines.push([]);
    const line = this.lines[this.row];
    if (typeof line !== "string") return line;
    const cells = [];
    for (const character of line) place(cells, cells.length, character);
    this.lines[this.row] = cells;
    return cells;
  }

  write(text) {
    let at = 0;
    while (at < text.length) {
      if (this.work > WORK) {
        this.row = this.lines.length;
        this.lines.push(...bare(text.slice(at)));
        return;
      }
      this.work += 1;
      const code = text.charCodeAt(at);
      if (code === 0x1b || code >= 0x80 && code <= 0x9f) {
        at = this.escape(text, at);
      } else if (code === 0x0d) {
        this.column = 0;
        at += 1;
      } else if (code === 0x08) {
        this.column = Math.max(0, this.column - 1);
        at += 1;
      } else if (code === 0x09 || code >= 0x20 && code !== 0x7f) {
        const character = code < 0xd800 ? text[at] : String.fromCodePoint(text.codePointAt(at));
        const cells = this.cells();
        this.work += Math.max(0, this.column - cells.length);
        this.column = place(cells, this.column, character);
        at += character.length;
      } else {
        at += 1; // Bells and the like show nothing.
      }
    }
  }

  // Obeys the sequence that begins at `at`; answers where the text goes on.
  escape(text, at) {
    this.work += 8;
    for (const pattern of [STRING, CONTROL, SHORT]) {
      pattern.lastIndex = at;
      const found = pattern.exec(text);
      if (!found) continue;
      // An introducer without its end is no short sequence: only ESC goes, so that what follows is seen.
      if (pattern === SHORT && /^\x1b[\]PX^_[]/.test(found[0])) break;
      if (pattern === CONTROL) this.control(found[1], found[2]);
      return pattern.lastIndex;
    }
    return at + 1;
  }

  control(parameters, final) {
    const numbers = parameters.split(";").map((number) => Math.min(Number.parseInt(number, 10) || 0, WIDEST));
    const first = numbers[0];
    const count = Math.max(1, first);
    switch (final) {
      case "A":
        this.row = Math.max(0, this.row - count);
        break;
      case "B":
        this.row = Math.min(this.row + count, this.bottom);
        break;
      case "C":
        this.column = Math.max(this.column, Math.min(this.column + count, WIDEST));
        break;
      case "D":
        this.column = Math.max(0, this.column - count);
        break;
      case "E":
        this.row = Math.min(this.row + count, this.bottom);
        this.column = 0;
        break;
      case "F":
        this.row = Math.max(0, this.row - count);
        this.column = 0;
        break;
      case "G":
      case "`":
        this.column = count - 1;
        break;
      case "H":
      case "f":
        // There is no screen whose corner could be meant: what was shown before stays, and a new line begins.
        this.row = this.bottom = this.lines.length;
        this.column = Math.max(1, numbers[1] ?? 1) - 1;
        break;
      case "K":
        this.erase(first);
        break;
      case "J":
        // The screen's rest. Earlier lines scrolled away on a terminal; here they stay.
        if (first === 0) {
          this.erase(0);
          this.lines.length = Math.min(this.lines.length, this.row + 1);
          this.bottom = this.row;
        }
        break;
      case "X":
        for (let column = this.column; column < Math.min(this.column + count, this.cells().length); column += 1) {
          place(this.cells(), column, " ");
        }
        break;
      case "P":
        split(this.cells(), this.column);
        split(this.cells(), this.column + count);
        this.cells().splice(this.column, count);
        break;
      case "@": {
        const cells = this.cells();
        split(cells, this.column);
        if (this.column < cells.length && cells.length < WIDEST) {
          this.work += count;
          cells.splice(this.column, 0, ...Array(count).fill(" "));
        }
        break;
      }
      default: // Colours, modes, reports: nothing to see.
    }
  }

  erase(what) {
    const cells = this.cells();
    if (what === 0) {
      split(cells, this.column);
      cells.length = Math.min(cells.length, this.column);
    } else if (what === 1) {
      for (let column = 0; column <= Math.min(this.column, cells.length - 1); column += 1) place(cells, column, " ");
    } else if (what === 2) {
      cells.length = 0;
    }
  }
}

// What stands across the border before `column` becomes spaces: half a character cannot be shown.
function split(cells, column) {
  if (column <= 0 || column >= cells.length || cells[column] !== "") return;
  let start = column;
  while (start > 0 && cells[start] === "") start -= 1;
  for (let cell = start; cell < cells.length && (cell === start || cells[cell] === ""); cell += 1) cells[cell] = " ";
}

// Puts a character into a column; answers the next one.
function place(cells, column, character) {
  // One that is as wide as most are, at the end or over one of the same kind.
  if (character < "\u0300" && character !== "\t" && column <= cells.length && cells[column] !== "" && cells[column + 1] !== "") {
    cells[column] = character;
    return column + 1;
  }
  if (column > 0 && COMBINING.test(character)) {
    let base = Math.min(column, cells.length) - 1;
    while (base > 0 && cells[base] === "") base -= 1;
    if (base >= 0 && cells[base].length < 32) cells[base] += character;
    return column;
  }
  const width = character === "\t" ? TAB - (column % TAB) : WIDE.test(character) ? 2 : 1;
  // Moving over what is there is all that a tab does.
  if (character === "\t" && column < cells.length) return column + width;
  while (cells.length < column) cells.push(" ");
  split(cells, column);
  split(cells, column + width);
  cells[column] = character;
  for (let cell = column + 1; cell < column + width; cell += 1) cells[cell] = "";
  return column + width;
}
