"use strict";
// The tables sort at a click on a heading: first rising, then falling; numbers by size, what is no number last.
const figureOf = (text) => {
  const plain = text.replace(/−/g, "-").trim(), part = /^1\/([\d.]+)$/.exec(plain);
  return part ? 1 / Number(part[1]) : plain === "full" ? 1 : parseFloat(plain);
};
document.querySelectorAll("button.sort").forEach((button) => {
  button.addEventListener("click", () => {
    const head = button.closest("th"), table = head.closest("table"), column = head.cellIndex;
    const falling = head.getAttribute("aria-sort") === "ascending", turn = falling ? -1 : 1;
    table.querySelectorAll("th[aria-sort]").forEach((other) => other.removeAttribute("aria-sort"));
    head.setAttribute("aria-sort", falling ? "descending" : "ascending");
    const rows = [...table.tBodies[0].rows], text = (row) => row.cells[column].textContent;
    const numbers = rows.filter((row) => !Number.isNaN(figureOf(text(row)))).length > rows.length / 2;
    rows.sort((a, b) => {
      if (!numbers) return turn * text(a).localeCompare(text(b), "en", { numeric: true });
      const [x, y] = [figureOf(text(a)), figureOf(text(b))];
      return Number.isNaN(x) - Number.isNaN(y) || turn * (x - y);
    });
    table.tBodies[0].append(...rows);
  });
});
document.documentElement.dataset.ready = "yes";
