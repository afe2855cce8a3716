// What is known of cells that run, from what the run says of them.

// Lines of a cell that are kept.
const MOST_LINES = 600;

// The machines and links of cells, by number.
let maps = [];

// By the cell's index.
const progress = new Map();

function progressOf(index) {
  if (!progress.has(index)) {
    progress.set(index, {
      step: null,
      stepAt: null,
      // Whose node an ID is.
      names: new Map(),
      // Of links and machines that are not as they were at the start, in words.
      links: new Map(),
      machines: new Map(),
      // Which links of a segment do not reach each other.
      partitions: new Map(),
      // The segment that a machine has moved to.
      moved: new Map(),
      // Profiles that gateways have become.
      profiles: new Map(),
      // Which way a node says that it reaches another one.
      ways: new Map(),
      // What is being done to a lab.
      doing: [],
      lines: [],
      told: 0,
    });
  }
  return progress.get(index);
}

function tellLine(known, at, kind, machine, text) {
  known.lines.push({ at, kind, machine, text, number: known.told });
  known.told += 1;
  if (known.lines.length > MOST_LINES * 2) known.lines.splice(0, known.lines.length - MOST_LINES);
}

// The way of a node to another one, as lab's `Paths` reads it.
function wayTold(known, machine, event) {
  const to = known.names.get(event.peer);
  if (!to) return false;
  const key = `${machine} ${to}`;
  const ways = {
    connected: () => ({ path: event.kind }),
    pathChanged: () => ({ path: event.to, why: event.reason }),
    settled: () => ({ path: event.path, kind: event.kind }),
    connectFailed: () => ({ why: event.reason }),
    disconnected: () => ({ why: event.reason }),
    pathFailed: () => (known.ways.get(key)?.path === event.path ? { why: event.reason } : null),
  };
  const way = Object.hasOwn(ways, event.event) ? ways[event.event]() : null;
  if (way) known.ways.set(key, { from: machine, to, ...way });
  return Boolean(way);
}

// A node's event with its fields; nodes are called by their machines.
function eventPhrase(known, event) {
  const said = (value) =>
    Array.isArray(value)
      ? value.map(said).join(" and ") || "none"
      : typeof value === "string"
        ? (known.names.get(value) ?? value)
        : JSON.stringify(value);
  const fields = Object.entries(event)
    .filter(([name, value]) => !["event", "ms"].includes(name) && value !== null)
    .map(([name, value]) => `${name} ${said(value)}`);
  return [event.event ?? "event", ...fields].join(", ");
}

function nodeTold(known, machine, event, at) {
  if (event.event === "started" && typeof event.id === "string") {
    known.names.set(event.id, machine);
    for (const key of [...known.ways.keys()]) if (key.startsWith(`${machine} `)) known.ways.delete(key);
    known.machines.delete(machine);
  }
  const path = wayTold(known, machine, event);
  tellLine(known, at, path ? "path" : "node", machine, eventPhrase(known, event));
}

// What a fault makes of links and machines, by the phrase that the lab says it with. One that is not known changes nothing.
const FAULTS = [
  [/^cut (\S+)/, (known, link) => known.links.set(link, "cut")],
  [/^heal (\S+)/, (known, link) => known.links.delete(link)],
  [/^impair (\S+)/, (known, link) => known.links.set(link.replace(/[:;]$/, ""), "impaired")],
  [/^mend (\S+)/, (known, link) => known.links.delete(link)],
  [
    /^partition (.+?)(, one way)?( after \w+)?$/,
    (known, groups, oneWay) => {
      const links = groups.split(/, | from /);
      const segment = known.map?.links.find((link) => links.includes(link.name))?.segment ?? "a segment";
      known.partitions.set(segment, `${groups}${oneWay ?? ""}`);
    },
  ],
  [/^rejoin (\S+)/, (known, segment) => known.partitions.delete(segment)],
  [/^(?:kill|stop) the node of (\S+)/, (known, machine) => nodeGone(known, machine, "no node")],
  [/^pause the node of (\S+)/, (known, machine) => known.machines.set(machine, "node paused")],
  [/^(?:resume|restart) the node of (\S+)/, (known, machine) => known.machines.delete(machine)],
  [/^power off (\S+)/, (known, machine) => nodeGone(known, machine, "off")],
  [/^freeze (\S+)/, (known, machine) => known.machines.set(machine, "frozen")],
  [/^(?:power on|thaw) (\S+)/, (known, machine) => known.machines.delete(machine)],
  [/^move (\S+) to (\S+)/, (known, machine, segment) => known.moved.set(machine, segment)],
  [/^make (\S+) (\S+)/, (known, machine, profile) => known.profiles.set(machine, profile)],
];

function nodeGone(known, machine, word) {
  known.machines.set(machine, word);
  for (const key of [...known.ways.keys()]) if (key.startsWith(`${machine} `)) known.ways.delete(key);
}

function faultTold(known, message, at) {
  for (const [pattern, befall] of FAULTS) {
    const found = pattern.exec(message);
    if (found) befall(known, ...found.slice(1));
  }
  tellLine(known, at, "fault", "lab", message);
}

// How things stand in a lab that stays up, by its own account, which is whole.
function standsTold(known, state) {
  const all = (names, word) => names.map((name) => [name, word]);
  known.links = new Map([
    ...all(
      state.impaired.map((one) => one.split(",")[0]),
      "impaired",
    ),
    ...all(state.cut, "cut"),
  ]);
  known.machines = new Map([
    ...all(state.paused, "node paused"),
    ...all(state.ended, "no node"),
    ...all(state.frozen, "frozen"),
    ...all(state.off, "off"),
  ]);
  known.partitions = new Map();
  for (const [from, to] of state.parted) {
    const segment = known.map?.links.find((link) => link.name === to)?.segment ?? "a segment";
    const before = known.partitions.get(segment);
    known.partitions.set(segment, `${before ? `${before}; ` : ""}nothing from ${from} to ${to}`);
  }
  const first = (text) => text.split(",")[0];
  known.moved = new Map(Object.entries(state.moved).map(([machine, to]) => [machine, first(to)]));
  known.profiles = new Map(Object.entries(state.gateways).map(([machine, now]) => [machine, first(now)]));
  known.ways = new Map(state.paths.map((way) => [`${way.from} ${way.to}`, way]));
  known.doing = state.doing;
  known.drawn = null;
}

// Takes what happened in a cell that runs.
function tellProgress(cell, event) {
  const known = progressOf(cell.index);
  known.map ??= maps[cell.map];
  switch (event.type) {
    case "stepStarted":
      known.step = event.step;
      known.stepAt = event.at_ms;
      tellLine(known, event.at_ms, "step", "lab", event.step);
      break;
    case "node":
      nodeTold(known, event.machine, event.event ?? {}, event.at_ms);
      break;
    case "log":
      tellLine(known, event.at_ms, "log", event.machine, event.line);
      break;
    case "fault":
      faultTold(known, event.message, event.at_ms);
      break;
    case "note":
      tellLine(known, event.at_ms, "note", "lab", event.message);
      break;
    case "lab":
      standsTold(known, event.state);
      break;
  }
}
