// Sorts a table by the column whose heading is pressed: numbers by data-value, names by their text.
"use strict";
for (const table of document.querySelectorAll("table.sortable")) {
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => head.querySelector("button").addEventListener("click", () => sort(table, heads, column)));
}

function sort(table, heads, column) {
  const rising = heads[column].getAttribute("aria-sort") !== "ascending";
  const names = new Intl.Collator("en", { numeric: true });
  const value = (row) => {
    const cell = row.cells[column];
    if (cell.matches("th")) return cell.textContent;
    return cell.dataset.value === undefined ? null : Number(cell.dataset.value);
  };
  const compare = (first, second) => {
    const [one, other] = [value(first), value(second)];
    if (one === null || other === null) return (one === null) - (other === null); // without a value: last, either way
    const order = typeof one === "number" ? one - other : names.compare(one, other);
    return rising ? order : -order;
  };
  const body = table.tBodies[0];
  body.append(...[...body.rows].sort(compare));
  heads.forEach((head, at) => head.setAttribute("aria-sort", at === column ? (rising ? "ascending" : "descending") : "none"));
}
