// The settings: what is known, what is right, what holds if nothing is said. Pure.

export const KNOWN = [
  { key: "max_lines", summary: "most lines shown of the source, a whole number from 2 to 2000; default 200", required: false },
  { key: "max_chars", summary: "most characters shown of the source, from 200 to 200000; default 20000", required: false },
  { key: "attach", summary: "attach the full text if some was left out, true or false; default true", required: false },
  { key: "stderr", summary: 'where Stderr stands: "last", "first" or "hide"; default "last"', required: false },
];

const BETWEEN = { max_lines: [2, 2000], max_chars: [200, 200_000] };
const DEFAULTS = { max_lines: 200, max_chars: 20_000, attach: true, stderr: "last" };

/** Reads them. Answers `{ settings, problems }`. */
export function read(text) {
  const given = JSON.parse(text);
  const settings = { ...DEFAULTS };
  const problems = [];
  const wrong = (key, message) => problems.push({ key, message: `${message}; it is ${JSON.stringify(given[key])}` });
  for (const [key, [least, most]] of Object.entries(BETWEEN)) {
    if (given[key] === undefined) continue;
    if (Number.isInteger(given[key]) && given[key] >= least && given[key] <= most) settings[key] = given[key];
    else wrong(key, `${key} must be a whole number from ${least} to ${most}`);
  }
  if (given.attach !== undefined) {
    if (typeof given.attach === "boolean") settings.attach = given.attach;
    else wrong("attach", "attach must be true or false");
  }
  if (given.stderr !== undefined) {
    if (["last", "first", "hide"].includes(given.stderr)) settings.stderr = given.stderr;
    else wrong("stderr", 'stderr must be "last", "first" or "hide"');
  }
  return { settings, problems };
}
