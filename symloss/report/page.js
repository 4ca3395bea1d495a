"use strict";
(() => {
  const root = document.documentElement, table = document.getElementById("losses");
  const numbers = JSON.parse(document.getElementById("numbers").textContent);
  root.classList.add("js");

  // Long texts are folded, but for printing.
  const folded = [...document.querySelectorAll("details")];
  folded.forEach((part) => { part.open = false; });
  addEventListener("beforeprint", () => folded.forEach((part) => { part.dataset.was = part.open; part.open = true; }));
  addEventListener("afterprint", () => folded.forEach((part) => { part.open = part.dataset.was === "true"; }));

  // Copying, also where the browser gives no clipboard.
  const select = (element) => {
    const range = document.createRange();
    range.selectNodeContents(element);
    getSelection().removeAllRanges();
    getSelection().addRange(range);
  };
  const copy = async (element) => {
    try {
      await navigator.clipboard.writeText(element.textContent);
      return "Copied";
    } catch {
      select(element);
      let done = false;
      try { done = document.execCommand("copy"); } catch { done = false; }
      return done ? "Copied" : "Press Ctrl+C";
    }
  };
  for (const button of document.querySelectorAll("button.copy")) {
    button.addEventListener("click", async () => {
      button.textContent = await copy(document.getElementById(button.dataset.copy));
      setTimeout(() => { button.textContent = "Copy"; }, 2000);
    });
  }

  // Values under the pointer.
  const SVG = "http://www.w3.org/2000/svg";
  const make = (name, attributes) => {
    const element = document.createElementNS(SVG, name);
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    return element;
  };
  const share = (value, [low, high, log]) =>
    log ? Math.log(value / low) / Math.log(high / low) : (value - low) / (high - low);
  const nearest = (values, wanted, axis) => {
    let best = 0;
    values.forEach((value, k) => {
      if (Math.abs(share(value, axis) - wanted) < Math.abs(share(values[best], axis) - wanted)) best = k;
    });
    return best;
  };
  const minus = (value) => (value === null ? "–" : String(+value.toPrecision(4))).replaceAll("-", "−");
  for (const svg of document.querySelectorAll("svg[data-chart]")) {
    const { box: [left, top, width, height], x, at, series } = numbers[svg.dataset.chart];
    if (!at.length || !series.length) continue;
    const values = svg.closest("figure").querySelector(".values");
    const cursor = make("path", { class: "cursor", visibility: "hidden" });
    svg.append(cursor);
    svg.addEventListener("pointermove", (event) => {
      const frame = svg.getBoundingClientRect();
      const wanted = ((event.clientX - frame.left) * svg.viewBox.baseVal.width / frame.width - left) / width;
      const k = nearest(at, Math.min(Math.max(wanted, 0), 1), x), place = left + width * share(at[k], x);
      cursor.setAttribute("d", `M${place} ${top}v${height}`);
      cursor.setAttribute("visibility", "visible");
      const rows = [...series].reverse().map(([name, , y]) => `${name}: ${minus(y[k])}`);
      values.textContent = [`${x[3]}: ${minus(at[k])}`, ...rows].join("\n");
      values.style.display = "block";
      const room = svg.closest("figure").clientWidth - values.offsetWidth;
      const beside = place * frame.width / svg.viewBox.baseVal.width;
      values.style.left = `${Math.max(0, Math.min(room, beside + (beside > room / 2 ? -values.offsetWidth - 10 : 10)))}px`;
    });
    svg.addEventListener("pointerleave", () => {
      cursor.setAttribute("visibility", "hidden");
      values.style.display = "none";
    });
  }
  if (!table) return;

  // The table: a row is chosen, and its loss is shown.
  const body = table.tBodies[0], told = document.getElementById("told");
  const chart = document.querySelector('svg[data-chart="front"]'), ring = make("circle", { class: "ring", r: 7 });
  chart.append(ring);
  table.setAttribute("role", "grid");
  table.setAttribute("aria-label", "Losses of the front: arrow keys choose one");
  for (const part of [table.tHead, body]) part.setAttribute("role", "rowgroup");
  for (const row of table.rows) {
    row.setAttribute("role", "row");
    for (const cell of row.cells) cell.setAttribute("role", cell.tagName === "TH" ? "columnheader" : "gridcell");
  }
  for (const link of body.querySelectorAll("a")) link.tabIndex = -1;
  const choose = (row, focus) => {
    for (const other of body.rows) {
      const chosen = other === row;
      other.setAttribute("aria-selected", String(chosen));
      other.tabIndex = chosen ? 0 : -1;
      document.getElementById(other.dataset.loss).classList.toggle("chosen", chosen);
    }
    const { box: [left, top, width, height], x, y } = numbers.front;
    const [size, fitness] = row.dataset.at.split(",").map(Number);
    ring.setAttribute("cx", left + width * share(size, x));
    ring.setAttribute("cy", top + height * (1 - share(fitness, y)));
    if (focus) {
      row.focus();
      told.textContent = `Shown below: ${document.getElementById(row.dataset.loss).querySelector("h3").textContent}`;
    }
  };
  for (const row of body.rows) {
    row.addEventListener("click", (event) => { event.preventDefault(); choose(row, true); });
    row.addEventListener("keydown", (event) => {
      const rows = [...body.rows], k = rows.indexOf(row), last = rows.length - 1;
      const to = { ArrowDown: Math.min(k + 1, last), ArrowUp: Math.max(k - 1, 0), Home: 0, End: last, Enter: k, " ": k }[event.key];
      if (to === undefined) return;
      event.preventDefault();
      choose(rows[to], true);
    });
  }
  choose(body.querySelector("tr.pick") ?? body.rows[0], false);

  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => {
    const button = head.querySelector("button");
    button.addEventListener("click", () => {
      const rising = head.getAttribute("aria-sort") !== "ascending";
      heads.forEach((other) => other.setAttribute("aria-sort", "none"));
      head.setAttribute("aria-sort", rising ? "ascending" : "descending");
      const value = (row) => row.cells[column].dataset.value;
      const order = button.dataset.kind === "number"
        ? (a, b) => { const [p, q] = [a, b].map((row) => Number(value(row).replace("inf", "Infinity"))); return p === q ? 0 : p - q; }
        : (a, b) => value(a).localeCompare(value(b));
      body.append(...[...body.rows].sort((a, b) => (rising ? 1 : -1) * order(a, b)));
      told.textContent = `Sorted by ${button.textContent}, ${rising ? "rising" : "falling"}`;
    });
  });
})();
