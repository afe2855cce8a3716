// What the page knows, and how it learns more: a run in brief, and the parts of a cell when they are asked for.
//
// A page of a run that still goes on is this one: `take` replaces what is known of the run or of a cell and draws anew what
// shows it, and `source.part` may fetch a part instead of finding it in the page.

const OUTCOMES = {
  "as-expected": { sign: "✓", word: "as expected", ok: true },
  "not-as-expected": { sign: "✗", word: "NOT as expected" },
  disagree: { sign: "≠", word: "DISAGREE" },
  "lab-error": { sign: "!", word: "LAB ERROR" },
};

// Which of several is shown where there is room for one.
const GRAVITY = ["as-expected", "lab-error", "not-as-expected", "disagree"];

const outcomeOf = (cell) =>
  OUTCOMES[cell.outcome] ?? {
    sign: cell.running ? "▸" : "·",
    word: cell.running ?? "not yet run",
    pending: true,
  };
const hasFailed = (cell) => !outcomeOf(cell).ok && !outcomeOf(cell).pending;

const run = JSON.parse(byId("run").textContent);
run.cells.forEach((cell, index) => {
  cell.index = index;
});

// Each is told which cells have changed; null says that all may have.
const watchers = new Set();

const take = {
  // What is known of the run: totals, line, metrics, repeats.
  run(known) {
    Object.assign(run, known);
    watchers.forEach((watcher) => watcher(null));
  },
  // What is known of one cell; a new one is put at the end.
  cell(index, known) {
    take.cells([[index, known]]);
  },
  // The same of several, which are drawn at once.
  cells(all) {
    for (const [index, known] of all) {
      run.cells[index] = { ...run.cells[index], ...known, index };
      opened.delete(index);
    }
    const changed = [...new Set(all.map(([index]) => index))].map((index) => run.cells[index]);
    if (changed.length) watchers.forEach((watcher) => watcher(changed));
  },
};

const failedCells = () => run.cells.filter(hasFailed);

function totals() {
  const count = Object.fromEntries(Object.keys(OUTCOMES).map((outcome) => [outcome, 0]));
  for (const cell of run.cells) if (cell.outcome in count) count[cell.outcome] += 1;
  return count;
}

async function unpack(text) {
  if (typeof DecompressionStream === "undefined") {
    throw new Error("this browser cannot unpack gzip; a newer one can");
  }
  const packed = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
  return JSON.parse(await new Response(stream).text());
}

const source = {
  // A part of a cell: its `record`, `story` or `files`. Throws where there is none, with the reason as its message.
  async part(cell, name) {
    const why = cell.has?.[name];
    if (why) throw new Error(why);
    const element = byId(`piece-${cell.index}-${name}`);
    if (!element) throw new Error("This part is not in the page.");
    return unpack(element.textContent);
  },
};

// Parts of the cells that were looked at last; others are unpacked anew.
const opened = new Map();
const MOST_OPENED = 8;

async function partsOf(cell) {
  if (opened.has(cell.index)) return opened.get(cell.index);
  const part = async (name) => {
    try {
      return { value: await source.part(cell, name) };
    } catch (error) {
      return { problem: error.message };
    }
  };
  const [record, story, files] = await Promise.all(["record", "story", "files"].map(part));
  const parts = { record, story, files };
  opened.set(cell.index, parts);
  if (opened.size > MOST_OPENED) opened.delete(opened.keys().next().value);
  return parts;
}

const linkTo = (cell) => `#cell-${encodeURIComponent(cell.anchor)}`;

// The cell that an address names, if it names one. Of a repeated one the ID alone names the gravest.
function cellAt(hash) {
  if (!hash.startsWith("#cell-")) return null;
  let anchor = hash.slice("#cell-".length);
  try {
    anchor = decodeURIComponent(anchor);
  } catch {
    // Not ours; then it is taken as it stands.
  }
  const named = run.cells.find((cell) => cell.anchor === anchor);
  return named ?? gravest(run.cells.filter((cell) => cell.id === anchor)) ?? null;
}

function gravest(cells) {
  return [...cells].sort((a, b) => GRAVITY.indexOf(b.outcome) - GRAVITY.indexOf(a.outcome))[0];
}
