// What saves reloading by hand: a choice is followed at once, and a page follows the files. Pages work without it.
"use strict";

(() => {
  const live = () => document.getElementById("live");
  const status = (text) => {
    const line = document.getElementById("status");
    if (line && line.textContent !== text) line.textContent = text;
  };

  document.documentElement.classList.add("script");

  document.addEventListener("change", (event) => {
    if (event.target.matches("[data-submit]")) event.target.form.requestSubmit();
  });

  // A text for another program: into the clipboard, or at least marked.
  document.addEventListener("click", (event) => {
    const button = event.target.closest("[data-copy]");
    const area = button && document.getElementById(button.dataset.copy);
    if (!area) return;
    area.select();
    const done = () => status("Copied");
    if (navigator.clipboard) navigator.clipboard.writeText(area.value).then(done, () => status("Marked; copy it with Ctrl-C"));
    else status("Marked; copy it with Ctrl-C");
  });

  // A form that is answered while one writes: only the answer is replaced. One question at a time, the last text wins.
  const answers = new WeakMap();
  const stateOf = (form) => {
    if (!answers.has(form)) answers.set(form, { timer: 0, busy: false, again: false });
    return answers.get(form);
  };
  const answer = (form) => {
    const state = stateOf(form);
    clearTimeout(state.timer);
    if (state.busy) {
      state.again = true;
      return;
    }
    state.busy = true;
    state.again = false;
    status("Looking at the events");
    const request = new XMLHttpRequest();
    request.open("POST", form.getAttribute("action"));
    request.responseType = "document";
    request.setRequestHeader("Accept", "text/html");
    request.onloadend = () => {
      state.busy = false;
      const old = document.getElementById(form.dataset.answer);
      const part = request.response && request.response.getElementById(form.dataset.answer);
      if (part && old) {
        old.replaceWith(document.adoptNode(part));
        status(part.querySelector("[role=alert]") ? "The rule is refused" : "The figures are of this text");
      } else {
        status(request.status ? `No answer (${request.status}); load the page again` : "Connection lost");
      }
      if (state.again) answer(form);
    };
    request.send(new URLSearchParams(new FormData(form)));
  };
  document.addEventListener("input", (event) => {
    const form = event.target.form;
    if (!form || !form.dataset.answer) return;
    const state = stateOf(form);
    clearTimeout(state.timer);
    state.timer = setTimeout(() => answer(form), 400);
  });
  document.addEventListener("submit", (event) => {
    if (!event.target.dataset.answer) return;
    event.preventDefault();
    answer(event.target);
  });

  // A frame as high as its mail: the page scrolls, not the frame, so that its place outlives a new mail.
  const fit = (frame) => {
    const root = frame.contentDocument && frame.contentDocument.documentElement;
    if (!root) return;
    frame.style.height = "0";
    frame.style.height = `${Math.max(root.scrollHeight, 80)}px`;
  };
  const fitAll = () => document.querySelectorAll("iframe").forEach((frame) => fit(frame));
  document.addEventListener("load", (event) => {
    if (event.target instanceof HTMLIFrameElement) {
      const [x, y] = [scrollX, scrollY];
      fit(event.target);
      scrollTo(x, y);
    }
  }, true);
  addEventListener("resize", fitAll);
  fitAll();

  // The same address once more; only the part that may have changed is replaced.
  let asked = null;
  const refresh = () => {
    if (!live()) return;
    if (asked) asked.abort();
    const request = new XMLHttpRequest();
    asked = request;
    request.open("GET", location.href);
    request.responseType = "document";
    request.setRequestHeader("Accept", "text/html");
    request.onload = () => {
      asked = null;
      const next = request.response;
      const part = next && next.getElementById("live");
      if (!part || new URL(request.responseURL).pathname !== location.pathname) {
        location.reload();
        return;
      }
      replace(part);
      document.body.dataset.stamp = next.body.dataset.stamp;
      const problem = document.querySelector("#live .problems h2");
      status(problem ? problem.textContent : `Updated at ${new Date().toLocaleTimeString()}`);
    };
    request.onerror = () => { asked = null; };
    request.send();
  };

  const replace = (part) => {
    const [x, y] = [scrollX, scrollY];
    const focused = document.activeElement && document.activeElement.id;
    const heights = [...document.querySelectorAll("#live iframe")].map((frame) => frame.style.height);
    const open = [...document.querySelectorAll("#live details[open][id]")].map((details) => details.id);
    const scrolled = [...document.querySelectorAll("#live [tabindex]")].map((box) => [box.scrollLeft, box.scrollTop]);
    live().replaceWith(document.adoptNode(part));
    document.querySelectorAll("#live iframe").forEach((frame, index) => {
      if (heights[index]) frame.style.height = heights[index];
    });
    open.forEach((id) => { const details = document.getElementById(id); if (details) details.open = true; });
    document.querySelectorAll("#live [tabindex]").forEach((box, index) => {
      if (scrolled[index]) [box.scrollLeft, box.scrollTop] = scrolled[index];
    });
    if (focused && document.activeElement === document.body) {
      const element = document.getElementById(focused);
      if (element) element.focus({ preventScroll: true });
    }
    scrollTo(x, y);
  };

  // Browsers allow few connections to one server: a page that nobody sees gives its own back.
  let source = null;
  const listen = () => {
    if (source || !live()) return;
    source = new EventSource("/events");
    source.addEventListener("stamp", (event) => {
      if (event.data !== document.body.dataset.stamp) refresh();
    });
    source.onerror = () => status("Connection lost; trying again");
    source.onopen = () => status("");
  };
  const leave = () => {
    if (source) source.close();
    source = null;
  };
  document.addEventListener("visibilitychange", () => (document.hidden ? leave() : listen()));
  addEventListener("pagehide", leave);
  addEventListener("pageshow", () => { if (!document.hidden) listen(); });
  listen();
})();
