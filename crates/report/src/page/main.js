// Where one is, and the keys.

const KEYS = [
  ["Tab, arrow keys", "move in the grid and in the list"],
  ["Enter", "open a cell"],
  ["Esc", "back to all cells"],
  ["n / p", "next and previous failed cell"],
  ["/", "filter cells"],
  ["?", "this list"],
];

// The cell that is shown, by its index.
let current = null;
let scrolled = 0;
let opener = null;

function drawMoves() {
  const failed = failedCells();
  const place = failed.findIndex((cell) => cell.index === current);
  const move = (by, text, key) =>
    make(
      "button",
      {
        type: "button",
        class: "quiet",
        title: `${text} failed cell (${key})`,
        "aria-label": `${text} failed cell`,
        onclick: () => goFailed(by),
      },
      by < 0 ? "‹" : "›",
      " ",
      make("kbd", {}, key),
    );
  byId("moves").replaceChildren(
    ...(failed.length
      ? [
          make(
            "span",
            { class: "count" },
            place >= 0 ? `failed ${place + 1} of ${failed.length}` : `${failed.length} failed`,
          ),
          move(-1, "Previous", "p"),
          move(1, "Next", "n"),
        ]
      : []),
  );
}

function goFailed(by) {
  const failed = failedCells();
  if (!failed.length) {
    say("No cell failed.");
    return;
  }
  const from = current ?? (by > 0 ? -1 : Infinity);
  const ahead =
    by > 0 ? failed.find((cell) => cell.index > from) : failed.findLast((cell) => cell.index < from);
  location.hash = linkTo(ahead ?? (by > 0 ? failed[0] : failed[failed.length - 1]));
}

function overviewTitle() {
  const failed = failedCells().length ? `${failedCells().length} failed` : "";
  if (run.live && !run.ended) {
    const done = run.cells.filter((cell) => !outcomeOf(cell).pending).length;
    return `${[`${done} of ${run.cells.length}`, failed].filter(Boolean).join(", ")} · natrig`;
  }
  return `${failed || "all as expected"} · natrig report`;
}

function route() {
  const cell = cellAt(location.hash);
  const overview = byId("overview"),
    shown = byId("cell");
  hideTip();
  if (cell) {
    if (current === null) {
      scrolled = scrollY;
      opener = document.activeElement;
    }
    current = cell.index;
    overview.hidden = true;
    shown.hidden = false;
    document.title = `${outcomeOf(cell).sign} ${cell.anchor} · natrig report`;
    byId("where").textContent = cell.anchor;
    scrollTo(0, 0);
    showCell(cell).catch((error) => {
      shown.append(missing(`This cell could not be shown: ${error.message}.`));
    });
    byId("main").focus({ preventScroll: true });
    say(`${cell.anchor}: ${outcomeOf(cell).word}`);
  } else {
    const back = current !== null;
    current = null;
    overview.hidden = false;
    shown.hidden = true;
    shown.replaceChildren();
    document.title = overviewTitle();
    byId("where").textContent = run.run.folder;
    if (back) {
      scrollTo(0, scrolled);
      if (opener?.isConnected) opener.focus({ preventScroll: true });
    } else if (location.hash.startsWith("#cell-")) {
      say("This run has no such cell.");
    }
  }
  drawMoves();
}

function showKeys() {
  const dialog = byId("keys");
  dialog.replaceChildren(
    make("h2", { id: "keys-title" }, "Keys"),
    make(
      "dl",
      { class: "pairs" },
      KEYS.map(([key, what]) => [make("dt", {}, make("kbd", {}, key)), make("dd", {}, what)]),
    ),
    make("button", { type: "button", onclick: () => dialog.close() }, "Close"),
  );
  dialog.showModal();
}

document.addEventListener("keydown", (event) => {
  if (event.altKey || event.ctrlKey || event.metaKey || byId("keys").open) return;
  const writing = event.target.matches?.("input, select, textarea");
  if (event.key === "Escape") {
    if (!byId("tip").hidden) hideTip();
    if (writing) event.target.blur();
    else if (current !== null) location.hash = "";
  } else if (writing) {
    return;
  } else if (event.key === "n" || event.key === "p") {
    goFailed(event.key === "n" ? 1 : -1);
  } else if (event.key === "?") {
    showKeys();
  } else if (event.key === "/") {
    event.preventDefault();
    if (current !== null) location.hash = "";
    // The overview is shown when the address has changed.
    setTimeout(() => {
      list?.filter.scrollIntoView({ block: "center" });
      list?.filter.focus({ preventScroll: true });
    }, 0);
  }
});

addEventListener("hashchange", route);
addEventListener("scroll", hideTip, { passive: true });
byId("keys-button").addEventListener("click", showKeys);
document.querySelector(".skip").addEventListener("click", (event) => {
  event.preventDefault();
  byId("main").focus();
});
watchers.add((cells) => {
  drawMoves();
  // A cell that runs is drawn by whoever hears of it.
  if (cells?.some((cell) => cell.index === current && !(run.live && outcomeOf(cell).pending))) route();
});

makeOverview();
route();

// For whoever feeds this page while a run goes on.
globalThis.natrig = { run, take, source };
