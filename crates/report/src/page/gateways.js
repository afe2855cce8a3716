// Gateways: what was proven of each, its table before and after, its ruleset; and the raw logs.

const FILE_KINDS = {
  nft: "ruleset as it was loaded",
  ruleset: "ruleset as the kernel lists it after the cell",
  conntrack: "table after the cell",
  "model.json": "profile and table after the cell",
  "before.conntrack": "table before the cell",
  "before.ruleset": "ruleset before the cell",
  "before.model.json": "profile and table before the cell",
};

// `nat1.before.conntrack` is of nat1 and of the kind `before.conntrack`.
function fileOf(path) {
  const name = path.split("/").pop();
  const dot = name.indexOf(".");
  return dot < 0 ? [name, ""] : [name.slice(0, dot), name.slice(dot + 1)];
}

// A line of `conntrack -L`: protocol, what the inside says, what the outside says back.
function conntrackRow(line) {
  const protocol = line.match(/^(\w+)\s/)?.[1],
    left = line.match(/^\w+\s+\d+\s+(\d+)\s/)?.[1];
  const of = (name) => [...line.matchAll(new RegExp(`\\b${name}=(\\S+)`, "g"))].map((found) => found[1]);
  const [src, dst, sport, dport] = [of("src"), of("dst"), of("sport"), of("dport")];
  if (!protocol || src.length < 2) return null;
  const end = (address, port) => (port ? `${address}:${port}` : address);
  const state = ["[ASSURED]", "[UNREPLIED]"]
    .filter((word) => line.includes(word))
    .join(" ")
    .replace(/[[\]]/g, "")
    .toLowerCase();
  return [
    protocol,
    end(src[0], sport[0]),
    end(dst[0], dport[0]),
    end(dst[1], dport[1]),
    end(src[1], sport[1]),
    state || "replied",
    left ? `${left} s` : "",
  ];
}

const ROWS_OF_TABLE = 200;

function longTable(caption, heads, rows) {
  if (rows.length <= ROWS_OF_TABLE) return makeTable(caption, heads, rows, "mono");
  const box = make("div");
  const show = (most) =>
    box.replaceChildren(
      makeTable(caption, heads, rows.slice(0, most), "mono"),
      rows.length > most
        ? make(
            "button",
            { type: "button", onclick: () => show(most + 2000) },
            `Show more: ${rows.length - most} of ${rows.length} rows are not shown`,
          )
        : "",
    );
  show(ROWS_OF_TABLE);
  return box;
}

// A table as rows, or why it is none.
function natTable(file, kind, title) {
  if (kind.endsWith("conntrack")) {
    const lines = file.text.split("\n").filter((line) => line.trim());
    if (!lines.length) return note("The table was empty.");
    const rows = lines.map(conntrackRow);
    const odd = rows.filter((row) => !row).length;
    return [
      longTable(
        title,
        ["", "inside", "to", "outside", "answers from", "state", "left"],
        rows.filter(Boolean),
      ),
      odd
        ? missing(`${plural(odd, "line", "lines")} could not be read as an entry; the file below has them.`)
        : "",
    ];
  }
  if (!kind.endsWith("model.json")) return null;
  let model;
  try {
    model = JSON.parse(file.text);
  } catch (error) {
    return missing(`This table could not be read: ${error.message}. The file below is as it was found.`);
  }
  if (!Array.isArray(model?.table)) return missing("This file has no table.");
  if (!model.table.length) return note("The table was empty.");
  const text = (value) => (value === undefined || value === null ? "" : String(value));
  const rows = model.table.map((entry) => [
    text(entry?.protocol),
    text(entry?.inside),
    text(entry?.outside),
    text(entry?.remote),
    [entry?.sent ? "sent" : "", entry?.answered ? "answered" : ""].filter(Boolean).join(", "),
    text(entry?.age),
    text(entry?.left),
  ]);
  return longTable(title, ["", "inside", "outside", "remote", "state", "age", "left"], rows);
}

// Text that is put into the page when it is looked at; lines that matter are marked.
function textFile(title, file, matters) {
  if (file.problem) return missing(`${title}: ${file.problem} (${file.path})`);
  const lines = file.text ? file.text.replace(/\n$/, "").split("\n") : [];
  const marked = lines.filter((line) => matters?.has(line.trim())).length;
  const summary = make(
    "summary",
    {},
    title,
    make(
      "span",
      { class: "dim" },
      ` ${file.path} · ${plural(lines.length, "line", "lines")}${marked ? ` · ${marked} that matter ◂` : ""}`,
    ),
  );
  const box = make("details", {}, summary);
  box.addEventListener("toggle", () => {
    if (!box.open || box.children.length > 1) return;
    const pre = make("pre", { class: "file", tabindex: 0 });
    let plain = [];
    const flush = () => {
      if (plain.length) pre.append(`${plain.join("\n")}\n`);
      plain = [];
    };
    for (const line of lines) {
      if (!matters?.has(line.trim())) {
        plain.push(line);
        continue;
      }
      flush();
      pre.append(make("mark", {}, `${line} ◂`), "\n");
    }
    flush();
    box.append(
      file.left_out
        ? note(`Long: ${file.left_out} bytes in the middle are left out; the whole is in the run's folder.`)
        : "",
      lines.length ? pre : note("It is empty."),
    );
  });
  return box;
}

// A proof: what the profile says beside what was measured.
function proofTable(proof) {
  const axes = (side) => {
    const { mapping, filtering, early_packet_harmless: early, ...other } = side;
    const word = early === null || early === undefined ? "" : early ? "leaves the port" : "moves the port";
    return { mapping, filtering, early_packet: word, ...other };
  };
  const declared = axes(proof.declared),
    measured = axes(proof.measured);
  const names = [...new Set([...Object.keys(measured), ...Object.keys(declared)])].filter(
    (name) => measured[name] || declared[name],
  );
  const rows = names.map((name) => {
    const differs = proof.differs.includes(name);
    return {
      mark: differs ? "differs" : "",
      fields: [
        name,
        declared[name] ?? "",
        measured[name] || make("span", { class: "dim" }, "not measured"),
        differs ? "≠ differs" : measured[name] ? "=" : "",
      ],
    };
  });
  return [
    make(
      "p",
      {},
      make("span", { class: `chip ${proof.holds ? "as-expected" : "lab-error"}` }, proof.holds ? "✓" : "!"),
      proof.holds
        ? ` measured as declared (${proof.steps || "steps not recorded"})`
        : " is not what it is declared to be",
    ),
    make(
      "details",
      { open: !proof.holds },
      make("summary", {}, "Proof: declared and measured"),
      makeTable(`Proof of ${proof.gateway}`, ["axis", "declared", "measured", ""], rows),
      proof.notes.length
        ? make(
            "ul",
            { class: "notes" },
            proof.notes.map((line) => make("li", {}, line)),
          )
        : "",
    ),
  ];
}

// What a table held before the cell, where that was not kept.
function beforeIt(proof) {
  return proof?.holds
    ? note("Empty: after its proof all state of a gateway is flushed, and shown to be gone.")
    : missing("It was not kept, and nothing was flushed: the gateway was not proven.");
}

function gatewaySection(record, story, files, problem) {
  const proofs = record?.proofs ?? [];
  const own = (files ?? []).filter((file) => !file.log);
  const names = [
    ...new Set([...proofs.map((proof) => proof.gateway), ...own.map((file) => fileOf(file.path)[0])]),
  ];
  if (!names.length && !problem) return note("This cell had no gateway, or did not come so far.");
  const gateways = names.map((name) => {
    const proof = proofs.find((one) => one.gateway === name);
    const of = own.filter((file) => fileOf(file.path)[0] === name);
    const isTable = (kind) => kind.endsWith("conntrack") || kind.endsWith("model.json");
    const before = of.filter(
      (file) => isTable(fileOf(file.path)[1]) && fileOf(file.path)[1].startsWith("before"),
    );
    const after = of.filter(
      (file) => isTable(fileOf(file.path)[1]) && !fileOf(file.path)[1].startsWith("before"),
    );
    const tables = (some) =>
      some.map((file) =>
        file.problem
          ? missing(`${file.path}: ${file.problem}`)
          : natTable(file, fileOf(file.path)[1], `Table of ${name}`),
      );
    const changes = (story?.moments ?? []).filter(
      (moment) => moment.kind === "table" && moment.machine === name,
    );
    return make(
      "div",
      { class: "gateway" },
      make("h3", {}, name, proof ? make("span", { class: "dim" }, ` ${proof.profile}`) : ""),
      proof ? proofTable(proof) : "",
      files
        ? [
            make("h4", {}, "Table before"),
            before.length ? tables(before) : beforeIt(proof),
            changes.length
              ? make(
                  "details",
                  {},
                  make("summary", {}, `Changes during the cell: ${changes.length}`),
                  makeTable(
                    `Changes of ${name}`,
                    ["time", "what"],
                    changes.map((moment) => [time(moment.at_ms), moment.what]),
                    "mono",
                  ),
                )
              : "",
            make("h4", {}, "Table after"),
            after.length ? tables(after) : missing("No table of this gateway was kept."),
            of.map((file) => textFile(FILE_KINDS[fileOf(file.path)[1]] ?? "file", file)),
          ]
        : "",
    );
  });
  return [problem ? missing(problem) : "", gateways];
}

function logSection(record, files, problem) {
  if (problem) return missing(problem);
  const logs = files.filter((file) => file.log);
  if (!logs.length) return missing("No logs were kept.");
  const matters = new Set((record?.failure?.lines ?? []).map((line) => line.trim()).filter(Boolean));
  const empty = logs.filter((file) => file.text === "");
  return [
    logs
      .filter((file) => !empty.includes(file))
      .map((file) => textFile(file.path.split("/").pop(), file, matters)),
    empty.length ? note(`Empty: ${empty.map((file) => file.path).join(", ")}.`) : "",
  ];
}
