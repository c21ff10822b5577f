// Filters of the verdict table: a row is shown when it agrees with every choice.
(() => {
  "use strict";
  const start = () => {
    const filters = document.querySelector(".vislab-filters");
    if (!filters) return;
    const rows = [...document.querySelectorAll(".vislab-results tbody tr")];
    const choices = [...filters.querySelectorAll("select")];
    const count = filters.querySelector("output");
    const update = () => {
      let shown = 0;
      for (const row of rows) {
        const fits = choices.every((c) => !c.value || row.dataset[c.name] === c.value);
        row.hidden = !fits;
        shown += fits ? 1 : 0;
      }
      count.textContent = `${shown} of ${rows.length} shown`;
    };
    filters.addEventListener("input", update);
    update();
  };
  if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", start);
  else start();
})();
