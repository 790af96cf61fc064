"use strict";
(() => {
  const number = new Intl.NumberFormat("en");
  const percent = (share) => (share === null ? "–" : `${(100 * share).toFixed(1)}%`);
  const byId = (id) => document.getElementById(id);

  function make(tag, properties = {}, ...children) {
    const element = Object.assign(document.createElement(tag), properties);
    element.append(...children);
    return element;
  }

  /* Each side of a pair keeps its own direction of writing. */
  const isolated = (name) => name.split(" × ").flatMap((part, position) => [position ? " × " : "", make("bdi", { textContent: part })]);

  async function unpack() {
    const bytes = Uint8Array.from(atob(byId("block").textContent.trim()), (character) => character.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
    return JSON.parse(await new Response(stream).text());
  }

  /* A table that sorts and filters any number of rows, and shows them page by page. */
  function listing(root, { columns, length, matches, selects = [], sorted }) {
    const PAGE = 25;
    const caption = root.dataset.caption;
    const state = { text: "", column: sorted, down: true, shown: PAGE, only: null, chosen: {} };
    const search = make("input", { type: "search", autocomplete: "off" });
    const status = make("span", { className: "small" });
    status.setAttribute("role", "status");
    const all = make("button", { type: "button", textContent: "Show all cells" });
    const controls = make("div", { className: "controls" }, make("label", {}, "Search ", search));
    for (const select of selects) {
      const box = make("select", {}, make("option", { value: "", textContent: "all" }));
      for (const value of select.values) box.append(make("option", { value, textContent: value }));
      box.addEventListener("change", () => { state.chosen[select.name] = box.value; state.shown = PAGE; update(); });
      controls.append(make("label", {}, `${select.name} `, box));
    }
    controls.append(all, status);
    const heads = columns.map((column, position) => {
      const button = make("button", { type: "button", textContent: column.title });
      button.addEventListener("click", () => {
        state.down = state.column === position ? !state.down : Boolean(column.numeric);
        state.column = position;
        update();
      });
      const head = make("th", { scope: "col", className: column.numeric ? "number" : "" }, button);
      return head;
    });
    const body = make("tbody");
    const table = make("table", {}, make("caption", { className: "hidden", textContent: caption }), make("thead", {}, make("tr", {}, ...heads)), body);
    const scroll = make("div", { className: "scroll", tabIndex: 0 }, table);
    scroll.setAttribute("role", "region");
    scroll.setAttribute("aria-label", caption);
    const more = make("button", { type: "button", className: "more", textContent: "Show more" });
    more.addEventListener("click", () => { state.shown += 4 * PAGE; update(); });
    root.append(controls, scroll, more);

    let waiting = 0;
    search.addEventListener("input", () => {
      clearTimeout(waiting);
      waiting = setTimeout(() => { state.text = search.value.trim().toLowerCase(); state.only = null; state.shown = PAGE; update(); }, 120);
    });

    function compare(one, two) {
      const { value } = columns[state.column];
      const [a, b] = [value(one), value(two)];
      if (a === b) return one - two;
      if (a === null) return 1;
      if (b === null) return -1;
      const order = typeof a === "string" ? a.localeCompare(b) : a - b;
      return state.down ? -order : order;
    }

    function update() {
      const found = [];
      const accepts = matches(state.text);
      for (let row = 0; row < length; row++) {
        if (state.only && !state.only(row)) continue;
        if (!accepts(row)) continue;
        if (selects.every((select) => !state.chosen[select.name] || select.value(row) === state.chosen[select.name])) found.push(row);
      }
      found.sort(compare);
      const shown = found.slice(0, state.shown);
      body.replaceChildren(...shown.map((row) => make("tr", {}, ...columns.map((column) => {
        const text = (column.format ?? String)(column.value(row));
        return make("td", { className: column.numeric ? "number" : "" }, ...(column.numeric ? [text] : isolated(text)));
      }))));
      heads.forEach((head, position) => {
        if (position === state.column) head.setAttribute("aria-sort", state.down ? "descending" : "ascending");
        else head.removeAttribute("aria-sort");
      });
      status.textContent = `${number.format(shown.length)} of ${number.format(found.length)} shown`;
      more.hidden = shown.length === found.length;
      all.hidden = !state.only;
      root.dispatchEvent(new CustomEvent("listed", { detail: state.text }));
    }

    /* Only the rows that pass the test, or all of them again (null). */
    function only(test) {
      Object.assign(state, { only: test, text: "", shown: PAGE });
      search.value = "";
      update();
    }

    all.addEventListener("click", () => { only(null); search.focus(); });
    root.addEventListener("keydown", (event) => { if (event.key === "Escape" && state.only) { only(null); search.focus(); } });
    update();
    return { only, isFiltered: () => state.only !== null };
  }

  function classesTable(classes) {
    const lower = classes.name.map((name) => name.toLowerCase());
    const columns = [
      { title: "class", value: (row) => classes.name[row] },
      { title: "kind", value: (row) => classes.kind[row] },
      { title: "samples", numeric: true, value: (row) => classes.size[row], format: number.format },
      { title: { row: "of its row", all: "of all", either: "share" }[classes.sharesOf], numeric: true, value: (row) => classes.share[row], format: percent },
    ];
    if (classes.hasConfidence) columns.push({ title: "confidence", numeric: true, value: (row) => classes.confidence[row], format: percent });
    const kinds = [...new Set(classes.kind)].sort();
    listing(byId("classes-table"), {
      columns,
      length: classes.name.length,
      sorted: 2,
      matches: (text) => (row) => !text || lower[row].includes(text),
      selects: [{ name: "Kind", values: kinds, value: (row) => classes.kind[row] }],
    });
  }

  function cellsTable(matrix) {
    const { weak, teacher, count, agreed } = matrix.cells;
    const [weakLower, teacherLower] = [matrix.weak, matrix.teacher].map((names) => names.map((name) => name.toLowerCase()));
    const relation = (row) => (agreed[row] ? "agrees" : "disagrees");
    return listing(byId("cells-table"), {
      columns: [
        { title: "weak label", value: (row) => matrix.weak[weak[row]] },
        { title: "teacher’s prediction", value: (row) => matrix.teacher[teacher[row]] },
        { title: "samples", numeric: true, value: (row) => count[row], format: number.format },
        { title: "of its row", numeric: true, value: (row) => count[row] / matrix.rowTotals[weak[row]], format: percent },
        { title: "teacher", value: relation },
      ],
      length: count.length,
      sorted: 2,
      matches(text) {
        if (!text) return () => true;
        const [rows, columns] = [weakLower, teacherLower].map((names) => names.map((name) => name.includes(text)));
        return (row) => rows[weak[row]] || columns[teacher[row]];
      },
      selects: [{ name: "Teacher", values: ["agrees", "disagrees"], value: relation }],
    });
  }

  /* The matrix on a canvas: one mark a cell or, where there are too many classes, a block of neighbours. */
  function matrixView(matrix, cells) {
    const canvas = byId("matrix-canvas");
    const [tip, readout] = [byId("matrix-tip"), byId("matrix-readout")];
    const [orderBox, scaleBox] = [byId("matrix-order"), byId("matrix-scale")];
    const titles = { clusters: "clusters (alike side by side)", agreement: "agreement (highest first)", vocabulary: "vocabulary" };
    for (const name of Object.keys(matrix.orders)) orderBox.append(make("option", { value: name, textContent: titles[name] }));
    const ramps = {
      light: ["#f1f5f9", "#c6dbef", "#8dbbdb", "#4a90c2", "#1f66a3", "#08306b"],
      dark: ["#1b222b", "#1d4266", "#22679a", "#3f94c4", "#8cc5e3", "#f2f8fd"],
    };
    const dark = matchMedia("(prefers-color-scheme: dark)");
    const agreeing = new Set(matrix.agreeing.map(([row, column]) => row * matrix.teacher.length + column));
    let view = null;
    let cursor = null;
    let printing = false;
    let marked = "";

    const style = (name) => (printing ? { "--ink": "#000", "--soft": "#444", "--cursor": "#d55e00" }[name] : getComputedStyle(document.body).getPropertyValue(name));
    const ramp = () => ramps[dark.matches && !printing ? "dark" : "light"];

    function colourOf(stops) {
      const parsed = stops.map((stop) => [1, 3, 5].map((start) => parseInt(stop.slice(start, start + 2), 16)));
      return (value) => {
        const at = value * (parsed.length - 1);
        const first = Math.min(Math.floor(at), parsed.length - 2);
        return parsed[first].map((one, channel) => Math.round(one + (parsed[first + 1][channel] - one) * (at - first)));
      };
    }

    function choose() {
      const order = matrix.orders[orderBox.value];
      const byShare = scaleBox.value === "share";
      const rowSums = new Float64Array(order.height);
      order.samples.forEach((samples, position) => { rowSums[Math.floor(position / order.width)] += samples; });
      const raw = order.samples.map((samples, position) => {
        if (!samples) return 0;
        return byShare ? samples / rowSums[Math.floor(position / order.width)] : Math.log1p(samples);
      });
      const most = raw.reduce((one, two) => Math.max(one, two), 0);
      const largest = order.samples.reduce((one, two) => Math.max(one, two), 0);
      byId("legend-high").textContent = byShare ? percent(most) : number.format(largest);
      byId("legend-low").textContent = byShare ? "0%" : "0";
      view = { ...order, rowSums, values: raw.map((value) => (most ? value / most : 0)) };
      view.isExact = view.height === matrix.weak.length && view.width === matrix.teacher.length;
      cursor = null;
      draw();
    }

    /* Members of block `block` of `count` over an order: ceil(block × n / count) up to the next one's. */
    const members = (order, block, count) => order.slice(Math.ceil((block * order.length) / count), Math.ceil(((block + 1) * order.length) / count));

    function longest(names, most) {
      const pen = canvas.getContext("2d");
      pen.font = "12px system-ui, sans-serif";
      return Math.min(most, 10 + Math.max(...names.map((name) => Math.ceil(pen.measureText(name).width))));
    }

    function layout() {
      const wide = canvas.parentElement.clientWidth;
      const names = Math.max(view.height, view.width) <= 40 && view.isExact;
      const left = names ? longest(matrix.weak, Math.min(150, Math.round(wide * 0.28))) : 26;
      const slanted = names ? longest(matrix.teacher, Math.min(130, Math.round(wide * 0.28))) : 0;
      // Slanted names of the last columns stand out to the right.
      const right = 4 + Math.round(slanted * 0.5);
      const cell = (wide - left - right) / view.width;
      const fair = Math.min(cell, 34) * Math.min(1, Math.max(0.35, (1.4 * view.width) / view.height));
      // Few rows of many columns would be thin lines.
      const rowHeight = Math.max(fair, Math.min(12, 360 / view.height));
      const top = names ? Math.round(slanted * Math.sin(Math.PI / 3)) + 14 : 26;
      return { wide, left, top, cell, rowHeight, named: names && rowHeight >= 9, tall: top + rowHeight * view.height + 4 };
    }

    function draw() {
      const place = layout();
      const scale = window.devicePixelRatio || 1;
      canvas.width = Math.round(place.wide * scale);
      canvas.height = Math.round(place.tall * scale);
      canvas.style.height = `${place.tall}px`;
      const pen = canvas.getContext("2d");
      pen.scale(scale, scale);
      pen.clearRect(0, 0, place.wide, place.tall);
      drawBlocks(pen, place);
      drawAgreement(pen, place);
      drawNames(pen, place);
      drawMarked(pen, place);
      drawCursor(pen, place);
      byId("legend-ramp").style.background = `linear-gradient(to right, ${ramp().join(", ")})`;
    }

    function drawBlocks(pen, place) {
      const picture = new ImageData(view.width, view.height);
      const colour = colourOf(ramp());
      view.values.forEach((value, position) => {
        const [red, green, blue] = colour(value);
        picture.data.set([red, green, blue, 255], 4 * position);
      });
      const small = make("canvas", { width: view.width, height: view.height });
      small.getContext("2d").putImageData(picture, 0, 0);
      pen.imageSmoothingEnabled = false;
      pen.drawImage(small, place.left, place.top, place.cell * view.width, place.rowHeight * view.height);
    }

    function drawAgreement(pen, place) {
      const isShown = view.isExact && Math.min(place.cell, place.rowHeight) >= 5;
      byId("agree-key").hidden = !isShown;
      if (!isShown) return;
      pen.strokeStyle = style("--cursor");
      pen.lineWidth = Math.min(2, place.rowHeight / 7);
      view.rows.forEach((row, y) => view.columns.forEach((column, x) => {
        if (agreeing.has(row * matrix.teacher.length + column)) {
          pen.strokeRect(place.left + x * place.cell + 1, place.top + y * place.rowHeight + 1, place.cell - 2, place.rowHeight - 2);
        }
      }));
    }

    function fitted(pen, text, room, shareOfEnd) {
      const letters = [...text];
      let shown = text;
      for (let kept = letters.length - 1; kept > 1 && pen.measureText(shown).width > room; kept--) {
        const end = Math.floor(shareOfEnd * kept);
        shown = `${letters.slice(0, kept - end).join("")}…${letters.slice(letters.length - end).join("")}`;
      }
      return shown;
    }

    /* Cut at the end, in the middle or at the start: where most names can still be told apart. */
    function allFitted(pen, names, room) {
      const cuts = [0, 0.5, 1].map((shareOfEnd) => names.map((name) => fitted(pen, name, room, shareOfEnd)));
      return cuts.reduce((best, cut) => (new Set(cut).size > new Set(best).size ? cut : best));
    }

    function drawNames(pen, place) {
      const size = Math.max(9, Math.min(12, place.rowHeight - 1));
      pen.font = `${size}px system-ui, sans-serif`;
      pen.fillStyle = style(place.named ? "--ink" : "--soft");
      pen.textBaseline = "middle";
      if (!place.named) {
        pen.font = "12px system-ui, sans-serif";
        pen.fillText("teacher’s prediction →", place.left, 12);
        pen.save();
        pen.translate(12, place.top);
        pen.rotate(Math.PI / 2);
        pen.fillText("weak label →", 0, 0);
        pen.restore();
        return;
      }
      pen.textAlign = "right";
      const weak = allFitted(pen, view.rows.map((row) => matrix.weak[row]), place.left - 6);
      const teacher = allFitted(pen, view.columns.map((column) => matrix.teacher[column]), (place.top - 8) / Math.sin(Math.PI / 3));
      weak.forEach((name, y) => pen.fillText(name, place.left - 5, place.top + (y + 0.5) * place.rowHeight));
      pen.textAlign = "left";
      teacher.forEach((name, x) => {
        pen.save();
        pen.translate(place.left + (x + 0.5) * place.cell, place.top - 5);
        pen.rotate(-Math.PI / 3);
        pen.fillText(name, 0, 0);
        pen.restore();
      });
    }

    function drawMarked(pen, place) {
      if (!marked) return;
      pen.fillStyle = style("--cursor");
      const [tall, wide] = [Math.max(1.5, place.rowHeight), Math.max(1.5, place.cell)];
      view.rows.forEach((row, y) => {
        if (matrix.weak[row].toLowerCase().includes(marked)) pen.fillRect(place.left - 4, place.top + (Math.floor((y * view.height) / view.rows.length)) * place.rowHeight, 3, tall);
      });
      view.columns.forEach((column, x) => {
        if (matrix.teacher[column].toLowerCase().includes(marked)) pen.fillRect(place.left + (Math.floor((x * view.width) / view.columns.length)) * place.cell, place.top - 4, wide, 3);
      });
    }

    function drawCursor(pen, place) {
      if (!cursor) return;
      const [wide, tall] = [Math.max(4, place.cell), Math.max(4, place.rowHeight)];
      pen.lineWidth = 2;
      pen.strokeStyle = style("--cursor");
      pen.strokeRect(place.left + cursor.x * place.cell - 1, place.top + cursor.y * place.rowHeight - 1, wide + 2, tall + 2);
    }

    const named = (names, ids) => (ids.length === 1 ? names[ids[0]] : `${names[ids[0]]} … ${names[ids[ids.length - 1]]} (${ids.length} classes)`);

    function largestCell(rows, columns) {
      const [inRows, inColumns] = [new Set(rows), new Set(columns)];
      const found = matrix.cells.weak.findIndex((row, position) => inRows.has(row) && inColumns.has(matrix.cells.teacher[position]));
      if (found < 0) return "";
      const { weak, teacher, count } = matrix.cells;
      return `\nlargest cell: ${matrix.weak[weak[found]]} × ${matrix.teacher[teacher[found]]}, ${number.format(count[found])}`;
    }

    function describe({ x, y }) {
      const samples = view.samples[y * view.width + x];
      const [rows, columns] = [members(view.rows, y, view.height), members(view.columns, x, view.width)];
      const share = view.rowSums[y] ? samples / view.rowSums[y] : 0;
      const agrees = rows.length === 1 && columns.length === 1 && agreeing.has(rows[0] * matrix.teacher.length + columns[0]);
      const detail = samples && !view.isExact ? largestCell(rows, columns) : "";
      return `weak label: ${named(matrix.weak, rows)}\nteacher: ${named(matrix.teacher, columns)}${agrees ? " (agrees)" : ""}\n${number.format(samples)} samples, ${percent(share)} of the row, ${percent(samples / Math.max(1, matrix.total))} of all${detail}`;
    }

    const inOneLine = (text) => text.replaceAll("\n", " · ");

    function move(to, place = layout()) {
      cursor = to;
      draw();
      const text = describe(to);
      readout.textContent = inOneLine(text);
      tip.textContent = text;
      tip.hidden = false;
      const [x, y] = [place.left + (to.x + 1) * place.cell, place.top + (to.y + 1) * place.rowHeight];
      tip.style.left = `${Math.max(0, Math.min(x + 6, place.wide - tip.offsetWidth))}px`;
      tip.style.top = `${y + 10}px`;
    }

    function under(event) {
      const place = layout();
      const box = canvas.getBoundingClientRect();
      const x = Math.floor((event.clientX - box.left - place.left) / place.cell);
      const y = Math.floor((event.clientY - box.top - place.top) / place.rowHeight);
      return x >= 0 && y >= 0 && x < view.width && y < view.height ? { x, y } : null;
    }

    function list() {
      if (!cursor) return;
      const [rows, columns] = [new Set(members(view.rows, cursor.y, view.height)), new Set(members(view.columns, cursor.x, view.width))];
      cells.only((row) => rows.has(matrix.cells.weak[row]) && columns.has(matrix.cells.teacher[row]));
      readout.textContent = `${inOneLine(describe(cursor))}. Listed below; Escape lists all cells again.`;
    }

    canvas.addEventListener("pointermove", (event) => {
      const to = under(event);
      if (to && (!cursor || to.x !== cursor.x || to.y !== cursor.y || tip.hidden)) move(to);
      else if (!to) tip.hidden = true;
    });
    canvas.addEventListener("pointerleave", () => { tip.hidden = true; });
    canvas.addEventListener("blur", () => { tip.hidden = true; });
    canvas.addEventListener("click", (event) => { const to = under(event); if (to) { move(to); list(); } });
    canvas.addEventListener("keydown", (event) => {
      const steps = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
      if (event.key === "Enter") list();
      else if (event.key === "Escape") { tip.hidden = true; if (cells.isFiltered()) cells.only(null); return; }
      else if (event.key in steps) {
        const [right, down] = steps[event.key];
        const from = cursor ?? { x: -right, y: -down };
        move({ x: Math.max(0, Math.min(view.width - 1, from.x + right)), y: Math.max(0, Math.min(view.height - 1, from.y + down)) });
      } else return;
      event.preventDefault();
    });
    byId("cells-table").addEventListener("listed", (event) => {
      if (cursor && !cells.isFiltered()) readout.textContent = inOneLine(describe(cursor));
      if (event.detail !== marked) { marked = event.detail; draw(); }
    });
    orderBox.addEventListener("change", choose);
    scaleBox.addEventListener("change", choose);
    dark.addEventListener("change", draw);
    new ResizeObserver(draw).observe(canvas.parentElement);
    addEventListener("beforeprint", () => { printing = true; tip.hidden = true; draw(); });
    addEventListener("afterprint", () => { printing = false; draw(); });
    choose();
  }

  async function embedCharts(specs) {
    const options = { renderer: "svg", actions: { export: true, source: false, compiled: false, editor: false }, i18n: { CLICK_TO_VIEW_ACTIONS: "Save this chart" } };
    for (const place of document.querySelectorAll("[data-chart]")) {
      await vegaEmbed(place, specs[place.dataset.chart], options);
      // The menu beside the picture must stay reachable, so the picture alone is one.
      const picture = place.querySelector("svg.marks");
      picture.setAttribute("role", "img");
      picture.setAttribute("aria-label", place.dataset.description);
      place.querySelector("summary")?.setAttribute("aria-label", "Save this chart");
    }
  }

  async function show() {
    const { charts, matrix, classes } = await unpack();
    if (matrix.total) matrixView(matrix, cellsTable(matrix));
    classesTable(classes);
    await embedCharts(charts);
    document.documentElement.dataset.ready = "yes";
  }

  show();
})();
