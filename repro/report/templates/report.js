"use strict";
// What can be done with the page beyond reading it: sort and filter verdicts, copy tables, look at
// single arms and values. The page says the same without it.
(() => {
  const MARKS = ["●", "■", "◆", "✚", "▲", "▼"];

  const make = (tag, properties = {}, ...children) => {
    const element = Object.assign(document.createElement(tag), properties);
    element.append(...children);
    return element;
  };

  const announcer = make("p", { className: "unseen" });
  announcer.setAttribute("role", "status");
  document.body.append(announcer);

  // Sorting

  const valueOf = (cell) => {
    const text = cell.dataset.sort ?? cell.dataset.copy ?? cell.textContent.trim();
    const value = Number.parseFloat(text.replace(/^[^\d-]*(?=-?\d)/, ""));
    return { text, value };
  };

  const compare = (a, b) => {
    if (!a.text || !b.text) return !a.text - !b.text; // what is empty comes last
    const numbers = Number.isFinite(a.value) && Number.isFinite(b.value);
    return numbers ? a.value - b.value : a.text.localeCompare(b.text, "en");
  };

  const sort = (table, column, header) => {
    const up = header.getAttribute("aria-sort") !== "ascending";
    for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
    header.setAttribute("aria-sort", up ? "ascending" : "descending");
    const body = table.tBodies[0];
    const keyed = [...body.rows].map((row) => ({ row, key: valueOf(row.cells[column]) }));
    keyed.sort((a, b) => {
      const order = compare(a.key, b.key);
      return up || !a.key.text || !b.key.text ? order : -order;
    });
    body.append(...keyed.map(({ row }) => row));
  };

  for (const table of document.querySelectorAll("table.sortable")) {
    [...table.tHead.rows[0].cells].forEach((header, column) => {
      const button = make("button", { type: "button", textContent: header.textContent });
      header.replaceChildren(button);
      button.addEventListener("click", () => sort(table, column, header));
    });
  }

  // Filtering

  for (const form of document.querySelectorAll(".filter")) {
    const rows = [...document.getElementById(form.dataset.table).tBodies[0].rows];
    const filter = () => {
      const { text, verdict, scale } = Object.fromEntries(new FormData(form));
      for (const row of rows) {
        row.hidden =
          (verdict && row.dataset.verdict !== verdict) ||
          (scale && row.dataset.scale !== scale) ||
          !row.textContent.toLowerCase().includes(text.toLowerCase());
      }
      const shown = rows.filter((row) => !row.hidden).length;
      form.querySelector(".shown").textContent = `${shown} of ${rows.length} rows`;
    };
    form.hidden = rows.length === 1;
    form.addEventListener("input", filter);
    form.addEventListener("submit", (event) => event.preventDefault());
    filter();
  }

  // A link into what is folded opens it.

  const unfold = () => {
    let place = document.getElementById(location.hash.slice(1));
    for (; place; place = place.parentElement) if (place.tagName === "DETAILS") place.open = true;
  };
  addEventListener("hashchange", unfold);
  unfold();

  // Copying

  const cellsOf = (table) =>
    [...table.rows]
      .filter((row) => !row.hidden)
      .map((row) => [...row.cells].map((cell) => (cell.dataset.copy ?? cell.textContent).trim().replace(/\s+/g, " ")));

  const asTSV = (table) => cellsOf(table).map((row) => row.join("\t")).join("\n");

  const asMarkdown = (table) => {
    const line = (row) => `| ${row.map((cell) => cell.replace(/[\\|]/g, "\\$&")).join(" | ")} |`;
    const [head, ...body] = cellsOf(table);
    return [line(head), `|${" --- |".repeat(head.length)}`, ...body.map(line)].join("\n");
  };

  const copy = async (text) => {
    try {
      await navigator.clipboard.writeText(text);
      announcer.textContent = "Copied.";
    } catch {
      announcer.textContent = "The browser does not let this page copy.";
    }
  };

  for (const table of document.querySelectorAll("main table")) {
    const tools = make("p", { className: "tools copy" }, "Copy as");
    for (const [name, format] of [["TSV", asTSV], ["Markdown", asMarkdown]]) {
      const button = make("button", { type: "button", textContent: name });
      button.setAttribute("aria-label", `Copy as ${name}: ${table.caption.textContent}`);
      button.addEventListener("click", () => copy(format(table)));
      tools.append(button);
    }
    (table.closest(".scroll") ?? table).after(tools);
  }

  // Figures: arms, the paper's points

  const pressed = (button) => button.getAttribute("aria-pressed") === "true";

  const toggle = (className, label, on, change) => {
    const button = make("button", { type: "button", className }, ...label);
    button.setAttribute("aria-pressed", on);
    button.addEventListener("click", () => {
      button.setAttribute("aria-pressed", !pressed(button));
      change(pressed(button));
    });
    return button;
  };

  const classed = (figure, name) => figure.querySelectorAll(`[class="${name}"]`);

  const toolsOf = (figure, arms) => {
    const off = new Set();
    const show = () => {
      arms.forEach((_, mark) => {
        for (const kind of ["arm", "band", "paper"]) {
          const gone = off.has(mark) || (kind === "paper" && off.has("paper"));
          for (const part of classed(figure, `${kind}-${mark}`)) part.style.display = gone ? "none" : "";
        }
      });
    };
    const change = (what) => (on) => {
      if (on) off.delete(what);
      else off.add(what);
      show();
    };
    const tools = make("p", { className: "tools" });
    if (arms.length > 1) {
      arms.forEach((arm, mark) => {
        const sign = make("span", { className: "mark", textContent: MARKS[mark] });
        sign.style.color = `var(--arm-${mark})`;
        sign.setAttribute("aria-hidden", "true");
        tools.append(toggle("part", [sign, arm], true, change(mark)));
      });
    }
    if (figure.querySelector('[class^="paper-"]')) {
      tools.append(toggle("part", ["the paper's points"], true, change("paper")));
    }
    return tools;
  };

  // Figures: values where the pointer is

  const pointsOf = (svg) => {
    const points = [];
    for (const group of svg.querySelectorAll('[class^="arm-"], [class^="paper-"]')) {
      const mark = Number(group.getAttribute("class").split("-")[1]);
      const paper = group.getAttribute("class").startsWith("paper");
      for (const use of group.querySelectorAll("use[x]")) {
        points.push({ group, mark, paper, x: +use.getAttribute("x"), y: +use.getAttribute("y") });
      }
      for (const path of group.querySelectorAll(":scope > path")) {
        for (const [, x, y] of path.getAttribute("d").matchAll(/[ML]([^ A-Z]+) ([^ A-Z]+)/g)) {
          points.push({ group, mark, paper, x: +x, y: +y });
        }
      }
    }
    return points;
  };

  const scaled = (share, [low, high, kind]) =>
    kind === "log" ? low * (high / low) ** share : low + (high - low) * share;

  const rounded = (value) => Number(value.toPrecision(3)).toString();

  const reading = (point, axes, arms) => {
    const panel =
      axes.find(
        ({ box: [left, bottom, right, top] }) =>
          point.x > left - 4 && point.x < right + 4 && point.y > top - 4 && point.y < bottom + 4,
      ) ?? axes[0];
    const [left, bottom, right, top] = panel.box;
    const x = scaled((point.x - left) / (right - left), panel.x);
    const y = scaled((bottom - point.y) / (bottom - top), panel.y);
    const who = `${arms[point.mark]}${point.paper ? ", the paper's" : ""}`;
    if (panel.rows.length) return `${panel.rows[Math.round(y)]}: ${rounded(x)}`;
    return `${who}: ${panel.names[0]} ${rounded(x)}, ${panel.names[1]} ${rounded(y)}`;
  };

  const watch = (plot, arms) => {
    const svg = plot.querySelector("svg");
    const axes = JSON.parse(svg.dataset.axes);
    if (!axes.length) return;
    const note = make("div", { className: "reading", hidden: true });
    note.setAttribute("aria-hidden", "true"); // the tables have the values
    plot.append(note);
    let points;
    plot.addEventListener("pointermove", (event) => {
      points ??= pointsOf(svg);
      const at = new DOMPoint(event.clientX, event.clientY).matrixTransform(
        svg.getScreenCTM().inverse(),
      );
      const away = (point) => Math.hypot(point.x - at.x, point.y - at.y);
      const seen = points.filter((point) => point.group.style.display !== "none");
      const near = seen.reduce((a, b) => (a && away(a) <= away(b) ? a : b), undefined);
      note.hidden = !near || away(near) > 12;
      if (note.hidden) return;
      note.textContent = reading(near, axes, arms);
      const frame = plot.getBoundingClientRect();
      const x = event.clientX - frame.left; // of a figure that may be wider than its frame
      note.style.left = x < frame.width / 2 ? `${x + plot.scrollLeft + 14}px` : "";
      note.style.right = x < frame.width / 2 ? "" : `${frame.width - x - plot.scrollLeft + 14}px`;
      note.style.top = `${event.clientY - frame.top + 14}px`;
    });
    plot.addEventListener("pointerleave", () => { note.hidden = true; });
  };

  for (const figure of document.querySelectorAll("figure[data-arms]")) {
    const arms = JSON.parse(figure.dataset.arms);
    const tools = toolsOf(figure, arms);
    if (tools.children.length) figure.querySelector("figcaption").before(tools);
    for (const plot of figure.querySelectorAll(".plot")) watch(plot, arms);
  }

  // Paper cannot be clicked.
  addEventListener("beforeprint", () => {
    for (const details of document.querySelectorAll("details")) details.open = true;
  });
})();
