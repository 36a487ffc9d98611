// The two linked maps in a saved page. panels.js stands before this in the same module: it draws as in the app; here is
// what Python does there: the values, the answer to a click or a search, and the table of what is selected.

{
  const MOST_LISTED = 200;
  // As in portable.py.
  const MOST_IN_FULL = 60;
  const { state, left, right } = JSON.parse(document.getElementById("maps-data").textContent);

  function bytesFrom(text) {
    return Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
  }

  function valueFrom(value) {
    return typeof value?.bytes === "string" ? new DataView(bytesFrom(value.bytes).buffer) : value;
  }

  const names = state.names.split("\n");
  const ranks = [left, right].map((side) => new Uint32Array(bytesFrom(side.ranks.bytes).buffer));

  /** Ranks as the app counts them; the query and what has no profile have none. */
  function rankOf(side, index) {
    return ranks[side][index] ? ranks[side][index].toLocaleString("en") : "";
  }

  function describe(index) {
    const said = [left, right].map(({ name }, side) => `rank ${rankOf(side, index) || "–"} in ${name}`);
    return said.join("\n");
  }

  /** The part of a widget's model that panels.js uses. */
  function makeModel(values) {
    const listeners = new Map();
    return {
      get: (key) => values.get(key),
      set(key, value) {
        values.set(key, value);
        for (const tell of [...(listeners.get(`change:${key}`) ?? [])]) tell();
      },
      save_changes() {},
      send() {},
      on(event, tell) {
        listeners.set(event, [...(listeners.get(event) ?? []), tell]);
      },
      off(event, tell) {
        listeners.set(
          event,
          (listeners.get(event) ?? []).filter((each) => each !== tell),
        );
      },
    };
  }

  const values = new Map(Object.entries(state).map(([key, value]) => [key, valueFrom(value)]));
  values.set("describe", describe);
  const model = makeModel(values);

  /** What was clicked or searched for is selected, so that it stands out in both maps. */
  function point(index) {
    const packed = new DataView(new ArrayBuffer(12));
    packed.setUint8(0, INDEX_LIST);
    packed.setUint32(4, model.get("revision"), true);
    packed.setUint32(8, index, true);
    const marks = state.marks;
    model.set("marks", { ...marks, labels: [...new Set([index, ...marks.labels])] });
    model.set("selection", packed);
  }

  function selectedNow() {
    const view = model.get("selection");
    const bytes = new Uint8Array(view.buffer.slice(view.byteOffset, view.byteOffset + view.byteLength));
    const flags = decodeSelection(bytes, names.length, model.get("revision"));
    const found = [];
    for (let i = 0; i < flags.length; i++) if (flags[i]) found.push(i);
    return found.sort((a, b) => (ranks[0][a] || Infinity) - (ranks[0][b] || Infinity));
  }

  const box = document.getElementById("selected");
  const body = box.querySelector("tbody");
  const count = box.querySelector(".count");

  function listSelected() {
    const found = selectedNow();
    const listed = found.slice(0, MOST_LISTED);
    const rows = listed.map((index) => {
      const row = document.createElement("tr");
      for (const text of [names[index], rankOf(0, index), rankOf(1, index)]) {
        row.insertCell().textContent = text;
      }
      return row;
    });
    body.replaceChildren(...rows);
    box.hidden = found.length === 0;
    const isLong = listed.length > MOST_IN_FULL;
    box.querySelector(".rows").classList.toggle("scrolled", isLong);
    const more = found.length > MOST_LISTED ? `, the first ${MOST_LISTED} listed` : "";
    const scroll = isLong ? ": scroll within the table" : "";
    count.textContent = `Selected in the maps: ${found.length.toLocaleString("en")}${more}${scroll}`;
  }

  const dark = matchMedia("(prefers-color-scheme: dark)");
  const print = matchMedia("print");

  /** panels.js reads the theme off the body; paper is light, whatever the window is. */
  function showTheme(isPaper) {
    document.body.dataset.theme = dark.matches && !isPaper ? "dark" : "light";
  }

  for (const query of [dark, print]) query.addEventListener("change", () => showTheme(print.matches));
  window.addEventListener("beforeprint", () => showTheme(true));
  window.addEventListener("afterprint", () => showTheme(false));
  showTheme(print.matches);

  // Later, since panels.js takes no news while it sends.
  model.on("change:click", () => queueMicrotask(() => point(model.get("click")[0])));
  model.on("change:selection", listSelected);
  render({ model, el: document.getElementById("maps") });
  document.getElementById("maps").dataset.drawn = "yes";
}
