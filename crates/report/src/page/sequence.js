// The sequence diagram: a column for each machine, an arrow for each leg of a datagram, in the order of time.

// Rows that are drawn before one asks for more.
const ROWS = 120;

const GUTTER = 78;
const LETTER = 6.05;
const WIDEST_LABEL = 300;
// What the box has room for on a wide screen; labels may reach over a line then.
const FITS = 1126;
const NARROWEST = 130;

const MOMENTS = {
  step: { sign: "▸", word: "step" },
  fault: { sign: "⚡", word: "fault" },
  path: { sign: "●", word: "path" },
  node: { sign: "○", word: "node" },
  table: { sign: "▤", word: "table" },
};

const ends = (leg) => `${leg.source} → ${leg.destination}`;

// What a leg says that the one before it did not.
function legLabel(journey, index) {
  const leg = journey.legs[index],
    before = journey.legs[index - 1];
  if (!before) return ends(leg);
  const changed = [];
  if (leg.source !== before.source) changed.push(`from ${leg.source}`);
  if (leg.destination !== before.destination) changed.push(`to ${leg.destination}`);
  return changed.join(" ");
}

const journeyTitle = (journey) =>
  `${journey.what}${journey.count > 1 ? ` ×${journey.count}` : ""} · ${journey.bytes} B`;
const isDropped = (journey) => journey.end.end === "dropped";
const droppedText = (end) => `dropped at ${end.at}: ${end.why} (${end.basis})`;

// Machines that took part, from left to right, and where each stands.
function columnsOf(story) {
  const used = new Set(
    story.journeys.flatMap((journey) => journey.legs.flatMap((leg) => [leg.from, leg.to])).filter(Boolean),
  );
  const known = story.machines.filter((machine) => used.has(machine.name));
  const named = new Set(known.map((machine) => machine.name));
  // A leg may name a machine that the story does not list.
  const columns = [
    ...known,
    ...[...used].filter((name) => !named.has(name)).map((name) => ({ name, role: "public", detail: "" })),
  ];
  const place = new Map(columns.map((column, index) => [column.name, index]));
  const gaps = columns
    .slice(1)
    .map((column, index) => (column.role === "gateway" && columns[index].role === "gateway" ? 130 : 150));
  for (const journey of story.journeys) {
    journey.legs.forEach((leg, index) => {
      const from = place.get(leg.from),
        to = place.get(leg.to);
      if (Math.abs(from - to) !== 1) return;
      const letters = Math.max(
        legLabel(journey, index).length,
        index === 0 ? journeyTitle(journey).length : 0,
      );
      const gap = Math.min(from, to);
      gaps[gap] = Math.min(WIDEST_LABEL, Math.max(gaps[gap], letters * LETTER + 22));
    });
  }
  const room = FITS - GUTTER - 128,
    wanted = gaps.reduce((sum, gap) => sum + gap, 0);
  const narrow = (gap) => Math.max(NARROWEST, (gap * room) / wanted);
  // With more machines the box scrolls, and nothing is gained by being narrow.
  const fitting = wanted > room && wanted * 0.6 < room ? gaps.map(narrow) : gaps;
  let x = GUTTER + 64;
  const xs = columns.map((column, index) => {
    if (index) x += fitting[index - 1];
    return x;
  });
  return {
    columns,
    xs,
    at: (name) => xs[place.get(name)],
    width: Math.max(x + 64, 420),
    hidden: story.machines.map((machine) => machine.name).filter((name) => !used.has(name)),
  };
}

function arrow(x1, y1, x2, y2, classes) {
  const way = x2 >= x1 ? 1 : -1;
  const long = Math.hypot(x2 - x1, y2 - y1) || 1;
  const ux = (x2 - x1) / long,
    uy = (y2 - y1) / long;
  const back = { x: x2 - ux * 8, y: y2 - uy * 8 };
  return [
    draw("line", { x1, y1, x2: x2 - way * 2, y2, class: `leg ${classes}` }),
    draw("path", {
      d: `M${x2} ${y2} L${back.x - uy * 3.5} ${back.y + ux * 3.5} L${back.x + uy * 3.5} ${back.y - ux * 3.5} Z`,
      class: `point ${classes}`,
    }),
  ];
}

// Observed drops are a cross in a box, inferred ones a cross in a broken ring.
function cross(x, y, basis) {
  return draw(
    "g",
    { class: `cross ${basis}` },
    basis === "observed"
      ? draw("rect", { x: x - 7, y: y - 7, width: 14, height: 14, rx: 2 })
      : draw("circle", { cx: x, cy: y, r: 7.5 }),
    draw("path", {
      d: `M${x - 3.5} ${y - 3.5} L${x + 3.5} ${y + 3.5} M${x + 3.5} ${y - 3.5} L${x - 3.5} ${y + 3.5}`,
    }),
  );
}

function label(x, y, anchor, classes, text) {
  return draw("text", { x, y, "text-anchor": anchor, class: classes }, text);
}

// One datagram from its sender as far as it came; gives the drawing and its height.
function drawJourney(journey, columns, top) {
  const parts = [],
    dropped = isDropped(journey);
  let y = top + 34,
    last = null;
  journey.legs.forEach((leg, index) => {
    const from = columns.at(leg.from),
      known = columns.at(leg.to);
    const ahead = from < columns.width / 2 ? 1 : -1;
    let to = known ?? from + ahead * 90;
    if (to === from) to = from + 60;
    const final = index === journey.legs.length - 1;
    const lost = dropped && final;
    // Lost on a link: the arrow ends where the link is; lost at a machine: it ends there.
    let end = to;
    if (lost && journey.end.at === leg.from) end = from + (to - from) * 0.12;
    else if (lost && journey.end.at !== leg.to) end = from + (to - from) * 0.55;
    const classes = lost ? `lost ${journey.end.basis}` : "";
    const y2 = y + 8;
    parts.push(
      lost && end !== to
        ? draw("line", { x1: from, y1: y, x2: end, y2, class: `leg ${classes}` })
        : arrow(from, y, end, y2, classes),
    );
    const text = legLabel(journey, index);
    const middle = (from + to) / 2;
    if (index === 0) parts.push(label(middle, y - 17, "middle", "what", journeyTitle(journey)));
    if (text) parts.push(label(middle, y - 5, "middle", index ? "ends changed" : "ends", text));
    if (index > 0 && text)
      parts.push(draw("rect", { x: from - 4.5, y: y - 7, width: 9, height: 9, class: "mapping" }));
    last = { x: end, y: y2 };
    y = y2 + 2;
  });
  if (dropped) {
    parts.push(cross(last.x, last.y, journey.end.basis));
    const right = last.x > columns.width / 2;
    const lines = wrap(
      droppedText(journey.end),
      Math.max(36, Math.floor((right ? last.x - GUTTER : columns.width - last.x) / LETTER) - 4),
    );
    lines.forEach((line, index) => {
      parts.push(
        label(last.x + (right ? 6 : -6), last.y + 21 + index * 13, right ? "end" : "start", "why", line),
      );
    });
    y = last.y + 14 + lines.length * 13;
  }
  const height = y - top + 8;
  const title = draw("title", {}, journeySentence(journey));
  return {
    height,
    element: draw(
      "g",
      { class: dropped ? "journey dropped" : "journey" },
      title,
      timeLabel(journey.at_ms, top + 34),
      parts,
    ),
  };
}

function timeLabel(ms, y) {
  return label(GUTTER - 8, y + 4, "end", "time", time(ms));
}

// Something that happened, as a band across all columns.
function drawMoment(moment, columns, top) {
  const kind = MOMENTS[moment.kind] ?? { sign: "·", word: moment.kind };
  const text = [kind.sign, kind.word, moment.machine, "·", moment.what].filter(Boolean).join(" ");
  const lines = wrap(text, Math.floor((columns.width - GUTTER - 24) / 6.4));
  const height = lines.length * 15 + 9;
  return {
    height: height + 8,
    element: draw(
      "g",
      { class: `band ${moment.kind}` },
      draw("rect", { x: GUTTER, y: top + 2, width: columns.width - GUTTER - 8, height, rx: 3 }),
      draw("rect", { x: GUTTER, y: top + 2, width: 3, height, class: "edge" }),
      timeLabel(moment.at_ms, top + 14),
      lines.map((line, index) => label(GUTTER + 14, top + 17 + index * 15, "start", "band-text", line)),
    ),
  };
}

function drawPause(ms, columns, top) {
  return {
    height: 20,
    element: label((GUTTER + columns.width) / 2, top + 13, "middle", "pause", `⋮ ${time(ms)} later`),
  };
}

// All rows in the order of time: datagrams, moments, the lab's bytes.
function rowsOf(story, shown) {
  const rows = story.journeys
    .filter((journey) => shown.packets.has(journey.what))
    .map((journey) => ({ at: journey.at_ms, journey }));
  rows.push(
    ...story.moments
      .filter((moment) => shown.moments.has(moment.kind))
      .map((moment) => ({ at: moment.at_ms, moment })),
  );
  if (story.carried_ms) {
    const [from, to] = story.carried_ms;
    rows.push({
      at: from,
      moment: {
        at_ms: from,
        machine: null,
        kind: "step",
        what: `the lab's bytes are carried, until ${time(to)}`,
      },
    });
  }
  // What comes first at one time is what was listed first.
  return rows.map((row, index) => ({ ...row, index })).sort((a, b) => a.at - b.at || a.index - b.index);
}

// The first row from the connect command on.
const atConnect = (rows) => Math.max(0, rows.findIndex((row) => row.at >= -0.0005));

function drawRows(rows, columns) {
  const elements = [];
  const first = rows[atConnect(rows)];
  let y = 6,
    before = null,
    connect = 0;
  for (const row of rows) {
    if (row === first) connect = y;
    if (before !== null && row.at - before > 100) {
      const pause = drawPause(row.at - before, columns, y);
      elements.push(pause.element);
      y += pause.height;
    }
    const drawn = row.journey ? drawJourney(row.journey, columns, y) : drawMoment(row.moment, columns, y);
    elements.push(drawn.element);
    y += drawn.height;
    before = row.journey
      ? Math.max(row.at, ...row.journey.legs.map((leg) => leg.arrived_ms ?? leg.left_ms))
      : row.at;
  }
  return { elements, height: y + 8, connect };
}

function drawHeads(columns) {
  const heads = columns.columns.map((machine, index) =>
    draw(
      "g",
      { class: `head ${machine.role}` },
      draw("rect", {
        x: columns.xs[index] - 58,
        y: 4,
        width: 116,
        height: machine.detail ? 36 : 24,
        rx: machine.role === "gateway" ? 2 : 12,
      }),
      label(columns.xs[index], 20, "middle", "machine", machine.name),
      machine.detail
        ? label(
            columns.xs[index],
            34,
            "middle",
            "detail",
            machine.role === "peer" ? `site ${machine.detail}`.replace("site site", "site") : machine.detail,
          )
        : "",
    ),
  );
  return draw(
    "svg",
    { width: columns.width, height: 46, class: "heads", "aria-hidden": true },
    label(GUTTER - 8, 20, "end", "time", "time"),
    heads,
  );
}

function lifelines(columns, height) {
  return columns.columns.map((machine, index) =>
    machine.role === "gateway"
      ? draw("rect", { x: columns.xs[index] - 5, y: 0, width: 10, height, class: "gateway-line" })
      : draw("line", { x1: columns.xs[index], y1: 0, x2: columns.xs[index], y2: height, class: "lifeline" }),
  );
}

// A row of buttons that show and hide something each.
function toggles(title, options, chosen, changed) {
  return make(
    "div",
    { class: "toggles", role: "group", "aria-label": title },
    options.map(([name, text]) => {
      const button = make(
        "button",
        { type: "button", class: "toggle", "aria-pressed": chosen.has(name) ? "true" : "false" },
        text,
      );
      button.addEventListener("click", () => {
        if (!chosen.delete(name)) chosen.add(name);
        button.setAttribute("aria-pressed", chosen.has(name) ? "true" : "false");
        changed();
      });
      return button;
    }),
  );
}

// How many there are of each kind; an item may stand for several.
function countBy(items, of, many = () => 1) {
  const count = new Map();
  for (const item of items) count.set(of(item), (count.get(of(item)) ?? 0) + many(item));
  return [...count];
}

function sequenceDiagram(story) {
  if (!story.journeys.length && !story.moments.length)
    return note("No datagram of the nodes went over a wire.");
  const columns = columnsOf(story);
  const kinds = countBy(
    story.journeys,
    (journey) => journey.what,
    (journey) => journey.count,
  );
  const moments = countBy(story.moments, (moment) => moment.kind);
  const shown = {
    packets: new Set(kinds.map(([what]) => what)),
    // Table changes are many, and stand with their gateway as well.
    moments: new Set(moments.map(([kind]) => kind).filter((kind) => kind !== "table")),
  };
  let most = atConnect(rowsOf(story, shown)) + ROWS;
  const box = make("div", {
    class: "diagram",
    tabindex: 0,
    role: "group",
    "aria-label": "Sequence diagram; arrow keys scroll",
  });
  const more = make("div", { class: "tools" });
  let connect = 0;
  const redraw = () => {
    const rows = rowsOf(story, shown);
    const drawn = drawRows(rows.slice(0, most), columns);
    const dropped = story.journeys.filter(isDropped).length;
    box.replaceChildren(
      drawHeads(columns),
      draw(
        "svg",
        {
          width: columns.width,
          height: drawn.height,
          role: "img",
          "aria-label": `${plural(story.journeys.length, "datagram", "datagrams")}, ${dropped} dropped; the list on one clock below has each in words`,
        },
        lifelines(columns, drawn.height),
        drawn.elements,
      ),
    );
    more.replaceChildren();
    connect = drawn.connect;
    if (rows.length > most) {
      more.append(
        make(
          "button",
          {
            type: "button",
            onclick: () => {
              most += ROWS * 4;
              redraw();
            },
          },
          `Show more: ${rows.length - most} of ${rows.length} rows are not drawn`,
        ),
      );
    }
  };
  redraw();
  // What was before the connect command stands above; the box can be scrolled once it is in the page.
  queueMicrotask(() => {
    box.scrollTop = Math.max(0, connect - 10);
  });
  return [
    make(
      "div",
      { class: "tools" },
      toggles(
        "Datagrams shown",
        kinds.map(([what, count]) => [what, `${what} ${count}`]),
        shown.packets,
        redraw,
      ),
      toggles(
        "Moments shown",
        moments.map(([kind, count]) => [
          kind,
          `${MOMENTS[kind]?.sign ?? "·"} ${MOMENTS[kind]?.word ?? kind} ${count}`,
        ]),
        shown.moments,
        redraw,
      ),
    ),
    box,
    more,
    note(
      "Rows stand in the order of time, not to its scale; 0 is the connect command. ",
      "A square on a gateway's line: it changed an endpoint, the new one stands at the arrow. ",
      make("span", { class: "key" }, "☒ solid: seen to be dropped (observed)"),
      " ",
      make("span", { class: "key" }, "⊗ dashed: follows from what was seen and proven (inferred)"),
      ".",
    ),
    story.untold
      ? note(`${story.untold} more datagrams are not told: there were too many. The captures have them.`)
      : "",
    columns.hidden.length
      ? note(`Not drawn, since nothing went to or from there: ${columns.hidden.join(", ")}.`)
      : "",
  ];
}
