// The studio in a real browser: `node studio.mjs TASK JSON`. Exit code 0 and a line of JSON, or what went wrong.
//
// JSON: { base, modules (a package.json beside node_modules), browser (the program), … of the task }.
import { createRequire } from "node:module";
import fs from "node:fs";
import path from "node:path";

const [task, json] = process.argv.slice(2);
const given = JSON.parse(json);
const require = createRequire(given.modules);
const { chromium } = require("playwright-core");

const check = (holds, what) => { if (!holds) throw new Error(what); };
const browser = await chromium.launch({ executablePath: given.browser, args: ["--no-sandbox"] });

// A page that is watched: whatever it says, asks or loads that it should not is kept.
const open = async (options = {}) => {
  const context = await browser.newContext({ viewport: { width: 1280, height: 800 }, ...options });
  context.setDefaultTimeout(given.patience);
  const wrong = [];
  context.on("request", (request) => {
    const url = request.url();
    if (!url.startsWith(given.base) && !url.startsWith("data:") && !url.startsWith("about:")) wrong.push(`asks ${url}`);
  });
  context.on("page", (page) => {
    page.on("dialog", (dialog) => { wrong.push(`dialog: ${dialog.message()}`); dialog.dismiss(); });
    page.on("console", (message) => {
      if (["error", "warning"].includes(message.type())) wrong.push(`console: ${message.text()} at ${page.url()}`);
    });
    page.on("pageerror", (error) => wrong.push(`error: ${error.message} at ${page.url()}`));
    page.on("popup", (popup) => wrong.push(`opens ${popup.url()}`));
  });
  const page = await context.newPage();
  // Event data that runs would call one of these.
  await page.addInitScript(() => {
    for (const name of ["alert", "confirm", "prompt"]) window[name] = () => { throw new Error(`${name} was called`); };
  });
  return { context, page, wrong };
};
const clean = (wrong) => check(wrong.length === 0, wrong.join("\n"));
const mail = (page) => page.frameLocator("iframe").locator("body");

// Saved as editors do: beside, then renamed.
const save = (file, text) => {
  const aside = path.join(path.dirname(file), `.${path.basename(file)}.new`);
  fs.writeFileSync(aside, text);
  fs.renameSync(aside, file);
};

// Edits a template and sees the page change, breaks it and sees the caret, mends it.
const live = async () => {
  const { page, wrong } = await open({ viewport: { width: 1280, height: 420 } });
  const address = `${given.base}/?event=file%3A0%3A1&width=360&scheme=dark`;
  await page.goto(address);
  const stock = fs.readFileSync(given.template, "utf8");
  const took = [];
  // The page itself says when: asking it again and again from outside would measure the asking.
  const with_ = async (text, word) => {
    const seen = page.evaluate((word) => new Promise((done) => {
      const look = () => {
        const frame = document.querySelector("iframe");
        const inside = frame && frame.contentDocument && frame.contentDocument.body;
        const caret = document.querySelector(".problems .caret");
        if (word ? inside && inside.textContent.includes(word) : caret) done(Date.now());
        else requestAnimationFrame(look);
      };
      look();
    }), word);
    const begun = Date.now();
    save(given.template, text);
    took.push(await seen - begun);
  };
  await mail(page).getByText("Flow details").first().waitFor();
  await page.locator("#event").focus();
  await page.evaluate(() => scrollTo(0, 300));
  const place = () => page.evaluate(() => [scrollY, location.href, document.activeElement.id]);
  const before = await place();
  check(before[0] === 300, `the page scrolls to ${before}`);

  const marked = (word) => `${stock.replace(/{% block content %}/, `{% block content %}<p>${word}</p>`)}`;
  check(marked("X") !== stock, "the template has a place to be marked");
  await with_(marked("WORD-ONE"), "WORD-ONE");
  check(JSON.stringify(await place()) === JSON.stringify(before), `the page stays in place: ${await place()}`);

  await with_(marked("{{ no_such_fact }}"), "");
  const problem = await page.locator("[role=alert] .problems").innerText();
  for (const word of ["no_such_fact", "^^^", "flow-completion.html.j2", "known are", "host"]) {
    check(problem.includes(word), `${word} is missing in: ${problem}`);
  }
  await mail(page).getByText("WORD-ONE").waitFor();
  check((await page.locator("#status").innerText()).includes("not in force"), "the head of the page says it");

  await with_(marked("WORD-TWO"), "WORD-TWO");
  check(await page.locator(".problems").count() === 0, "the problem is gone");

  const config = fs.readFileSync(given.config, "utf8");
  save(given.config, config.replace(/name = "analyst"/, 'name = "watcher"'));
  await page.locator("#rule option", { hasText: "watcher" }).waitFor({ state: "attached" });
  save(given.config, `${config}\n[nonsense]\n`);
  await page.locator(".problems", { hasText: "nonsense" }).waitFor();
  save(given.config, config);
  await page.locator("#rule option", { hasText: "analyst" }).waitFor({ state: "attached" });
  check(await page.locator(".problems").count() === 0, "the configuration is mended");
  check(page.url() === address, `the address stays: ${page.url()}`);
  clean(wrong);
  return { took };
};

// Addresses that pages lead to: every choice, and every two choices together, are seen at least once. All of them in every
// combination would have no end.
const reachable = async (page, visit) => {
  const seen = [];
  const known = new Set();
  const waiting = [...given.start];
  while (waiting.length > 0) {
    const address = waiting.shift();
    const url = new URL(address, given.base);
    url.hash = "";
    if (url.origin !== new URL(given.base).origin) continue;
    const choices = [url.pathname, ...[...url.searchParams].map(([name, value]) => `${url.pathname} ${name}=${value}`)];
    const pairs = choices.flatMap((one, at) => choices.slice(at).map((other) => [one, other].sort().join(" & ")));
    if (pairs.every((pair) => known.has(pair))) continue;
    pairs.forEach((pair) => known.add(pair));
    seen.push(url.href);
    check(seen.length < 400, `there is no end: ${seen.slice(-5)}`);
    for (const found of await visit(url.href)) waiting.push(found);
  }
  return seen;
};

const isFile = (address) => /^\/(preview|mailbox)\/(attachment|mail\.eml)$/.test(new URL(address).pathname);

// Walks every page with a hostile event: nothing runs, nothing asks elsewhere, nothing complains.
const walk = async () => {
  const { context, page, wrong } = await open();
  const visited = await reachable(page, async (address) => {
    if (isFile(address)) {
      const answer = await context.request.get(address);
      const headers = answer.headers();
      check((headers["content-disposition"] || "").startsWith("attachment"), `${address} is no download`);
      check((headers["content-security-policy"] || "").includes("sandbox"), `${address} is not in a sandbox`);
      return [];
    }
    const answer = await page.goto(address, { waitUntil: "load" });
    check(answer.ok(), `${address}: ${answer.status()}`);
    const found = await page.evaluate(() => {
      const own = [...document.scripts].map((script) => script.getAttribute("src"));
      const documents = [document, ...[...document.querySelectorAll("iframe")].map((frame) => frame.contentDocument)];
      const bad = documents.flatMap((inner) => [...inner.querySelectorAll("*")].flatMap((element) => {
        const names = element.getAttributeNames();
        const handlers = names.filter((name) => name.startsWith("on"));
        const scripts = inner !== document && element.localName === "script" ? ["script"] : [];
        const links = names.filter((name) => /^\s*(javascript|vbscript|data:text)/i.test(element.getAttribute(name) || "")
          && ["href", "src", "action", "formaction"].includes(name));
        const inline = inner === document && names.includes("style") && element.localName !== "iframe" ? ["style"] : [];
        return [...handlers, ...scripts, ...links, ...inline].map((name) => `${element.localName} ${name}`);
      }));
      const links = [...document.querySelectorAll("a[href]")].map((link) => link.href);
      return { own, bad, links, frames: documents.length - 1 };
    });
    check(found.own.length === 1 && found.own[0] === "/assets/studio.js", `scripts of ${address}: ${found.own}`);
    check(found.bad.length === 0, `${address} has ${found.bad}`);
    return found.links;
  });
  // A link of the mail leads nowhere from inside the frame.
  await page.goto(given.frame);
  const link = page.frameLocator("iframe").locator("a[href^=https]").first();
  if (await link.count() > 0) {
    const quiet = wrong.length;
    await link.click();
    await page.evaluate(() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done))));
    const asked = wrong.splice(quiet).filter((line) => !line.startsWith("console: Blocked opening"));
    check(asked.length === 0, asked.join("\n"));
    await mail(page).getByText("Flow details").first().waitFor();
  }
  clean(wrong);
  return { visited: visited.length };
};

// Edits a rule and sees what would change while writing, breaks it and sees the caret, mends and copies it.
const whatif = async () => {
  const { page, wrong } = await open();
  const address = `${given.base}/explain?event=stored%3A4&rule=network`;
  await page.goto(address);
  const area = page.getByLabel(/The rule in the configuration file/);
  const rule = await area.inputValue();
  check(rule.startsWith("[[rule]]\nname = \"network\""), rule);
  const answer = page.locator("#answer");
  await area.fill(rule.replace("Netstat", "Netstat|Pslist"));
  await answer.getByText("3 new, 0 gone, 0 changed").waitFor();
  check(await page.evaluate(() => document.activeElement.id) === "toml", "the writer stays where they write");
  await area.press("End");
  await area.pressSequentially("\nrecipient = []");
  await answer.locator(".problems .caret").waitFor();
  const problem = await answer.innerText();
  check(problem.includes("recipient") && problem.includes("^^^"), problem);
  check(await page.locator("#status").innerText() === "The rule is refused", "the head of the page says it");
  await area.fill(rule.replace("Netstat", "Nothing"));
  await answer.getByText("0 new, 1 gone, 0 changed").waitFor();
  check(await answer.locator(".problems").count() === 0, "the problem is gone");
  // A saved configuration renews the decision, not the text that is being written.
  const config = fs.readFileSync(given.config, "utf8");
  save(given.config, config.replace('artifacts_to_alert_on = "Netstat"', 'artifacts_to_alert_on = "Net.tat"'));
  await page.locator("#live").getByText("matches `Net.tat`").waitFor();
  check((await area.inputValue()).includes("Nothing"), "what is written stays");
  await page.getByRole("button", { name: "Copy the TOML" }).click();
  const marked = await area.evaluate((box) => box.value.slice(box.selectionStart, box.selectionEnd));
  check(marked === await area.inputValue(), "the whole text is marked");
  check(page.url() === address, `the address stays: ${page.url()}`);
  clean(wrong);
  return {};
};

// axe-core finds nothing on any kind of page, light and dark, wide and narrow.
const axe = async () => {
  const source = fs.readFileSync(require.resolve("axe-core/axe.min.js"), "utf8");
  const found = [];
  let pages = 0;
  for (const [colorScheme, width] of [["light", 1280], ["dark", 1280], ["light", 390]]) {
    // The pages' own policy would keep axe out.
    const { context, page } = await open({ colorScheme, bypassCSP: true, viewport: { width, height: 800 } });
    for (const address of given.pages) {
      await page.goto(new URL(address, given.base).href, { waitUntil: "load" });
      await page.evaluate(source);
      // The mail inside the frame has a check of its own.
      const result = await page.evaluate(() => window.axe.run(document, {
        iframes: false,
        runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"],
      }));
      pages += 1;
      for (const violation of result.violations) {
        const where = violation.nodes.slice(0, 3).map((node) => `${node.target} ${node.failureSummary}`).join("; ");
        found.push(`${address} (${colorScheme}, ${width}): ${violation.id}: ${violation.help}: ${where}`);
      }
      const wide = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
      if (wide > 0) found.push(`${address} (${width}) is ${wide} px too wide`);
    }
    await context.close();
  }
  check(found.length === 0, found.join("\n"));
  return { pages };
};

// By keyboard alone: the skip link, the choices, the focus that can be seen.
const keyboard = async () => {
  const { page, wrong } = await open();
  await page.goto(`${given.base}/`);
  await page.keyboard.press("Tab");
  check(await page.evaluate(() => document.activeElement.className) === "skip", "the skip link comes first");
  await page.keyboard.press("Enter");
  check(await page.evaluate(() => document.activeElement.id) === "main", "it leads to the content");
  await page.keyboard.press("Tab");
  check(await page.evaluate(() => document.activeElement.id) === "event", "the first choice is the event");
  const event = () => page.locator("#event").inputValue();
  const before = await event();
  await Promise.all([page.waitForURL(/event=/), page.keyboard.press("ArrowDown")]);
  check(await event() !== before, "an arrow key chooses the next event");
  const reached = new Set();
  for (let step = 0; step < 60; step += 1) {
    await page.keyboard.press("Tab");
    const now = await page.evaluate(() => {
      const element = document.activeElement;
      const style = getComputedStyle(element);
      const visible = element === document.body || element.localName === "iframe" || style.outlineStyle !== "none";
      return { name: element.textContent.trim().slice(0, 20), tag: element.localName, visible };
    });
    check(now.visible, `the focus on ${now.tag} ${now.name} cannot be seen`);
    reached.add(now.name);
  }
  for (const name of ["Phone", "Dark", "Text", "Paste an event"]) check(reached.has(name), `${name} cannot be reached`);
  clean(wrong);
  return { reached: reached.size };
};

// Pages work without a script.
const bare = async () => {
  const { page } = await open({ javaScriptEnabled: false });
  await page.goto(`${given.base}/`);
  await page.locator("#event").selectOption("sample:failed");
  await page.getByRole("button", { name: "Show" }).click();
  await page.waitForURL(/event=sample%3Afailed/);
  await page.getByRole("link", { name: "Text", exact: true }).click();
  check((await page.locator("pre.text").innerText()).length > 100, "the text is shown");
  await page.getByText("Paste an event").click();
  await page.getByLabel(/One event as JSON/).fill('{\n"type":"System.Flow.Completion",\n"ClientId":"C.77","FlowId":"F.77"}');
  await page.getByRole("button", { name: "Look at it" }).click();
  await page.waitForURL(/event=pasted/);
  check((await page.locator("aside").innerText()).includes("C.77"), "the pasted event is shown");
  await page.goto(`${given.base}/explain?event=sample%3Afinished`);
  const area = page.getByLabel(/The rule in the configuration file/);
  await area.fill((await area.inputValue()).replace("[[rule]]", "[[rule]]\nartifacts_to_alert_on = 'Nothing'"));
  await page.getByRole("button", { name: "See what would change" }).click();
  await page.getByText(/0 new, [0-9]+ gone/).waitFor();
  check((await area.inputValue()).includes("Nothing"), "the text is still there");
  return {};
};

// Logs in, and out.
const login = async () => {
  const { page, wrong } = await open();
  await page.goto(`${given.base}/?view=text`);
  check(page.url().includes("/login"), `${page.url()} asks for the token`);
  await page.getByLabel("Token").fill("wrong");
  await page.getByRole("button", { name: "Log in" }).click();
  await page.getByRole("alert").waitFor();
  // Chromium reports the status of the page itself.
  check(wrong.splice(0).every((line) => line.includes("403")), "nothing but the refusal is said");
  await page.getByLabel("Token").fill(given.token);
  await page.getByRole("button", { name: "Log in" }).click();
  await page.waitForURL(/view=text/);
  check((await page.content()).includes(given.token) === false, "the token is in no page");
  await page.getByRole("button", { name: "Log out" }).click();
  await page.waitForURL(/\/login/);
  clean(wrong);
  return {};
};

const tasks = { live, walk, whatif, axe, keyboard, bare, login };
let code = 0;
try {
  console.log(JSON.stringify(await tasks[task]()));
} catch (error) {
  console.error(error.message);
  code = 1;
}
await browser.close();
process.exit(code);
