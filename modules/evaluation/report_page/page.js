"use strict";
(() => {
  const root = document.documentElement;
  const data = JSON.parse(document.getElementById("data").textContent);
  const touch = matchMedia("(pointer: coarse)").matches;
  const darkWanted = matchMedia("(prefers-color-scheme: dark)");
  const DASHES = ["solid", "dash", "dot", "dashdot"];
  const COLOURS = 8;

  const css = (name) => getComputedStyle(root).getPropertyValue(name).trim();
  // Plotly reads a little markup in its labels; text of a table is never markup.
  const plain = (text) => text.replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");
  const wrapped = (text, most) => {
    const lines = [""];
    for (const word of plain(text).split(" ")) {
      if (lines.at(-1) && lines.at(-1).length + word.length >= most) lines.push("");
      lines[lines.length - 1] += (lines.at(-1) ? " " : "") + word;
    }
    return lines.join("<br>");
  };
  const number = (value) =>
    value === null || value === undefined ? "not measured" : Number(value).toLocaleString("en-IN", { maximumSignificantDigits: 6 });
  const sure = (low, high) => (low == null || high == null ? "no interval" : `95 %: ${number(low)} to ${number(high)}`);

  const style = ({ place }) => ({
    color: css(`--c${place % COLOURS}`),
    dash: DASHES[Math.floor(place / COLOURS) % DASHES.length],
  });

  const axis = (title, more) => ({
    title: { text: wrapped(title, 36), standoff: 8, font: { size: 13 } },
    gridcolor: css("--line"),
    zerolinecolor: css("--soft"),
    linecolor: css("--line"),
    automargin: true,
    fixedrange: touch,
    ...more,
  });
  const layout = (x, y) => ({
    paper_bgcolor: "rgba(0,0,0,0)",
    plot_bgcolor: "rgba(0,0,0,0)",
    font: { color: css("--ink"), family: "system-ui, sans-serif", size: 12.5 },
    margin: { l: 12, r: 12, t: 8, b: 12 },
    showlegend: false,
    hovermode: "closest",
    hoverdistance: 50,
    hoverlabel: { bgcolor: css("--raised"), bordercolor: css("--line"), font: { color: css("--ink") }, align: "left" },
    dragmode: touch ? false : "zoom",
    xaxis: x,
    yaxis: y,
  });
  const config = { displayModeBar: false, responsive: true, displaylogo: false };

  const curveTraces = (plot) => {
    const traces = [];
    // The first curve comes last, so that it lies on top.
    for (const curve of [...plot.curves].reverse()) {
      const line = { width: 2, ...style(curve) };
      const shared = { x: curve.x, type: "scatter", visible: curve.shown, name: plain(curve.name) };
      if (curve.low && curve.high) {
        const edge = { ...shared, mode: "lines", line: { width: 0 }, hoverinfo: "skip" };
        traces.push({ ...edge, y: curve.low }, { ...edge, y: curve.high, fill: "tonexty", fillcolor: `${line.color}2e` });
      }
      const told = curve.x.map((x, i) => {
        const when = plot.dates ? new Date(x).toISOString().slice(0, 16).replace("T", " ") : number(x);
        const low = curve.low ? curve.low[i] : null;
        const high = curve.high ? curve.high[i] : null;
        return [
          `<b>${wrapped(curve.name, 40)}</b>`,
          `${wrapped(plot.x, 40)}: ${when}`,
          `${wrapped(plot.y, 40)}: ${number(curve.y[i])}`,
          `${sure(low, high)}, n ${number(curve.n[i])}`,
        ].join("<br>");
      });
      const mode = curve.x.length > 40 ? "lines" : "lines+markers";
      traces.push({ ...shared, y: curve.y, mode, line, marker: { size: 6 }, text: told, hovertemplate: "%{text}<extra></extra>" });
    }
    if (plot.diagonal) {
      const line = { color: css("--soft"), width: 1.5, dash: "dot" };
      traces.push({ x: [0, 1], y: [0, 1], mode: "lines", type: "scatter", line, hoverinfo: "skip" });
    }
    return traces;
  };

  const drawCurves = (plot) => {
    const x = plot.dates ? { type: "date" } : plot.log ? { type: "log", dtick: 1 } : {};
    const place = document.getElementById(plot.id);
    Plotly.react(place, curveTraces(plot), layout(axis(plot.x, x), axis(plot.y, {})), config);
    const legend = document.getElementById(`${plot.id}-legend`);
    legend?.replaceChildren(
      ...plot.curves.map((curve) => {
        const chip = document.createElement("button");
        const mark = document.createElement("i");
        const { color, dash } = style(curve);
        mark.style.borderTopColor = color;
        mark.style.borderTopStyle = dash === "solid" ? "solid" : dash === "dash" ? "dashed" : "dotted";
        chip.type = "button";
        chip.append(mark, curve.name);
        chip.setAttribute("aria-pressed", String(curve.shown));
        chip.addEventListener("click", () => {
          curve.shown = !curve.shown;
          drawCurves(plot);
        });
        return chip;
      }),
    );
  };

  const drawGroups = (chosen) => {
    const strategy = document.getElementById(`${chosen.id}-strategy`).value;
    const measure = document.getElementById(`${chosen.id}-measure`).value;
    for (const [kind, place] of Object.entries(chosen.places)) {
      const rows = chosen.strategies[strategy][kind];
      const y = rows[measure];
      const low = rows[`${measure}_low`];
      const high = rows[`${measure}_high`];
      const known = (ends, i) => ends && ends[i] !== null && y[i] !== null;
      const bars = {
        type: "bar",
        x: rows.group.map(plain),
        y,
        marker: {
          color: y.map((value) => css(value < 0 ? "--c1" : "--c0")),
          // Without an interval a mean may be anything: it must not look as sure as the others.
          opacity: y.map((_, i) => (low && !known(low, i) ? 0.3 : 1)),
        },
        text: y.map((value, i) =>
          [
            `<b>${wrapped(rows.group[i], 40)}</b>`,
            `${chosen.measures[measure]}: ${number(value)}`,
            `${sure(low && low[i], high && high[i])}, n ${number(rows.n[i])} trades`,
          ].join("<br>"),
        ),
        textposition: "none",
        hovertemplate: "%{text}<extra></extra>",
      };
      if (low)
        bars.error_y = {
          type: "data",
          symmetric: false,
          array: y.map((value, i) => (known(high, i) ? high[i] - value : NaN)),
          arrayminus: y.map((value, i) => (known(low, i) ? value - low[i] : NaN)),
          color: css("--soft"),
          thickness: 1.3,
          width: 3,
        };
      const x = axis(chosen.axes[kind] ?? kind, { type: "category" });
      Plotly.react(document.getElementById(place), [bars], layout(x, axis(chosen.measures[measure], {})), config);
    }
  };

  const button = document.getElementById("theme");
  const dark = () => (root.dataset.theme ?? (darkWanted.matches ? "dark" : "light")) === "dark";
  const draw = () => {
    button.textContent = dark() ? "Light" : "Dark";
    button.setAttribute("aria-label", `switch to ${dark() ? "light" : "dark"} colours`);
    data.curves.forEach(drawCurves);
    data.groups.forEach(drawGroups);
  };
  button.addEventListener("click", () => {
    root.dataset.theme = dark() ? "light" : "dark";
    draw();
  });
  darkWanted.addEventListener("change", draw);
  for (const chosen of data.groups)
    for (const what of ["strategy", "measure"])
      document.getElementById(`${chosen.id}-${what}`).addEventListener("change", () => drawGroups(chosen));
  draw();
})();
