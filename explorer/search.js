// A search box over the names of the maps: type a part of a name, choose one. Names are untrusted text and
// reach the page through textContent and input.value only. panels.js puts it above the maps.

const MOST_MATCHES = 12;
let searchCount = 0;

/** Positions of the names that hold the typed text: equal first, then those that begin with it, then the rest. */
function matchNames(folded, typed) {
  const wanted = typed.trim().toLowerCase();
  if (!wanted) return [];
  const groups = [[], [], []];
  for (let i = 0; i < folded.length; i++) {
    const at = folded[i].indexOf(wanted);
    if (at < 0) continue;
    const group = at > 0 ? 2 : folded[i].length === wanted.length ? 0 : 1;
    if (groups[group].length < MOST_MATCHES) groups[group].push(i);
  }
  return groups.flat().slice(0, MOST_MATCHES);
}

function createSearch(root, onChoose) {
  const box = element("div", "search", root);
  const id = `matches-${searchCount++}`;
  const label = element("label", "search-label", box);
  label.textContent = "Perturbation";
  const input = element("input", "search-input", label);
  input.type = "search";
  input.autocomplete = "off";
  input.spellcheck = false;
  input.placeholder = "type a name …";
  input.setAttribute("role", "combobox");
  input.setAttribute("aria-autocomplete", "list");
  input.setAttribute("aria-expanded", "false");
  input.setAttribute("aria-controls", id);
  const list = element("div", "matches", box);
  list.id = id;
  list.setAttribute("role", "listbox");
  const search = { input, list, onChoose, names: [], folded: [], matches: [], active: 0, chosen: "" };
  input.addEventListener("input", () => showMatches(search));
  input.addEventListener("focus", () => input.select());
  input.addEventListener("blur", () => closeMatches(search));
  input.addEventListener("keydown", (event) => pressSearchKey(search, event));
  return search;
}

/** Take over the names, and the one that is shown now. */
function updateSearch(search, names, chosen) {
  if (search.names !== names) {
    search.names = names;
    search.folded = names.map((name) => name.toLowerCase());
  }
  search.chosen = chosen;
  if (search.input.getRootNode().activeElement !== search.input) search.input.value = chosen;
}

function showMatches(search) {
  search.matches = matchNames(search.folded, search.input.value);
  search.active = 0;
  const typed = search.input.value.trim();
  const rows = search.matches.map((index, place) => {
    const row = document.createElement("div");
    row.className = "match";
    row.id = `${search.list.id}-${place}`;
    row.setAttribute("role", "option");
    row.textContent = search.names[index];
    // Before the box loses focus, which would close the list under the pointer.
    row.addEventListener("pointerdown", (event) => {
      event.preventDefault();
      choose(search, place);
    });
    return row;
  });
  if (!rows.length && typed) {
    const none = document.createElement("div");
    none.className = "match none";
    none.textContent = "no perturbation has this in its name";
    rows.push(none);
  }
  search.list.replaceChildren(...rows);
  search.list.classList.toggle("open", rows.length > 0);
  search.input.setAttribute("aria-expanded", String(rows.length > 0));
  markActive(search);
}

function markActive(search) {
  [...search.list.children].forEach((row, place) => {
    const isActive = place === search.active && search.matches.length > 0;
    row.classList.toggle("active", isActive);
    row.setAttribute("aria-selected", String(isActive));
    if (isActive) search.input.setAttribute("aria-activedescendant", row.id);
  });
}

function closeMatches(search) {
  search.matches = [];
  search.list.replaceChildren();
  search.list.classList.remove("open");
  search.input.setAttribute("aria-expanded", "false");
  search.input.removeAttribute("aria-activedescendant");
  search.input.value = search.chosen;
}

function choose(search, place) {
  const index = search.matches[place];
  if (index === undefined) return;
  search.chosen = search.names[index];
  closeMatches(search);
  search.input.blur();
  search.onChoose(index);
}

function pressSearchKey(search, event) {
  const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
  if (step && search.matches.length) {
    search.active = (search.active + step + search.matches.length) % search.matches.length;
    markActive(search);
  } else if (event.key === "Enter") {
    choose(search, search.active);
  } else if (event.key === "Escape") {
    closeMatches(search);
    search.input.blur();
  } else {
    // Letters belong to the box, not to the page's shortcuts.
    event.stopPropagation();
    return;
  }
  event.preventDefault();
  event.stopPropagation();
}
