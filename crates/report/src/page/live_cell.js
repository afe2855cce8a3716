// A cell that runs: its machines and links, the paths that its nodes report, and what happens.

// What is drawn of the cell that is shown, with what draws it anew.
let runningView = null;

function pathsTable(cell, known) {
  const ways = [...known.ways.values()];
  const pair = cell.pair ?? [];
  const waiting = pair.length === 2 && !known.ways.has(pair.join(" ")) ? [pair] : [];
  const rows = [
    ...waiting.map(([from, to]) => [from, to, make("span", { class: "dim" }, "· nothing said yet"), ""]),
    ...ways.map((way) => [
      way.from,
      way.to,
      make("span", { class: `way-word ${pathOf(way)}` }, `${PATHS[pathOf(way)].sign} ${wayWord(way)}`),
      way.why ?? "",
    ]),
  ];
  return rows.length
    ? makeTable("Paths", ["node of", "to that of", "path", "why"], rows)
    : note("No node has said anything of a path.");
}

function brokenList(known) {
  const all = [
    ...[...known.links].map(([name, state]) => `${LINK_SIGNS[state] ?? "!"} ${name} is ${state}`),
    ...[...known.partitions].map(([name, groups]) => `‖ ${name} is partitioned: ${groups}`),
    ...[...known.machines].map(([name, state]) => `! ${name}: ${state}`),
    ...[...known.moved].map(([name, segment]) => `→ ${name} has moved to ${segment}`),
    ...[...known.profiles].map(([name, profile]) => `↻ ${name} has become ${profile}`),
  ];
  return all.length
    ? make(
        "ul",
        { class: "notes broken-now" },
        all.map((line) => make("li", {}, line)),
      )
    : note("Nothing is broken.");
}

const LINE_SIGNS = { step: "▸", fault: "⚡", path: "●", node: "○", log: "▤", note: "!" };

function lineItem(line) {
  return make(
    "li",
    { class: `entry ${line.kind}` },
    make("time", {}, time(line.at)),
    make("span", { class: "who" }, line.machine),
    make("span", { class: "kind" }, `${LINE_SIGNS[line.kind] ?? "·"} ${line.kind}`),
    make("span", { class: "text" }, line.text),
  );
}

function waitsFor(cell) {
  if (run.lab) {
    const doing = progressOf(cell.index).doing;
    const standing = run.ended ? "The lab is down." : `The lab \u201c${run.lab.name}\u201d has been up for ${sinceOf(cell)}.`;
    return doing.length ? `${standing} Being done: ${doing.join("; ")}.` : standing;
  }
  if (run.ended) return "The run ended before this cell did.";
  if (!cell.running) return "It has not begun.";
  const known = progressOf(cell.index);
  const since = known.stepAt === null ? "" : `, for ${minutes(runClock() - known.stepAt)}`;
  return `It waits for: ${cell.running}${since}. It began ${sinceOf(cell)} ago.`;
}

// Draws a cell that has not ended, and keeps what draws it anew.
function showRunning(cell) {
  const root = byId("cell");
  const known = progressOf(cell.index);
  known.map ??= maps[cell.map];
  const waits = make("p", { class: "waits", id: "waits" });
  const drawn = make("div", { class: "diagram plain", tabindex: 0, role: "group", "aria-label": "Topology" });
  const paths = make("div"),
    broken = make("div");
  const bench = run.lab?.faults && known.map ? faultBench(known.map) : null;
  const events = make("ol", { class: "clock", tabindex: 0, "aria-label": "What happened, by time" });
  let next = 0;
  let head = cellHead(cell),
    word = outcomeOf(cell).word;
  const redraw = () => {
    const now = run.cells[cell.index];
    if (outcomeOf(now).word !== word) {
      word = outcomeOf(now).word;
      const fresh = cellHead(now);
      head.replaceWith(fresh);
      head = fresh;
    }
    waits.textContent = waitsFor(now);
    if (known.drawn !== known.told || !drawn.firstChild) {
      known.drawn = known.told;
      drawn.replaceChildren(
        known.map ? drawTopology(known.map, known) : note("What this cell is made of was not told."),
      );
      paths.replaceChildren(pathsTable(now, known));
      broken.replaceChildren(brokenList(known));
      bench?.redraw(known);
    }
    const fresh = known.lines.filter((line) => line.number >= next);
    if (!fresh.length) return;
    // Whoever reads further up is left there.
    const atEnd = events.scrollTop + events.clientHeight >= events.scrollHeight - 30;
    next = known.told;
    events.append(...fresh.map(lineItem));
    while (events.childElementCount > MOST_LINES) events.firstChild.remove();
    if (atEnd) events.scrollTop = events.scrollHeight;
  };
  redraw();
  root.replaceChildren(
    head,
    waits,
    section("Topology", "topology", drawn),
    section("Paths, by the nodes' own word", "paths", paths),
    section("Broken now", "broken", broken),
    ...(bench ? [section("Break and mend", "bench", bench.drawn)] : []),
    section("Events", "events", events, note("Times count from the begin of the run.")),
  );
  root.firstChild.after(contents(root));
  root.setAttribute("aria-busy", "false");
  events.scrollTop = events.scrollHeight;
  runningView = { index: cell.index, redraw };
}

function redrawRunning() {
  if (current !== null && runningView?.index === current && outcomeOf(run.cells[current]).pending) runningView.redraw();
}
