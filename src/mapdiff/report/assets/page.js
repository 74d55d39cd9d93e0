// The page: what is shown (stage, window, cross-hair), and everything that follows from it.
(async () => {
  const $ = (id) => document.getElementById(id);
  const facts = JSON.parse($("facts").textContent);
  const voxels = facts.shape.reduce((a, b) => a * b, 1), stride = strides(facts.shape);
  const size = facts.shape.map((n, a) => n * facts.spacing[a]); // mm
  const fail = (text) => { $("problem").textContent = text; $("problem").hidden = false; };
  if (!window.DecompressionStream) { fail("This browser is too old to unpack the images; take one of 2023 or later."); return; }

  for (const layer of facts.layers) layer.counts = await unpackVolume(layer.id, voxels);
  const stages = facts.layers.filter((layer) => layer.key !== "deviation");
  const deviation = facts.layers.find((layer) => layer.key === "deviation");
  const named = (key) => stages.find((layer) => layer.key === key);
  const input = named("input"), reference = named("reference"), result = named("result") || stages[stages.length - 1];
  const others = { input, reference }; // what a difference is taken to
  const state = { stage: stages.indexOf(result), show: "image", low: 0, high: facts.top, at: hottest(result), viewer: "canvas", smooth: true, angle: null };
  const away = [-facts.top / 4, facts.top / 4];
  const windows = { image: [0, facts.top], input: away, reference: away, deviation: [0, deviation ? deviation.top : 1] };
  let planesAt = {}, niivue = null, printing = 0;
  const projections = new Map();

  /** Where to begin: the plane through the activity's centre, voxels counted up to the window's top. */
  function hottest(layer) {
    const sums = [0, 0, 0], most = facts.top / layer.step;
    let total = 0, n = 0;
    for (let k = 0; k < facts.shape[2]; k++) for (let j = 0; j < facts.shape[1]; j++) for (let i = 0; i < facts.shape[0]; i++) {
      const weight = Math.min(most, Math.max(0, layer.counts[n++]));
      total += weight; sums[0] += weight * i; sums[1] += weight * j; sums[2] += weight * k;
    }
    return sums.map((sum, a) => (total > 0 ? Math.round(sum / total) : facts.shape[a] >> 1));
  }

  const offset = (at) => at.reduce((sum, n, a) => sum + n * stride[a], 0);
  const value = (layer, n) => layer.counts[n] * layer.step;
  const format = (v) => (facts.unit === "SUV" ? v.toFixed(2) : Number(v.toPrecision(4)).toString());

  /** What is shown now: a value by voxel, and a key that names it. */
  function picture(stage = state.stage) {
    const layer = stages[stage];
    const other = others[state.show];
    if (other) return { key: `to ${state.show} ${stage}`, at: (n) => value(layer, n) - value(other, n), signed: true };
    if (state.show === "deviation") return { key: "deviation", at: (n) => value(deviation, n), signed: false };
    return { key: `image ${stage}`, at: (n) => value(layer, n), signed: false };
  }
  function projection(name, shown) {
    const key = `${shown.key} ${name}`;
    if (!projections.has(key)) projections.set(key, projectionOf(shown.at, facts.shape, VIEWS[name], shown.signed));
    return projections.get(key);
  }

  /** Sizes and places of all views, from the width there is. */
  function layOut() {
    const [X, Y, Z] = size, gap = 10, cap = 22, wide = printing || $("stagebox").clientWidth, narrow = wide < 760;
    const above = $("stagebox").getBoundingClientRect().top + window.scrollY;
    const tall = printing ? 390 : Math.max(300, Math.min(window.innerHeight - above - cap - 62, 900)); // the sliders stay in sight
    const place = (element, left, top, width, height) => {
      Object.assign(element.style, { left: `${left}px`, top: `${top}px`, width: `${width}px`, height: height === null ? "auto" : `${height}px` });
      return element;
    };
    const captioned = (name, left, top, width, height) => { place($(name), left, top, width, height); place($(`${name}-name`), left, top - cap, width, cap); };
    let scale, box;
    if (!narrow) {
      scale = Math.min((wide - 4 * gap) / (2 * Y + 3 * X), tall / Z);
      if (X * scale < 250) scale = Math.min(scale, (wide - 4 * gap - 250) / (2 * Y + 2 * X)); // the panel needs 250 px
      const [x, y, z] = [X * scale, Y * scale, Z * scale], right = Math.max(x, 250), slices = x + y + 2 * gap;
      const under = place($("below"), 0, cap + z + gap, 2 * slices - gap, null).offsetHeight;
      captioned("mip-coronal", 0, cap, x, z); captioned("mip-sagittal", x + gap, cap, y, z);
      planesAt = { coronal: [0, cap, x, z], sagittal: [x + gap, cap, y, z], axial: [slices, cap, x, y] };
      box = [slices, 0, slices + x, cap + Math.max(z, y)];
      const beside = 2 * slices, panel = place($("panel"), beside, cap + y + gap, Math.min(460, Math.max(right, wide - beside)), null);
      $("stagebox").style.height = `${Math.max(cap + z + gap + under, cap + y + gap + panel.offsetHeight)}px`;
    } else {
      scale = Math.min((wide - gap) / (X + Y), 620 / Z);
      const [x, y, z] = [X * scale, Y * scale, Z * scale], bigger = wide / X; // the axial slice may be larger than the others
      planesAt = { coronal: [0, cap, x, z], sagittal: [x + gap, cap, y, z], axial: [0, z + gap + 2 * cap, X * bigger, Y * bigger] };
      box = [0, 0, wide, z + gap + 2 * cap + Y * bigger];
      // Slices first, what steers them and what they read; projections follow.
      const under = place($("below"), 0, box[3] + gap, wide, null).offsetHeight, next = box[3] + 2 * gap + under;
      const panel = place($("panel"), 0, next, wide, null), last = next + panel.offsetHeight + gap + cap;
      captioned("mip-coronal", 0, last, x, z); captioned("mip-sagittal", x + gap, last, y, z);
      $("stagebox").style.height = `${last + z}px`;
    }
    place($("planes"), box[0], box[1], box[2], box[3]);
    for (const [name, where] of Object.entries(planesAt)) captioned(name, ...where);
    if (niivue && state.viewer === "niivue") {
      const [, , w, h] = box;
      niivue.layout(1.2 / scale, Object.fromEntries(Object.entries(planesAt).map(([name, [l, t, a, b]]) => [name, [l / w, t / h, a / w, b / h]])));
    }
  }

  /** A place in a view, in CSS pixels, of the cross-hair; and back. */
  function crossIn(view, width, height) {
    const [w, h] = [facts.shape[view.across], facts.shape[view.down]];
    return [((w - 0.5 - state.at[view.across]) * width) / w, ((h - 0.5 - state.at[view.down]) * height) / h];
  }

  function drawView(id, name, values, shown) {
    const view = VIEWS[name], canvas = $(id), width = parseFloat(canvas.style.width), height = parseFloat(canvas.style.height);
    const context = paint(canvas, width, height, values, facts.shape[view.across], facts.shape[view.down], state, shown.signed ? blueWhiteRed : grey, state.smooth);
    cross(context, width, height, ...crossIn(view, width, height));
    letters(context, width, height, view.marks);
  }

  function drawPlanes() {
    const shown = picture(), here = state.viewer === "canvas";
    for (const name of ["coronal", "sagittal", "axial"]) {
      $(name).hidden = !here;
      if (here) drawView(name, name, sliceOf(shown.at, facts.shape, VIEWS[name], state.at[VIEWS[name].through]), shown);
    }
    $("niivue-planes").hidden = $("marks").hidden = here;
    if (!here) { niivue.move(state.at); drawMarks(); }
    for (const name of ["coronal", "sagittal"]) if (name !== "coronal" || state.angle === null) drawView(`mip-${name}`, name, projection(name, shown).values, shown);
  }

  /** The projection from the angle that is turned to; each is computed once. */
  function drawTurned() {
    const shown = picture(), key = `${shown.key} turned ${state.angle}`, canvas = $("mip-coronal");
    if (!projections.has(key)) projections.set(key, { values: turnedProjection(shown.signed ? (n) => Math.abs(shown.at(n)) : shown.at, facts.shape, facts.spacing, state.angle) });
    const width = parseFloat(canvas.style.width), height = parseFloat(canvas.style.height);
    const context = paint(canvas, width, height, projections.get(key).values, facts.shape[0], facts.shape[2], { low: Math.max(0, state.low), high: state.high }, grey, state.smooth);
    const front = ["front", "left", "back", "right"][Math.round(state.angle / 90) % 4];
    context.font = "12px system-ui, 'DejaVu Sans', sans-serif"; context.fillStyle = "#222"; context.textBaseline = "bottom";
    context.fillText(`${state.angle}° (${front})`, 4, height - 4);
  }
  let turning = 0;
  /** Turn the projection round once every few seconds, or stop and show it from the front. */
  function setTurning(on) {
    clearInterval(turning);
    $("turn").setAttribute("aria-pressed", on);
    $("turn").textContent = on ? "stop" : "turn";
    state.angle = on ? 0 : null;
    if (on) turning = setInterval(() => { state.angle = (state.angle + 10) % 360; drawTurned(); }, 120);
    draw(false);
  }

  /** The same letters over NiiVue's planes as over ours. */
  function drawMarks() {
    const context = fitted($("marks"), $("planes").clientWidth, $("planes").clientHeight);
    for (const [name, [left, top, width, height]] of Object.entries(planesAt)) {
      context.save(); context.translate(left, top);
      letters(context, width, height, VIEWS[name].marks);
      context.restore();
    }
  }

  /** Give NiiVue the voxels and the window; needed when stage, quantity or window change. */
  function fillNiivue() {
    if (state.viewer !== "niivue") return;
    const shown = picture(), step = state.show === "deviation" ? deviation.step : stages[0].step, counts = new Int16Array(voxels);
    for (let n = 0; n < voxels; n++) counts[n] = Math.max(-32767, Math.min(32767, Math.round(shown.at(n) / step)));
    niivue.show(counts, state.low / step, state.high / step, shown.signed);
  }

  function tellValues() {
    const n = offset(state.at), now = stages[state.stage], unit = ` ${facts.unit}`;
    const mm = facts.affine.slice(0, 3).map((row) => row[3] + row.slice(0, 3).reduce((sum, v, a) => sum + v * state.at[a], 0));
    const side = (v, plus, minus) => `${Math.abs(v).toFixed(0)} ${v >= 0 ? plus : minus}`;
    const tell = (id, layer) => { if (layer) $(id).textContent = format(value(layer, n)) + unit; };
    const tellDifference = (id, other) => {
      if (!other) return;
      const difference = value(now, n) - value(other, n);
      $(id).textContent = (difference > 0 ? "+" : "") + format(difference) + unit;
    };
    tell("value-input", input); tell("value-reference", reference); tell("value-deviation", deviation);
    tellDifference("value-difference", input); tellDifference("value-to-reference", reference);
    $("value-name").textContent = now === input || now === reference ? "Shown" : now.label[0].toUpperCase() + now.label.slice(1);
    $("value-stage").textContent = format(value(now, n)) + unit;
    $("position").textContent = `${side(mm[0], "R", "L")}, ${side(mm[1], "A", "P")}, ${side(mm[2], "H", "F")} mm`;
    $("voxel").textContent = state.at.join(", ");
    $("readout").dataset.voxel = state.at.join(" ");
    $("stage-name").textContent = now.label;
    $("stage").setAttribute("aria-valuetext", now.label);
    $("stage").value = state.stage;
    document.querySelectorAll("#stage-ticks button").forEach((button, s) => button.setAttribute("aria-pressed", s === state.stage));
    document.querySelectorAll(".axis").forEach((slider) => {
      const a = Number(slider.dataset.axis);
      slider.value = a === 2 ? state.at[2] : facts.shape[a] - 1 - state.at[a]; // as seen: right and front first
      slider.setAttribute("aria-valuetext", `${mm[a].toFixed(0)} mm`);
    });
    document.querySelectorAll("#strip button").forEach((button, s) => button.setAttribute("aria-pressed", s === state.stage));
  }

  /** The lines of the profile: right to left, front to back or feet to head, a value per voxel. */
  function profileLines() {
    const axis = Number($("along").value), length = facts.shape[axis], now = stages[state.stage];
    const start = offset(state.at) - state.at[axis] * stride[axis], order = (n) => (axis === 2 ? n : length - 1 - n);
    const line = (layer, colour, dash) => ({ name: layer.label, colour, dash, values: Array.from({ length }, (_, n) => value(layer, start + order(n) * stride[axis])) });
    const lines = [line(now, "--stage", [])];
    if (input && input !== now) lines.unshift(line(input, "--input", [4, 3]));
    if (reference && reference !== now) lines.push(line(reference, "--reference", [1, 3]));
    return { axis, lines, here: order(state.at[axis]) };
  }
  function drawProfile() {
    const { axis, lines, here } = profileLines(), style = getComputedStyle(document.documentElement), colour = (name) => style.getPropertyValue(name).trim();
    const ends = [["right", "left"], ["front", "back"], ["feet", "head"]][axis];
    drawLines($("profile"), lines.map((line) => ({ ...line, colour: colour(line.colour) })), size[axis], here, ends, colour("--ink"), colour("--raised"));
  }

  function drawScale() {
    const canvas = $("scale"), width = 240, signed = Boolean(others[state.show]);
    paint(canvas, width, 12, Float32Array.from({ length: width }, (_, n) => n / (width - 1)), width, 1, { low: 0, high: 1 }, signed ? blueWhiteRed : grey);
    canvas.style.width = canvas.style.height = "";
    $("scale-low").textContent = format(state.low);
    $("scale-high").textContent = `${format(state.high)} ${facts.unit}`;
  }

  function drawStrip() {
    const wide = printing || $("strip").clientWidth, columns = wide < 760 ? 1 : Math.max(3, stages.length);
    const scale = Math.min(260 / size[2], (wide / columns - 34) / 2 / size[0]);
    document.querySelectorAll("#strip button").forEach((button, s) => {
      const layer = stages[s], [mip, cut] = button.querySelectorAll("canvas"), view = VIEWS.coronal;
      const shown = { key: `image ${s}`, at: (n) => value(layer, n), signed: false };
      const [w, h] = [facts.shape[0], facts.shape[2]], [width, height] = [size[0] * scale, size[2] * scale];
      const grey_ = { low: windows.image[0], high: windows.image[1] };
      paint(mip, width, height, projection("coronal", shown).values, w, h, grey_, grey, state.smooth);
      paint(cut, width, height, sliceOf(shown.at, facts.shape, view, state.at[1]), w, h, grey_, grey, state.smooth);
    });
  }

  /** All five views as they are now, with stage, window and place, as a PNG. */
  function savePicture() {
    const shown = picture(), gap = 12, scale = 900 / size[2], canvas = document.createElement("canvas"), part = document.createElement("canvas");
    const views = [["mip", "coronal"], ["mip", "sagittal"], ["", "coronal"], ["", "sagittal"], ["", "axial"]];
    const widths = views.map(([, name]) => size[VIEWS[name].across] * scale), ratio = window.devicePixelRatio || 1;
    canvas.width = widths.reduce((sum, w) => sum + w + gap, gap); canvas.height = 900 + 2 * gap + 56;
    const context = canvas.getContext("2d");
    context.fillStyle = "#fff"; context.fillRect(0, 0, canvas.width, canvas.height);
    let left = gap;
    views.forEach(([mip, name], v) => {
      const view = VIEWS[name], height = size[view.down] * scale;
      const values = mip ? projection(name, shown).values : sliceOf(shown.at, facts.shape, view, state.at[view.through]);
      const drawn = paint(part, widths[v], height, values, facts.shape[view.across], facts.shape[view.down], state, shown.signed ? blueWhiteRed : grey, state.smooth);
      if (!mip) cross(drawn, widths[v], height, ...crossIn(view, widths[v], height));
      letters(drawn, widths[v], height, view.marks);
      context.drawImage(part, 0, 0, part.width, part.height, left, 56, part.width / ratio, part.height / ratio);
      context.fillStyle = "#222"; context.font = "18px system-ui, 'DejaVu Sans', sans-serif";
      context.fillText(`${name} ${mip ? "projection" : "slice"}`, left, 48);
      left += widths[v] + gap;
    });
    const what = $("show").selectedOptions[0].textContent;
    context.font = "600 20px system-ui, 'DejaVu Sans', sans-serif";
    context.fillText(`${facts.title}: ${stages[state.stage].label}, ${what}, ${format(state.low)} to ${format(state.high)} ${facts.unit}; research use only`, gap, 22);
    canvas.toBlob((blob) => offer(`${fileName(facts.title, stages[state.stage].label, state.show)}.png`, blob));
  }

  let pending = { fill: false, frame: 0, strip: 0 };
  /** Draw at the next frame; `fill` where NiiVue needs new voxels. */
  function draw(fill) {
    pending.fill = pending.fill || fill;
    tellValues();
    if (!pending.frame) pending.frame = requestAnimationFrame(() => {
      pending.frame = 0;
      if (pending.fill) { pending.fill = false; fillNiivue(); drawScale(); }
      drawPlanes(); drawProfile();
      if (state.angle !== null) drawTurned();
      clearTimeout(pending.strip);
      pending.strip = setTimeout(drawStrip, 120);
    });
  }

  function moveTo(at) {
    const next = at.map((n, a) => Math.min(facts.shape[a] - 1, Math.max(0, Math.round(n))));
    if (next.some((n, a) => n !== state.at[a])) { state.at = next; draw(false); }
  }
  function step(axis, by) { const at = [...state.at]; at[axis] += by; moveTo(at); }
  function setStage(stage) { state.stage = Math.min(stages.length - 1, Math.max(0, stage)); draw(true); }
  function setShow(show) {
    state.show = show;
    [state.low, state.high] = windows[show];
    $("low").value = Number(state.low.toPrecision(4)); $("high").value = Number(state.high.toPrecision(4));
    draw(true);
  }
  async function setViewer(viewer) {
    if (viewer === "niivue" && !niivue) {
      try {
        $("niivue-planes").hidden = false;
        niivue = await NiivueView.open($("niivue-planes"), stages[state.stage].counts, facts, moveTo);
        niivue.smooth(state.smooth);
      } catch (error) {
        $("viewer").querySelector("[value=niivue]").disabled = true;
        $("viewer").title = `NiiVue is not to be had here: ${error.message}`;
        viewer = "canvas";
      }
    }
    state.viewer = viewer;
    $("viewer").value = viewer;
    document.documentElement.dataset.viewer = viewer;
    $("niivue-planes").hidden = viewer !== "niivue";
    layOut();
    draw(true);
  }

  // Steering.
  $("stage").max = stages.length - 1;
  stages.forEach((layer, s) => {
    const button = Object.assign(document.createElement("button"), { type: "button", textContent: layer === reference ? "ref." : layer.label.replace("stage ", ""), title: layer.label, tabIndex: -1 });
    button.style.left = `calc(8px + (100% - 16px) * ${stages.length > 1 ? s / (stages.length - 1) : 0})`; // where the range's thumb stands
    button.addEventListener("click", () => setStage(s));
    $("stage-ticks").append(button);
  });
  $("stage").addEventListener("input", (event) => setStage(Number(event.target.value)));
  for (const [key, layer, words] of [["input", input, "difference to the input"], ["reference", reference, "difference to the reference"], ["deviation", deviation, deviation && deviation.label]]) {
    if (!layer) continue;
    $("show").append(Object.assign(document.createElement("option"), { value: key, textContent: words }));
    document.querySelectorAll(`.${key}`).forEach((element) => { element.hidden = false; });
  }
  $("smooth").addEventListener("change", (event) => { state.smooth = event.target.checked; if (niivue) niivue.smooth(state.smooth); draw(true); });
  $("turn").addEventListener("click", () => setTurning(state.angle === null));
  $("reset").addEventListener("click", () => { windows.image = [0, facts.top]; windows.input = windows.reference = away; if (deviation) windows.deviation = [0, deviation.top]; setShow(state.show); });
  $("show").addEventListener("change", (event) => setShow(event.target.value));
  for (const end of ["low", "high"]) $(end).addEventListener("change", () => {
    const [low, high] = [Number($("low").value), Number($("high").value)];
    if (!(high > low)) { $("low").value = state.low; $("high").value = state.high; return; }
    windows[state.show] = [low, high];
    if (others[state.show]) windows.input = windows.reference = windows[state.show];
    [state.low, state.high] = [low, high];
    draw(true);
  });
  $("viewer").addEventListener("change", (event) => setViewer(event.target.value));
  $("along").addEventListener("change", drawProfile);
  document.querySelectorAll(".axis").forEach((slider) => {
    const a = Number(slider.dataset.axis);
    slider.max = facts.shape[a] - 1;
    slider.addEventListener("input", () => {
      const at = [...state.at];
      at[a] = a === 2 ? Number(slider.value) : facts.shape[a] - 1 - Number(slider.value);
      moveTo(at);
    });
  });
  $("stagebox").addEventListener("keydown", (event) => {
    if (event.target.closest("select, input") || event.ctrlKey || event.metaKey || event.altKey) return;
    const keys = { ArrowLeft: [0, 1], ArrowRight: [0, -1], ArrowUp: [2, 1], ArrowDown: [2, -1], PageUp: [1, 1], PageDown: [1, -1] };
    if (keys[event.key]) step(...keys[event.key]);
    else if (event.key === "[") setStage(state.stage - 1);
    else if (event.key === "]") setStage(state.stage + 1);
    else if (event.key === "t") setTurning(state.angle === null);
    else return;
    event.preventDefault();
    event.stopPropagation();
  }, true);
  for (const id of ["coronal", "sagittal", "axial", "mip-coronal", "mip-sagittal"]) {
    const name = id.replace("mip-", ""), view = VIEWS[name], canvas = $(id);
    const go = (event) => {
      const box = canvas.getBoundingClientRect(), [w, h] = [facts.shape[view.across], facts.shape[view.down]];
      const x = Math.min(w - 1, Math.max(0, Math.floor(((event.clientX - box.left) * w) / box.width)));
      const y = Math.min(h - 1, Math.max(0, Math.floor(((event.clientY - box.top) * h) / box.height)));
      const at = [...state.at];
      at[view.across] = w - 1 - x;
      at[view.down] = h - 1 - y;
      if (id === "mip-coronal" && state.angle !== null) { setTurning(false); return; }
      if (id !== name) at[view.through] = projection(name, picture()).where[y * w + x];
      moveTo(at);
    };
    canvas.addEventListener("pointerdown", (event) => { canvas.setPointerCapture(event.pointerId); go(event); });
    canvas.addEventListener("pointermove", (event) => { if (event.buttons & 1) go(event); });
    canvas.addEventListener("wheel", (event) => { event.preventDefault(); step(view.through, event.deltaY > 0 ? -1 : 1); }, { passive: false });
  }
  stages.forEach((layer, s) => {
    const button = document.createElement("button");
    button.type = "button";
    button.innerHTML = '<span class="name"></span><canvas></canvas> <canvas></canvas>';
    button.firstChild.textContent = layer.label;
    button.addEventListener("click", () => setStage(s));
    $("strip").append(button);
  });
  document.querySelectorAll(".unit").forEach((element) => { element.textContent = facts.unit; });
  let resized = 0;
  const again = () => { clearTimeout(resized); resized = setTimeout(() => { layOut(); draw(false); }, 100); };
  window.addEventListener("resize", again);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawProfile);
  // On paper: one width, all of it drawn by the canvas, then as it was.
  let before = null;
  const forPaper = (width) => { printing = width; layOut(); drawPlanes(); drawProfile(); drawStrip(); };
  window.addEventListener("beforeprint", () => { before = state.viewer; state.viewer = "canvas"; forPaper(1030); });
  window.addEventListener("afterprint", () => { state.viewer = before || state.viewer; forPaper(0); draw(true); });

  $("save-picture").addEventListener("click", savePicture);
  $("save-profile").addEventListener("click", () => {
    const { axis, lines } = profileLines(), rows = [["mm", ...lines.map((line) => `${line.name} (${facts.unit})`)]];
    for (let n = 0; n < facts.shape[axis]; n++) rows.push([((n + 0.5) * facts.spacing[axis]).toFixed(2), ...lines.map((line) => Number(line.values[n].toPrecision(6)))]);
    offerCsv(fileName(facts.title, "profile", ["right-left", "front-back", "feet-head"][axis]) + ".csv", rows);
  });
  $("save-figures").addEventListener("click", () => offerCsv(`${fileName(facts.title, "figures")}.csv`, rowsOf($("figures"))));

  setShow("image");
  await setViewer("canvas");
  document.documentElement.dataset.ready = "yes";
  if (hardwareWebGL()) setViewer("niivue");

  /** Whether WebGL 2 runs on graphics hardware; in software NiiVue is slow and waits until it is asked for. */
  function hardwareWebGL() {
    const gl = document.createElement("canvas").getContext("webgl2", { failIfMajorPerformanceCaveat: true });
    if (!gl) return false;
    const told = gl.getExtension("WEBGL_debug_renderer_info");
    return !told || !/swiftshader|llvmpipe|softpipe|software|basic render/i.test(gl.getParameter(told.UNMASKED_RENDERER_WEBGL));
  }
})().catch((error) => {
  const box = document.getElementById("problem");
  box.textContent = `The images could not be shown: ${error.message}`;
  box.hidden = false;
  throw error;
});
