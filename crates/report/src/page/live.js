// Hears what happens in the run that serves this page.

// What has come and is not drawn yet; many events come at once.
let news = [];
let drawing = null;
const GATHER_MS = 120;

// The run's clock, carried on between events.
const clock = { at_ms: 0, came: performance.now() };
const runClock = () => clock.at_ms + performance.now() - clock.came;

const link = { word: "connecting", lost: 0, preparing: "" };

// The sign and the word of how this page hears of the run.
const LINK_WORDS = {
  connecting: "○ connecting",
  live: "● live",
  lost: "◌ connection lost, trying again",
  gone: "✗ natrig does not answer any more",
  ended: "■ the run has ended",
  down: "■ the lab is down",
};

const doneCells = () => run.cells.filter((cell) => !outcomeOf(cell).pending);

function liveHeadline() {
  const all = run.cells.length,
    done = doneCells().length,
    failed = failedCells().length;
  if (!all) return link.preparing ? "The run is being prepared." : "The run has not begun.";
  if (!done) return `No cell of ${all} has ended yet.`;
  return failed
    ? `${failed} of ${done} cells did not end as expected, of ${all}.`
    : `${done} of ${all} cells have ended, as expected.`;
}

// After so many cells the time that is left is worth a guess.
const ENOUGH = 2;

function liveProgress() {
  const busy = run.cells.filter((cell) => cell.running && outcomeOf(cell).pending);
  const done = doneCells().length;
  const passed = runClock() - (run.began ?? 0);
  const half = done + busy.length / 2;
  const left = done >= ENOUGH && done < run.cells.length ? (passed / half) * (run.cells.length - half) : null;
  return { busy, done, passed, left };
}

// How many running cells are named.
const MOST_BUSY = 24;

// What goes on, above the grid.
function drawNow() {
  const now = byId("now");
  document.title = current === null ? overviewTitle() : document.title;
  const status = byId("live-status");
  status.textContent = LINK_WORDS[link.word];
  status.className = `live-status ${link.word}`;
  if (!now) return;
  if (run.ended) {
    now.replaceChildren(endedNote());
    return;
  }
  if (!run.cells.length) {
    now.replaceChildren(note(link.preparing || "What is needed is made ready."));
    return;
  }
  const { busy, done, passed, left } = liveProgress();
  const waiting = run.cells.length - done - busy.length;
  const line = [
    `${busy.length} running, ${waiting} waiting`,
    minutes(passed),
    left === null ? "" : `about ${minutes(left)} left`,
  ];
  now.replaceChildren(
    make("progress", { max: run.cells.length, value: done, "aria-label": "Cells that have ended" }),
    make("p", { class: "facts", id: "now-line" }, line.filter(Boolean).join(" · ")),
    make(
      "ul",
      { class: "busy", "aria-label": "Cells that run, and what they wait for" },
      busy
        .slice(0, MOST_BUSY)
        .map((cell) =>
          make(
            "li",
            {},
            "▸ ",
            make("a", { href: linkTo(cell) }, cell.anchor),
            ` waits for ${cell.running}; it began ${sinceOf(cell)} ago`,
          ),
        ),
    ),
  );
}

function endedNote() {
  if (link.word === "down") {
    const folder = make("code", {}, run.run.folder);
    return make("p", { class: "notice", id: "ended" }, "The lab is down. What was captured is in ", folder, ".");
  }
  const parts = run.problem
    ? [make("b", {}, "The run could not go on: "), run.problem]
    : [
        make("b", {}, run.interrupted ? "The run was interrupted." : "The run has ended."),
        " All of it is in ",
        make("code", {}, run.page),
        "; this page keeps what it has.",
      ];
  return make("p", { class: "notice", id: "ended" }, parts);
}

// What each kind of event makes of the cells; changes are gathered, so that all are drawn at once.
const TAKES = {
  hello(event) {
    clock.at_ms = event.now_ms;
    clock.came = performance.now();
  },
  preparing(event) {
    link.preparing = event.message;
  },
  // A lab that stays up is a run of one cell that does not end.
  lab(event, changes) {
    const first = !run.lab;
    run.lab = { name: event.name, faults: event.faults };
    changes.set(event.cell, { ...changes.get(event.cell), running: "up" });
    if (!first) return;
    if (location.hash) route();
    else location.hash = linkTo(run.cells[event.cell]);
  },
  runStarted(event, changes) {
    maps = event.maps;
    run.began = event.at_ms;
    changes.clear();
    progress.clear();
    run.cells = event.cells.map((cell, index) => ({ ...cell, index }));
    take.run({ run: event.info, seed: event.seed });
    // The address may name a cell that was not known before.
    route();
  },
  cellStarted(event, changes) {
    changes.set(event.cell, { running: "machines", began: event.at_ms });
  },
  stepStarted(event, changes) {
    changes.set(event.cell, { ...changes.get(event.cell), running: event.step });
  },
  cellFinished(event, changes) {
    progress.delete(event.cell);
    changes.set(event.cell, { ...event.brief, running: undefined });
  },
  runFinished(event) {
    run.interrupted = event.interrupted;
  },
  ended(event, changes) {
    take.cells([...changes]);
    changes.clear();
    const gone = run.cells.map((cell, index) => [index, cell]).filter(([, cell]) => outcomeOf(cell).pending);
    Object.assign(run, { ended: true, page: event.page, problem: event.problem });
    link.word = event.down ? "down" : "ended";
    stream?.close();
    // Of cells that were not run there is nothing to wait for.
    gone.forEach(([index]) => changes.set(index, { running: undefined }));
    const { cells: _, live: __, ...known } = event.run ?? {};
    take.run(known);
    say(run.problem ? "The run could not go on." : event.down ? "The lab is down." : "The run has ended.");
  },
};

function takeEvent(event, changes) {
  if (typeof event.at_ms === "number" && event.at_ms >= clock.at_ms) {
    clock.at_ms = Math.max(event.at_ms, runClock());
    clock.came = performance.now();
  }
  if (Object.hasOwn(TAKES, event.type)) TAKES[event.type](event, changes);
  const cell = run.cells[event.cell];
  if (cell && event.type !== "cellFinished" && outcomeOf(cell).pending) tellProgress(cell, event);
}

function drawNews() {
  drawing = null;
  const taken = news;
  news = [];
  const changes = new Map();
  for (const event of taken) takeEvent(event, changes);
  take.cells([...changes]);
  drawNow();
  redrawRunning();
}

function hear(event) {
  news.push(event);
  drawing ??= setTimeout(drawNews, GATHER_MS);
}

let stream = null;

// So often in a row it may fail before it is said that nobody is there.
const MOST_LOST = 5;

function listen() {
  stream = new EventSource("events");
  stream.addEventListener("message", (message) => {
    const event = JSON.parse(message.data);
    // Another run listens on this port now.
    if (event.type === "reset") location.reload();
    else hear(event);
  });
  stream.addEventListener("open", () => {
    Object.assign(link, { word: "live", lost: 0 });
    drawNow();
  });
  stream.addEventListener("error", () => {
    if (run.ended) return;
    link.lost += 1;
    link.word = "lost";
    if (link.lost >= MOST_LOST || stream.readyState === EventSource.CLOSED) {
      stream.close();
      link.word = "gone";
    }
    drawNow();
  });
}

function beginLive() {
  byId("moves").before(make("span", { id: "live-status", class: "live-status", role: "status" }));
  source.part = async (cell, name) => {
    let answer;
    try {
      answer = await fetch(`cell/${cell.index}/${name}`);
    } catch {
      const place = run.page ?? `report.html in ${run.run.folder}`;
      throw new Error(`natrig has ended, and this part was not opened before; see ${place}.`);
    }
    if (!answer.ok) throw new Error(await answer.text());
    const { value, problem } = await answer.json();
    if (problem) throw new Error(problem);
    return value;
  };
  drawNow();
  setInterval(() => {
    const busy = run.cells.filter((cell) => cell.running && outcomeOf(cell).pending);
    if (run.ended) return;
    take.cells(busy.map((cell) => [cell.index, {}]));
    drawNow();
    redrawRunning();
  }, 1000);
  listen();
}
