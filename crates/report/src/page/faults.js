// What may be done to a lab that stays up, where that is allowed: buttons for what is done most, and a line for all the rest.

// Has a fault done, in the words of `natrig fault`; gives what came of it as a sentence.
async function haveDone(words) {
  let answer;
  try {
    const body = JSON.stringify({ words });
    answer = await fetch("fault", { method: "POST", headers: { "Content-Type": "application/json" }, body });
  } catch {
    return { problem: "natrig does not answer." };
  }
  return answer.ok ? answer.json() : { problem: await answer.text() };
}

// In one word what is YAML, else as a shell would part it.
const wordsOf = (text) => (text.startsWith("{") ? [text] : text.split(/\s+/).filter(Boolean));

const isOff = (known, machine) => known.machines.get(machine) === "off";
const isFrozen = (known, machine) => known.machines.get(machine) === "frozen";
const hasNode = (known, machine) => !["off", "no node"].includes(known.machines.get(machine));
const hasWord = (known, machine, word) => known.machines.get(machine) === word;

// What a link and a machine of each role can be made to do: the words, and when that makes sense.
const LINK_DEEDS = [
  ["cut", (link) => `cut ${link}`, (known, link) => known.links.get(link) !== "cut"],
  ["heal", (link) => `heal ${link}`, (known, link) => known.links.get(link) === "cut"],
  ["lose 10 %", (link) => `impair ${link} loss 10%`, () => true],
  ["delay 200 ms", (link) => `impair ${link} delay 200ms`, () => true],
  ["mend", (link) => `mend ${link}`, (known, link) => known.links.get(link) === "impaired"],
];

const POWER_DEEDS = [
  ["freeze", (machine) => `freeze ${machine}`, (known, machine) => !isOff(known, machine) && !isFrozen(known, machine)],
  ["thaw", (machine) => `thaw ${machine}`, isFrozen],
  ["power off", (machine) => `power_off ${machine}`, (known, machine) => !isOff(known, machine)],
  ["power on", (machine) => `power_on ${machine}`, isOff],
];

const NODE_DEEDS = [
  ["kill node", (machine) => `kill ${machine}`, hasNode],
  ["pause node", (machine) => `pause ${machine}`, (known, machine) => !known.machines.has(machine)],
  ["resume node", (machine) => `resume ${machine}`, (known, machine) => hasWord(known, machine, "node paused")],
  ["restart node", (machine) => `restart ${machine}`, (known, machine) => !isOff(known, machine)],
];

const GATEWAY_DEEDS = [
  ["reboot", (machine) => `reboot ${machine}`, (known, machine) => !known.machines.has(machine)],
  ["rebind", (machine) => `rebind ${machine}`, (known, machine) => !known.machines.has(machine)],
];

function deedsOf(machine, map) {
  if (machine.role === "gateway") return [...GATEWAY_DEEDS, ...POWER_DEEDS];
  const others = map.machines.filter((other) => other.role === "peer" && other.name !== machine.name);
  const connect = ({ name }) => [
    `connect to ${name}`,
    (from) => `connect ${from} to ${name}`,
    (known, from) => !known.machines.has(from),
  ];
  return [...(machine.role === "peer" ? others.map(connect) : []), ...NODE_DEEDS, ...POWER_DEEDS];
}

// The buttons of a cell's links and machines. They stay while what they stand for changes, so that keys keep their place.
function faultBench(map) {
  const answer = make("p", { class: "note", id: "deed", role: "status" }, "Nothing has been done from here.");
  const buttons = [];
  const perform = async (text) => {
    answer.textContent = `${text} …`;
    const { done, problem } = await haveDone(wordsOf(text));
    answer.textContent = problem ?? `Done: ${done}`;
    answer.className = problem ? "note refused" : "note";
  };
  const button = (name, [label, words, sensible]) => {
    const text = words(name);
    const made = make(
      "button",
      { type: "button", "data-fault": text, "aria-label": `${label}: ${name}`, onclick: () => perform(text) },
      label,
    );
    buttons.push({ made, sensible: (known) => sensible(known, name) });
    return [made, " "];
  };
  const rows = (names, deeds) => names.map((one) => [one.name, deeds(one).map((deed) => button(one.name, deed))]);
  const line = make("input", {
    id: "any-fault",
    "aria-label": "Any fault, in the words of natrig fault",
    placeholder: "impair nat1.wan loss 10% delay 50ms",
    autocomplete: "off",
    spellcheck: "false",
  });
  const form = make("form", { class: "tools" }, line, make("button", {}, "Do it"));
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const text = line.value.trim();
    if (text) perform(text);
  });
  const drawn = make(
    "div",
    {},
    makeTable("Machines, and what can be done to them", ["machine", ""], rows(map.machines, (one) => deedsOf(one, map))),
    makeTable("Links, and what can be done to them", ["link", ""], rows(map.links, () => LINK_DEEDS)),
    form,
    answer,
  );
  const redraw = (known) =>
    buttons.forEach(({ made, sensible }) => {
      made.disabled = !sensible(known);
    });
  return { drawn, redraw };
}
