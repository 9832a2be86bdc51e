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
const library = once(async () => {
  const script = document.createElement("script");
  script.textContent = await island("plotly");
  document.head.append(script);
});

function themed(layout, paper) {
  const css = getComputedStyle(document.documentElement), of = (name) => css.getPropertyValue(name).trim();
  const ink = paper ? "#1b1f24" : of("--ink"), grid = paper ? "#e8ebee" : of("--grid"), line = paper ? "#8a929c" : of("--soft");
  const look = structuredClone(layout);
  for (const axis of ["xaxis", "yaxis"]) Object.assign(look[axis], { gridcolor: grid, linecolor: line, tickcolor: line, showline: true });
  Object.assign(look, {
    paper_bgcolor: paper ? "#fff" : "rgba(0,0,0,0)", plot_bgcolor: paper ? "#fff" : "rgba(0,0,0,0)",
    font: { family: "system-ui, 'Liberation Sans', sans-serif", size: 12, color: ink },
    margin: { l: 8, r: 14, t: paper ? 56 : 22, b: 8 }, hovermode: "closest", showlegend: paper, bargap: 0.25,
    dragmode: matchMedia("(pointer: coarse)").matches ? false : "zoom",
  });
  if (!paper) delete look.title;
  return look;
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
    await Plotly.newPlot(plot, figure.data, themed(figure.layout, false), {
      responsive: true, displaylogo: false, modeBarButtonsToRemove: ["toImage", "select2d", "lasso2d", "autoScale2d"],
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
  const rows = [["curve", "group", ...figure.columns, "low", "high", "diverged"]];
  for (const t of figure.data) {
    if (!t.meta) continue;
    t.x.forEach((x, i) => rows.push(t.meta.diverged ? [t.meta.name, t.meta.group, bare(x), , , , 1]
      : [t.meta.name, t.meta.group, bare(x), t.y[i], t.meta.low?.[i], t.meta.high?.[i], 0]));
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
    await Plotly.relayout(item.querySelector(".plot"), { [`${axis}.type`]: log ? "log" : "linear", [`${axis}.autorange`]: true });
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
  },
};
async function image(item, format) {
  await draw(item);
  const plot = item.querySelector(".plot"), figure = (await figures())[item.id], layout = themed(figure.layout, true);
  for (const axis of ["xaxis", "yaxis"]) layout[axis].type = plot.layout[axis].type;
  const data = figure.data.map((t, i) => ({ ...t, visible: plot.data[i].visible ?? true }));
  save(await Plotly.toImage({ data, layout }, { format, width: 800, height: 500, scale: format === "png" ? 3 : 1 }), `${figure.file}.${format}`);
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

document.addEventListener("click", (event) => {
  const button = event.target.closest("button");
  if (!button) { const link = event.target.closest('a[href^="#run-"]'); if (link) document.getElementById("runs").open = true; return; }
  if (button.dataset.entry !== undefined) toggle(button);
  else if (button.dataset.do) act[button.dataset.do](button.closest(".item"), button);
  else if (button.closest("th")) sort(button);
});
const watcher = new IntersectionObserver((seen) => {
  for (const entry of seen) if (entry.isIntersecting) { watcher.unobserve(entry.target); draw(entry.target.closest(".item")); }
}, { rootMargin: "500px" });
for (const plot of $(".plot")) watcher.observe(plot);
addEventListener("beforeprint", () => { for (const plot of $(".plot")) draw(plot.closest(".item")); });
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
  for (const item of drawn.keys()) Plotly.relayout(item.querySelector(".plot"), themed(item.querySelector(".plot").layout, false));
});
