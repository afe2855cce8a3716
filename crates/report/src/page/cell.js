// One cell: why it ended as it did, and all that is known of it.

function pairs(all) {
  return make(
    "dl",
    { class: "pairs" },
    all
      .filter(([, value]) => value !== "" && value !== null && value !== undefined)
      .map(([name, value]) => [make("dt", {}, name), make("dd", {}, value)]),
  );
}

function factsOf(cell, record) {
  const direction = (one, index) =>
    `${index ? "back" : "from the initiator"}: ${one.arrived} of ${one.sent} B arrived; site to site ${one.direct_bytes} B, ` +
    `to third machines ${one.to_third_bytes} B, from them ${one.from_third_bytes} B`;
  const verdict = record?.verdict;
  return pairs([
    ["NATs", cell.gateways],
    ["who dials", record ? `the peer of site ${record.initiator}` : ""],
    ["expected", cell.expected],
    ["on the wire", cell.wire],
    ["node says", cell.claims],
    [
      "connect",
      cell.connect_ms == null
        ? ""
        : `${time(cell.connect_ms)} to the first path${record?.settle_ms != null ? `, ${time(record.settle_ms)} to the one that stays` : ""}`,
    ],
    [
      "bytes",
      verdict
        ? make(
            "ul",
            { class: "plain-list" },
            verdict.directions.map((one, index) => make("li", {}, direction(one, index))),
          )
        : "",
    ],
    [
      "attempts",
      verdict
        ? `${verdict.attempts_arrived.join(" and ")} frames between the sites reached the far gateway, ${verdict.attempts_passed.join(" and ")} passed it (initiator's, responder's)`
        : "",
    ],
    ["file", record?.file ?? ""],
  ]);
}

function becauseOf(record) {
  const assertions = record.assertions ?? [];
  const rows = [...assertions]
    .sort((a, b) => a.holds - b.holds)
    .map((assertion) => ({
      mark: assertion.holds ? "" : "differs",
      fields: [
        [
          make(
            "span",
            { class: `chip ${assertion.holds ? "as-expected" : "not-as-expected"}` },
            assertion.holds ? "✓" : "✗",
          ),
          assertion.holds ? " holds" : " does not hold",
        ],
        assertion.about,
        assertion.what,
        assertion.detail,
      ],
    }));
  return [
    record.verdict?.because.length
      ? make(
          "ul",
          { class: "notes" },
          record.verdict.because.map((line) => make("li", {}, line)),
        )
      : note("The captures were not judged: the cell did not come so far."),
    rows.length
      ? make(
          "details",
          { open: assertions.some((assertion) => !assertion.holds) },
          make(
            "summary",
            {},
            `What the captures must show: ${assertions.filter((one) => one.holds).length} of ${assertions.length} hold`,
          ),
          makeTable("Assertions", ["", "about", "what", "seen"], rows),
        )
      : "",
  ];
}

function talksOf(record) {
  if (!record.talks?.length) return "";
  const names = [...new Set(record.talks.flatMap((talk) => Object.keys(talk)))];
  const text = (value) =>
    Array.isArray(value)
      ? value.map((one) => text(one)).join(" / ")
      : typeof value === "number"
        ? round(value)
        : String(value ?? "");
  return section(
    "Messages",
    "talks",
    makeTable(
      "Messages of talks",
      names.map((name) => name.replaceAll("_", " ")),
      record.talks.map((talk) => names.map((name) => text(talk[name]))),
    ),
  );
}

function experimentOf(record) {
  if (!record.experiment) return "";
  return section(
    "Without a node",
    "experiment",
    makeTable(
      "Trials",
      ["who sent", "got through"],
      record.experiment.trials.map((trial) => [trial.senders, trial.connected ? "✓ yes" : "✗ no"]),
    ),
  );
}

function figuresOf(record) {
  const figures = Object.entries(record.figures ?? {});
  if (!figures.length) return "";
  const known = ["queue", "machines", "proof", "nodes", "connect", "data", "verdict", "evidence", "total"];
  const show = ([name, value]) => [
    name.replaceAll("_", " "),
    make("span", { class: "number" }, known.includes(name) ? time(value) : round(value ?? NaN)),
  ];
  return section(
    "Figures",
    "cell-figures",
    makeTable("Figures of the cell", ["figure", "value"], figures.map(show)),
    note("Times by step; what is no time has its unit in its name."),
  );
}

// A link to a file of the run's folder, beside which this page lies.
function fileLink(cell, path) {
  const whole = [cell.folder, path].filter(Boolean).join("/");
  // A page that is served does not lie beside it.
  if (run.live) return make("code", {}, `${run.run.folder}/${whole}`);
  return make("a", { href: `./${whole.split("/").map(encodeURIComponent).join("/")}` }, whole);
}

function evidenceOf(cell, record) {
  if (!cell.folder) return missing("The evidence of this cell was not kept.");
  const evidence = record?.evidence ?? { captures: [], logs: [], gateways: [] };
  const all = [...evidence.captures, ...evidence.gateways, ...evidence.logs];
  return [
    run.live ? "" : note("In the run's folder, which this page lies in unless it was moved:"),
    make(
      "ul",
      { class: "evidence" },
      (all.length ? all : [""]).map((path) => make("li", {}, fileLink(cell, path))),
    ),
  ];
}

// Only where there is a story; else its reason.
function fromStory(story, drawing) {
  if (story.problem) return missing(story.problem);
  try {
    return drawing(story.value) ?? note("There is nothing to draw.");
  } catch (error) {
    return missing(`This could not be drawn: ${error.message}.`);
  }
}

function contents(root) {
  const sections = [...root.querySelectorAll("section")];
  return make(
    "nav",
    { class: "contents", "aria-label": "Parts of this cell" },
    sections.map((one) =>
      make(
        "button",
        {
          type: "button",
          class: "quiet",
          onclick: () => {
            one.scrollIntoView({ block: "start" });
            one.querySelector("h2").focus?.();
          },
        },
        one.querySelector("h2").textContent,
      ),
    ),
  );
}

function cellHead(cell) {
  const outcome = outcomeOf(cell);
  return make(
    "div",
    { class: "head" },
    make("p", { class: "back" }, make("a", { href: "#" }, "← All cells"), " ", make("kbd", {}, "Esc")),
    make("h1", {}, cell.priority ? `${cell.priority} ` : "", cell.name),
    make(
      "p",
      { class: "facts" },
      make("span", { class: `chip ${cell.outcome}` }, outcome.sign),
      " ",
      make("b", {}, outcome.word),
      ` · ${cell.gateways} · [${cell.id}]${cell.repetition ? ` repetition ${cell.repetition}` : ""}`,
    ),
  );
}

// Draws a cell; what is packed comes a moment later.
async function showCell(cell) {
  if (run.live && outcomeOf(cell).pending) return showRunning(cell);
  const root = byId("cell");
  const cause = hasFailed(cell) ? makeCause(cell, { linked: false }) : "";
  root.setAttribute("aria-busy", "true");
  root.replaceChildren(cellHead(cell), cause, note("Opening …"));
  const { record, story, files } = await partsOf(cell);
  // Another one may have been opened meanwhile.
  if (root.hidden || current !== cell.index) return;
  const known = record.value;
  const problem = record.problem ? missing(record.problem) : "";
  const body = [
    section(
      "What it came to",
      "facts",
      factsOf(cell, known),
      problem,
      make("h3", {}, "Run this cell again"),
      command(cell.again),
    ),
    section("Packets", "packets", fromStory(story, sequenceDiagram)),
    // Where there is no story, that is said once.
    ...(story.problem
      ? []
      : [
          section("Timeline", "timeline", fromStory(story, timeline)),
          section("Throughput and latency", "plots", fromStory(story, plots)),
          section("On one clock", "clock", fromStory(story, clockList)),
        ]),
    known ? section("Why", "because", becauseOf(known)) : "",
    known ? talksOf(known) : "",
    known ? experimentOf(known) : "",
    section("Gateways", "gateways", gatewaySection(known, story.value, files.value, files.problem)),
    section(
      "Logs",
      "logs",
      logSection(known, files.value, files.problem),
      files.problem ? "" : note("Times in logs count from the start of each node."),
    ),
    known ? figuresOf(known) : "",
    section("Files", "files", evidenceOf(cell, known)),
  ];
  root.replaceChildren(cellHead(cell), cause, ...body.filter(Boolean));
  root.firstChild.after(contents(root));
  if (cause) root.firstChild.after(cause);
  root.setAttribute("aria-busy", "false");
}
