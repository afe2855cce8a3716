// What happened on one clock: packets and what nodes, lab and gateways said, in words; and a timeline of faults and paths.

const CLOCK_ROWS = 300;

// A datagram's whole way in a sentence.
function journeySentence(journey) {
  const first = journey.legs[0];
  const parts = [`${journeyTitle(journey)}, ${first.from}: ${ends(first)}`];
  journey.legs.slice(1).forEach((leg, index) => {
    const changed = legLabel(journey, index + 1);
    parts.push(changed ? `${leg.from} sends it on ${changed}` : `${leg.from} sends it on as it is`);
  });
  const last = journey.legs[journey.legs.length - 1];
  if (isDropped(journey)) parts.push(droppedText(journey.end));
  else
    parts.push(
      `arrived at ${last.to ?? "an unknown machine"}${last.arrived_ms === null ? "" : ` at ${time(last.arrived_ms)}`}`,
    );
  const frames = [...new Set(journey.legs.map((leg) => leg.frame))];
  return `${parts.join("; ")} [${frames.length === 1 ? "frame" : "frames"} ${frames.join(", ")}]`;
}

function clockEntries(story) {
  const packets = story.journeys.map((journey) => ({
    at: journey.at_ms,
    kind: isDropped(journey) ? "dropped" : "packet",
    sign: isDropped(journey) ? "✗" : "→",
    machines: [...new Set(journey.legs.flatMap((leg) => [leg.from, leg.to]).filter(Boolean))],
    machine: journey.legs[0].from,
    text: journeySentence(journey),
  }));
  const moments = story.moments.map((moment) => ({
    at: moment.at_ms,
    kind: moment.kind,
    sign: MOMENTS[moment.kind]?.sign ?? "·",
    machines: moment.machine ? [moment.machine] : [],
    machine: moment.machine ?? "lab",
    text: moment.what,
  }));
  return [...packets, ...moments]
    .map((entry, index) => ({ ...entry, index }))
    .sort((a, b) => a.at - b.at || a.index - b.index);
}

function select(title, options) {
  return make(
    "select",
    { "aria-label": title },
    options.map(([value, text]) => make("option", { value }, text)),
  );
}

function clockList(story) {
  const entries = clockEntries(story);
  if (!entries.length) return note("Nothing was told.");
  const machines = [
    ...new Set(
      story.machines.map((machine) => machine.name).concat(entries.flatMap((entry) => entry.machines)),
    ),
  ];
  const machine = select("Machine", [["", "all machines"], ...machines.map((name) => [name, name])]);
  const kinds = countBy(entries, (entry) => entry.kind);
  const kind = select("Kind", [
    ["", "packets and events"],
    ...kinds.map(([name, count]) => [name, `${name} (${count})`]),
  ]);
  const words = make("input", {
    type: "search",
    placeholder: "words",
    "aria-label": "Words in the list",
    autocomplete: "off",
  });
  const count = make("span", { class: "count", role: "status" });
  const body = make("ol", { class: "clock", tabindex: 0, "aria-label": "Packets and events by time" });
  const more = make("div", { class: "tools" });
  let most = CLOCK_ROWS;
  const apply = () => {
    const wanted = words.value.toLowerCase().split(/\s+/).filter(Boolean);
    const fits = entries.filter(
      (entry) =>
        (!machine.value || entry.machines.includes(machine.value)) &&
        (!kind.value || entry.kind === kind.value) &&
        wanted.every((word) => entry.text.toLowerCase().includes(word)),
    );
    body.replaceChildren(
      ...fits
        .slice(0, most)
        .map((entry) =>
          make(
            "li",
            { class: `entry ${entry.kind}` },
            make("time", {}, time(entry.at)),
            make("span", { class: "who" }, entry.machine),
            make("span", { class: "kind" }, `${entry.sign} ${entry.kind}`),
            make("span", { class: "text" }, entry.text),
          ),
        ),
    );
    count.textContent =
      fits.length === entries.length ? `${entries.length}` : `${fits.length} of ${entries.length}`;
    more.replaceChildren();
    if (fits.length > most)
      more.append(
        make(
          "button",
          {
            type: "button",
            onclick: () => {
              most += CLOCK_ROWS * 4;
              apply();
            },
          },
          `Show more of ${fits.length}`,
        ),
      );
  };
  [machine, kind].forEach((one) => one.addEventListener("change", apply));
  words.addEventListener("input", apply);
  apply();
  return [make("div", { class: "tools" }, machine, kind, words, count), body, more];
}

// Which path each machine said it had to each other one, from when until when.
function pathSpans(story, end) {
  const spans = new Map();
  for (const moment of story.moments.filter((moment) => moment.kind === "path")) {
    const peer = /(?:^|, )peer ([^,]+)/.exec(moment.what)?.[1];
    const whose = moment.machine ?? "lab";
    const key = peer ? `${whose} → ${peer.slice(0, 10)}` : `${whose} path`;
    const of = spans.get(key) ?? [];
    if (of.length) of[of.length - 1].to = moment.at_ms;
    of.push({ from: moment.at_ms, to: end, what: moment.what });
    spans.set(key, of);
  }
  return spans;
}

// What a node says of a path: that it goes over a relay, that there is none, or another one.
function spanClass(what) {
  if (/^(connectFailed|pathFailed|disconnected)/.test(what)) return "span gone";
  return /relay/i.test(what) ? "span relay" : "span";
}

// A text in so much room.
const LETTER_OF_MARK = 6.2;
function fit(text, room) {
  const most = Math.floor(room / LETTER_OF_MARK);
  return text.length <= most ? text : most < 4 ? "" : `${text.slice(0, most - 1)}…`;
}

// Places labels in as few lines as they fit without touching.
function lanes(items, widthOf) {
  const free = [];
  return items.map((item) => {
    const wide = widthOf(item);
    const start = item.back ? item.x - wide : item.x;
    let lane = free.findIndex((x) => x <= start);
    if (lane < 0) lane = free.push(0) - 1;
    free[lane] = start + wide;
    return { ...item, lane };
  });
}

function timeline(story) {
  const told = story.moments.filter((moment) => ["step", "fault", "path"].includes(moment.kind));
  if (!told.length && !story.carried_ms) return null;
  const times = [
    0,
    ...told.map((moment) => moment.at_ms),
    ...(story.carried_ms ?? []),
    ...story.journeys.map((journey) => journey.at_ms),
  ];
  const from = Math.min(...told.map((moment) => moment.at_ms), 0);
  const until = times.reduce((a, b) => Math.max(a, b), from + 1);
  const left = 124,
    width = 1100,
    right = 150;
  const x = (ms) => left + ((ms - from) / (until - from)) * (width - left - right);
  const parts = [];
  let y = 8;
  const head = (text, at) => label(left - 10, at, "end", "time", text);
  const marks = (kind, title) => {
    const items = told
      .filter((moment) => moment.kind === kind)
      .map((moment) => ({
        x: x(moment.at_ms),
        // Near the right edge the text stands before its mark.
        back: x(moment.at_ms) > width * 0.6,
        moment,
        text: [moment.machine, moment.what].filter(Boolean).join(" "),
      }));
    if (!items.length) return;
    const placed = lanes(items, (item) => Math.min(item.text.length, 60) * LETTER_OF_MARK + 24);
    parts.push(head(title, y + 13));
    for (const { x: at, back, lane, moment, text } of placed) {
      const row = y + lane * 19 + 9;
      const shape =
        kind === "fault"
          ? `M${at} ${row - 6} L${at + 6} ${row} L${at} ${row + 6} L${at - 6} ${row} Z`
          : `M${at - 1} ${row - 6} L${at + 1} ${row - 6} L${at + 1} ${row + 6} L${at - 1} ${row + 6} Z`;
      parts.push(
        draw(
          "g",
          { class: `mark ${kind}` },
          draw("title", {}, `${time(moment.at_ms)} ${text}`),
          draw("path", { d: shape }),
          label(
            back ? at - 10 : at + 10,
            row + 4,
            back ? "end" : "start",
            "mark-text",
            text.length > 60 ? `${text.slice(0, 59)}…` : text,
          ),
        ),
      );
    }
    y += (Math.max(...placed.map((item) => item.lane)) + 1) * 19 + 8;
  };
  marks("step", "steps");
  marks("fault", "faults");
  for (const [whose, spans] of pathSpans(story, until)) {
    parts.push(head(whose, y + 14));
    for (const span of spans) {
      const wide = Math.max(3, x(span.to) - x(span.from));
      const text = `${span.what}`;
      parts.push(
        draw(
          "g",
          { class: spanClass(span.what) },
          draw("title", {}, `${whose}: ${span.what}, from ${time(span.from)}`),
          draw("rect", { x: x(span.from), y: y + 1, width: wide, height: 18, rx: 2 }),
          text.length * LETTER_OF_MARK + 8 < wide
            ? label(x(span.from) + 6, y + 14, "start", "span-text", text)
            : label(
                Math.min(x(span.to), width - right) + 6,
                y + 14,
                "start",
                "mark-text",
                span === spans[spans.length - 1]
                  ? fit(text, width - Math.min(x(span.to), width - right) - 8)
                  : "",
              ),
        ),
      );
    }
    y += 26;
  }
  if (story.carried_ms) {
    const [start, end] = story.carried_ms;
    parts.push(
      head("lab's bytes", y + 14),
      draw(
        "g",
        { class: "span bytes" },
        draw("rect", { x: x(start), y: y + 1, width: Math.max(3, x(end) - x(start)), height: 18, rx: 2 }),
        label(
          Math.max(x(end), x(start) + 3) + 6,
          y + 14,
          "start",
          "mark-text",
          `${time(start)} to ${time(end)}`,
        ),
      ),
    );
    y += 26;
  }
  const axis = ticks(from, until, 6).map((tick) =>
    draw(
      "g",
      { class: "tick" },
      draw("line", { x1: x(tick), y1: 0, x2: x(tick), y2: y }),
      label(x(tick), y + 14, "middle", "time", time(tick)),
    ),
  );
  const zero = draw("line", { x1: x(0), y1: 0, x2: x(0), y2: y, class: "zero" });
  return make(
    "div",
    { class: "diagram plain", tabindex: 0, role: "group", "aria-label": "Timeline; arrow keys scroll" },
    draw(
      "svg",
      {
        width,
        height: y + 22,
        role: "img",
        "aria-label": `Timeline of steps, faults and paths from ${time(from)} to ${time(until)}`,
      },
      axis,
      zero,
      parts,
    ),
  );
}
