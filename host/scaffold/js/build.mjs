// Makes the component: node build.mjs [FILE]. `bewit plugin build` calls it.
import { componentize } from "@bytecodealliance/componentize-js";
import { writeFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";

const here = (path) => fileURLToPath(new URL(path, import.meta.url));
const { component } = await componentize({
  sourcePath: here("src/plugin.js"),
  witPath: process.env.BEWIT_WIT ?? here("wit"),
  worldName: process.env.BEWIT_WORLD ?? "@world@",
  // Nothing but the plugin's own interfaces: the host grants no clock, no network, no files.
  disableFeatures: ["random", "stdio", "clocks", "http", "fetch-event"],
});
await writeFile(process.argv[2] ?? "@name@.wasm", component);
