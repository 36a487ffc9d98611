// Two linked scatter maps on canvas 2D: no WebGL, no eval, nothing loaded from elsewhere.
//
// Python owns the points, colours and marks; this file owns camera, hover and brush, and sends back two values
// only, when the user has finished: `selection` and `click`. Names are untrusted text: they reach the page
// through fillText and textContent and no other way.
//
// Each map has three stacked canvases, because they change at different rates: all points (camera, colours),
// marks and selection (also while brushing), overlay (every move of the pointer).

const GAP = 16;
const STACK_BELOW = 700;
const PADDING = 18;
const HIT_RADIUS = 8;
const DRAG_THRESHOLD = 4;
const DOUBLE_CLICK_MS = 300;
const OUTLIER_SHARE = 0.002;
// A little more than the whole map; beyond that it would only become a blob.
const LEAST_OF_WHOLE = 0.8;
const MAX_ZOOM = 100;
const ZOOM_STEP = 1.6;
// Browsers send a pinch as a Ctrl-wheel of 100 pixels for each factor of e; a notch of a wheel is about as much.
const ZOOM_PER_PIXEL = 0.01;
const MOST_PER_TURN = 0.25;
const HINT_MS = 1500;
const WHEEL_HINT = "Ctrl (or ⌘) + wheel zooms";
const MAX_PLACED_LABELS = 300;
const MAX_LEGEND_ENTRIES = 60;
const LABEL_FONT = "12px system-ui, sans-serif";
const QUERY_FONT = `bold ${LABEL_FONT}`;
const HELP =
  "click: make it the query · drag: select · Ctrl-drag: add · Shift-drag: pan · " +
  "Ctrl-wheel or two fingers: zoom · double-click: reset · Esc: clear";
const KEYS_HELP =
  "Arrow keys move from point to point, Enter makes it the query, Space selects it, " +
  "plus and minus zoom, 0 resets the view, Escape clears the selection.";

// The message layouts are described in panels.py.
const COORDINATE_STEPS = 65534;
const NO_POSITION = 65535;
const DENSE_8 = 0;
const DENSE_16 = 1;
const SPARSE = 2;
const INDEX_LIST = 0;
const BITMASK = 1;
const SELECTION_HEADER = 8;
const WATCHED = [
  "revision",
  "names",
  "left",
  "right",
  "titles",
  "height",
  "categories",
  "palettes",
  "category_labels",
  "marks",
  "mark_labels",
  "selection",
];

// Marks differ in shape as well as colour, so that they can be told apart without colour vision.
const THEMES = {
  light: {
    panel: "#ffffff",
    ink: "#1b2027",
    quiet: "#59636e",
    line: "#c9d0d8",
    button: "#f3f5f7",
    background: "#98a3af",
    selected: "#c2187a",
    ring: "#8a5a00",
    highlight: "#5b2fa0",
  },
  dark: {
    panel: "#15191e",
    ink: "#eef1f4",
    quiet: "#a7b1bc",
    line: "#3b444e",
    button: "#232a31",
    background: "#66727f",
    selected: "#ff7ac8",
    ring: "#ffc861",
    highlight: "#c4a7ff",
  },
};

const STYLE = `
:host { display: block; position: relative; container-type: inline-size; font: 13px/1.4 system-ui, sans-serif;
  color: var(--ink); }
.search { position: relative; width: 320px; max-width: 100%; margin-bottom: 8px; }
.search-label { display: flex; align-items: center; gap: 8px; font-weight: 600; }
.search-input { flex: 1; min-width: 0; height: 30px; padding: 0 8px; font: inherit; font-weight: 600; color: var(--ink);
  background: var(--panel); border: 1px solid var(--quiet); border-radius: 5px; }
.search-input:focus-visible { outline: 2px solid var(--selected); outline-offset: 1px; }
.matches { position: absolute; z-index: 3; display: none; left: 90px; right: 0; max-height: 320px; overflow: auto;
  background: var(--panel); border: 1px solid var(--line); border-radius: 5px; box-shadow: 0 4px 14px #0003; }
.matches.open { display: block; }
.match { padding: 4px 8px; cursor: pointer; overflow-wrap: anywhere; }
.match.active, .match:hover { background: var(--button); }
.match.none { color: var(--quiet); cursor: default; }
.maps { display: flex; flex-wrap: wrap; gap: ${GAP}px; }
.head { display: flex; align-items: center; gap: 4px; min-height: 28px; margin-bottom: 4px; }
.title { flex: 1; min-width: 0; font-weight: 600; overflow: hidden; text-overflow: ellipsis; white-space: nowrap; }
button { min-width: 26px; height: 24px; padding: 0 6px; font: inherit; line-height: 1; color: var(--ink);
  background: var(--button); border: 1px solid var(--line); border-radius: 4px; cursor: pointer; }
button:hover { border-color: var(--quiet); }
.stage { position: relative; overflow: hidden; border-radius: 6px; background: var(--panel);
  box-shadow: inset 0 0 0 1px var(--line); }
canvas { position: absolute; inset: 0; width: 100%; height: 100%; }
/* One finger that begins upwards or downwards scrolls the page; one that begins sideways selects. */
.overlay { touch-action: pan-y; cursor: crosshair; outline: none; border-radius: 6px; user-select: none; }
.overlay.on-point { cursor: pointer; }
.overlay.panning { cursor: grabbing; }
.overlay:focus-visible { box-shadow: inset 0 0 0 3px var(--selected); }
button:focus-visible { outline: 2px solid var(--selected); outline-offset: 1px; }
.hint { position: absolute; left: 50%; bottom: 12px; transform: translateX(-50%); padding: 3px 10px; border-radius: 4px;
  background: var(--ink); color: var(--panel); font-size: 12px; white-space: nowrap; pointer-events: none; opacity: 0;
  transition: opacity .3s; }
.hint.shown { opacity: .9; }
@media (prefers-reduced-motion: reduce) { .hint { transition: none; } }
.legend { display: flex; flex-wrap: wrap; gap: 2px 16px; max-height: 6em; overflow: auto; margin-top: 8px; }
.entry { display: inline-flex; align-items: center; gap: 5px; max-width: 100%; overflow-wrap: anywhere; }
.entry canvas { position: static; flex: none; width: 18px; height: 18px; }
.status { min-height: 1.4em; margin-top: 4px; overflow: hidden; text-overflow: ellipsis; white-space: nowrap; }
.help { margin-top: 2px; }
.help, .quiet { font-size: 12px; color: var(--quiet); }
.quiet { margin-right: 4px; }
.tip { position: absolute; z-index: 2; display: none; pointer-events: none; max-width: 300px; padding: 3px 8px;
  border-radius: 4px; background: var(--ink); color: var(--panel); font-size: 12px; overflow-wrap: anywhere; }
.tip-name { font-weight: 600; }
.tip-note { white-space: pre-line; }
`;

// ---------------------------------------------------------------- messages

/** A copy of a binary value: typed arrays need an aligned start, which a message does not promise. */
function bytesOf(model, key) {
  const view = model.get(key);
  if (!view || !view.byteLength) return new Uint8Array(0);
  if (view instanceof ArrayBuffer) return new Uint8Array(view.slice(0));
  return new Uint8Array(view.buffer.slice(view.byteOffset, view.byteOffset + view.byteLength));
}

/** Coordinates as x0 y0 x1 y1 … in 0..1, NaN where there is no position. */
function decodeCoordinates(bytes) {
  const steps = new Uint16Array(bytes.buffer, 0, bytes.length >> 1);
  const coordinates = new Float32Array(steps.length);
  for (let k = 0; k < steps.length; k++) {
    coordinates[k] = steps[k] === NO_POSITION ? NaN : steps[k] / COORDINATE_STEPS;
  }
  return coordinates;
}

function decodeCategories(bytes, n) {
  const codes = new Uint16Array(n);
  if (bytes.length < 4) return codes;
  const body = bytes.buffer.slice(4);
  if (bytes[0] === DENSE_8) {
    codes.set(new Uint8Array(body).subarray(0, n));
  } else if (bytes[0] === DENSE_16) {
    codes.set(new Uint16Array(body).subarray(0, n));
  } else if (bytes[0] === SPARSE) {
    const m = Math.floor(body.byteLength / 6);
    const indices = new Uint32Array(body, 0, m);
    const values = new Uint16Array(body, 4 * m, m);
    for (let k = 0; k < m; k++) codes[indices[k]] = values[k];
  }
  return codes;
}

function decodeSelection(bytes, n, revision) {
  const selected = new Uint8Array(n);
  if (bytes.length < SELECTION_HEADER) return selected;
  if (new DataView(bytes.buffer).getUint32(4, true) !== revision) return selected;
  const body = bytes.buffer.slice(SELECTION_HEADER);
  if (bytes[0] === BITMASK) {
    const mask = new Uint8Array(body);
    for (let i = 0; i < n; i++) selected[i] = (mask[i >> 3] >> (i & 7)) & 1;
  } else if (bytes[0] === INDEX_LIST) {
    for (const i of new Uint32Array(body)) if (i < n) selected[i] = 1;
  }
  return selected;
}

/** The shorter of a list of positions and one bit for each point. */
function encodeSelection(selected, count, revision) {
  const n = selected.length;
  const maskLength = (n + 7) >> 3;
  const asList = 4 * count <= maskLength;
  const buffer = new ArrayBuffer(SELECTION_HEADER + (asList ? 4 * count : maskLength));
  const view = new DataView(buffer);
  view.setUint8(0, asList ? INDEX_LIST : BITMASK);
  view.setUint32(4, revision, true);
  if (asList) {
    let at = SELECTION_HEADER;
    for (let i = 0; i < n; i++) {
      if (!selected[i]) continue;
      view.setUint32(at, i, true);
      at += 4;
    }
  } else {
    const mask = new Uint8Array(buffer, SELECTION_HEADER);
    for (let i = 0; i < n; i++) if (selected[i]) mask[i >> 3] |= 1 << (i & 7);
  }
  return view;
}

function rgbOf(colour) {
  const value = /^#[0-9a-f]{6}$/i.test(colour) ? parseInt(colour.slice(1), 16) : 0x888888;
  return [value >> 16, (value >> 8) & 255, value & 255];
}

// ---------------------------------------------------------------- geometry

/**
 * The part of one axis that the reset view shows: everything, unless a few outliers would press the other
 * points into less than half of it. Each map says how many points lie outside its view. Behind it, all of the axis.
 */
function viewAlong(coordinates, axis) {
  const n = coordinates.length / 2;
  const stride = Math.ceil(n / 20000);
  const sample = [];
  let [low, high] = [Infinity, -Infinity];
  for (let i = 0; i < n; i++) {
    const value = coordinates[2 * i + axis];
    if (Number.isNaN(value)) continue;
    if (value < low) low = value;
    if (value > high) high = value;
    if (i % stride === 0) sample.push(value);
  }
  if (low > high) return [0.5, 0.5, 0.5, 0.5];
  const sorted = Float32Array.from(sample).sort();
  const cut = Math.floor(sorted.length * OUTLIER_SHARE);
  const [from, to] = [sorted[cut], sorted[sorted.length - 1 - cut]];
  const margin = 0.1 * (to - from);
  const isCrushed = to - from > 0 && to - from < 0.5 * (high - low);
  const shown = isCrushed ? [Math.max(low, from - margin), Math.min(high, to + margin)] : [low, high];
  return [...shown, low, high];
}

/** Middle and size of the reset view; how large a view of that middle must be to hold every outlier too. */
function boundsOf(coordinates) {
  const [x, y] = [0, 1].map((axis) => {
    const [from, to, low, high] = viewAlong(coordinates, axis);
    const middle = (from + to) / 2;
    return { middle, size: to - from, whole: 2 * Math.max(high - middle, middle - low) };
  });
  return {
    x: x.middle,
    y: y.middle,
    width: x.size,
    height: y.size,
    wholeWidth: x.whole,
    wholeHeight: y.whole,
  };
}

/** Points sorted into square cells, so that a hover looks at a few hundred of 200,000 points. */
function buildGrid(coordinates) {
  const n = coordinates.length / 2;
  const size = Math.max(1, Math.min(512, Math.ceil(Math.sqrt(n / 2))));
  const starts = new Uint32Array(size * size + 1);
  const cellOf = new Int32Array(n).fill(-1);
  for (let i = 0; i < n; i++) {
    const x = coordinates[2 * i];
    if (Number.isNaN(x)) continue;
    const column = Math.min(size - 1, Math.floor(x * size));
    const row = Math.min(size - 1, Math.floor(coordinates[2 * i + 1] * size));
    cellOf[i] = row * size + column;
    starts[cellOf[i] + 1]++;
  }
  for (let c = 0; c < size * size; c++) starts[c + 1] += starts[c];
  const next = starts.slice();
  const items = new Uint32Array(starts[size * size]);
  for (let i = 0; i < n; i++) if (cellOf[i] >= 0) items[next[cellOf[i]]++] = i;
  return { size, starts, items };
}

/** CSS pixels for one unit of the layout when so much of it fits, with equal axes. */
function fitOf(panel, width, height) {
  const across = Math.max(1, panel.width - 2 * PADDING);
  const down = Math.max(1, panel.height - 2 * PADDING);
  const fit = Math.min(across / width, down / height);
  return Number.isFinite(fit) ? fit : Math.min(across, down);
}

/** CSS pixels for one unit of the layout, with equal axes, so that distances mean the same in x and y. */
function scaleOf(panel) {
  return fitOf(panel, panel.bounds.width, panel.bounds.height) * panel.camera.zoom;
}

/** How far out a map goes: as far as it takes to see every point. */
function leastZoom(panel) {
  const { width, height, wholeWidth, wholeHeight } = panel.bounds;
  return (
    LEAST_OF_WHOLE * Math.min(1, fitOf(panel, wholeWidth, wholeHeight) / fitOf(panel, width, height))
  );
}

function toLayout(panel, x, y) {
  const scale = scaleOf(panel);
  return [panel.camera.x + (x - panel.width / 2) / scale, panel.camera.y - (y - panel.height / 2) / scale];
}

/** Position of a point in CSS pixels of its panel; NaN when it has none. */
function placeOf(panel, index) {
  const scale = scaleOf(panel);
  return [
    panel.width / 2 + (panel.coordinates[2 * index] - panel.camera.x) * scale,
    panel.height / 2 - (panel.coordinates[2 * index + 1] - panel.camera.y) * scale,
  ];
}

function isInView(panel, [x, y], margin = 0) {
  return x >= margin && y >= margin && x <= panel.width - margin && y <= panel.height - margin;
}

function projectPoints(panel, ratio) {
  const { coordinates, screen, camera } = panel;
  const scale = scaleOf(panel) * ratio;
  const left = (panel.width / 2) * ratio - camera.x * scale;
  const top = (panel.height / 2) * ratio + camera.y * scale;
  for (let k = 0; k < coordinates.length; k += 2) {
    screen[k] = left + coordinates[k] * scale;
    screen[k + 1] = top - coordinates[k + 1] * scale;
  }
}

function nearestPoint(panel, x, y, radius) {
  const { size, starts, items } = panel.grid;
  const { coordinates } = panel;
  const reach = radius / scaleOf(panel);
  const [u, v] = toLayout(panel, x, y);
  const cell = (value) => Math.max(0, Math.min(size - 1, Math.floor(value * size)));
  let best = -1;
  let closest = reach * reach;
  for (let row = cell(v - reach); row <= cell(v + reach); row++) {
    const first = starts[row * size + cell(u - reach)];
    const last = starts[row * size + cell(u + reach) + 1];
    for (let k = first; k < last; k++) {
      const du = coordinates[2 * items[k]] - u;
      const dv = coordinates[2 * items[k] + 1] - v;
      const distance = du * du + dv * dv;
      if (distance <= closest) {
        closest = distance;
        best = items[k];
      }
    }
  }
  return best;
}

/** The next point when an arrow key is pressed: ahead, and rather straight ahead than near. */
function neighbourTowards(panel, index, right, down) {
  const { coordinates } = panel;
  const x = coordinates[2 * index];
  const y = coordinates[2 * index + 1];
  let best = -1;
  let lowest = Infinity;
  for (let k = 0; k < coordinates.length; k += 2) {
    const dx = coordinates[k] - x;
    const dy = y - coordinates[k + 1];
    const ahead = dx * right + dy * down;
    const aside = Math.abs(dx * down) + Math.abs(dy * right);
    if (!(ahead > 0) || aside > 2 * ahead) continue;
    const cost = ahead + 2 * aside;
    if (cost < lowest) {
      lowest = cost;
      best = k / 2;
    }
  }
  return best;
}

function pointsWithin(panel, rectangle, ratio, visit) {
  const { screen } = panel;
  const [left, top, right, bottom] = rectangle.map((edge) => edge * ratio);
  for (let k = 0; k < screen.length; k += 2) {
    const x = screen[k];
    const y = screen[k + 1];
    if (x >= left && x <= right && y >= top && y <= bottom) visit(k / 2);
  }
}

// ---------------------------------------------------------------- stamping

/** Pixels of an anti-aliased disc for each of 4 × 4 positions within a pixel, so that discs look alike. */
function discStamps(radius) {
  const reach = Math.ceil(radius) + 1;
  const stamps = [];
  for (let row = 0; row < 4; row++) {
    for (let column = 0; column < 4; column++) {
      const pixels = [];
      for (let y = -reach; y <= reach; y++) {
        for (let x = -reach; x <= reach; x++) {
          const distance = Math.hypot(x + 0.5 - (column + 0.5) / 4, y + 0.5 - (row + 0.5) / 4);
          const cover = Math.min(1, Math.max(0, radius + 0.5 - distance));
          if (cover > 0.02) pixels.push(x, y, cover);
        }
      }
      stamps.push(Float32Array.from(pixels));
    }
  }
  return { reach, stamps };
}

/** Blend one colour over a pixel whose own opacity counts. */
function blendPixel(data, at, colour, alpha) {
  const under = data[at + 3] / 255;
  if (alpha > 0.99 || under === 0) {
    data[at] = colour[0];
    data[at + 1] = colour[1];
    data[at + 2] = colour[2];
    data[at + 3] = Math.max(alpha, under) * 255;
    return;
  }
  const total = alpha + under * (1 - alpha);
  const share = alpha / total;
  data[at] += (colour[0] - data[at]) * share;
  data[at + 1] += (colour[1] - data[at + 1]) * share;
  data[at + 2] += (colour[2] - data[at + 2]) * share;
  data[at + 3] = total * 255;
}

/** Call `visit(pixel, cover, index)` for every pixel of a disc at each point: 200,000 arcs would take seconds. */
function eachDiscPixel({ width, height }, screen, ids, radius, visit) {
  const { reach, stamps } = discStamps(radius);
  for (let j = 0; j < ids.length; j++) {
    const i = ids[j];
    const x = screen[2 * i];
    const y = screen[2 * i + 1];
    // Written so that NaN fails too.
    if (!(x > -reach && y > -reach && x < width + reach && y < height + reach)) continue;
    const column = Math.floor(x);
    const row = Math.floor(y);
    const stamp = stamps[Math.floor((y - row) * 4) * 4 + Math.floor((x - column) * 4)];
    for (let k = 0; k < stamp.length; k += 3) {
      const px = column + stamp[k];
      const py = row + stamp[k + 1];
      if (px < 0 || py < 0 || px >= width || py >= height) continue;
      visit(py * width + px, stamp[k + 2], i);
    }
  }
}

function stampDiscs(image, screen, ids, { radius, alpha, codes, colours }) {
  eachDiscPixel(image, screen, ids, radius, (pixel, cover, i) => {
    blendPixel(image.data, 4 * pixel, colours[codes ? codes[i] : 0], cover * alpha);
  });
}

/**
 * Points of one colour, their overlap on a logarithmic scale: one point alone has the opacity `single`, and
 * a crowd of hundreds still shows where it is densest.
 */
function stampDensity(image, screen, ids, { radius, single, colour }) {
  const density = new Float32Array(image.width * image.height);
  eachDiscPixel(image, screen, ids, radius, (pixel, cover) => (density[pixel] += cover));
  let densest = 2;
  for (let p = 0; p < density.length; p++) if (density[p] > densest) densest = density[p];
  const perFold = (1 - single) / Math.log(densest);
  for (let p = 0; p < density.length; p++) {
    const amount = density[p];
    if (amount === 0) continue;
    const alpha = amount < 1 ? single * amount : single + perFold * Math.log(amount);
    blendPixel(image.data, 4 * p, colour, alpha);
  }
}

/** Radius in CSS pixels at which `count` points can still be told apart. */
function radiusFor(count, zoom) {
  const base = Math.min(4.2, Math.max(0.8, 6.2 - 1.05 * Math.log10(Math.max(1, count))));
  return Math.min(5, base * (1 + 0.25 * Math.max(0, Math.log2(zoom))));
}

function opacityFor(count, zoom) {
  const sparse = Math.min(1, Math.max(0, (5.3 - Math.log10(Math.max(1, count))) / 2.3));
  return Math.min(0.9, 0.35 + 0.45 * sparse + 0.08 * Math.max(0, Math.log2(zoom)));
}

function clearedImage(panel, context) {
  const { width, height } = context.canvas;
  if (!panel.image || panel.image.width !== width || panel.image.height !== height) {
    panel.image = context.createImageData(width, height);
  }
  panel.image.data.fill(0);
  return panel.image;
}

// ---------------------------------------------------------------- painting

function colourTable(maps) {
  const palette = maps.palettes[maps.dark ? 1 : 0];
  return palette.length ? palette.map(rgbOf) : [rgbOf(maps.theme.background)];
}

function paintPoints(maps, panel) {
  const context = panel.layers.points;
  const image = clearedImage(panel, context);
  const { zoom } = panel.camera;
  projectPoints(panel, maps.ratio);
  showOutside(panel, maps.ratio);
  stampDensity(image, panel.screen, maps.background, {
    radius: radiusFor(maps.n, zoom) * maps.ratio,
    single: opacityFor(maps.n, zoom),
    colour: maps.colours[0],
  });
  stampCategories(maps, panel, image, maps.foreground);
  context.putImageData(image, 0, 0);
}

/** Categories lie above the background, larger, with an edge while there are few enough to have one. */
function stampCategories(maps, panel, image, ids) {
  const radius = categoryRadius(maps, panel);
  if (maps.foreground.length <= 3000) {
    stampDiscs(image, panel.screen, ids, {
      radius: (radius + 1) * maps.ratio,
      alpha: 1,
      colours: [rgbOf(maps.theme.panel)],
    });
  }
  stampDiscs(image, panel.screen, ids, {
    radius: radius * maps.ratio,
    alpha:
      maps.foreground.length <= 3000
        ? 1
        : Math.min(1, opacityFor(maps.foreground.length, panel.camera.zoom) + 0.2),
    codes: maps.codes,
    colours: maps.colours,
  });
}

function categoryRadius(maps, panel) {
  const { zoom } = panel.camera;
  return Math.min(5.5, Math.max(radiusFor(maps.n, zoom), radiusFor(maps.foreground.length, zoom)) + 0.7);
}

function paintMarks(maps, panel) {
  const context = panel.layers.marks;
  context.setTransform(1, 0, 0, 1, 0, 0);
  context.clearRect(0, 0, context.canvas.width, context.canvas.height);
  panel.layers.points.canvas.style.opacity = maps.selectedCount ? 0.4 : 1;
  if (maps.selectedCount) paintSelection(maps, panel, context);
  context.setTransform(maps.ratio, 0, 0, maps.ratio, 0, 0);
  const { query, labels, rings, highlights } = maps.marks;
  const draw = (kind, index) => {
    const place = placeOf(panel, index);
    if (isInView(panel, place, -10)) drawMark(context, kind, place, maps.theme);
  };
  const placed = placeLabels(context, maps, panel, query >= 0 ? [query, ...labels] : labels);
  drawLeaders(context, placed, maps.theme);
  for (const index of rings) {
    // Known partners that are no neighbours are many and far: they stay in the background.
    context.globalAlpha = maps.codes[index] ? 1 : 0.55;
    draw("ring", index);
  }
  context.globalAlpha = 1;
  // Where partners crowd, their rings must not hide which neighbours are shared.
  for (const index of labels) if (maps.codes[index] && !maps.selected[index]) drawNeighbour(maps, panel, index);
  for (const index of highlights) draw("highlight", index);
  if (query >= 0) draw("query", query);
  drawLabels(context, placed, maps.theme);
}

/** Selected points keep their category's colour and gain an edge; the others are dimmed below them. */
function paintSelection(maps, panel, context) {
  const image = clearedImage(panel, context);
  const ids = maps.selectedIds;
  const many = ids.length > 300;
  const radius = Math.max(many ? 1.1 : 2.8, radiusFor(maps.n, panel.camera.zoom));
  stampDensity(image, panel.screen, ids, {
    radius: (radius + 0.2) * maps.ratio,
    single: many ? Math.max(0.5, opacityFor(ids.length, panel.camera.zoom)) : 1,
    colour: rgbOf(maps.theme.selected),
  });
  const coloured = ids.filter((i) => maps.codes[i] > 0);
  stampDiscs(image, panel.screen, coloured, {
    radius: (categoryRadius(maps, panel) + (many ? 1 : 1.8)) * maps.ratio,
    alpha: 1,
    colours: [rgbOf(maps.theme.selected)],
  });
  stampCategories(maps, panel, image, coloured);
  context.putImageData(image, 0, 0);
}

/** Trace a path twice, first wide in the panel's colour, so that it shows on any background. */
function strokeWithHalo(context, width, colour, halo, trace) {
  for (const [lineWidth, strokeStyle] of [
    [width + 1.5, halo],
    [width, colour],
  ]) {
    context.lineWidth = lineWidth;
    context.strokeStyle = strokeStyle;
    context.beginPath();
    trace();
    context.stroke();
  }
}

function drawNeighbour(maps, panel, index) {
  const [x, y] = placeOf(panel, index);
  if (!isInView(panel, [x, y], -10)) return;
  const context = panel.layers.marks;
  const [red, green, blue] = maps.colours[maps.codes[index]];
  context.fillStyle = `rgb(${red}, ${green}, ${blue})`;
  context.beginPath();
  context.arc(x, y, 4.5, 0, 2 * Math.PI);
  context.fill();
}

function drawMark(context, kind, [x, y], theme) {
  if (kind === "ring") {
    strokeWithHalo(context, 1.4, theme.ring, theme.panel, () => context.arc(x, y, 7.5, 0, 2 * Math.PI));
  } else if (kind === "highlight") {
    strokeWithHalo(context, 1.8, theme.highlight, theme.panel, () => {
      context.moveTo(x, y - 8);
      context.lineTo(x + 8, y);
      context.lineTo(x, y + 8);
      context.lineTo(x - 8, y);
      context.closePath();
    });
  } else {
    strokeWithHalo(context, 2.2, theme.ink, theme.panel, () => traceCrosshair(context, x, y));
    context.fillStyle = theme.ink;
    context.beginPath();
    context.arc(x, y, 2.6, 0, 2 * Math.PI);
    context.fill();
  }
}

function traceCrosshair(context, x, y) {
  context.arc(x, y, 6.5, 0, 2 * Math.PI);
  for (const [dx, dy] of [
    [1, 0],
    [-1, 0],
    [0, 1],
    [0, -1],
  ]) {
    context.moveTo(x + 4.5 * dx, y + 4.5 * dy);
    context.lineTo(x + 11 * dx, y + 11 * dy);
  }
}

function paintOverlay(maps, panel) {
  const context = panel.layers.overlay;
  context.setTransform(maps.ratio, 0, 0, maps.ratio, 0, 0);
  context.clearRect(0, 0, panel.width, panel.height);
  const { index } = maps.pointed;
  if (index >= 0) {
    const [x, y] = placeOf(panel, index);
    strokeWithHalo(context, 2, maps.theme.ink, maps.theme.panel, () => context.arc(x, y, 9, 0, 2 * Math.PI));
  }
  if (panel.rectangle) {
    const [left, top, right, bottom] = panel.rectangle;
    context.fillStyle = `${maps.theme.selected}1f`;
    context.fillRect(left, top, right - left, bottom - top);
    context.lineWidth = 1;
    context.strokeStyle = maps.theme.selected;
    context.strokeRect(left + 0.5, top + 0.5, right - left - 1, bottom - top - 1);
  }
}

// ---------------------------------------------------------------- labels

function shortened(text, longest = 30) {
  const characters = Array.from(text);
  return characters.length > longest ? `${characters.slice(0, longest - 1).join("")}…` : text;
}

function overlaps(a, b) {
  return a.left < b.right && b.left < a.right && a.top < b.bottom && b.top < a.bottom;
}

/** Where a label may go, best first: beside its point, then round it in growing circles. */
function candidateBoxes([x, y], width) {
  const height = 14;
  const boxes = [];
  for (const reach of [10, 20, 34, 52, 74]) {
    for (const [dx, dy] of [
      [1, 0],
      [1, -0.8],
      [1, 0.8],
      [-1, 0],
      [-1, -0.8],
      [-1, 0.8],
      [0, -1],
      [0, 1],
    ]) {
      const left = x + dx * reach - (dx < 0 ? width : dx === 0 ? width / 2 : 0);
      const top = y + dy * reach - height / 2 + Math.sign(dy) * 2;
      boxes.push({ left, top, right: left + width, bottom: top + height, moved: reach > 10 });
    }
  }
  return boxes;
}

function nearestCorner(box, [x, y]) {
  return [Math.max(box.left, Math.min(box.right, x)), Math.max(box.top, Math.min(box.bottom, y))];
}

/** Names that fit without covering each other or a marked point; the first in the list choose first. */
function placeLabels(context, maps, panel, indices) {
  const wanted = [...new Set(indices)]
    .map((index) => ({
      place: placeOf(panel, index),
      text: shortened(maps.names[index] ?? ""),
      font: index === maps.marks.query ? QUERY_FONT : LABEL_FONT,
    }))
    .filter(({ place, text }) => text && isInView(panel, place))
    .slice(0, MAX_PLACED_LABELS);
  const taken = wanted.map(({ place: [x, y] }) => ({ left: x - 6, right: x + 6, top: y - 6, bottom: y + 6 }));
  const placed = [];
  for (const { place, text, font } of wanted) {
    context.font = font;
    const width = context.measureText(text).width + 2;
    const box = candidateBoxes(place, width).find(
      (candidate) =>
        candidate.left >= 2 &&
        candidate.top >= 2 &&
        candidate.right <= panel.width - 2 &&
        candidate.bottom <= panel.height - 2 &&
        !taken.some((other) => overlaps(candidate, other)),
    );
    if (!box) continue;
    taken.push(box);
    placed.push({ text, font, box, place });
  }
  return placed;
}

/** A line from each label that had to move to its point. */
function drawLeaders(context, placed, theme) {
  context.lineWidth = 1;
  context.strokeStyle = theme.quiet;
  context.beginPath();
  for (const { box, place } of placed) {
    if (!box.moved) continue;
    context.moveTo(...place);
    context.lineTo(...nearestCorner(box, place));
  }
  context.stroke();
}

function drawLabels(context, placed, theme) {
  context.textBaseline = "middle";
  context.lineJoin = "round";
  context.lineWidth = 3.5;
  context.strokeStyle = theme.panel;
  context.fillStyle = theme.ink;
  for (const { text, font, box } of placed) {
    context.font = font;
    const middle = (box.top + box.bottom) / 2;
    context.strokeText(text, box.left + 1, middle);
    context.fillText(text, box.left + 1, middle);
  }
}

// ---------------------------------------------------------------- repainting

function repaint(maps, what, panels = maps.panels) {
  for (const panel of panels) panel.stale.add(what);
  if (!maps.frame) maps.frame = requestAnimationFrame(() => paintFrame(maps));
}

function paintFrame(maps) {
  maps.frame = 0;
  if (maps.brush) applyBrush(maps);
  for (const panel of maps.panels) {
    if (!panel.width || !panel.height) continue;
    const points = panel.stale.has("points");
    if (points) paintPoints(maps, panel);
    if (points || panel.stale.has("marks")) paintMarks(maps, panel);
    paintOverlay(maps, panel);
    panel.stale.clear();
    panel.paints += 1;
  }
  placeTooltip(maps);
}

function resizePanels(maps) {
  const available = Math.floor(maps.host.clientWidth);
  if (!available) return;
  maps.ratio = window.devicePixelRatio || 1;
  const width = available < STACK_BELOW ? available : Math.floor((available - GAP) / 2);
  for (const panel of maps.panels) {
    panel.width = width;
    panel.height = maps.model.get("height");
    panel.box.style.width = `${width}px`;
    panel.stage.style.height = `${panel.height}px`;
    for (const { canvas } of Object.values(panel.layers)) {
      canvas.width = Math.round(width * maps.ratio);
      canvas.height = Math.round(panel.height * maps.ratio);
    }
  }
  repaint(maps, "points");
}

// ---------------------------------------------------------------- the page around the canvases

function element(tag, className, parent) {
  const made = document.createElement(tag);
  made.className = className;
  parent.append(made);
  return made;
}

function button(parent, text, label) {
  const made = element("button", "", parent);
  made.type = "button";
  made.textContent = text;
  made.setAttribute("aria-label", label);
  made.title = label;
  return made;
}

function createPanel(parent, side) {
  const box = element("div", "panel", parent);
  const head = element("div", "head", box);
  const title = element("div", "title", head);
  const notShown = element("div", "quiet", head);
  const buttons = {
    zoomIn: button(head, "+", "zoom in"),
    zoomOut: button(head, "−", "zoom out"),
    reset: button(head, "reset", "reset the view"),
  };
  const stage = element("div", "stage", box);
  const layers = {};
  for (const name of ["points", "marks", "overlay"]) {
    layers[name] = element("canvas", name, stage).getContext("2d");
  }
  const overlay = layers.overlay.canvas;
  overlay.tabIndex = 0;
  overlay.setAttribute("role", "application");
  overlay.dataset.side = side;
  const hint = element("div", "hint", stage);
  hint.setAttribute("aria-hidden", "true");
  hint.textContent = WHEEL_HINT;
  return {
    side,
    box,
    title,
    notShown,
    buttons,
    stage,
    layers,
    overlay,
    hint,
    hintTimer: 0,
    width: 0,
    height: 0,
    coordinates: new Float32Array(0),
    screen: new Float32Array(0),
    bounds: boundsOf([]),
    grid: buildGrid(new Float32Array(0)),
    camera: { x: 0.5, y: 0.5, zoom: 1 },
    rectangle: null,
    image: null,
    pointers: new Map(),
    stale: new Set(),
    paints: 0,
  };
}

function createMaps(model, el) {
  const host = element("div", "linked-maps", el);
  // Its own shadow root: styles of the page and of the maps cannot touch each other, and a constructed
  // sheet needs no `unsafe-inline` from the page's content security policy.
  const root = host.attachShadow({ mode: "open" });
  const sheet = new CSSStyleSheet();
  sheet.replaceSync(STYLE);
  root.adoptedStyleSheets = [sheet];
  const search = createSearch(root, (index) => reportClick(maps, index));
  const row = element("div", "maps", root);
  const panels = ["left", "right"].map((side) => createPanel(row, side));
  const legend = element("div", "legend", root);
  const status = element("div", "status", root);
  status.setAttribute("role", "status");
  status.setAttribute("aria-live", "polite");
  const help = element("div", "help", root);
  // A page without Python behind it has no query to change, and says so; it also knows more of a point.
  help.textContent = model.get("help") || HELP;
  const tip = element("div", "tip", root);
  const tipName = element("div", "tip-name", tip);
  const tipCategory = element("div", "tip-category", tip);
  const tipNote = element("div", "tip-note", tip);
  const maps = {
    model,
    host,
    search,
    panels,
    legend,
    status,
    tip,
    tipName,
    tipCategory,
    tipNote,
    n: 0,
    names: [],
    codes: new Uint16Array(0),
    background: new Uint32Array(0),
    foreground: new Uint32Array(0),
    palettes: [[], []],
    categoryLabels: [],
    colours: [],
    marks: { query: -1, labels: [], rings: [], highlights: [] },
    selected: new Uint8Array(0),
    selectedIds: new Uint32Array(0),
    selectedCount: 0,
    pointed: { index: -1, panel: null },
    brush: null,
    clearTimer: 0,
    changed: new Set(),
    sending: false,
    dark: false,
    theme: THEMES.light,
    ratio: 1,
    frame: 0,
    revision: 0,
    listeners: new AbortController(),
  };
  return maps;
}

function showLegend(maps) {
  const entries = maps.categoryLabels
    .map((text, code) => ({ text, code }))
    .filter(({ text }) => text)
    .map(({ text, code }) => ({ text, draw: (context) => drawDot(context, maps.colours[code]) }));
  const { query, rings, highlights } = maps.marks;
  const present = { query: query >= 0, ring: rings.length > 0, highlight: highlights.length > 0 };
  const markLabels = maps.model.get("mark_labels") ?? {};
  for (const [kind, isPresent] of Object.entries(present)) {
    if (!isPresent || !markLabels[kind]) continue;
    entries.push({ text: markLabels[kind], draw: (context) => drawMarkInLegend(context, kind, maps.theme) });
  }
  maps.legend.replaceChildren(
    ...entries.slice(0, MAX_LEGEND_ENTRIES).map((entry) => legendEntry(maps, entry)),
  );
  const hidden = entries.length - MAX_LEGEND_ENTRIES;
  if (hidden > 0) element("span", "entry", maps.legend).textContent = `and ${hidden} more`;
}

function legendEntry(maps, { text, draw }) {
  const entry = document.createElement("span");
  entry.className = "entry";
  const canvas = element("canvas", "", entry);
  canvas.width = canvas.height = Math.round(18 * maps.ratio);
  const context = canvas.getContext("2d");
  context.scale(maps.ratio, maps.ratio);
  draw(context);
  element("span", "", entry).textContent = text;
  return entry;
}

function drawDot(context, [red, green, blue]) {
  context.fillStyle = `rgb(${red}, ${green}, ${blue})`;
  context.beginPath();
  context.arc(9, 9, 5, 0, 2 * Math.PI);
  context.fill();
}

/** Marks are drawn a little smaller here than on the maps. */
function drawMarkInLegend(context, kind, theme) {
  context.translate(9, 9);
  context.scale(0.75, 0.75);
  drawMark(context, kind, [0, 0], theme);
}

function showTitles(maps) {
  const titles = maps.model.get("titles") ?? [];
  maps.panels.forEach((panel, k) => {
    const title = titles[k] ?? panel.side;
    panel.title.textContent = title;
    panel.title.title = title;
    const count = maps.n.toLocaleString("en");
    const keys = maps.model.get("keys_help") || KEYS_HELP;
    panel.overlay.setAttribute("aria-label", `${title}: map of ${count} perturbations. ${keys}`);
  });
}

/** Say what the map does not show, so that nobody takes the view for the whole. */
function showOutside(panel, ratio) {
  const { screen } = panel;
  let inside = 0;
  let missing = 0;
  pointsWithin(panel, [0, 0, panel.width, panel.height], ratio, () => inside++);
  for (let k = 0; k < screen.length; k += 2) if (Number.isNaN(screen[k])) missing++;
  const outside = screen.length / 2 - missing - inside;
  const parts = [];
  if (outside) parts.push(`${outside.toLocaleString("en")} outside the view`);
  if (missing) parts.push(`${missing.toLocaleString("en")} without a position`);
  panel.notShown.textContent = parts.join(" · ");
}

function categoryOf(maps, index) {
  return maps.categoryLabels[maps.codes[index]] ?? "";
}

function showStatus(maps) {
  const parts = [];
  const { index } = maps.pointed;
  if (index >= 0) {
    const category = categoryOf(maps, index);
    parts.push(shortened(maps.names[index] ?? "", 80) + (category ? ` (${category})` : ""));
  }
  const count = (value) => value.toLocaleString("en");
  if (maps.selectedCount) parts.push(`${count(maps.selectedCount)} of ${count(maps.n)} selected`);
  else if (index < 0) parts.push(`${count(maps.n)} perturbations, none selected`);
  maps.status.textContent = parts.join(" · ");
}

function placeTooltip(maps) {
  const { index, panel } = maps.pointed;
  const { tip } = maps;
  if (index < 0 || !panel || maps.brush) {
    tip.style.display = "none";
    return;
  }
  maps.tipName.textContent = maps.names[index] ?? "";
  maps.tipCategory.textContent = categoryOf(maps, index);
  maps.tipNote.textContent = maps.model.get("describe")?.(index) ?? "";
  tip.style.display = "block";
  const host = maps.host.getBoundingClientRect();
  const stage = panel.stage.getBoundingClientRect();
  const [x, y] = placeOf(panel, index);
  const left = stage.left - host.left + x + 14;
  const fits = left + tip.offsetWidth <= host.width;
  tip.style.left = `${Math.max(0, fits ? left : left - 28 - tip.offsetWidth)}px`;
  tip.style.top = `${stage.top - host.top + y + 12}px`;
}

// ---------------------------------------------------------------- taking over values from Python

function loadNames(maps) {
  const text = maps.model.get("names");
  maps.names = text ? text.split("\n") : [""];
}

function loadCoordinates(maps, panel) {
  panel.coordinates = decodeCoordinates(bytesOf(maps.model, panel.side));
  panel.screen = new Float32Array(panel.coordinates.length);
  panel.grid = buildGrid(panel.coordinates);
  const before = panel.bounds;
  panel.bounds = boundsOf(panel.coordinates);
  // The camera belongs to the panel, not to the layout: what was the middle of the view stays so in
  // relation to the whole.
  panel.camera.x += panel.bounds.x - before.x;
  panel.camera.y += panel.bounds.y - before.y;
  panel.camera.zoom = Math.max(panel.camera.zoom, leastZoom(panel));
}

function loadCategories(maps) {
  const { model, n } = maps;
  maps.palettes = model.get("palettes") ?? [[], []];
  maps.categoryLabels = model.get("category_labels") ?? [];
  maps.codes = decodeCategories(bytesOf(model, "categories"), n);
  let coloured = 0;
  for (let i = 0; i < n; i++) if (maps.codes[i]) coloured++;
  maps.background = new Uint32Array(n - coloured);
  maps.foreground = new Uint32Array(coloured);
  let [b, f] = [0, 0];
  for (let i = 0; i < n; i++) {
    if (maps.codes[i]) maps.foreground[f++] = i;
    else maps.background[b++] = i;
  }
  maps.colours = colourTable(maps);
}

function loadMarks(maps) {
  const marks = maps.model.get("marks") ?? {};
  maps.marks = {
    query: marks.query ?? -1,
    labels: marks.labels ?? [],
    rings: marks.rings ?? [],
    highlights: marks.highlights ?? [],
  };
  updateSearch(maps.search, maps.names, maps.names[maps.marks.query] ?? "");
}

function loadSelection(maps) {
  maps.brush = null;
  for (const panel of maps.panels) panel.rectangle = null;
  replaceSelection(maps, decodeSelection(bytesOf(maps.model, "selection"), maps.n, maps.revision));
}

function loadEverything(maps) {
  maps.revision = maps.model.get("revision") ?? 0;
  maps.pointed = { index: -1, panel: null };
  loadNames(maps);
  for (const panel of maps.panels) {
    loadCoordinates(maps, panel);
    resetCamera(panel);
  }
  maps.n = maps.panels[0].coordinates.length / 2;
  loadCategories(maps);
  loadMarks(maps);
  loadSelection(maps);
}

/** One message may change several values: all of them are in place before the first is looked at. */
function applyChanges(maps) {
  const { changed } = maps;
  const any = (...keys) => keys.some((key) => changed.has(key));
  if (maps.listeners.signal.aborted) return;
  if (changed.has("revision")) {
    loadEverything(maps);
  } else {
    for (const panel of maps.panels) if (changed.has(panel.side)) loadCoordinates(maps, panel);
    if (any("categories", "palettes", "category_labels")) loadCategories(maps);
    if (any("marks")) loadMarks(maps);
    if (any("selection")) loadSelection(maps);
  }
  if (any("height")) resizePanels(maps);
  changed.clear();
  showTitles(maps);
  showLegend(maps);
  showStatus(maps);
  repaint(maps, "points");
}

function watchModel(maps) {
  const { model } = maps;
  const handlers = WATCHED.map((key) => [
    `change:${key}`,
    () => {
      if (maps.sending) return;
      if (!maps.changed.size) queueMicrotask(() => applyChanges(maps));
      maps.changed.add(key);
    },
  ]);
  for (const [event, handler] of handlers) model.on(event, handler);
  return () => {
    for (const [event, handler] of handlers) model.off(event, handler);
  };
}

function send(maps, key, value) {
  // `set` reports the change to our own listener too, which must not treat it as news from Python.
  maps.sending = true;
  maps.model.set(key, value);
  maps.sending = false;
  maps.model.save_changes();
}

// ---------------------------------------------------------------- selection

function replaceSelection(maps, selected) {
  let count = 0;
  for (let i = 0; i < selected.length; i++) count += selected[i];
  const ids = new Uint32Array(count);
  for (let i = 0, k = 0; i < selected.length; i++) if (selected[i]) ids[k++] = i;
  maps.selected = selected;
  maps.selectedIds = ids;
  maps.selectedCount = count;
  showStatus(maps);
  repaint(maps, "marks");
}

function commitSelection(maps) {
  send(maps, "selection", encodeSelection(maps.selected, maps.selectedCount, maps.revision));
}

function clearSelection(maps) {
  if (!maps.selectedCount) return;
  replaceSelection(maps, new Uint8Array(maps.n));
  commitSelection(maps);
}

function toggleSelected(maps, index) {
  const selected = maps.selected.slice();
  selected[index] ^= 1;
  replaceSelection(maps, selected);
  commitSelection(maps);
}

/** What the rectangle holds now, on top of what was selected before when adding. */
function applyBrush(maps) {
  const { panel, before, adding } = maps.brush;
  const selected = adding ? before.slice() : new Uint8Array(maps.n);
  pointsWithin(panel, panel.rectangle, maps.ratio, (i) => (selected[i] = 1));
  replaceSelection(maps, selected);
}

function endBrush(maps, isKept) {
  const { brush } = maps;
  if (!brush) return;
  if (isKept) applyBrush(maps);
  else replaceSelection(maps, brush.before);
  maps.brush = null;
  brush.panel.rectangle = null;
  if (isKept) commitSelection(maps);
}

function reportClick(maps, index) {
  const [, counter = 0] = maps.model.get("click") ?? [];
  send(maps, "click", [index, counter + 1, maps.revision]);
}

// ---------------------------------------------------------------- camera

function resetCamera(panel) {
  panel.camera = { x: panel.bounds.x, y: panel.bounds.y, zoom: 1 };
}

function zoomAbout(maps, panel, x, y, factor) {
  const [u, v] = toLayout(panel, x, y);
  const least = leastZoom(panel);
  panel.camera.zoom = Math.min(MAX_ZOOM, Math.max(least, panel.camera.zoom * factor));
  if (panel.camera.zoom === least) {
    // All the way out shows the whole map, wherever the pointer is.
    panel.camera.x = panel.bounds.x;
    panel.camera.y = panel.bounds.y;
  } else {
    const [afterU, afterV] = toLayout(panel, x, y);
    panel.camera.x += u - afterU;
    panel.camera.y += v - afterV;
  }
  repaint(maps, "points", [panel]);
}

function panBy(maps, panel, dx, dy) {
  const scale = scaleOf(panel);
  panel.camera.x -= dx / scale;
  panel.camera.y += dy / scale;
  repaint(maps, "points", [panel]);
}

function resetView(maps, panel) {
  resetCamera(panel);
  repaint(maps, "points", [panel]);
}

// ---------------------------------------------------------------- pointer

function positionIn(panel, event) {
  const box = panel.overlay.getBoundingClientRect();
  return [event.clientX - box.left, event.clientY - box.top];
}

function pointAt(maps, index, panel) {
  const isNew = index !== maps.pointed.index || panel !== maps.pointed.panel;
  if (!isNew) return;
  maps.pointed = { index, panel };
  for (const each of maps.panels) each.overlay.classList.toggle("on-point", index >= 0 && each === panel);
  showStatus(maps);
  repaint(maps, "overlay");
}

function isAdding(event) {
  return event.ctrlKey || event.metaKey;
}

function startGesture(maps, panel, event) {
  const [x, y] = positionIn(panel, event);
  const isPan = event.button === 1 || (event.button === 0 && event.shiftKey);
  if (!isPan && event.button !== 0) return;
  // Without this a middle press starts the browser's own scrolling.
  if (event.button === 1) event.preventDefault();
  panel.overlay.setPointerCapture(event.pointerId);
  panel.pointers.set(event.pointerId, [x, y]);
  if (panel.pointers.size === 2) {
    endBrush(maps, false);
    panel.gesture = { kind: "pinch" };
  } else if (panel.pointers.size === 1) {
    panel.gesture = {
      kind: isPan ? "pan" : "brush",
      start: [x, y],
      isMoved: false,
      isAdding: isAdding(event),
    };
    panel.overlay.classList.toggle("panning", isPan);
  }
}

function moveGesture(maps, panel, event) {
  const to = positionIn(panel, event);
  const from = panel.pointers.get(event.pointerId);
  if (!from) {
    if (event.pointerType !== "touch") pointAt(maps, nearestPoint(panel, ...to, HIT_RADIUS), panel);
    return;
  }
  const { gesture } = panel;
  if (gesture.kind === "pinch") {
    pinch(maps, panel, event.pointerId, to);
    return;
  }
  if (!gesture.isMoved && Math.hypot(to[0] - gesture.start[0], to[1] - gesture.start[1]) < DRAG_THRESHOLD)
    return;
  if (gesture.kind === "pan") panBy(maps, panel, to[0] - from[0], to[1] - from[1]);
  if (gesture.kind === "brush") dragBrush(maps, panel, to);
  gesture.isMoved = true;
  panel.pointers.set(event.pointerId, to);
}

function dragBrush(maps, panel, [x, y]) {
  const { start, isMoved, isAdding: adding } = panel.gesture;
  if (!isMoved) {
    clearTimeout(maps.clearTimer);
    pointAt(maps, -1, null);
    maps.brush = { panel, before: maps.selected, adding };
  }
  // Python may have replaced the points, or Escape ended the brush, while the button is still down.
  if (!maps.brush) return;
  panel.rectangle = [
    Math.min(start[0], x),
    Math.min(start[1], y),
    Math.max(start[0], x),
    Math.max(start[1], y),
  ];
  repaint(maps, "marks");
}

/** Two fingers: their middle moves the map, their distance zooms it. */
function pinch(maps, panel, pointerId, to) {
  const measure = () => {
    const [[ax, ay], [bx, by]] = panel.pointers.values();
    return { x: (ax + bx) / 2, y: (ay + by) / 2, apart: Math.max(1, Math.hypot(ax - bx, ay - by)) };
  };
  const before = measure();
  panel.pointers.set(pointerId, to);
  const after = measure();
  panBy(maps, panel, after.x - before.x, after.y - before.y);
  zoomAbout(maps, panel, after.x, after.y, after.apart / before.apart);
}

function endGesture(maps, panel, event) {
  if (!panel.pointers.delete(event.pointerId)) return;
  const { gesture } = panel;
  panel.overlay.classList.remove("panning");
  if (panel.pointers.size || gesture.kind === "pinch") {
    // The finger that stays on the glass after a pinch must not start a brush.
    gesture.kind = "pinch";
    return;
  }
  if (gesture.kind !== "brush") return;
  if (gesture.isMoved) endBrush(maps, true);
  else clickAt(maps, panel, event);
}

function clickAt(maps, panel, event) {
  const index = nearestPoint(panel, ...positionIn(panel, event), HIT_RADIUS);
  if (index >= 0) {
    if (isAdding(event)) toggleSelected(maps, index);
    else reportClick(maps, index);
  } else if (!isAdding(event)) {
    // Wait whether this is the first half of a double click, which resets the view and keeps the selection.
    clearTimeout(maps.clearTimer);
    maps.clearTimer = setTimeout(() => clearSelection(maps), DOUBLE_CLICK_MS);
  }
}

function cancelGesture(maps, panel) {
  panel.pointers.clear();
  panel.overlay.classList.remove("panning");
  endBrush(maps, false);
}

/** The wheel alone belongs to the page, which has to be scrolled past the maps; with Ctrl or ⌘ it zooms. */
function turnWheel(maps, panel, event) {
  if (!event.ctrlKey && !event.metaKey) {
    showHint(panel);
    return;
  }
  event.preventDefault();
  hideHint(panel);
  const pixels =
    event.deltaMode === 1 ? event.deltaY * 16 : event.deltaMode === 2 ? event.deltaY * 400 : event.deltaY;
  const turn = Math.max(-MOST_PER_TURN, Math.min(MOST_PER_TURN, -pixels * ZOOM_PER_PIXEL));
  zoomAbout(maps, panel, ...positionIn(panel, event), Math.exp(turn));
}

function showHint(panel) {
  panel.hint.classList.add("shown");
  clearTimeout(panel.hintTimer);
  panel.hintTimer = setTimeout(() => hideHint(panel), HINT_MS);
}

function hideHint(panel) {
  clearTimeout(panel.hintTimer);
  panel.hint.classList.remove("shown");
}

/** A second finger is for the map: without this the browser takes both to scroll the page. */
function keepPinch(event) {
  if (event.touches.length > 1 && event.cancelable) event.preventDefault();
}

function attachPointer(maps, panel) {
  const { overlay, buttons } = panel;
  const { signal } = maps.listeners;
  const on = (target, type, handler, options = {}) =>
    target.addEventListener(type, handler, { signal, ...options });
  on(overlay, "pointerdown", (event) => startGesture(maps, panel, event));
  on(overlay, "pointermove", (event) => moveGesture(maps, panel, event));
  on(overlay, "pointerup", (event) => endGesture(maps, panel, event));
  on(overlay, "pointercancel", () => cancelGesture(maps, panel));
  on(overlay, "pointerleave", () => {
    if (!panel.pointers.size) pointAt(maps, -1, null);
  });
  on(overlay, "dblclick", () => {
    clearTimeout(maps.clearTimer);
    resetView(maps, panel);
  });
  on(overlay, "wheel", (event) => turnWheel(maps, panel, event), { passive: false });
  for (const type of ["touchstart", "touchmove"]) on(overlay, type, keepPinch, { passive: false });
  on(overlay, "keydown", (event) => pressKey(maps, panel, event));
  on(overlay, "blur", () => pointAt(maps, -1, null));
  on(buttons.zoomIn, "click", () => zoomAbout(maps, panel, panel.width / 2, panel.height / 2, ZOOM_STEP));
  on(buttons.zoomOut, "click", () =>
    zoomAbout(maps, panel, panel.width / 2, panel.height / 2, 1 / ZOOM_STEP),
  );
  on(buttons.reset, "click", () => resetView(maps, panel));
}

// ---------------------------------------------------------------- keyboard

/** Where the keyboard starts: at what is pointed at, else at the query, else in the middle of the view. */
function keyboardStart(maps, panel) {
  const isDrawn = (index) => index >= 0 && !Number.isNaN(panel.coordinates[2 * index]);
  if (isDrawn(maps.pointed.index)) return { index: maps.pointed.index, isFresh: false };
  if (isDrawn(maps.marks.query)) return { index: maps.marks.query, isFresh: true };
  return {
    index: nearestPoint(panel, panel.width / 2, panel.height / 2, panel.width + panel.height),
    isFresh: true,
  };
}

function moveCursor(maps, panel, right, down) {
  const { index, isFresh } = keyboardStart(maps, panel);
  if (index < 0) return;
  const next = isFresh ? index : neighbourTowards(panel, index, right, down);
  if (next < 0) return;
  if (!isInView(panel, placeOf(panel, next), 12)) {
    panel.camera.x = panel.coordinates[2 * next];
    panel.camera.y = panel.coordinates[2 * next + 1];
    repaint(maps, "points", [panel]);
  }
  pointAt(maps, next, panel);
}

function cancelOrClear(maps) {
  if (maps.brush) endBrush(maps, false);
  else clearSelection(maps);
}

function keyActions(maps, panel) {
  const { index } = maps.pointed;
  const zoom = (factor) => () => zoomAbout(maps, panel, panel.width / 2, panel.height / 2, factor);
  const move = (right, down) => () => moveCursor(maps, panel, right, down);
  return {
    ArrowLeft: move(-1, 0),
    ArrowRight: move(1, 0),
    ArrowUp: move(0, -1),
    ArrowDown: move(0, 1),
    Enter: () => index >= 0 && reportClick(maps, index),
    " ": () => index >= 0 && toggleSelected(maps, index),
    "+": zoom(ZOOM_STEP),
    "=": zoom(ZOOM_STEP),
    "-": zoom(1 / ZOOM_STEP),
    0: () => resetView(maps, panel),
    Escape: () => cancelOrClear(maps),
  };
}

function pressKey(maps, panel, event) {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const action = keyActions(maps, panel)[event.key];
  if (!action) return;
  // The page around must not scroll, nor take the key for a shortcut of its own.
  event.preventDefault();
  event.stopPropagation();
  action();
}

// ---------------------------------------------------------------- theme and size

/** The page says which theme it shows (marimo: class and data-theme of body); else its text colour tells. */
function isDarkPage(host) {
  for (const node of [document.body, document.documentElement]) {
    const named = node.dataset.theme ?? node.dataset.jpThemeLight;
    if (node.classList.contains("dark") || named === "dark" || named === "false") return true;
    if (node.classList.contains("light") || named === "light" || named === "true") return false;
  }
  const [red = 0, green = 0, blue = 0] = (
    getComputedStyle(host.parentElement ?? document.body).color.match(/[\d.]+/g) ?? []
  ).map(Number);
  return red + green + blue > 382;
}

function applyTheme(maps) {
  maps.dark = isDarkPage(maps.host);
  maps.theme = THEMES[maps.dark ? "dark" : "light"];
  maps.host.dataset.theme = maps.dark ? "dark" : "light";
  for (const [name, colour] of Object.entries(maps.theme)) maps.host.style.setProperty(`--${name}`, colour);
  maps.colours = colourTable(maps);
  showLegend(maps);
  repaint(maps, "points");
}

function watchTheme(maps) {
  const observer = new MutationObserver(() => applyTheme(maps));
  for (const node of [document.documentElement, document.body]) {
    observer.observe(node, {
      attributes: true,
      attributeFilter: ["class", "data-theme", "data-jp-theme-light"],
    });
  }
  return () => observer.disconnect();
}

function watchSize(maps) {
  const observer = new ResizeObserver(() => resizePanels(maps));
  observer.observe(maps.host);
  return () => observer.disconnect();
}

/** A window dragged to another screen changes its pixel ratio without changing the size of the maps. */
function watchPixelRatio(maps) {
  let query = null;
  const listen = () => {
    query?.removeEventListener("change", change);
    query = matchMedia(`(resolution: ${window.devicePixelRatio}dppx)`);
    query.addEventListener("change", change);
  };
  const change = () => {
    listen();
    resizePanels(maps);
    showLegend(maps);
  };
  listen();
  return () => query.removeEventListener("change", change);
}

/** Read-only view of the state, for tests in a browser. */
function exposeForTests(maps) {
  maps.host.linkedMaps = {
    isSettled: () =>
      !maps.frame && !maps.changed.size && !maps.brush && maps.panels.every((panel) => panel.paints > 0),
    positionOf: (side, index) => {
      const panel = maps.panels[side];
      const box = panel.overlay.getBoundingClientRect();
      const [x, y] = placeOf(panel, index);
      return [box.left + x, box.top + y];
    },
    camera: (side) => ({ ...maps.panels[side].camera }),
    selected: () => Array.from(maps.selectedIds),
    pointed: () => maps.pointed.index,
    paints: (side) => maps.panels[side].paints,
    revision: () => maps.revision,
  };
}

function render({ model, el }) {
  const maps = createMaps(model, el);
  loadEverything(maps);
  applyTheme(maps);
  resizePanels(maps);
  showTitles(maps);
  showStatus(maps);
  for (const panel of maps.panels) attachPointer(maps, panel);
  const stops = [watchModel, watchTheme, watchSize, watchPixelRatio].map((watch) => watch(maps));
  exposeForTests(maps);
  return () => {
    for (const stop of stops) stop();
    maps.listeners.abort();
    clearTimeout(maps.clearTimer);
    for (const panel of maps.panels) clearTimeout(panel.hintTimer);
    cancelAnimationFrame(maps.frame);
    maps.host.remove();
  };
}

export default { render };
