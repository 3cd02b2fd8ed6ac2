"use strict";

const get = (id) => document.getElementById(id);
window.onerror = (message, _, line) => {
  get("failed").hidden = false;
  get("failed").textContent = `The page's script failed: ${message} (line ${line}).`;
  document.documentElement.dataset.state = "failed";
};

const run = JSON.parse(get("data").textContent);
const VIRIDIS = ["#440154", "#472d7b", "#3b528b", "#2c728e", "#21918c", "#28ae80", "#5ec962", "#addc30", "#fde725"];
const NAMES = {
  refreshes: "refreshes accepted", waits: "refused for want of losses", degenerates: "degenerate, kept out",
  pivot: "pivot c (σ)", kept: "share that passes the gate", variance: "variance of the data, an element",
  sharpness: "sharpness", information: "information (integral of the rate)", drift: "drift of the cdf",
  sigma_q05: "σ, 5% quantile", sigma_q50: "σ, median", sigma_q95: "σ, 95% quantile",
  mass_lowest_decade: "mass below 10 sigma_min", apart: "recorded levels apart from the drawn",
  rescaled: "newer errors over older", spikes: "bins with a spike", recorded: "losses recorded",
};
const LEARNED = ["pivot", "kept", "variance", "sharpness", "information", "drift"]; // 0 in the state before the first refresh

let series = null; // the chosen series, its curves decoded
let at = 0; // index of the record that is shown
const plots = {}; // where each figure has its x axis

// Numbers

const decode = (text) => new Float32Array(Uint8Array.from(atob(text), (c) => c.charCodeAt(0)).buffer);
const row = (curve, t = at) => series.curves[curve].subarray(t * series.bins, (t + 1) * series.bins);
const extent = (values) =>
  values.reduce(([low, high], x) => (x > 0 ? [Math.min(low, x), Math.max(high, x)] : [low, high]), [Infinity, -Infinity]);

function show(x) {
  if (!Number.isFinite(x)) return "–";
  if (Number.isInteger(x)) return x.toLocaleString("en");
  const short = Number(x.toPrecision(3));
  return Math.abs(short) < 1e-3 ? short.toExponential() : String(short);
}

function open(index) {
  const { edges, config, curves, numbers } = run.series[index];
  const known = (name, t) => !LEARNED.includes(name) || numbers.refreshes[t];
  const each = (object, change) => Object.fromEntries(Object.entries(object).map(([key, value]) => [key, change(value, key)]));
  const sigma = edges.slice(1).map((edge, k) => Math.sqrt(edge * edges[k])), decoded = each(curves, decode);
  decoded.rate_error = decoded.standard_error.map((error, i) => error / sigma[i % sigma.length] ** 2);
  series = {
    index, edges, config, sigma, bins: sigma.length, records: numbers.step.length,
    curves: decoded, limits: each(decoded, extent),
    numbers: each(numbers, (values, name) => values.map((v, t) => (known(name, t) ? Number(v ?? NaN) : NaN))),
  };
}

// Points of a curve: a NaN lifts the pen

const line = (xs, values) => Array.from(values, (value, k) => [xs[k], value]);
const stairs = (edges, values) => Array.from(values).flatMap((value, k) => [[edges[k], value], [edges[k + 1], value]]);
const bars = (xs, values, errors) => xs.flatMap((x, k) => [[x, values[k] - errors[k]], [x, values[k] + errors[k]], [x, NaN]]);
const down = (x) => [[x, -Infinity], [x, Infinity]];
const across = (y) => [[-Infinity, y], [Infinity, y]];

// Figures

function scale({ low, high, log }, from, to) {
  const f = log ? (v) => Math.log(Math.max(v, 0)) : (v) => v;
  return (v) => Number((from + Math.min(2, Math.max(-1, (f(v) - f(low)) / (f(high) - f(low)))) * (to - from)).toFixed(1));
}

function ticks({ low, high, log }, most) {
  const [a, b] = log ? [Math.log10(low), Math.log10(high)] : [low, high];
  const raw = (b - a) / most, power = 10 ** Math.floor(Math.log10(raw));
  const size = Math.max([1, 2, 5, 10].find((m) => m * power >= raw) * power, log ? 1 : 0), first = Math.floor(a / size);
  const even = Array.from({ length: Math.ceil(b / size) - first + 1 }, (_, i) => Number(((first + i) * size).toPrecision(12)));
  const all = log ? even.flatMap((v) => (b - a > 2 ? [1] : [1, 2, 5]).map((m) => m * 10 ** v)) : even;
  return all.filter((v) => v >= low * (1 - 1e-9) && v <= high * (1 + 1e-9));
}

function path(points, sx, sy) {
  let d = "", pen = "M";
  for (const [x, y] of points) {
    const known = !Number.isNaN(x) && !Number.isNaN(y);
    if (known) d += `${pen}${sx(x)} ${sy(y)}`;
    pen = known ? "L" : "M";
  }
  return d;
}

// A caption with a legend, two axes, and `marks`: paths through points in the units of the axes.
function draw({ id, title, x, y, alt, marks, legend = "", image = "", height = 210 }) {
  const width = Math.max(260, get(id).clientWidth - 28); // without the padding of a card
  const left = 54, right = width - 14, top = 24, bottom = height - 40;
  const sx = scale(x, left, right), sy = scale(y, bottom, top);
  const shape = (name, d) => `<path class="${name}" d="${d}"/>`;
  const text = (px, py, words, anchor = "middle") => `<text x="${px}" y="${py}" text-anchor="${anchor}">${words}</text>`;
  const keys = marks.filter((mark) => mark.label).map((mark) => `<span><i class="key ${mark.class}"></i>${mark.label}</span>`);
  get(id).innerHTML = [
    `<figcaption><h2>${title}</h2>${keys.join("")}${legend}</figcaption>`,
    `<svg viewBox="0 0 ${width} ${height}" role="img" aria-label="${title} ${alt}">`,
    text(0, 11, y.label, "start"), text((left + right) / 2, height - 3, x.label),
    ...ticks(y, 6).map((v) => shape("rule", `M${left} ${sy(v)}H${right}`) + text(left - 7, sy(v) + 4, show(v), "end")),
    ...ticks(x, Math.min(8, width / 60)).map((v) => shape("rule", `M${sx(v)} ${bottom}v5`) + text(sx(v), bottom + 18, show(v))),
    shape("rule", `M${left} ${bottom}H${right}`),
    `<clipPath id="${id}-box">${shape("", `M${left} ${top - 2}H${right}V${bottom + 1}H${left}Z`)}</clipPath>`,
    `<g clip-path="url(#${id}-box)">`,
    image && `<image x="${left}" y="${top}" width="${right - left}" height="${bottom - top}" href="${image}" preserveAspectRatio="none"/>`,
    ...marks.map((mark) => shape(mark.class, path(mark.points, sx, sy))),
    `${shape("guide", "")}</g></svg>`,
  ].join("");
  plots[id] = { x, sx, left, right };
}

function guide(id, x) {
  get(id).querySelector(".guide").setAttribute("d", path(down(x), plots[id].sx, scale({ low: 0, high: 1 }, 0, 999)));
}

// Over sigma, at one record

const SIGMA = ["density", "mmse", "rate", "gate", "count"];
const logAxis = (low, high, label) => ({ low, high, log: true, label: `${label} log scale` });
const sigmaAxis = () => logAxis(series.edges[0], series.edges[series.bins], "noise level σ, units of the data,");
const curveAxis = ([low, high], label) => (low <= high ? logAxis(Math.max(low, high / 1e8) / 1.5, high * 1.5, label) : logAxis(1, 10, label));

function drawRecord() {
  const { edges, sigma, config, limits, numbers: n } = series, x = sigmaAxis(), when = `at step ${show(n.step[at])}`;
  const pivot = { class: "line thin dotted orange", points: down(n.pivot[at]), label: "pivot" };
  const density = stairs(edges, row("density")), count = stairs(edges, row("count"));
  draw({
    id: "density", title: "Sampled density", x, y: { low: 0, high: limits.density[1] * 1.05, label: "per unit log σ" },
    alt: `${when}: median sigma ${show(n.sigma_q50[at])}, 90% between ${show(n.sigma_q05[at])} and ${show(n.sigma_q95[at])}`,
    marks: [
      { class: "area green", points: [[x.low, 0], ...density, [x.high, 0]] },
      { class: "line green", points: density, label: "this record" },
      { class: "line thin grey", points: stairs(edges, row("density", 0)), label: "first shown" }, pivot,
    ],
  });
  draw({
    id: "mmse", title: "mmse", x, y: curveAxis(limits.mmse, "units of the recorded error,"),
    alt: `with standard errors ${when}, from ${extent(row("mmse")).map(show).join(" to ")}`,
    marks: [
      { class: "line thin blue", points: bars(sigma, row("mmse"), row("standard_error")) },
      { class: "line blue", points: line(sigma, row("mmse")), label: "estimate ± standard error" },
    ],
  });
  draw({
    id: "rate", title: "Entropy rate", x, y: curveAxis(limits.rate, "recorded error / σ², per unit log σ,"),
    alt: `with standard errors ${when}, largest ${show(extent(row("rate"))[1])}; information ${show(n.information[at])}`,
    marks: [
      { class: "line thin blue", points: bars(sigma, row("rate"), row("rate_error")) },
      { class: "line blue", points: stairs(edges, row("rate")), label: "mmse / σ² ± standard error" }, pivot,
    ],
  });
  draw({
    id: "gate", title: "Gate", x, y: { low: 0, high: 1, label: "0 to 1" },
    alt: `${when}: one half at the pivot, sigma ${show(n.pivot[at])}`,
    marks: [{ class: "line orange", points: line(sigma, row("gate")), label: "share of the signal that counts" }, pivot],
  });
  draw({
    id: "count", title: "Losses in each bin", x, y: logAxis(0.8, config.capacity * 1.3, "losses in the ring,"),
    alt: `${when}: ${row("count").filter((c) => c >= config.min_count).length} of ${series.bins} bins need no neighbours`,
    marks: [
      { class: "area blue", points: [[x.low, 0], ...count, [x.high, 0]] }, { class: "line thin blue", points: count },
      { class: "line thin dotted ink", points: across(config.min_count), label: "min_count: no neighbours from here" },
    ],
  });
}

// Over training

const STEPS = ["heat", "sharpness", "drift"];

function drawTraining() {
  const { limits, records, numbers: n, config } = series, end = records - 1, low = n.step[0], top = limits.density[1];
  const x = { low, high: n.step[end] + (end ? (n.step[end] - low) / end : 1), label: "optimizer step" };
  const held = (name) => stairs([...n.step, x.high], n[name]); // a table serves until the next record
  draw({
    id: "heat", title: "Density over training", x, y: sigmaAxis(), height: 340, image: heat(x, top),
    alt: `in ${show(records)} records, steps ${show(low)} to ${show(n.step[end])}: ` +
      `the median sigma goes from ${show(n.sigma_q50[0])} to ${show(n.sigma_q50[end])}`,
    legend: "<span>white: 5, 50, 95% of the samples below; dotted: pivot</span><span>per unit log σ: 0 " +
      `<i class="ramp" style="background:linear-gradient(90deg,${VIRIDIS})"></i> ${show(top)}</span>`,
    marks: [
      ...["sigma_q05", "sigma_q50", "sigma_q95"].map((name) => ({ class: "line white", points: held(name) })),
      { class: "line dotted white", points: held("pivot") },
    ],
  });
  const sharpest = Math.max(1, ...n.sharpness.filter(Number.isFinite)) * 1.1;
  draw({
    id: "sharpness", title: "Sharpness over training", x, y: { low: 0, high: sharpest, label: "power of the window" },
    alt: `, now ${show(n.sharpness[end])}`,
    marks: [
      { class: "line blue", points: line(n.step, n.sharpness), label: "the larger, the narrower the draws" },
      { class: "line thin dotted grey", points: across(0.5), label: "0.5: a wide window" },
    ],
  });
  const [least, most] = extent(n.drift);
  draw({
    id: "drift", title: "Drift over training", x, alt: `, at the last refresh ${show(n.drift[end])}`,
    y: logAxis(Math.min(0.005, least / 1.2), Math.min(1, Math.max(most, 0.02) * 1.2), "share of the samples,"),
    marks: [
      { class: "line blue", points: line(n.step, n.drift), label: "largest change of the cdf" },
      { class: "line thin dotted grey", points: across(0.01), label: "0.01: settled" },
    ],
  });
}

// Address of an image with a row for each bin; `top` has the last color.
function heat({ low, high }, top) {
  const { bins, records, numbers: n } = series, width = 1000;
  const canvas = Object.assign(document.createElement("canvas"), { width, height: bins }), context = canvas.getContext("2d");
  const gradient = (context.fillStyle = context.createLinearGradient(0, 0, width, 0));
  VIRIDIS.forEach((color, i) => gradient.addColorStop(i / (VIRIDIS.length - 1), color));
  context.fillRect(0, 0, width, 1);
  const colors = new Uint32Array(context.getImageData(0, 0, width, 1).data.buffer);
  const image = context.createImageData(width, bins), pixels = new Uint32Array(image.data.buffer);
  for (let column = 0, t = 0; column < width; column++) {
    while (t + 1 < records && n.step[t + 1] <= low + ((column + 0.5) / width) * (high - low)) t++;
    row("density", t).forEach((v, k) => {
      pixels[(bins - 1 - k) * width + column] = colors[Math.floor(Math.min(1, v / top) * (width - 1))];
    });
  }
  context.putImageData(image, 0, 0);
  return canvas.toDataURL();
}

// Text

const safe = (text) => new Option(text).innerHTML;
const rows = (list) => list.map(([head, ...cells]) => `<tr><th scope="row">${head}${cells.map((cell) => `<td>${cell}`).join("")}`).join("");
const terms = (pairs) => pairs.map(([name, value]) => `<div><dt>${safe(name)}</dt><dd>${safe(value)}</dd></div>`).join("");

function write() {
  const n = series.numbers, status = run.statuses[n.status[at]];
  const words = `record ${show(at + 1)} of ${show(series.records)}, step ${show(n.step[at])}, ${status}`;
  get("shown").textContent = words;
  get("record").setAttribute("aria-valuetext", words);
  get("numbers").innerHTML = terms(Object.entries(NAMES).map(([key, name]) =>
    [name, show(n[key][at])]));
  const skipped = run.causes.map((cause) => [cause, n[`skipped_${cause}`][at]]), again = n.skipped_recomputed[at]; // not other samples
  const total = skipped.reduce((sum, [, count]) => sum + count, n.recorded[at]) - again || again;
  get("skipped").innerHTML = rows(skipped.map(([cause, count]) =>
    [cause.replaceAll("_", " "), show(count), total ? `${show((100 * count) / total)}%` : "–"]));
  const curves = ["count", "mmse", "standard_error", "rate", "gate", "density"].map((curve) => row(curve));
  get("bins-rows").innerHTML = rows(series.sigma.map((sigma, k) => [sigma, ...curves.map((curve) => curve[k])].map(show)));
}

// What is shown

function choose(index, record, redraw = index !== series?.index) {
  if (redraw) open(index);
  const { config, records, numbers: n } = series;
  at = Math.max(0, Math.min(record, records - 1));
  if (redraw) {
    get("about").textContent = `${show(records)} records, steps ${show(n.step[0])} to ${show(n.step[records - 1])}, ` +
      `${show(n.recorded[records - 1])} losses recorded; ${config.bins} bins on σ from ${config.sigma_min} to ${config.sigma_max}.`;
    get("options").innerHTML = terms(Object.entries(config));
    get("series").value = index;
    get("record").max = records;
    drawTraining();
  }
  get("record").value = at + 1;
  STEPS.forEach((id) => guide(id, n.step[at]));
  drawRecord();
  write();
}

function chooseAndNote(index, record) {
  choose(index, record);
  try {
    window.history.replaceState(null, "", `#record=${at + 1}${index ? `&series=${index + 1}` : ""}`);
  } catch {} // a page inside a sandboxed frame has no address to change
}

function fromHash() {
  const hash = new URLSearchParams(window.location.hash.slice(1)), index = parseInt(hash.get("series")) - 1;
  choose(run.series[index] ? index : 0, (parseInt(hash.get("record")) || Infinity) - 1);
}

// Over sigma the pointer reads the values of a bin; over training, pressed, it chooses the record.
function point(event) {
  const figure = event.target.closest("figure"), plot = plots[figure?.id];
  const share = plot && (event.clientX - figure.lastChild.getBoundingClientRect().left - plot.left) / (plot.right - plot.left);
  if (plot && event.buttons && STEPS.includes(figure.id))
    chooseAndNote(series.index, series.numbers.step.findLastIndex((s) => s <= plot.x.low + share * (plot.x.high - plot.x.low)));
  const k = plot && SIGMA.includes(figure.id) ? Math.floor(share * series.bins) : -1, sigma = series.sigma[k] ?? NaN;
  SIGMA.forEach((id) => guide(id, sigma));
  const value = (curve) => show(row(curve)[k]);
  get("readout").textContent = Number.isNaN(sigma) ? "" : `σ = ${show(sigma)}: density ${value("density")}, ` +
    `mmse ${value("mmse")} ± ${value("standard_error")}, rate ${value("rate")}, ` +
    `gate ${value("gate")}, ${value("count")} losses in the ring`;
}

run.series.forEach(({ name }, index) => get("series").append(new Option(name, index)));
fromHash();
window.onhashchange = fromHash;
window.onresize = () => choose(series.index, at, true);
get("record").oninput = () => chooseAndNote(series.index, get("record").value - 1);
get("back").onclick = () => chooseAndNote(series.index, at - 1);
get("next").onclick = () => chooseAndNote(series.index, at + 1);
get("series").onchange = () => chooseAndNote(Number(get("series").value), Infinity);
for (const type of ["pointerdown", "pointermove", "pointerleave"]) document.querySelector("main").addEventListener(type, point);
document.documentElement.dataset.state = "ready";
