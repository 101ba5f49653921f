// Looks at a few things in an event. `host/benches/plugins.rs` asks the same in a native closure.

// Rows from which on a flow is of interest.
const MANY = 100;

export const about = {
  describe() {
    return {
      name: "js-filter",
      version: "0.1.0",
      summary: "Looks at a few things in an event: a guest of the benchmark.",
      settings: [],
      files: [],
      warm: true,
    };
  },

  checkSettings() {},
};

export const filter = {
  decide(event) {
    const { Flow: flow, client_info: client } = JSON.parse(event.document);
    const rows = flow.total_collected_rows;
    const found =
      flow.state === "FINISHED" &&
      client.labels.includes("vip") &&
      rows >= MANY &&
      flow.request.artifacts.some((name) => name.startsWith("Windows.EventLogs."));
    if (!found) return { tag: "abstain" };
    return { tag: "keep", val: [{ tone: "warning", text: `${client.os_info.fqdn}: ${rows} rows` }] };
  },
};
