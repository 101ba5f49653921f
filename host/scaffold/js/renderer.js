// @summary@

import { all } from "bewit:plugin/settings@0.1.0";
import { open } from "bewit:plugin/results@0.1.0";

export const about = {
  describe() {
    return {
      name: "@name@",
      version: "0.1.0",
      summary: "@summary@",
      settings: [{ key: "rows", summary: "how many rows are shown, from 1 to 100; default 5", required: false }],
      files: [],
      warm: true, // Starting JavaScript takes a while: ask for instances that are kept.
    };
  },

  // What is thrown here is seen by `bewit check`, and not in the night.
  checkSettings() {
    const { rows = 5 } = JSON.parse(all());
    if (!Number.isInteger(rows) || rows < 1 || rows > 100) {
      throw [{ key: "rows", message: "rows must be a whole number from 1 to 100" }];
    }
  },
};

export const renderer = {
  // Asked for each source that the rule gives it. Rows come as a stream: what is not read costs nothing.
  render(source, _event) {
    const { rows: limit = 5 } = JSON.parse(all());
    const cursor = open(source.name);
    const columns = cursor.columns();
    const rows = [];
    while (rows.length < limit) {
      const text = cursor.next(limit - rows.length);
      if (text === undefined) break;
      rows.push(...JSON.parse(text));
    }
    const cell = (value) => (typeof value === "string" ? value : value === undefined ? "" : JSON.stringify(value));
    const table = {
      columns: columns.map((name) => ({ name, alignment: "start" })),
      rows: rows.map((row) => columns.map((name) => cell(row[name]))),
      total: cursor.total(), // A BigInt, as every u64.
    };
    return { title: "", blocks: [{ tag: "table", val: table }], attachments: [] };
  },
};
