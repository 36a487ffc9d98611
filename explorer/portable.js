// What runs in a saved page: charts drawn by Vega, tables that sort. Nothing is loaded, nothing is sent.
//
// Expressions of the charts are walked by Vega's interpreter (`ast`), never compiled, so that the page's policy can
// forbid `eval`. Values are untrusted text: they reach the page through textContent and no other way.

const TIP_GAP = 14;

function readBlock(id) {
  const block = document.getElementById(id);
  return block ? JSON.parse(block.textContent) : null;
}

// ---------------------------------------------------------------- charts

function makeTip() {
  const tip = document.createElement("div");
  tip.className = "tip";
  tip.setAttribute("role", "tooltip");
  tip.hidden = true;
  document.body.append(tip);
  return tip;
}

function tipLine(name, value) {
  const line = document.createElement("div");
  const label = document.createElement("span");
  label.className = "tip-label";
  label.textContent = name;
  line.append(label, ` ${value}`);
  return line;
}

/** Vega calls this with what a mark has to say: a text, or named values. */
function showTip(tip, event, value) {
  const isEmpty = value === null || value === undefined || value === "";
  tip.hidden = isEmpty;
  if (isEmpty) return;
  const lines =
    typeof value === "object"
      ? Object.entries(value).map(([name, text]) => tipLine(name, text === null ? "" : text))
      : [document.createTextNode(String(value))];
  tip.replaceChildren(...lines);
  const { clientX, clientY } = event;
  const fits = clientX + TIP_GAP + tip.offsetWidth < document.documentElement.clientWidth;
  const above = clientY + TIP_GAP + tip.offsetHeight > window.innerHeight;
  const left = fits ? clientX + TIP_GAP : Math.max(4, clientX - TIP_GAP - tip.offsetWidth);
  const top = above ? Math.max(4, clientY - TIP_GAP - tip.offsetHeight) : clientY + TIP_GAP;
  tip.style.left = `${left + window.scrollX}px`;
  tip.style.top = `${top + window.scrollY}px`;
}

async function drawCharts() {
  const specifications = readBlock("charts");
  if (!specifications) return;
  const tip = makeTip();
  const options = {
    ast: true,
    actions: false,
    defaultStyle: false,
    renderer: "svg",
    tooltip: (handler, event, item, value) => showTip(tip, event, value),
  };
  for (const [id, specification] of Object.entries(specifications)) {
    const figure = document.getElementById(id);
    await window.vegaEmbed(figure, specification, options);
    figure.dataset.drawn = "yes";
  }
}

// ---------------------------------------------------------------- tables

/** A cell as a number: group separators and the real minus of the page are read, a blank is none. */
function numberOf(text) {
  const plain = text.replaceAll(",", "").replaceAll("−", "-");
  return plain === "" ? NaN : Number(plain);
}

/** Blanks stay last, whichever way the others are turned. */
function compareCells(one, other, isNumber, turn) {
  if (isNumber) {
    const [a, b] = [numberOf(one), numberOf(other)];
    if (Number.isNaN(a) || Number.isNaN(b)) return Number.isNaN(a) - Number.isNaN(b);
    return turn * (a - b);
  }
  if (!one || !other) return !one - !other;
  return turn * one.localeCompare(other, "en", { numeric: true });
}

function sortBy(table, head) {
  const turn = head.ariaSort === "ascending" ? -1 : 1;
  for (const each of head.parentElement.children) each.removeAttribute("aria-sort");
  head.setAttribute("aria-sort", turn > 0 ? "ascending" : "descending");
  const place = head.cellIndex;
  const isNumber = head.classList.contains("number");
  const body = table.tBodies[0];
  const rows = [...body.rows].map((row) => ({ row, text: row.cells[place].textContent }));
  rows.sort((one, other) => compareCells(one.text, other.text, isNumber, turn));
  body.append(...rows.map(({ row }) => row));
}

function makeSortable(table) {
  for (const head of table.tHead.rows[0].cells) {
    const button = document.createElement("button");
    button.type = "button";
    button.title = "sort";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => sortBy(table, head));
  }
}

document.querySelectorAll("table.sortable").forEach(makeSortable);
await drawCharts();
document.documentElement.dataset.ready = "yes";
