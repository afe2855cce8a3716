// The machines of a cell and what connects them: public machines above, sites below, and the paths between peers under them.

const BOX = { width: 104, height: 38 };
const SEAT = 122;

const LINK_SIGNS = { cut: "✂", impaired: "≈" };
const PATHS = {
  direct: { sign: "━", word: "direct" },
  relay: { sign: "┅", word: "relay" },
  none: { sign: "✗", word: "none" },
};

const pathOf = (way) => (Object.hasOwn(PATHS, way.path ?? "none") ? (way.path ?? "none") : "none");
const wayWord = (way) =>
  `${PATHS[pathOf(way)].word}${way.kind && way.kind !== way.path ? ` (${way.kind})` : ""}`;

// Where everything stands.
function placesOf(map, known) {
  const segmentOf = (machine, end) =>
    map.links.find((link) => link.machine === machine && link.name.endsWith(end))?.segment;
  const gateways = map.machines.filter((machine) => machine.role === "gateway");
  const lans = [...new Set(map.links.map((link) => link.segment).filter((name) => name.startsWith("lan")))];
  const sites = lans.map((lan) => {
    const peers = map.machines.filter(
      (machine) =>
        machine.role === "peer" && (known.moved.get(machine.name) ?? segmentOf(machine.name, ".lan")) === lan,
    );
    const inner = gateways.find((machine) => segmentOf(machine.name, ".lan") === lan);
    const outside = inner && segmentOf(inner.name, ".wan");
    const outer = gateways.find(
      (machine) => machine !== inner && segmentOf(machine.name, ".lan") === outside && outside !== "internet",
    );
    return { lan, peers, inner, outer, carrier: outer ? outside : null };
  });
  const publics = map.machines.filter((machine) => machine.role === "public");
  const deep = sites.some((site) => site.outer);
  const y = { public: 10, internet: 92, outer: 128, carrier: 206, inner: deep ? 240 : 128 };
  y.lan = y.inner + 78;
  y.peers = y.lan + 34;
  const machines = new Map(),
    bars = new Map();
  let left = 12;
  for (const site of sites) {
    const wide = Math.max(1, site.peers.length) * SEAT;
    const middle = left + wide / 2;
    if (site.outer) {
      machines.set(site.outer.name, { x: middle, y: y.outer });
      bars.set(site.carrier, { from: middle - 46, to: middle + 46, y: y.carrier });
    }
    if (site.inner) machines.set(site.inner.name, { x: middle, y: y.inner });
    bars.set(site.lan, { from: left + 6, to: left + wide - 6, y: y.lan });
    site.peers.forEach((peer, seat) => {
      machines.set(peer.name, { x: left + (seat + 0.5) * SEAT, y: y.peers });
    });
    left += wide + 26;
  }
  const width = Math.max(left - 14, publics.length * SEAT + 24, 300);
  publics.forEach((machine, place) => {
    machines.set(machine.name, { x: width / 2 + (place - (publics.length - 1) / 2) * SEAT, y: y.public });
  });
  bars.set("internet", { from: 10, to: width - 10, y: y.internet });
  return { machines, bars, width, bottom: y.peers + BOX.height };
}

function drawBar(name, bar, known) {
  const apart = known.partitions.has(name);
  return draw(
    "g",
    { class: apart ? "segment apart" : "segment" },
    draw(
      "title",
      {},
      apart ? `${name}: ${known.partitions.get(name)} do not reach each other` : name,
    ),
    draw("line", { x1: bar.from, y1: bar.y, x2: bar.to, y2: bar.y }),
    label(bar.from + 2, bar.y - 6, "start", "detail", apart ? `${name} ‖ partitioned` : name),
  );
}

function drawLink(link, places, known) {
  const machine = places.machines.get(link.machine);
  const bar = places.bars.get(
    link.name.endsWith(".lan") ? (known.moved.get(link.machine) ?? link.segment) : link.segment,
  );
  if (!machine || !bar) return "";
  const state = known.links.get(link.name);
  const below = bar.y > machine.y;
  const from = machine.y + (below ? BOX.height : 0);
  const middle = (from + bar.y) / 2;
  const line = (y1, y2) => draw("line", { x1: machine.x, y1, x2: machine.x, y2 });
  const gap = below ? 7 : -7;
  return draw(
    "g",
    { class: `link ${state ?? "whole"}`, "data-link": link.name },
    draw("title", {}, `${link.name}: ${state ?? "whole"}`),
    state === "cut" ? [line(from, middle - gap), line(middle + gap, bar.y)] : line(from, bar.y),
    state ? label(machine.x + 6, middle + 4, "start", "state", `${LINK_SIGNS[state] ?? "!"} ${state}`) : "",
  );
}

function drawMachine(machine, places, known) {
  const place = places.machines.get(machine.name);
  if (!place) return "";
  const state = known.machines.get(machine.name);
  const detail =
    machine.role === "gateway" ? (known.profiles.get(machine.name) ?? machine.detail) : machine.role === "peer" ? "" : "public";
  const text = state ? `! ${state}` : detail;
  return draw(
    "g",
    { class: `machine-box ${machine.role} ${state ? "broken" : ""}`, "data-machine": machine.name },
    draw("title", {}, [machine.name, detail, state].filter(Boolean).join(", ")),
    draw("rect", {
      x: place.x - BOX.width / 2,
      y: place.y,
      width: BOX.width,
      height: BOX.height,
      rx: machine.role === "gateway" ? 2 : 12,
    }),
    label(place.x, place.y + (text ? 17 : 23), "middle", "machine", machine.name),
    text ? label(place.x, place.y + 31, "middle", state ? "state" : "detail", text.length > 17 ? `${text.slice(0, 16)}…` : text) : "",
  );
}

// What both of a pair say of their ways to each other.
function pairsOf(known) {
  const pairs = new Map();
  for (const way of known.ways.values()) {
    const key = [way.from, way.to].sort().join(" ");
    pairs.set(key, [...(pairs.get(key) ?? []), way]);
  }
  return [...pairs.values()];
}

// With more pairs than these an arc for each would be a thicket.
const MOST_ARCS = 12;

// A path between two peers, as an arc under them.
function drawPath(ways, depth, places) {
  const [from, to] = [ways[0].from, ways[0].to].map((name) => places.machines.get(name));
  const kinds = [...new Set(ways.map(pathOf))];
  const kind = kinds.length === 1 ? kinds[0] : "mixed";
  const word = [...new Set(ways.map(wayWord))].join(" / ");
  const y = places.bottom + 3;
  const [left, right] = from.x < to.x ? [from.x, to.x] : [to.x, from.x];
  return draw(
    "g",
    { class: `way ${kind}` },
    draw("title", {}, ways.map((way) => `${way.from} to ${way.to}: ${wayWord(way)}${way.why ? `, ${way.why}` : ""}`).join("; ")),
    draw("path", {
      d: `M${left} ${y} C${left} ${y + depth} ${right} ${y + depth} ${right} ${y}`,
    }),
    label(
      (left + right) / 2,
      y + depth * 0.75 + 12,
      "middle",
      "word",
      `${PATHS[kind]?.sign ?? "≠"} ${word}`,
    ),
  );
}

function drawTopology(map, known) {
  const places = placesOf(map, known);
  const peers = new Set(map.machines.filter((one) => one.role === "peer").map((one) => one.name));
  const pairs = pairsOf(known)
    .filter((ways) => peers.has(ways[0].from) && peers.has(ways[0].to))
    .sort((a, b) => span(a) - span(b));
  function span(ways) {
    const [from, to] = [ways[0].from, ways[0].to].map((name) => places.machines.get(name)?.x ?? 0);
    return Math.abs(from - to);
  }
  const arcs = pairs.slice(0, MOST_ARCS);
  const depth = (place) => 42 + place * 26;
  const height = places.bottom + (arcs.length ? depth(arcs.length - 1) * 0.75 + 22 : 14);
  const broken = known.links.size + known.machines.size + known.partitions.size;
  return draw(
    "svg",
    {
      viewBox: `0 0 ${places.width} ${height}`,
      width: places.width,
      height,
      class: "topology",
      role: "img",
      "aria-label": `${map.machines.length} machines, ${map.links.length} links, ${broken} broken; paths and what is broken stand below in words`,
    },
    map.links.map((link) => drawLink(link, places, known)),
    [...places.bars].map(([name, bar]) => drawBar(name, bar, known)),
    map.machines.map((machine) => drawMachine(machine, places, known)),
    arcs.map((ways, place) => drawPath(ways, depth(place), places)),
  );
}
