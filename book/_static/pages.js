// Filters of cards and rows, sorting of tables, the map of ideas, and names for screen readers that the theme leaves out.
(() => {
  "use strict";

  // A choice holds when it is empty, when it is among the item's values, or when the item's number lies in its range.
  const holds = (choice, item) => {
    if (!choice.value) return true;
    if (choice.type === "search") {
      const words = choice.value.toLowerCase().split(/\s+/);
      const text = item.textContent.toLowerCase();
      return words.every((w) => text.includes(w));
    }
    const has = item.dataset[choice.name];
    const range = /^(\d+)-(\d*)$/.exec(choice.value);
    if (!range) return (has || "").split("|").includes(choice.value);
    return has !== undefined && Number(has) >= Number(range[1]) && (!range[2] || Number(has) < Number(range[2]));
  };

  const filter = (filters) => {
    const target = document.getElementById(filters.dataset.for);
    const items = [...target.querySelectorAll(".vislab-item")];
    const choices = [...filters.querySelectorAll("select, input")];
    const count = filters.querySelector("output");
    const update = () => {
      let shown = 0;
      for (const item of items) {
        item.hidden = !choices.every((c) => holds(c, item));
        shown += item.hidden ? 0 : 1;
      }
      for (const group of target.querySelectorAll(".vislab-group")) {
        group.hidden = !group.querySelector(".vislab-item:not([hidden])");
      }
      count.textContent = `${shown} of ${items.length} shown`;
    };
    filters.addEventListener("input", update);
    update();
  };

  const sort = (table) => {
    const heads = [...table.querySelectorAll("thead th")];
    const body = table.querySelector("tbody");
    heads.forEach((head, column) => {
      head.querySelector("button").addEventListener("click", () => {
        const up = head.getAttribute("aria-sort") !== "ascending";
        for (const other of heads) other.removeAttribute("aria-sort");
        head.setAttribute("aria-sort", up ? "ascending" : "descending");
        const key = (row) => row.cells[column].dataset.sort ?? row.cells[column].textContent;
        const compare = (a, b) => {
          const [x, y] = [key(a), key(b)];
          const [m, n] = [parseFloat(x), parseFloat(y)];
          const numbers = [x, y].every((v) => v === "" || /^-?(\d|Infinity|inf)/.test(v));
          if (!numbers) return x.localeCompare(y, "en");
          return (Number.isNaN(m) ? -Infinity : m) - (Number.isNaN(n) ? -Infinity : n);
        };
        const rows = [...body.rows].sort((a, b) => (up ? compare(a, b) : compare(b, a)));
        body.append(...rows);
      });
    });
  };

  const light = (map) => {
    const lines = [...map.querySelectorAll("path[data-from]")];
    const nodes = [...map.querySelectorAll("[data-node]")];
    const show = (name) => {
      const near = new Set([name]);
      for (const line of lines) {
        const on = line.dataset.from === name || line.dataset.to === name;
        line.classList.toggle("on", on);
        if (on) near.add(line.dataset.from).add(line.dataset.to);
      }
      for (const node of nodes) node.classList.toggle("on", near.has(node.dataset.node));
      map.classList.toggle("chosen", Boolean(name));
    };
    for (const link of map.querySelectorAll("a[data-node]")) {
      for (const event of ["mouseenter", "focus"]) link.addEventListener(event, () => show(link.dataset.node));
      for (const event of ["mouseleave", "blur"]) link.addEventListener(event, () => show(""));
    }
  };

  const name = () => {
    for (const summary of document.querySelectorAll("nav summary")) {
      const link = summary.closest("li").querySelector("a");
      summary.setAttribute("aria-label", `Chapters of ${link ? link.textContent.trim() : "this part"}`);
    }
    for (const list of document.querySelectorAll(".citation-list, .citation")) list.removeAttribute("role");
  };

  const start = () => {
    name();
    document.querySelectorAll(".vislab-filters").forEach(filter);
    document.querySelectorAll("table.vislab-sortable").forEach(sort);
    document.querySelectorAll("svg.vislab-map").forEach(light);
  };
  if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", start);
  else start();
})();
