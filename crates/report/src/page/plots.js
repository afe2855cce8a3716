// Throughput and latency over time.

// Round numbers that span a range.
function ticks(from, to, about) {
  const span = to - from;
  if (!(span > 0)) return [from];
  const rough = span / about;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((factor) => factor * power).find((size) => size >= rough);
  const all = [];
  for (let tick = Math.ceil(from / step) * step; tick <= to + step * 1e-6; tick += step)
    all.push(Math.abs(tick) < step / 1e6 ? 0 : tick);
  return all;
}

const round = (number) => Number(number.toPrecision(4)).toString();

// Series have a name, points, and a look (`solid`, `dashed`, `dotted`, `dots`), so that colour is not all that tells them apart.
function plot({ title, unit, series }) {
  const width = 560,
    height = 230,
    left = 64,
    right = 14,
    top = 14,
    bottom = 40;
  const points = series.flatMap((one) => one.points);
  let from = Infinity,
    to = -Infinity,
    most = 0;
  for (const [x, y] of points) {
    from = Math.min(from, x);
    to = Math.max(to, x);
    most = Math.max(most, y);
  }
  if (to <= from) to = from + 1;
  const high = most > 0 ? most * 1.06 : 1;
  const x = (ms) => left + ((ms - from) / (to - from)) * (width - left - right);
  const y = (value) => height - bottom - (value / high) * (height - top - bottom);
  const seconds = Math.max(Math.abs(from), Math.abs(to)) >= 2000;
  const axes = [
    ticks(0, high, 4).map((tick) =>
      draw(
        "g",
        { class: "tick" },
        draw("line", { x1: left, y1: y(tick), x2: width - right, y2: y(tick) }),
        label(left - 7, y(tick) + 4, "end", "time", round(tick)),
      ),
    ),
    ticks(from, to, 5).map((tick) =>
      draw(
        "g",
        { class: "tick" },
        draw("line", { x1: x(tick), y1: height - bottom, x2: x(tick), y2: height - bottom + 4 }),
        label(x(tick), height - bottom + 17, "middle", "time", round(seconds ? tick / 1000 : tick)),
      ),
    ),
    label(
      (left + width - right) / 2,
      height - 6,
      "middle",
      "axis",
      `time after the connect command, ${seconds ? "s" : "ms"}`,
    ),
    draw(
      "text",
      {
        transform: `translate(13 ${(top + height - bottom) / 2}) rotate(-90)`,
        "text-anchor": "middle",
        class: "axis",
      },
      unit,
    ),
  ];
  const lines = series.map((one, index) =>
    one.look === "dots"
      ? draw(
          "g",
          { class: `dots s${index}` },
          one.points.map(([at, value]) =>
            draw("circle", { cx: x(at).toFixed(1), cy: y(value).toFixed(1), r: 2.4 }),
          ),
        )
      : draw("polyline", {
          class: `series ${one.look} s${index}`,
          points: one.points.map(([at, value]) => `${x(at).toFixed(1)},${y(value).toFixed(1)}`).join(" "),
        }),
  );
  const sample = (one, index) =>
    make(
      "li",
      {},
      draw(
        "svg",
        { width: 34, height: 10, "aria-hidden": true },
        one.look === "dots"
          ? draw("g", { class: `dots s${index}` }, draw("circle", { cx: 17, cy: 5, r: 3 }))
          : draw("line", { x1: 1, y1: 5, x2: 33, y2: 5, class: `series ${one.look} s${index}` }),
      ),
      ` ${one.name}`,
    );
  return make(
    "figure",
    { class: "plot" },
    make("figcaption", {}, title),
    draw(
      "svg",
      {
        viewBox: `0 0 ${width} ${height}`,
        role: "img",
        "aria-label": `${title}: up to ${round(most)} ${unit}`,
      },
      axes,
      lines,
    ),
    make("ul", { class: "samples" }, series.map(sample)),
  );
}

// Steps from spans: a span's rate holds from its begin to its end.
function steps(spans, throughput) {
  const rate = (count) => (count * 8) / throughput.span_ms / 1000;
  return spans.flatMap((count, index) => {
    const from = throughput.from_ms + index * throughput.span_ms;
    return [
      [from, rate(count)],
      [from + throughput.span_ms, rate(count)],
    ];
  });
}

function throughputPlot(story) {
  const { throughput } = story;
  if (!(throughput?.span_ms > 0)) return null;
  const series = [
    {
      name: "site to site, from the initiator",
      look: "solid",
      points: steps(throughput.direct_there, throughput),
    },
    { name: "site to site, back", look: "dashed", points: steps(throughput.direct_back, throughput) },
    { name: "to and from third machines", look: "dotted", points: steps(throughput.third, throughput) },
  ].filter((one) => one.points.some(([, value]) => value > 0));
  return series.length ? plot({ title: "Throughput of payload", unit: "Mbit/s", series }) : null;
}

// A plot shows this many points at most, evenly taken.
const MOST_POINTS = 1500;

function latencyPlot(story) {
  const all = (story.latencies_ms ?? []).filter(
    ([at, value]) => Number.isFinite(at) && Number.isFinite(value),
  );
  if (!all.length) return null;
  const every = Math.ceil(all.length / MOST_POINTS);
  const sorted = all.map(([, value]) => value).sort((a, b) => a - b);
  const at = (share) => sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))];
  const figure = plot({
    title: "Latency from peer to peer",
    unit: "ms",
    series: [
      {
        name: `datagrams${every > 1 ? `, one of ${every}` : ""}`,
        look: "dots",
        points: all.filter((_, index) => index % every === 0),
      },
    ],
  });
  figure.append(
    note(
      `half within ${time(at(0.5))}, 99 of 100 within ${time(at(0.99))}, all within ${time(sorted[sorted.length - 1])}; ${plural(all.length, "datagram", "datagrams")}`,
    ),
  );
  return figure;
}

function plots(story) {
  const drawn = [throughputPlot(story), latencyPlot(story)].filter(Boolean);
  return drawn.length
    ? make("div", { class: "plots" }, drawn)
    : note("No datagram could be followed from peer to peer.");
}
