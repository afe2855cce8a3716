// The first screen: what came of the run, what failed and why; then the grid, all cells, figures and circumstances.

// Failed cells told at length, and those named in a line.
const TOLD = 5;
const NAMED = 100;

// Rows that are laid out together, and only when they are near the screen.
const GROUP = 50;

let list = null;

function headline() {
  const all = run.cells.length,
    failed = failedCells().length;
  if (run.live && !run.ended) return liveHeadline();
  if (!all) return "No cell ran.";
  if (!failed) return all === 1 ? "The cell ended as expected." : `All ${all} cells ended as expected.`;
  return all === 1
    ? "The cell did not end as expected."
    : `${failed} of ${all} cells did not end as expected.`;
}

function makeTotals() {
  const count = totals();
  return make(
    "ul",
    { class: "totals" },
    Object.entries(OUTCOMES)
      .filter(([name]) => count[name])
      .map(([name, outcome]) =>
        make(
          "li",
          {},
          make(
            "button",
            {
              type: "button",
              class: "total",
              title: "Show these in the list",
              onclick: () => filterBy(`outcome:${name}`),
            },
            make("span", { class: `chip ${name}` }, outcome.sign),
            make("b", {}, count[name]),
            ` ${outcome.word}`,
          ),
        ),
      ),
  );
}

function makeHead() {
  const info = run.run;
  const ground = [
    info.backend === "sim" ? "simulator" : [info.backend, info.accelerator].filter(Boolean).join(" on "),
    info.started.replace("T", " ").replace("Z", " UTC"),
    info.elapsed_ms ? `took ${time(info.elapsed_ms)}` : "",
    info.started ? `seed ${run.seed}` : "",
  ].filter(Boolean);
  return make(
    "div",
    { class: "head" },
    make("h1", { class: failedCells().length ? "bad" : run.live && !run.ended ? "" : "good" }, headline()),
    run.interrupted ? make("p", { class: "notice" }, "The run was interrupted: cells may be missing.") : "",
    makeTotals(),
    make("p", { class: "facts" }, ground.join(" · ")),
  );
}

// The reason begins with the step, which is shown apart from it.
function withoutStep(cell) {
  const reason = cell.reason ?? "No reason was recorded.";
  return reason.startsWith(`${cell.step}: `) ? reason.slice(cell.step.length + 2) : reason;
}

// What failed, at which step, the sentence, the lines that matter, and what to do.
function makeCause(cell, { linked }) {
  const outcome = outcomeOf(cell);
  const title = [
    make("span", { class: `chip ${cell.outcome}` }, outcome.sign),
    make("span", { class: "outcome" }, outcome.word),
  ];
  const repetition = cell.repetition ? `, repetition ${cell.repetition}` : "";
  return make(
    "div",
    { class: `cause ${cell.outcome}` },
    make(
      linked ? "h3" : "h2",
      {},
      title,
      linked ? make("a", { href: linkTo(cell) }, cell.name) : "",
      linked ? make("span", { class: "dim" }, ` ${cell.gateways} [${cell.id}${repetition}]`) : "",
    ),
    make(
      "p",
      { class: "reason" },
      cell.step ? make("span", { class: "step" }, "failed at ", make("b", {}, cell.step), ": ") : "",
      withoutStep(cell),
    ),
    cell.lines?.length
      ? make(
          "pre",
          { class: "lines", tabindex: 0 },
          cell.lines.join("\n") + (cell.more ? `\n… and ${cell.more} more` : ""),
        )
      : "",
    cell.besides?.length ? make("pre", { class: "lines", tabindex: 0 }, cell.besides.join("\n")) : "",
    cell.hint ? make("p", { class: "hint" }, make("b", {}, "hint: "), cell.hint) : "",
  );
}

function makeFailures() {
  // A lab error says nothing about the node; what does comes first.
  const [others, ofLab] = [false, true].map((lab) =>
    failedCells().filter((cell) => (cell.outcome === "lab-error") === lab),
  );
  const failed = [...others, ...ofLab];
  if (!failed.length) return "";
  const rest = failed.slice(TOLD),
    named = rest.slice(0, NAMED);
  return section(
    failed.length === 1 ? "What failed" : `What failed: ${failed.length} cells`,
    "failures",
    failed.slice(0, TOLD).map((cell) => makeCause(cell, { linked: true })),
    named.length
      ? make(
          "ul",
          { class: "named" },
          named.map((cell) =>
            make(
              "li",
              {},
              make("span", { class: `chip ${cell.outcome}` }, outcomeOf(cell).sign),
              " ",
              make("a", { href: linkTo(cell) }, cell.anchor),
              " ",
              make("span", { class: "dim" }, cell.reason ?? ""),
            ),
          ),
        )
      : "",
    rest.length > named.length
      ? make(
          "p",
          {},
          make(
            "button",
            {
              type: "button",
              class: "quiet",
              onclick: () => filterBy("outcome:failed"),
            },
            `All ${failed.length} failed cells in the list`,
          ),
        )
      : "",
  );
}

const FIELDS = [
  ["scenario", (cell) => (cell.priority ? `${cell.priority} ${cell.name}` : cell.name)],
  ["NATs", (cell) => cell.gateways],
  ["expected", (cell) => cell.expected],
  ["on the wire", (cell) => cell.wire],
  ["node says", (cell) => cell.claims],
  ["connect", (cell) => (outcomeOf(cell).pending ? sinceOf(cell) : time(cell.connect_ms))],
];

// What a filter is held against.
const textOf = (cell) =>
  [cell.anchor, outcomeOf(cell).word, ...FIELDS.map(([, of]) => of(cell))].join(" ").toLowerCase();

function makeRow(cell) {
  const row = make("a", { class: "row", href: linkTo(cell), tabindex: -1, "data-index": cell.index });
  fillRow(row, cell);
  return row;
}

function fillRow(row, cell) {
  const outcome = outcomeOf(cell);
  row.replaceChildren(
    make(
      "span",
      { class: "field outcome" },
      make("span", { class: `chip ${cell.outcome}` }, outcome.sign),
      ` ${outcome.word}`,
    ),
    make("span", { class: "field id" }, cell.anchor),
    ...FIELDS.map(([name, of]) =>
      make("span", { class: `field ${name.replaceAll(" ", "-")}`, "data-head": name }, of(cell)),
    ),
  );
}

function makeList() {
  const rows = run.cells.map(makeRow);
  const groups = [];
  for (let at = 0; at < rows.length; at += GROUP)
    groups.push(make("div", { class: "group" }, rows.slice(at, at + GROUP)));
  if (rows.length) rows[0].tabIndex = 0;
  const filter = make("input", {
    type: "search",
    id: "filter",
    placeholder: 'Filter: words, "a phrase", outcome:failed',
    "aria-label": "Filter cells",
    autocomplete: "off",
    spellcheck: "false",
  });
  const count = make("span", { class: "count", role: "status" });
  const heads = make(
    "div",
    { class: "row heads", "aria-hidden": true },
    ["outcome", "ID", ...FIELDS.map(([name]) => name)].map((name) =>
      make("span", { class: `field ${name.toLowerCase().replaceAll(" ", "-")}` }, name),
    ),
  );
  const box = make(
    "div",
    { class: "list", role: "group", "aria-label": "All cells; arrow keys move, Enter opens" },
    heads,
    groups,
  );
  const none = note("No cell fits this filter.");
  rove(
    box,
    () => rows,
    () => 1,
  );

  const apply = () => {
    const words = (filter.value.toLowerCase().match(/"[^"]*"|\S+/g) ?? [])
      .map((word) => word.replaceAll('"', ""))
      .filter(Boolean);
    let shown = 0;
    rows.forEach((row, index) => {
      const cell = run.cells[index];
      const fits = (word) => {
        if (word === "outcome:failed") return hasFailed(cell);
        if (word.startsWith("outcome:")) return cell.outcome === word.slice("outcome:".length);
        return textOf(cell).includes(word);
      };
      row.hidden = !words.every(fits);
      shown += row.hidden ? 0 : 1;
    });
    groups.forEach((group) => {
      group.hidden = [...group.children].every((row) => row.hidden);
    });
    none.hidden = shown > 0;
    count.textContent = words.length ? `${shown} of ${rows.length}` : plural(rows.length, "cell", "cells");
    const stop = rows.find((row) => row.tabIndex === 0 && !row.hidden) ?? rows.find((row) => !row.hidden);
    rows.forEach((row) => {
      row.tabIndex = row === stop ? 0 : -1;
    });
  };
  filter.addEventListener("input", apply);
  filter.addEventListener("keydown", (event) => {
    if (event.key === "ArrowDown" || event.key === "Enter") {
      event.preventDefault();
      rows.find((row) => !row.hidden)?.focus();
    } else if (event.key === "Escape") {
      event.stopPropagation();
      filter.value = "";
      apply();
      filter.blur();
    }
  });
  apply();
  return {
    box: section(
      "All cells",
      "all",
      make("div", { class: "tools" }, filter, make("kbd", { title: "Key that leads here" }, "/"), count),
      box,
      none,
    ),
    filter,
    apply,
    redraw(cell) {
      if (rows[cell.index]) fillRow(rows[cell.index], cell);
      return Boolean(rows[cell.index]);
    },
  };
}

function filterBy(text) {
  list.filter.value = text;
  list.apply();
  byId("all").scrollIntoView({ block: "start" });
  list.filter.focus({ preventScroll: true });
}

function makeFigures() {
  if (!run.metrics.length) return "";
  const better = { less: "less is better", more: "more is better", neither: "" };
  const rows = run.metrics.map((metric) => [
    metric.name,
    Object.entries(metric.labels ?? {})
      .map(([name, value]) => `${name} ${value}`)
      .join(", "),
    make("span", { class: "number" }, Number(metric.value?.toPrecision?.(4) ?? NaN).toString()),
    better[metric.better] ?? "",
  ]);
  return section("Figures", "figures", makeTable("Figures of the run", ["figure", "of", "value", ""], rows));
}

function makeRepeats() {
  if (!run.repeats.length) return "";
  const rows = run.repeats.map((repeats) => [
    make("a", { href: `#cell-${encodeURIComponent(repeats.id)}` }, repeats.id),
    [
      make("span", { class: `chip ${repeats.outcome}` }, OUTCOMES[repeats.outcome]?.sign ?? "·"),
      " ",
      repeats.flaky ? "FLAKY" : (OUTCOMES[repeats.outcome]?.word ?? ""),
    ],
    repeats.share,
  ]);
  return section(
    "Repetitions",
    "repeats",
    makeTable("Repeated cells", ["cell", "outcome", "as expected (95 % confidence)"], rows),
  );
}

function makeCircumstances() {
  const info = run.run;
  const known = [
    ["natrig", info.natrig],
    ["backend", info.backend],
    ["accelerator", info.accelerator],
    ["host", info.host],
    ["QEMU", info.qemu],
    ["guest kernel", info.guest_kernel],
    ["image", info.image],
    ["started", info.started],
    ["seed", run.seed],
    ["folder", info.folder],
  ];
  return section(
    "How it ran",
    "circumstances",
    make(
      "dl",
      { class: "pairs" },
      known
        .filter(([, value]) => value !== "")
        .map(([name, value]) => [make("dt", {}, name), make("dd", {}, value)]),
    ),
    command(info.command.join(" ")),
    note(run.line),
  );
}

// Draws the first screen, and lets it follow what is learned later.
function makeOverview() {
  const root = byId("overview");
  let grid;
  const parts = { head: make("div"), now: make("div", { id: "now" }), failures: make("div") };
  const drawTop = () => {
    parts.head.replaceChildren(makeHead());
    parts.failures.replaceChildren(makeFailures());
  };
  const drawAll = () => {
    drawTop();
    grid = makeGrid();
    const filter = list?.filter.value ?? "";
    list = makeList();
    list.filter.value = filter;
    list.apply();
    root.replaceChildren(
      parts.head,
      parts.now,
      parts.failures,
      run.cells.length ? section("Grid", "cells", grid.box, gridLegend()) : "",
      run.cells.length ? list.box : "",
      makeRepeats(),
      makeFigures(),
      makeCircumstances(),
    );
  };
  drawAll();
  watchers.add((cells) => {
    if (!cells?.every((cell) => grid.redraw(cell) && list.redraw(cell))) drawAll();
    // What merely runs on changes nothing of what came of it.
    else if (cells.some((cell) => !outcomeOf(cell).pending)) drawTop();
    list.apply();
  });
}
