// What the host calls. Everything else is in files that know nothing of it, and is tested without it.

import { all } from "bewit:plugin/settings@0.1.0";
import { open } from "bewit:plugin/results@0.1.0";
import { KNOWN, read } from "./settings.js";
import { Runs } from "./runs.js";
import { fragment } from "./fragment.js";

// Rows asked for at a time; the host keeps the text near 256 KiB.
const BATCH = 500;

export const about = {
  describe() {
    return {
      name: "shell-output",
      version: "0.1.0",
      summary: "Shows Stdout and Stderr of shell commands as they looked, without terminal codes.",
      settings: KNOWN,
      files: [],
      warm: true,
    };
  },

  checkSettings() {
    const { problems } = read(all());
    // What is thrown is the answer's error.
    if (problems.length > 0) throw problems;
  },
};

export const renderer = {
  render(source, _event) {
    const { settings } = read(all());
    const runs = new Runs();
    try {
      const cursor = open(source.name);
      for (let rows = cursor.next(BATCH); rows !== undefined; rows = cursor.next(BATCH)) {
        for (const row of JSON.parse(rows)) runs.add(row);
      }
    } catch (error) {
      throw { tag: "reject", val: `the rows cannot be read: ${error?.payload ?? error?.message ?? error}` };
    }
    const answer = fragment(source.name, runs, settings);
    if (answer === null) {
      throw { tag: "reject", val: "the rows have neither Stdout nor Stderr: they are no shell command's" };
    }
    return answer;
  },
};
