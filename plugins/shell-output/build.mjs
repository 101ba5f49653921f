// Makes the component: node build.mjs [FILE]
import { componentize } from "@bytecodealliance/componentize-js";
import { writeFile } from "node:fs/promises";

const { component } = await componentize({
  sourcePath: new URL("src/plugin.js", import.meta.url).pathname,
  witPath: new URL("../../wit/v0.1", import.meta.url).pathname,
  worldName: "renderer-plugin",
  // Nothing but the plugin's own interfaces: the host grants no WASI.
  disableFeatures: ["random", "stdio", "clocks", "http", "fetch-event"],
});
await writeFile(process.argv[2] ?? "shell-output.wasm", component);
