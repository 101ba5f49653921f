// Makes the component: node build.mjs [FILE]. `bewit plugin build` calls it.
import { componentize } from "@bytecodealliance/componentize-js";
import { writeFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";

const here = (path) => fileURLToPath(new URL(path, import.meta.url));
const { component } = await componentize({
  sourcePath: here("src/plugin.js"),
  witPath: process.env.BEWIT_WIT ?? here("../../../wit/v0.1"),
  worldName: process.env.BEWIT_WORLD ?? "filter-plugin",
  // Nothing but the plugin's own interfaces: the host grants no WASI.
  disableFeatures: ["random", "stdio", "clocks", "http", "fetch-event"],
});
await writeFile(process.argv[2] ?? "js-filter.wasm", component);
