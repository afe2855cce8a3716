// Making elements. What comes from a run is only ever set as text or as an attribute that is known to be harmless.

const SVG = "http://www.w3.org/2000/svg";

function fillElement(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name === "onclick") element.addEventListener("click", value);
    else element.setAttribute(name, value === true ? "" : String(value));
  }
  for (const child of children.flat(Infinity)) {
    if (child === null || child === undefined || child === false) continue;
    element.append(child instanceof Node ? child : String(child));
  }
  return element;
}

// An element with attributes and children; strings become text.
function make(name, attributes, ...children) {
  return fillElement(document.createElement(name), attributes, children);
}

function draw(name, attributes, ...children) {
  return fillElement(document.createElementNS(SVG, name), attributes, children);
}

const byId = (id) => document.getElementById(id);

// A table under heads; fields may be elements. On narrow screens it scrolls in its box.
function makeTable(caption, heads, rows, classes) {
  const head = make(
    "tr",
    {},
    heads.map((text) => make("th", { scope: "col" }, text)),
  );
  const body = rows.map((row) =>
    make(
      "tr",
      { class: row.mark },
      (row.fields ?? row).map((field) => make("td", {}, field)),
    ),
  );
  return make(
    "div",
    { class: "wide", tabindex: 0, role: "region", "aria-label": caption },
    make(
      "table",
      { class: classes },
      make("caption", { class: "unseen" }, caption),
      make("thead", {}, head),
      make("tbody", {}, body),
    ),
  );
}

function section(title, id, ...children) {
  return make("section", { id, "aria-label": title }, make("h2", {}, title), ...children);
}

function note(...children) {
  return make("p", { class: "note" }, ...children);
}

// Something that could not be shown, said in its place.
function missing(sentence) {
  return make("p", { class: "missing" }, make("span", { class: "tag" }, "not here"), " ", sentence);
}

// A button that copies a text.
function copyButton(text) {
  const button = make("button", { type: "button", class: "quiet" }, "Copy");
  button.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(text);
      button.textContent = "Copied";
    } catch {
      // A page from a file may not be allowed to: then the text is selected, to be copied by hand.
      const shown = button.parentElement?.querySelector("code");
      if (shown) getSelection()?.selectAllChildren(shown);
      button.textContent = "Selected";
    }
    setTimeout(() => {
      button.textContent = "Copy";
    }, 2000);
  });
  return button;
}

function command(text) {
  if (!text) return note("The command is not known.");
  return make("div", { class: "command" }, make("code", { tabindex: 0 }, text), copyButton(text));
}

// Milliseconds as people read them.
function time(ms) {
  if (typeof ms !== "number" || !Number.isFinite(ms)) return "–";
  const size = Math.abs(ms);
  if (size < 0.05) return "0 ms";
  if (size < 100) return `${ms.toFixed(1)} ms`;
  if (size < 1000) return `${ms.toFixed(0)} ms`;
  return `${(ms / 1000).toFixed(size < 10000 ? 3 : 2)} s`;
}

// A span of time in minutes and seconds, or hours.
function minutes(ms) {
  const seconds = Math.max(0, Math.round(ms / 1000));
  const two = (number) => String(number).padStart(2, "0");
  if (seconds < 3600) return `${Math.floor(seconds / 60)}:${two(seconds % 60)}`;
  return `${Math.floor(seconds / 3600)}:${two(Math.floor(seconds / 60) % 60)}:${two(seconds % 60)}`;
}

function bytes(count) {
  if (count < 10240) return `${count} B`;
  if (count < 10240 * 1024) return `${Math.round(count / 1024)} KiB`;
  return `${Math.round(count / 1024 / 1024)} MiB`;
}

function plural(count, one, many) {
  return `${count} ${count === 1 ? one : many}`;
}

// Says something to those who do not see the page.
function say(text) {
  byId("said").textContent = text;
}

// One tab stop for many elements, among which the arrow keys move. `step` tells how far up and down is.
function rove(box, elements, step) {
  let at = 0;
  const shown = () => elements().filter((element) => !element.hidden);
  const go = (to) => {
    const all = shown();
    if (!all.length) return;
    elements().forEach((element) => {
      element.tabIndex = -1;
    });
    at = Math.max(0, Math.min(all.length - 1, to));
    all[at].tabIndex = 0;
    all[at].focus();
  };
  box.addEventListener("keydown", (event) => {
    if (event.altKey || event.ctrlKey || event.metaKey) return;
    const here = shown().indexOf(document.activeElement);
    if (here < 0) return;
    const moves = {
      ArrowLeft: here - 1,
      ArrowRight: here + 1,
      ArrowUp: here - step(),
      ArrowDown: here + step(),
      Home: 0,
      End: Infinity,
    };
    if (!(event.key in moves)) return;
    const to = moves[event.key];
    event.preventDefault();
    // Up from the first row and down from the last one stay where they are.
    if (to >= 0 && (to < shown().length || to === Infinity)) go(to);
  });
  box.addEventListener("focusin", (event) => {
    if (!elements().includes(event.target)) return;
    elements().forEach((element) => {
      element.tabIndex = -1;
    });
    event.target.tabIndex = 0;
  });
}

// Text in lines of at most so many letters.
function wrap(text, most) {
  const lines = [""];
  for (const word of String(text).split(/\s+/)) {
    let rest = word;
    const last = lines[lines.length - 1];
    if (last && last.length + 1 + rest.length <= most) {
      lines[lines.length - 1] = `${last} ${rest}`;
      continue;
    }
    if (last) lines.push("");
    while (rest.length > most) {
      lines[lines.length - 1] = rest.slice(0, most);
      rest = rest.slice(most);
      lines.push("");
    }
    lines[lines.length - 1] = rest;
  }
  return lines;
}
