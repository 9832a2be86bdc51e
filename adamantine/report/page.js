"use strict";
// The page reads and works without this: figures are drawn, tables sorted and files saved here, nothing is fetched.
const $ = (s, at = document) => [...at.querySelectorAll(s)];
const once = (make) => { let made; return () => (made ??= make()); };

async function island(id) {
  const block = document.getElementById(id);
  if (block.type !== "application/gzip") return block.textContent;
  const bytes = Uint8Array.from(atob(block.textContent), (c) => c.charCodeAt(0));
  const stream = new DecompressionStream("gzip"), writer = stream.writable.getWriter();
  writer.write(bytes);
  writer.close();
  return new Response(stream.readable).text();
}
const figures = once(async () => JSON.parse(await island("figures")));
const texts = once(async () => JSON.parse(await island("texts")));
const runs = once(async () => new Map(JSON.parse(await island("index")).map(([key, ...run]) => [key, run])));
const library = once(async () => {
  const script = document.createElement("script");
  script.textContent = await island("plotly");
  document.head.append(script);
});

const PAPER = { "--ink": "#1b1f24", "--grid": "#e8ebee", "--soft": "#8a929c", "--gap": "#c9ced4" };
function colour(name, paper) {
  return paper ? PAPER[name] : getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}
function themed(layout, paper) {
  const [ink, grid, line] = ["--ink", "--grid", "--soft"].map((name) => colour(name, paper));
  const look = structuredClone(layout);
  for (const axis of ["xaxis", "yaxis"]) {
    Object.assign(look[axis], { gridcolor: grid, linecolor: line, tickcolor: line, showline: true });
    if (!paper && innerWidth < 640 && look[axis].nticks) look[axis].nticks = Math.min(5, look[axis].nticks);
  }
  Object.assign(look, {
    paper_bgcolor: paper ? "#fff" : "rgba(0,0,0,0)", plot_bgcolor: paper ? "#fff" : "rgba(0,0,0,0)",
    ...(look.meta?.heat && { plot_bgcolor: colour("--gap", paper) }),
    font: { family: "system-ui, 'Liberation Sans', sans-serif", size: 12, color: ink },
    margin: { l: 8, r: 14, t: (paper ? 64 : 28) + (look.meta?.heat ? 44 : 0), b: (paper ? 16 : 8) + (look.meta?.heat ? 32 : 0) }, hovermode: "closest", showlegend: paper, bargap: 0.25,
    modebar: { bgcolor: "rgba(0,0,0,0)", color: line, activecolor: ink },
    dragmode: matchMedia("(pointer: coarse)").matches ? false : "zoom",
  });
  if (!paper) delete look.title;
  else look.title = { text: lines(look.title.text, 84).join("<br>"), font: { size: 15 }, x: 0.01, xanchor: "left" };
  return look;
}
function inked(data, paper) { // the whiskers of bars stand out from page and bar alike, and zero is the colour of the page
  const dark = !paper && matchMedia("(prefers-color-scheme: dark)").matches;
  if (dark && data[0]?.meta?.dark) return [{ ...data[0], colorscale: data[0].meta.dark }];
  if (data[0]?.meta?.heat) return data;
  const whiskers = { color: colour("--ink", paper) };
  return data.map((t) => ({ ...t, ...(t.error_x && { error_x: { ...t.error_x, ...whiskers } }), ...(t.error_y && { error_y: { ...t.error_y, ...whiskers } }) }));
}
function lines(text, width) {
  const found = [""];
  for (const word of text.split(" ")) {
    if (found.at(-1) && found.at(-1).length + word.length > width) found.push("");
    found.push(`${found.pop()} ${word}`.trim());
  }
  return found;
}

const drawn = new Map();
function draw(item) {
  if (!drawn.has(item)) drawn.set(item, drawNow(item));
  return drawn.get(item);
}
async function drawNow(item) {
  const plot = item.querySelector(".plot");
  try {
    const figure = (await figures())[item.id];
    await library();
    plot.replaceChildren();
    await Plotly.newPlot(plot, inked(figure.data, false), themed(figure.layout, false), {
      responsive: true, displaylogo: false, modeBarButtons: [["zoom2d", "pan2d", "resetScale2d"]],
    });
    item.dataset.drawn = figure.data.length;
  } catch (error) {
    plot.innerHTML = '<p class="wait">This browser could not draw the figure; its data is in the file below.</p>';
    console.error(error);
  }
}

const quote = (v) => (v == null ? "" : /[",\n\r]/.test(v) ? `"${String(v).replaceAll('"', '""')}"` : String(v));
const bare = (v) => (typeof v === "string" ? v.replaceAll("&lt;", "<").replaceAll("&gt;", ">").replaceAll("&amp;", "&") : v);
function points(figure) {
  const [map] = figure.data;
  if (map.meta?.heat) {
    const cells = map.y.flatMap((row, i) => map.x.map((column, j) => [bare(row), bare(column), (map.customdata ?? map.z)[i][j]]));
    return [figure.columns, ...cells].map((row) => row.map(quote).join(",")).join("\n") + "\n";
  }
  const rows = [["curve", "group", ...figure.columns, "low", "high", "diverged"]];
  for (const t of figure.data) {
    if (!t.meta) continue;
    const [xs, ys] = t.meta.turned ? [t.y, t.x] : [t.x, t.y];
    xs.forEach((x, i) => rows.push(t.meta.diverged ? [t.meta.name, t.meta.group, bare(x), , , , 1]
      : [t.meta.name, t.meta.group, bare(x), ys[i], t.meta.low?.[i], t.meta.high?.[i], 0]));
  }
  return rows.map((row) => Array.from(row, quote).join(",")).join("\n") + "\n";
}

function save(url, name) {
  const link = Object.assign(document.createElement("a"), { href: url, download: name });
  link.click();
}
function saveText(text, name, type) {
  const url = URL.createObjectURL(new Blob([text], { type: `${type};charset=utf-8` }));
  save(url, name);
  setTimeout(() => URL.revokeObjectURL(url), 10000);
}

const act = {
  async scale(item, button) {
    await draw(item);
    const log = button.getAttribute("aria-pressed") !== "true", axis = `${button.dataset.axis}axis`;
    await Plotly.relayout(item.querySelector(".plot"), { [`${axis}.type`]: log ? "log" : "linear", [`${axis}.autorange`]: true, [`${axis}.nticks`]: log ? 4 : 8 });
    button.setAttribute("aria-pressed", log);
  },
  svg: (item) => image(item, "svg"),
  png: (item) => image(item, "png"),
  async points(item) { const f = (await figures())[item.id]; saveText(points(f), `${f.file}.csv`, "text/csv"); },
  async csv(item) { const t = (await texts())[item.id]; saveText(t.csv, `${t.file}.csv`, "text/csv"); },
  async tex(item) { const t = (await texts())[item.id]; saveText(t.tex, `${t.file}.tex`, "text/x-tex"); },
  wide(item, button) {
    button.setAttribute("aria-pressed", item.classList.toggle("wide"));
    if (drawn.has(item)) Plotly.Plots.resize(item.querySelector(".plot"));
  },
  async copy(item, button) {
    const code = button.parentElement.querySelector("code");
    getSelection().selectAllChildren(code);
    try { await navigator.clipboard.writeText(code.textContent); } catch { document.execCommand("copy"); }
    button.textContent = "copied";
    setTimeout(() => { button.textContent = "copy"; }, 2000);
  },
};
async function image(item, format) {
  await draw(item);
  const plot = item.querySelector(".plot"), figure = (await figures())[item.id], layout = themed(figure.layout, true);
  for (const axis of ["xaxis", "yaxis"]) layout[axis].type = plot.layout[axis].type;
  for (const axis of ["xaxis", "yaxis"]) if (plot.layout[axis].type !== figure.layout[axis].type) delete layout[axis].range;
  const data = inked(figure.data, true).map((t, i) => ({ ...t, name: t.meta?.label ?? t.name, visible: plot.data[i].visible ?? true }));
  save(await Plotly.toImage({ data, layout }, { format, width: 800, height: layout.meta?.height ? layout.meta.height + 100 : 500, scale: format === "png" ? 3 : 1 }), `${figure.file}.${format}`);
}

async function toggle(button) {
  const item = button.closest(".item"), show = button.getAttribute("aria-pressed") !== "true";
  await draw(item);
  const plot = item.querySelector(".plot");
  const which = plot.data.flatMap((t, i) => (t.legendgroup === button.dataset.entry ? [i] : []));
  await Plotly.restyle(plot, { visible: show }, which);
  button.setAttribute("aria-pressed", show);
}

function sort(button) {
  const head = button.closest("th"), body = button.closest("table").tBodies[0], at = head.cellIndex;
  const up = head.getAttribute("aria-sort") !== "ascending";
  for (const th of head.parentElement.cells) th.removeAttribute("aria-sort");
  head.setAttribute("aria-sort", up ? "ascending" : "descending");
  const value = (row) => {
    const cell = row.cells[at], v = cell.dataset.v;
    return v === undefined ? cell.textContent : Number(v.replace("inf", "Infinity"));
  };
  const rows = [...body.rows].map((row) => [value(row), row]), last = (v) => Number.isNaN(v);
  rows.sort(([a], [b]) => last(a) - last(b) || (last(a) ? 0 : (up ? 1 : -1) * (typeof a === "number" && typeof b === "number"
    ? (a < b ? -1 : a > b ? 1 : 0) : String(a).localeCompare(String(b), undefined, { numeric: true }))));
  body.append(...rows.map(([, row]) => row));
}

function only(button) {
  const press = button.getAttribute("aria-pressed") !== "true", word = button.dataset.only;
  for (const other of $("[data-only]")) other.setAttribute("aria-pressed", press && other === button);
  for (const row of $(".verdicts tbody tr")) row.hidden = press && !row.querySelector(`td.${word}`);
}

const make = (tag, properties, ...inside) => {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...inside);
  return made;
};
async function links(details) { // keys become links to the run index, with how each run ended
  const known = await runs();
  for (const code of $("code", details)) {
    const list = code.textContent.split(" ").filter(Boolean).map((key) => make("li", {}, known.has(key)
      ? make("a", { href: `#run-${key}` }, make("code", {}, key)) : make("code", {}, key),
    " ", make("span", { className: "status" }, known.has(key) ? known.get(key)[0] : "not in the run index")));
    code.replaceWith(make("ul", {}, ...list));
  }
}
const index = once(async () => {
  const body = document.querySelector("#runs tbody");
  for (const [key, [status, seconds, run]] of await runs()) {
    const time = make("td", { className: "num" }, seconds === null ? "–" : seconds.toFixed(1));
    time.dataset.v = seconds ?? NaN;
    body.append(make("tr", { id: `run-${key}` }, make("td", {}, make("code", {}, key)),
      make("td", { className: ["diverged", "failed"].includes(status) ? status : "status" }, status), time, make("td", {}, make("code", { className: "spec" }, run))));
  }
});
async function find() { // a link to a run, followed here or from elsewhere
  const box = document.getElementById("runs");
  if (!box || !location.hash.startsWith("#run-")) return;
  await index();
  box.open = true;
  const row = document.getElementById(decodeURIComponent(location.hash.slice(1)));
  for (const other of $(".found", box)) other.classList.remove("found");
  row?.classList.add("found");
  row?.scrollIntoView({ block: "center" });
}
addEventListener("hashchange", find);
find();
document.addEventListener("toggle", ({ target }) => {
  if (target.open && target.matches(".keys")) links(target);
  else if (target.open && target.id === "runs") index();
}, true);

document.addEventListener("click", (event) => {
  const link = event.target.closest('a[href^="#run-"]');
  if (link && link.hash === location.hash) find();
  const button = event.target.closest("button");
  if (!button) return;
  if (button.dataset.entry !== undefined) toggle(button);
  else if (button.dataset.only) only(button);
  else if (button.dataset.do) act[button.dataset.do](button.closest(".item"), button);
  else if (button.closest("th")) sort(button);
});
const watcher = new IntersectionObserver((seen) => {
  for (const entry of seen) if (entry.isIntersecting) { watcher.unobserve(entry.target); draw(entry.target.closest(".item")); }
}, { rootMargin: "500px" });
for (const plot of $(".plot")) watcher.observe(plot);
addEventListener("beforeprint", () => { for (const plot of $(".plot")) draw(plot.closest(".item")); });
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
  for (const item of drawn.keys()) {
    const plot = item.querySelector(".plot");
    figures().then((all) => {
      const data = all[item.id].data[0]?.meta?.heat ? all[item.id].data : plot.data;
      if (plot.data) Plotly.react(plot, inked(data, false), themed(plot.layout, false));
    });
  }
});
