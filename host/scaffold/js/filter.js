// @summary@

import { all } from "bewit:plugin/settings@0.1.0";

export const about = {
  describe() {
    return {
      name: "@name@",
      version: "0.1.0",
      summary: "@summary@",
      settings: [{ key: "label", summary: "the client label to look for, a text", required: true }],
      files: [],
      warm: true, // Starting JavaScript takes a while: ask for instances that are kept.
    };
  },

  // What is thrown here is seen by `bewit check`, and not in the night.
  checkSettings() {
    const { label } = JSON.parse(all());
    if (typeof label !== "string" || label === "") {
      throw [{ key: "label", message: "label must be a text that is not empty" }];
    }
  },
};

export const filter = {
  // Asked for each event. `keep` adds notes to the mail, `drop` prevents the mail, `abstain` says nothing.
  decide(event) {
    const { label } = JSON.parse(all());
    if (event.labels.some((each) => each.toLowerCase() === label.toLowerCase())) {
      return { tag: "keep", val: [{ tone: "neutral", text: `${event.host} has the label ${label}.` }] };
    }
    return { tag: "abstain" };
  },
};
