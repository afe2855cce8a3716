// The grid: a square for each pair of gateways, or for each cell where they make no matrix.

// A path's letter; those of the terminal.
function letterOf(cell) {
  const path = cell.came_to ?? "";
  if (path === "relay") return "L";
  if (path === "mixed") return "%";
  if (path === "" || path === "none") return "–";
  return path[0].toUpperCase();
}

// Gateways down and across with the cells of each pair; none where that is no grid.
function matrixOf(cells) {
  const rows = [],
    columns = [],
    squares = new Map();
  for (const cell of cells) {
    if (cell.nats.length !== 2) return null;
    const [row, column] = cell.nats;
    if (!rows.includes(row)) rows.push(row);
    if (!columns.includes(column)) columns.push(column);
    const key = JSON.stringify(cell.nats);
    squares.set(key, [...(squares.get(key) ?? []), cell]);
  }
  const filled = squares.size * 2 > rows.length * columns.length;
  return rows.length > 1 && columns.length > 1 && filled ? { rows, columns, squares } : null;
}

// Which of several cells a square shows: the gravest that failed, else one that is not over yet.
function shownOf(cells) {
  const cell = gravest(cells);
  if (hasFailed(cell)) return cell;
  const pending = cells.filter((one) => outcomeOf(one).pending);
  return pending.find((one) => one.running) ?? pending[0] ?? cell;
}

function describe(cells) {
  const cell = shownOf(cells);
  if (outcomeOf(cell).pending) {
    const done = cells.filter((one) => !outcomeOf(one).pending).length;
    const counted = cells.length > 1 ? `${done} of ${cells.length} runs have ended; ` : "";
    return `${cell.gateways}: ${counted}${outcomeOf(cell).word}; expected ${cell.expected}`;
  }
  const good = cells.filter((one) => one.outcome === "as-expected").length;
  const counted = cells.length > 1 ? `${good} of ${cells.length} runs as expected; the gravest: ` : "";
  return (
    `${cell.gateways}: ${counted}${outcomeOf(cell).word}; expected ${cell.expected}, wire ${cell.wire}, ` +
    `node says ${cell.claims}, connected in ${time(cell.connect_ms)}`
  );
}

// How long a cell has run that runs.
function sinceOf(cell) {
  return cell.began === undefined ? "" : minutes(runClock() - cell.began);
}

// What a square shows: a sign and a word, never colour alone.
function fillSquare(square, cells, roomy) {
  const cell = shownOf(cells);
  const outcome = outcomeOf(cell);
  square.className = `square ${cell.outcome ?? (cell.running ? "pending running" : "pending")}`;
  square.setAttribute("aria-label", describe(cells));
  const good = cells.filter((one) => one.outcome === "as-expected").length;
  const many = cells.length > 1;
  const word = many
    ? `${good}/${cells.length}`
    : roomy
      ? (cell.came_to ?? (cell.running || cell.outcome ? outcome.word.toLowerCase() : ""))
      : outcome.pending
        ? (cell.running ?? "").slice(0, 1)
        : letterOf(cell);
  square.replaceChildren(
    make("span", { class: "sign", "aria-hidden": true }, outcome.sign),
    make("span", { class: "word" }, word),
    roomy && !many ? make("span", { class: "small" }, outcome.pending ? sinceOf(cell) : time(cell.connect_ms)) : "",
  );
}

function showTip(square, cells) {
  const tip = byId("tip");
  const cell = shownOf(cells);
  const line = (head, text) => (text ? [make("dt", {}, head), make("dd", {}, text)] : []);
  tip.replaceChildren(
    make(
      "strong",
      {},
      cells.length > 1 ? `${cell.gateways}: ${cells.length} runs` : `${cell.name} [${cell.anchor}]`,
    ),
    make(
      "dl",
      {},
      line("NATs", cell.gateways),
      line("expected", cell.expected),
      line("on the wire", cell.wire),
      line("node says", cell.claims),
      line("connected in", outcomeOf(cell).pending ? "" : time(cell.connect_ms)),
      line("outcome", `${outcomeOf(cell).sign} ${outcomeOf(cell).word}`),
    ),
  );
  tip.hidden = false;
  const place = square.getBoundingClientRect(),
    size = tip.getBoundingClientRect();
  const left = Math.min(Math.max(8, place.left), innerWidth - size.width - 8);
  const below = place.bottom + 6 + size.height < innerHeight;
  tip.style.left = `${Math.max(8, left)}px`;
  tip.style.top = `${below ? place.bottom + 6 : Math.max(8, place.top - size.height - 6)}px`;
}

function hideTip() {
  byId("tip").hidden = true;
}

// The element, with a function that draws one cell's square anew.
function makeGrid() {
  const squares = new Map();
  const cellsOf = new WeakMap();
  const matrix = matrixOf(run.cells);
  const roomy = matrix ? matrix.columns.length <= 8 : run.cells.length <= 60;

  const makeSquare = (cells, attributes) => {
    const square = make("button", { type: "button", tabindex: -1, ...attributes });
    cellsOf.set(
      square,
      cells.map((cell) => cell.index),
    );
    cells.forEach((cell) => squares.set(cell.index, square));
    fillSquare(square, cells, roomy);
    return square;
  };
  const now = (square) => cellsOf.get(square).map((index) => run.cells[index]);

  let body, step;
  if (matrix) {
    const { rows, columns } = matrix;
    const head = make(
      "tr",
      {},
      make("td", { class: "corner" }, "NAT 1 ↓  NAT 2 →"),
      columns.map((name) => make("th", { scope: "col" }, make("span", {}, name))),
    );
    const line = (row) =>
      make(
        "tr",
        {},
        make("th", { scope: "row" }, row),
        columns.map((column) => {
          const cells = matrix.squares.get(JSON.stringify([row, column]));
          return make("td", {}, cells ? makeSquare(cells) : make("span", { class: "none" }, "·"));
        }),
      );
    body = make(
      "table",
      { class: roomy ? "matrix roomy" : "matrix compact" },
      make("caption", { class: "unseen" }, "Cells by their gateways: site 1 down, site 2 across"),
      make("thead", {}, head),
      make("tbody", {}, rows.map(line)),
    );
    step = () => columns.length;
  } else {
    body = make(
      "div",
      { class: roomy ? "tiles roomy" : "tiles compact" },
      run.cells.map((cell) => makeSquare([cell])),
    );
    // As many as stand in the first row.
    step = () => {
      const all = [...body.children];
      const below = all.findIndex((one) => one.offsetTop > all[0].offsetTop);
      return below < 0 ? all.length : below;
    };
  }
  const box = make(
    "div",
    { class: "wide", id: "grid", role: "group", "aria-label": "Grid of cells; arrow keys move, Enter opens" },
    body,
  );
  const all = [...box.querySelectorAll("button")];
  if (all.length) (all.find((square) => now(square).some(hasFailed)) ?? all[0]).tabIndex = 0;
  rove(box, () => all, step);

  const over = (event) => event.target.closest?.("button.square");
  box.addEventListener("pointerover", (event) => {
    const square = event.pointerType === "touch" ? null : over(event);
    if (square) showTip(square, now(square));
  });
  box.addEventListener("pointerleave", hideTip);
  box.addEventListener("focusin", (event) => {
    if (over(event)?.matches(":focus-visible")) showTip(over(event), now(over(event)));
  });
  box.addEventListener("focusout", hideTip);
  box.addEventListener("click", (event) => {
    const square = over(event);
    if (!square) return;
    hideTip();
    const cells = now(square);
    if (cells.length === 1) location.hash = linkTo(cells[0]);
    else filterBy(`"${cells[0].gateways}"`);
  });

  return {
    box,
    redraw(cell) {
      const square = squares.get(cell.index);
      if (square) fillSquare(square, now(square), roomy);
      return Boolean(square);
    },
  };
}

function gridLegend() {
  const outcomes = Object.entries(OUTCOMES).map(([name, outcome]) =>
    make("li", {}, make("span", { class: `chip ${name}` }, outcome.sign), ` ${outcome.word}`),
  );
  const runs = run.live
    ? make("li", {}, make("span", { class: "chip" }, "▸"), " runs, and what it waits for")
    : "";
  const letters = make("li", { class: "letters" }, "D direct · R reversal · P punch · B birthday · L relay");
  return make("ul", { class: "legend", "aria-label": "What the signs mean" }, runs, outcomes, letters);
}
