"use strict";

const get = (id) => document.getElementById(id);
window.onerror = (message, _, line) => {
  get("failed").hidden = false;
  get("failed").textContent = `The page's script failed: ${message} (line ${line}).`;
  document.documentElement.dataset.state = "failed";
};

const run = JSON.parse(get("data").textContent);
const VIRIDIS = ["#440154", "#472d7b", "#3b528b", "#2c728e", "#21918c", "#28ae80", "#5ec962", "#addc30", "#fde725"]
  .map((hex) => [1, 3, 5].map((i) => parseInt(hex.slice(i, i + 2), 16)));
const MARGIN = { left: 54, right: 14, top: 24, bottom: 40 };
const SIGMA = "noise level σ (units of the data, log scale)";
const NAMES = {
  refreshes: "refreshes accepted", waits: "refused for coverage", degenerates: "degenerate, kept out",
  pivot: "pivot c (σ)", coverage: "coverage", drift: "drift of the cdf", information: "information (integral of the rate)",
  kept: "share that passes the gate", sigma_q05: "σ, 5% quantile", sigma_q50: "σ, median", sigma_q95: "σ, 95% quantile",
  mass_lowest_decade: "mass below 10 sigma_min", samples_needed: "samples until coverage", recorded: "losses recorded",
};

let series = null; // the chosen series, its curves decoded
let at = 0; // index of the record that is shown
let guides = []; // [plot, x scale] of the panels over sigma
let training = []; // the same over steps

// Numbers

function decode(text) {
  const binary = atob(text), bytes = new Uint8Array(binary.length);
  for (let i = 0; i < bytes.length; i++) bytes[i] = binary.charCodeAt(i);
  return new Float32Array(bytes.buffer);
}
const known = (x) => x !== null && Number.isFinite(x);
const show = (x) => (!known(x) ? "–" : Number.isInteger(x) ? x.toLocaleString("en") : String(Number(x.toPrecision(3))));
const row = (curve, t = at) => series.curve[curve].subarray(t * series.bins, (t + 1) * series.bins);
const step = (t) => series.numbers.step[t];

function extent(values, positive) {
  let low = Infinity, high = -Infinity;
  for (let i = 0; i < values.length; i++) {
    const x = values[i];
    if (!known(x) || (positive && x <= 0)) continue;
    if (x < low) low = x;
    if (x > high) high = x;
  }
  return low <= high ? [low, high] : [1, 10];
}

function open(index) {
  const source = run.series[index];
  const edges = source.edges, bins = edges.length - 1;
  const curve = Object.fromEntries(Object.entries(source.curves).map(([name, text]) => [name, decode(text)]));
  const sigma = edges.slice(1).map((edge, k) => Math.sqrt(edge * edges[k]));
  const positive = ["density", "mmse", "rate"].map((name) => [name, extent(curve[name], true)]);
  const rateError = curve.standard_error.map((error, i) => error / sigma[i % bins] ** 2);
  const n = { ...source.numbers };
  const tried = n.step.map((_, t) => n.refreshes[t] + n.waits[t] + n.degenerates[t] > 0);
  for (const name of ["pivot", "drift", "information", "kept"]) n[name] = n[name].map((v, t) => (n.refreshes[t] ? v : null));
  n.coverage = n.coverage.map((v, t) => (tried[t] ? v : null)); // before anything is tried the state holds 0
  series = { ...source, numbers: n, bins, sigma, index, curve: { ...curve, rate_error: rateError }, extent: Object.fromEntries(positive), length: source.numbers.step.length };
}

// Axes

function scale(low, high, from, to, log) {
  const f = log ? Math.log : (x) => x;
  return (x) => from + ((f(x) - f(low)) / (f(high) - f(low))) * (to - from);
}

function ticks({ low, high, log }, most) {
  if (log) {
    const first = Math.ceil(Math.log10(low) - 1e-9), last = Math.floor(Math.log10(high) + 1e-9);
    const every = Math.max(1, Math.ceil((last - first + 1) / most));
    const out = [];
    for (let k = first; k <= last; k += every) out.push(10 ** k);
    return out.length > 1 ? out : [low, high];
  }
  const raw = (high - low) / most, power = 10 ** Math.floor(Math.log10(raw));
  const size = [1, 2, 5, 10].find((m) => m * power >= raw) * power;
  const out = [];
  for (let i = Math.ceil(low / size - 1e-9); i * size <= high * (1 + 1e-9); i++) out.push(Number((i * size).toPrecision(12)));
  return out;
}

function label(x) {
  const k = Math.round(Math.log10(Math.abs(x)));
  if (x !== 0 && Math.abs(k) > 3 && Math.abs(x / 10 ** k - 1) < 1e-6)
    return `10<tspan dy="-5" font-size="9">${k < 0 ? "−" : ""}${Math.abs(k)}</tspan>`;
  return show(x);
}

// One panel: axes, their labels, and what `draw(x, y, box)` returns.
function panel(id, { x, y, alt, height = 210, draw }) {
  const plot = get(id), width = Math.max(260, Math.round(plot.clientWidth));
  const box = { left: MARGIN.left, right: width - MARGIN.right, top: MARGIN.top, bottom: height - MARGIN.bottom };
  const sx = scale(x.low, x.high, box.left, box.right, x.log), rise = scale(y.low, y.high, box.bottom, box.top, y.log);
  const sy = (v) => Math.min(Math.max(rise(v), box.top - height), box.bottom + height); // 0 on a log axis
  let out = `<svg viewBox="0 0 ${width} ${height}" role="img" aria-label="${alt}">`;
  out += `<text x="0" y="11">${y.label}</text>`;
  for (const v of ticks(y, 5)) {
    const p = sy(v).toFixed(1);
    out += `<path class="rule" d="M${box.left} ${p}H${box.right}"/>`;
    out += `<text x="${box.left - 7}" y="${+p + 4}" text-anchor="end">${label(v)}</text>`;
  }
  for (const v of ticks(x, Math.min(8, width / 60))) {
    const p = sx(v).toFixed(1);
    out += `<path class="rule" d="M${p} ${box.bottom}v5"/>`;
    out += `<text x="${p}" y="${box.bottom + 18}" text-anchor="middle">${label(v)}</text>`;
  }
  out += `<text x="${(box.left + box.right) / 2}" y="${height - 3}" text-anchor="middle">${x.label}</text>`;
  out += `<path class="rule" d="M${box.left} ${box.bottom}H${box.right}"/>`;
  out += `<clipPath id="${id}-box"><path d="M${box.left} ${box.top - 2}H${box.right}V${box.bottom + 1}H${box.left}Z"/></clipPath>`;
  out += `<g clip-path="url(#${id}-box)">${draw(sx, sy, box)}</g>`;
  plot.innerHTML = `${out}<path class="guide" d="M0 ${box.top}V${box.bottom}"/></svg>`;
  return { plot, sx, box };
}

// Paths

function stairs(values, sx, sy) {
  let d = "", before = NaN;
  values.forEach((value, k) => {
    if (!known(value)) return void (before = NaN);
    const y = sy(value).toFixed(1);
    const left = sx(series.edges[k]).toFixed(1), right = sx(series.edges[k + 1]).toFixed(1);
    d += `${Number.isNaN(before) ? `M${left} ${y}` : `V${y}`}H${right}`;
    before = value;
  });
  return d;
}

function lines(xs, values, sx, sy) {
  let d = "", pen = "M";
  values.forEach((value, i) => {
    if (!known(value)) return void (pen = "M");
    d += `${pen}${sx(xs[i]).toFixed(1)} ${sy(value).toFixed(1)}`;
    pen = "L";
  });
  return d;
}

function held(xs, values, sx, sy) {
  // a table serves until the next record
  let d = "";
  values.forEach((value, i) => {
    if (!known(value)) return;
    const after = i + 1 < xs.length ? xs[i + 1] : Infinity;
    d += `${i && known(values[i - 1]) ? "V" : `M${sx(xs[i]).toFixed(1)} `}${sy(value).toFixed(1)}H${Math.min(sx(after), 1e5).toFixed(1)}`;
  });
  return d;
}

function bars(middle, error, sx, sy) {
  let d = "";
  middle.forEach((value, k) => {
    if (!known(value) || !known(error[k])) return;
    const x = sx(series.sigma[k]).toFixed(1), low = Math.max(value - error[k], Number.MIN_VALUE);
    d += `M${x} ${sy(value + error[k]).toFixed(1)}V${sy(low).toFixed(1)}`;
  });
  return d;
}

const path = (cls, d) => `<path class="${cls}" d="${d}"/>`;
const across = (cls, y, box) => path(cls, `M${box.left} ${y.toFixed(1)}H${box.right}`);
const down = (cls, x, box) => path(cls, `M${x.toFixed(1)} ${box.top}V${box.bottom}`);

// Panels over sigma

const overSigma = () => ({ low: series.edges[0], high: series.edges[series.bins], log: true, label: SIGMA });

function pivot(sx, box) {
  const c = series.numbers.pivot[at];
  return c > series.edges[0] && c < series.edges[series.bins] ? down("line thin dotted orange", sx(c), box) : "";
}

function drawRecord() {
  const x = overSigma(), n = series.numbers, when = `at step ${show(step(at))}`;
  const logAxis = (curve, decades) => {
    const [low, high] = series.extent[curve];
    return { low: Math.max(low, high * 10 ** -decades) / 1.5, high: high * 1.5, log: true };
  };
  const panels = [
    panel("density", {
      x, y: { low: 0, high: series.extent.density[1] * 1.05, label: "per unit log σ" },
      alt: `Sampled density ${when}: median sigma ${show(n.sigma_q50[at])}, 90% between ${show(n.sigma_q05[at])} and ${show(n.sigma_q95[at])}`,
      draw: (sx, sy, box) => {
        const d = stairs(row("density"), sx, sy);
        return path("fill green", `${d}V${box.bottom}H${box.left}Z`) +
          path("line thin grey", stairs(row("density", 0), sx, sy)) + path("line green", d) + pivot(sx, box);
      },
    }),
    panel("mmse", {
      x, y: { ...logAxis("mmse", 8), label: "units of the recorded error, log scale" },
      alt: `mmse with standard errors ${when}, from ${show(extent(row("mmse"), true)[0])} to ${show(extent(row("mmse"), true)[1])}`,
      draw: (sx, sy, box) => path("line blue thin", bars(row("mmse"), row("standard_error"), sx, sy)) +
        path("line blue", lines(series.sigma, row("mmse"), sx, sy)),
    }),
    panel("rate", {
      x, y: { ...logAxis("rate", 8), label: "recorded error / σ², per unit log σ, log scale" },
      alt: `Entropy rate with standard errors ${when}, largest ${show(extent(row("rate"), true)[1])}; information ${show(n.information[at])}`,
      draw: (sx, sy, box) => path("line blue thin", bars(row("rate"), row("rate_error"), sx, sy)) +
        path("line blue", stairs(row("rate"), sx, sy)) + pivot(sx, box),
    }),
    panel("gate", {
      x, y: { low: 0, high: 1, label: "0 to 1" },
      alt: `Gate ${when}: one half at the pivot, sigma ${show(n.pivot[at])}`,
      draw: (sx, sy, box) => path("line orange", lines(series.sigma, row("gate"), sx, sy)) + pivot(sx, box),
    }),
    panel("count", {
      x, y: { low: 0.8, high: series.config.capacity * 1.3, log: true, label: "losses in the ring, log scale" },
      alt: `Losses in each bin ${when}: ${row("count").filter((c) => c >= series.config.min_count).length} of ${series.bins} bins are measured`,
      draw: (sx, sy, box) => path("bar blue", [...row("count")].map((c, k) => c < 1 ? "" :
        `M${sx(series.edges[k]).toFixed(1)} ${box.bottom}V${sy(c).toFixed(1)}H${(sx(series.edges[k + 1]) - 0.5).toFixed(1)}V${box.bottom}Z`).join("")) +
        across("line thin dotted ink", sy(series.config.min_count), box),
    }),
  ];
  guides = panels;
}

// Panels over training

function overSteps() {
  const steps = series.numbers.step, last = steps[series.length - 1];
  const usual = series.length > 1 ? (last - steps[0]) / (series.length - 1) : 1;
  return { low: steps[0], high: last + usual, label: "optimizer step" };
}

function heatImage(x, columns) {
  const canvas = document.createElement("canvas");
  canvas.width = columns;
  canvas.height = series.bins;
  const context = canvas.getContext("2d"), image = context.createImageData(columns, series.bins);
  const top = series.extent.density[1];
  for (let column = 0, t = 0; column < columns; column++) {
    const here = x.low + ((column + 0.5) / columns) * (x.high - x.low);
    while (t + 1 < series.length && step(t + 1) <= here) t++;
    row("density", t).forEach((value, k) => {
      const place = Math.min(1, value / top) * (VIRIDIS.length - 1), i = Math.min(Math.floor(place), VIRIDIS.length - 2);
      const pixel = 4 * ((series.bins - 1 - k) * columns + column);
      for (let c = 0; c < 3; c++) image.data[pixel + c] = VIRIDIS[i][c] + (place - i) * (VIRIDIS[i + 1][c] - VIRIDIS[i][c]);
      image.data[pixel + 3] = 255;
    });
  }
  context.putImageData(image, 0, 0);
  return canvas.toDataURL();
}

function drawTraining() {
  const x = overSteps(), n = series.numbers, sigma = overSigma(), end = series.length - 1;
  get("ramp-top").textContent = show(series.extent.density[1]);
  const heat = panel("heat", {
    x, y: { ...sigma, label: "noise level σ (log scale)" }, height: 340,
    alt: `Density over ${show(series.length)} records, steps ${show(x.low)} to ${show(step(end))}: the median sigma goes from ${show(n.sigma_q50[0])} to ${show(n.sigma_q50[end])}`,
    draw: (sx, sy, box) => `<image x="${box.left}" y="${box.top}" width="${box.right - box.left}" height="${box.bottom - box.top}" ` +
      `preserveAspectRatio="none" style="image-rendering:pixelated" href="${heatImage(x, Math.round(box.right - box.left))}"/>` +
      ["sigma_q05", "sigma_q50", "sigma_q95"].map((q) => path("over", held(n.step, n[q], sx, sy))).join("") +
      path("over dotted", held(n.step, n.pivot, sx, sy)) + path("cursor", ""),
  });
  const drift = extent(n.drift, true), needed = series.config.coverage;
  const low = Math.min(0.9, ...n.coverage.filter(known));
  const coverage = panel("coverage", {
    x, y: { low: Math.max(0, low - 0.02), high: 1, label: "share of the sampled mass" }, alt: `Coverage over training, now ${show(n.coverage[end])}; ${needed} is needed`,
    draw: (sx, sy, box) => across("line thin dotted grey", sy(needed), box) + path("line blue", lines(n.step, n.coverage, sx, sy)) + path("cursor", ""),
  });
  const settled = panel("drift", {
    x, y: { low: Math.min(0.005, drift[0] / 1.2), high: Math.min(1, Math.max(drift[1], 0.02) * 1.2), log: true, label: "share of the samples, log scale" },
    alt: `Drift of the cdf over training, at the last refresh ${show(n.drift[end])}`,
    draw: (sx, sy, box) => across("line thin dotted grey", sy(0.01), box) + path("line blue", lines(n.step, n.drift.map((v) => v || NaN), sx, sy)) + path("cursor", ""),
  });
  training = [heat, coverage, settled];
  heat.plot.onpointerdown = heat.plot.onpointermove = (event) => {
    if (!event.buttons && event.type !== "pointerdown") return;
    const frame = heat.plot.getBoundingClientRect();
    const here = x.low + ((event.clientX - frame.left - heat.box.left) / (heat.box.right - heat.box.left)) * (x.high - x.low);
    const later = n.step.findIndex((s) => s > here);
    choose(series.index, (later < 0 ? series.length : later) - 1);
  };
}

// Text

function cells(tag, values) {
  const tr = document.createElement("tr");
  values.forEach((value, i) => {
    const cell = document.createElement(i === 0 ? "th" : tag);
    cell.textContent = value;
    tr.append(cell);
  });
  return tr;
}

function list(id, pairs) {
  get(id).replaceChildren(...pairs.map(([name, value]) => {
    const div = document.createElement("div"), dt = document.createElement("dt"), dd = document.createElement("dd");
    dt.textContent = name;
    dd.textContent = value;
    div.append(dt, dd);
    return div;
  }));
}

function write() {
  const n = series.numbers, status = run.statuses[n.status[at]];
  const words = `record ${show(at + 1)} of ${show(series.length)}, step ${show(step(at))}, ${status}`;
  get("shown").textContent = words;
  get("record").setAttribute("aria-valuetext", words);
  list("numbers", Object.entries(NAMES).map(([key, name]) =>
    [name, key === "samples_needed" && n[key][at] === null ? "never" : show(n[key][at])]));
  const again = n.skipped_recomputed[at];     // not other samples
  const total = run.causes.reduce((sum, cause) => sum + n[`skipped_${cause}`][at], n.recorded[at]) - again || again;
  get("skipped").replaceChildren(cells("th", ["cause", "samples", "share"]), ...run.causes.map((cause) => {
    const count = n[`skipped_${cause}`][at];
    return cells("td", [cause.replaceAll("_", " "), show(count), total ? `${show((100 * count) / total)}%` : "–"]);
  }));
  if (get("bins").open) writeBins();
}

function writeBins() {
  const names = ["count", "mmse", "standard_error", "rate", "gate", "density"];
  get("bins-table").replaceChildren(
    cells("th", ["σ", ...names.map((name) => name.replaceAll("_", " "))]),
    ...series.sigma.map((sigma, k) => cells("td", [show(sigma), ...names.map((name) => show(row(name)[k]))])));
}

function prose(element, text) {
  text.split("`").forEach((part, i) => {
    const node = document.createElement(i % 2 ? "code" : "span");
    node.textContent = part;
    element.append(node);
  });
}

function writeOnce() {
  get("name").textContent = run.name;
  document.title = `Noise schedule of ${run.name}`;
  get("version").textContent = run.version;
  const items = run.warnings.length ? run.warnings : [{ title: "None", text: "every rule was checked." }];
  for (const { title, text } of items) {
    const item = document.createElement("li"), strong = document.createElement("strong");
    strong.textContent = `${title}: `;
    item.className = run.warnings.length ? "" : "none";
    item.append(strong);
    prose(item, text);
    get("warnings").append(item);
  }
  for (const note of run.notes) get("notes").append(Object.assign(document.createElement("li"), { textContent: note }));
  run.series.forEach(({ name }, index) => get("series").append(new Option(name, index)));
  get("series-box").hidden = run.series.length === 1;
}

// What is shown

function choose(index, record, redraw = false) {
  if (!series || index !== series.index) {
    open(index);
    redraw = true;
  }
  at = Math.max(0, Math.min(record, series.length - 1));
  if (redraw) {
    const n = series.numbers, { bins, sigma_min, sigma_max } = series.config;
    get("about").textContent = `${show(series.length)} records, steps ${show(step(0))} to ${show(step(series.length - 1))}, ` +
      `${show(n.recorded[series.length - 1])} losses recorded; ${bins} bins on σ from ${sigma_min} to ${sigma_max}.`;
    list("options", Object.entries(series.config).map(([name, value]) => [name, String(value)]));
    drawTraining();
  }
  get("series").value = index;
  get("record").max = series.length;
  get("record").value = at + 1;
  get("back").disabled = at === 0;
  get("next").disabled = at === series.length - 1;
  for (const { plot, sx, box } of training)
    plot.querySelector(".cursor").setAttribute("d", `M${sx(step(at)).toFixed(1)} ${box.top}V${box.bottom}`);
  drawRecord();
  write();
}

function chooseAndNote(index, record) {
  choose(index, record);
  const hash = `#record=${at + 1}${index ? `&series=${index + 1}` : ""}`;
  try {
    window.history.replaceState(null, "", hash);
  } catch {
    // a page inside a sandboxed frame has no address to change
  }
}

function fromHash() {
  const hash = new URLSearchParams(window.location.hash.slice(1));
  const index = Math.min(Math.max((Number(hash.get("series")) || 1) - 1, 0), run.series.length - 1);
  const record = Number(hash.get("record"));
  choose(index, record >= 1 ? record - 1 : Infinity);
}

function point(event) {
  const plot = event.target.closest(".plot"), own = guides.find((g) => g.plot === plot);
  const share = own && (event.clientX - plot.getBoundingClientRect().left - own.box.left) / (own.box.right - own.box.left);
  const k = Math.floor(share * series.bins);
  const inside = own && event.type !== "pointerleave" && k >= 0 && k < series.bins;
  for (const { plot: each, sx } of guides) {
    const guide = each.querySelector(".guide");
    guide.style.visibility = inside ? "visible" : "hidden";
    if (inside) guide.setAttribute("transform", `translate(${sx(series.sigma[k]).toFixed(1)} 0)`);
  }
  get("readout").textContent = !inside ? "" : `σ = ${show(series.sigma[k])}: density ${show(row("density")[k])}, ` +
    `mmse ${show(row("mmse")[k])} ± ${show(row("standard_error")[k])}, rate ${show(row("rate")[k])}, ` +
    `gate ${show(row("gate")[k])}, ${show(row("count")[k])} losses in the ring`;
}

writeOnce();
fromHash();
window.addEventListener("hashchange", fromHash);
get("record").addEventListener("input", (event) => chooseAndNote(series.index, event.target.value - 1));
get("back").addEventListener("click", () => chooseAndNote(series.index, at - 1));
get("next").addEventListener("click", () => chooseAndNote(series.index, at + 1));
get("series").addEventListener("change", (event) => chooseAndNote(Number(event.target.value), Infinity));
get("bins").addEventListener("toggle", writeBins);
document.querySelector("main").addEventListener("pointermove", point);
document.querySelector("main").addEventListener("pointerleave", point);
window.addEventListener("resize", () => choose(series.index, at, true));
document.documentElement.dataset.state = "ready";
