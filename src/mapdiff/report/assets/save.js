// What is on the page as files: pictures as PNG, values as CSV.

/** Hand a file to the browser's downloads. */
function offer(name, blob) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}

/** Rows as CSV; a cell with a comma, quote or line break is quoted. */
function csvOf(rows) {
  const cell = (value) => (/[",\n]/.test(value) ? `"${String(value).replaceAll('"', '""')}"` : String(value));
  return rows.map((row) => row.map(cell).join(",")).join("\r\n") + "\r\n";
}
function offerCsv(name, rows) { offer(name, new Blob([csvOf(rows)], { type: "text/csv" })); }

/** A table of the page as rows of text. */
function rowsOf(table) { return [...table.rows].map((row) => [...row.cells].map((cell) => cell.textContent.trim())); }

/** A file name without what file systems mind. */
function fileName(...words) { return words.join("_").replace(/[^\w.-]+/g, "-"); }
