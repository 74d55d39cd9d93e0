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
  const input = stages[0];
  const state = { stage: stages.length - 1, show: "image", low: 0, high: facts.top, at: hottest(stages[stages.length - 1]), viewer: "canvas" };
  const windows = { image: [0, facts.top], difference: [-facts.top / 4, facts.top / 4], deviation: [0, deviation ? deviation.top : 1] };
  let planesAt = {}, niivue = null;
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
    if (state.show === "difference") return { key: `difference ${stage}`, at: (n) => value(layer, n) - value(input, n), signed: true };
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
    const [X, Y, Z] = size, gap = 10, wide = $("stagebox").clientWidth, narrow = wide < 760;
    const tall = Math.max(300, Math.min(window.innerHeight - 250, 900));
    const place = (element, left, top, width, height) => {
      Object.assign(element.style, { left: `${left}px`, top: `${top}px`, width: `${width}px`, height: height === null ? "auto" : `${height}px` });
      return element;
    };
    let scale, box, panel;
    if (!narrow) {
      scale = Math.min((wide - 4 * gap) / (2 * Y + 3 * X), (tall - gap) / Z);
      if (Z * scale < 330) scale = Math.min(330 / Z, (wide - 4 * gap - 250) / (2 * Y + 2 * X)); // room for the panel beside flat scans
      const [x, y, z] = [X * scale, Y * scale, Z * scale], right = Math.max(x, 250);
      const under = place($("below"), 0, z + gap, 2 * (x + y + gap) + gap, null).offsetHeight;
      const high = Math.max(z + gap + under, y + gap + 320);
      planesAt = { coronal: [0, 0, x, z], sagittal: [x + gap, 0, y, z], axial: [x + y + 2 * gap, 0, x, y] };
      place($("mip-coronal"), 0, 0, x, z); place($("mip-sagittal"), x + gap, 0, y, z);
      box = [x + y + 2 * gap, 0, x + y + 2 * gap + x, Math.max(z, y)];
      panel = [x + y + 2 * gap + x + y + 2 * gap, y + gap, Math.min(420, Math.max(right, wide - (2 * x + 2 * y + 4 * gap))), high - y - gap];
      $("stagebox").style.height = `${high}px`;
      place($("panel"), ...panel);
    } else {
      scale = Math.min((wide - gap) / (X + Y), 620 / Z);
      const [x, y, z] = [X * scale, Y * scale, Z * scale];
      const bigger = Math.min(wide / X, (1.3 * y) / Y); // the axial slice may be larger than the others
      place($("mip-coronal"), 0, 0, x, z); place($("mip-sagittal"), x + gap, 0, y, z);
      planesAt = { coronal: [0, 0, x, z], sagittal: [x + gap, 0, y, z], axial: [0, z + gap, X * bigger, Y * bigger] };
      box = [0, 0, x + y + gap, z + gap + Y * bigger];
      // Slices first, what steers them and what they read; projections follow.
      const under = place($("below"), 0, box[3] + gap, wide, null).offsetHeight, next = box[3] + 2 * gap + under;
      place($("panel"), 0, next, wide, 310);
      $("mip-coronal").style.top = $("mip-sagittal").style.top = `${next + 320}px`;
      $("stagebox").style.height = `${next + 320 + z}px`;
    }
    place($("planes"), box[0], box[1], box[2], box[3]);
    for (const [name, [left, top, width, height]] of Object.entries(planesAt)) place($(name), left, top, width, height);
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
    const context = paint(canvas, width, height, values, facts.shape[view.across], facts.shape[view.down], state, shown.signed ? blueWhiteRed : grey);
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
    for (const name of ["coronal", "sagittal"]) drawView(`mip-${name}`, name, projection(name, shown).values, shown);
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
    const shown = picture(), step = state.show === "deviation" ? deviation.step : input.step, counts = new Int16Array(voxels);
    for (let n = 0; n < voxels; n++) counts[n] = Math.max(-32767, Math.min(32767, Math.round(shown.at(n) / step)));
    niivue.show(counts, state.low / step, state.high / step, shown.signed);
  }

  function tellValues() {
    const n = offset(state.at), now = stages[state.stage], unit = ` ${facts.unit}`;
    const mm = facts.affine.slice(0, 3).map((row) => row[3] + row.slice(0, 3).reduce((sum, v, a) => sum + v * state.at[a], 0));
    const side = (v, plus, minus) => `${Math.abs(v).toFixed(0)} ${v >= 0 ? plus : minus}`;
    $("value-input").textContent = format(value(input, n)) + unit;
    $("value-name").textContent = now.label[0].toUpperCase() + now.label.slice(1);
    $("value-stage").textContent = format(value(now, n)) + unit;
    const difference = value(now, n) - value(input, n);
    $("value-difference").textContent = (difference > 0 ? "+" : "") + format(difference) + unit;
    if (deviation) $("value-deviation").textContent = format(value(deviation, n)) + unit;
    $("position").textContent = `${side(mm[0], "R", "L")}, ${side(mm[1], "A", "P")}, ${side(mm[2], "H", "F")} mm; voxel ${state.at.join(", ")}`;
    $("readout").dataset.voxel = state.at.join(" ");
    $("stage-name").textContent = now.label;
    $("stage").setAttribute("aria-valuetext", now.label);
    $("stage").value = state.stage;
    document.querySelectorAll(".axis").forEach((slider) => {
      const a = Number(slider.dataset.axis);
      slider.value = a === 2 ? state.at[2] : facts.shape[a] - 1 - state.at[a]; // as seen: right and front first
      slider.setAttribute("aria-valuetext", `${mm[a].toFixed(0)} mm`);
    });
    document.querySelectorAll("#strip button").forEach((button, s) => button.setAttribute("aria-pressed", s === state.stage));
  }

  function drawProfile() {
    const axis = Number($("along").value), canvas = $("profile"), length = facts.shape[axis];
    const width = canvas.clientWidth, height = canvas.clientHeight, context = fitted(canvas, width, height);
    canvas.style.width = canvas.style.height = "";
    const style = getComputedStyle(document.documentElement), colour = (name) => style.getPropertyValue(name).trim();
    const start = offset(state.at) - state.at[axis] * stride[axis], left = 46, right = 6, top = 18, bottom = 30;
    const order = (n) => (axis === 2 ? n : length - 1 - n); // right to left, front to back, feet to head
    const line = (layer) => Array.from({ length }, (_, n) => value(layer, start + order(n) * stride[axis]));
    const lines = [[line(input), "--input", [4, 3]], [line(stages[state.stage]), "--stage", []]];
    const most = Math.max(1e-9, ...lines.flatMap(([values]) => values)), least = Math.min(0, ...lines.flatMap(([values]) => values));
    const x = (n) => left + ((n + 0.5) * (width - left - right)) / length, y = (v) => height - bottom - ((v - least) * (height - top - bottom)) / (most - least);
    context.font = "12px system-ui, 'DejaVu Sans', sans-serif";
    context.fillStyle = colour("--ink"); context.strokeStyle = colour("--line");
    context.beginPath(); context.moveTo(left, top); context.lineTo(left, height - bottom); context.lineTo(width - right, height - bottom); context.stroke();
    context.textAlign = "right"; context.textBaseline = "middle";
    for (const v of [0, most / 2, most]) context.fillText(Number(v.toPrecision(2)).toString(), left - 4, y(v));
    context.textAlign = "left"; context.textBaseline = "top";
    context.fillText("0", left, height - bottom + 3);
    context.textAlign = "right"; context.fillText(`${size[axis].toFixed(0)} mm`, width - right, height - bottom + 3);
    context.beginPath(); const here = x(order(state.at[axis])); context.moveTo(here, top); context.lineTo(here, height - bottom); context.stroke();
    for (const [values, name, dash] of lines) {
      context.strokeStyle = colour(name); context.lineWidth = 1.8; context.setLineDash(dash); context.beginPath();
      values.forEach((v, n) => (n ? context.lineTo(x(n), y(v)) : context.moveTo(x(n), y(v))));
      context.stroke();
    }
    context.setLineDash([]); context.textAlign = "left";
    context.fillStyle = colour("--input"); context.fillText("input (dashed)", left + 4, 0);
    context.fillStyle = colour("--stage"); context.fillText(stages[state.stage].label, left + 100, 0);
    context.fillStyle = colour("--ink"); context.textAlign = "right"; context.fillText(facts.unit, width - right, 0);
  }

  function drawScale() {
    const canvas = $("scale"), width = 240, signed = state.show === "difference";
    paint(canvas, width, 12, Float32Array.from({ length: width }, (_, n) => n / (width - 1)), width, 1, { low: 0, high: 1 }, signed ? blueWhiteRed : grey);
    canvas.style.width = canvas.style.height = "";
    $("scale-low").textContent = format(state.low);
    $("scale-high").textContent = `${format(state.high)} ${facts.unit}`;
  }

  function drawStrip() {
    const wide = $("strip").clientWidth, columns = wide < 760 ? 1 : Math.max(3, stages.length);
    const scale = Math.min(230 / size[2], (wide / columns - 32) / 2 / size[0]);
    document.querySelectorAll("#strip button").forEach((button, s) => {
      const layer = stages[s], [mip, cut] = button.querySelectorAll("canvas"), view = VIEWS.coronal;
      const shown = { key: `image ${s}`, at: (n) => value(layer, n), signed: false };
      const [w, h] = [facts.shape[0], facts.shape[2]], [width, height] = [size[0] * scale, size[2] * scale];
      const grey_ = { low: windows.image[0], high: windows.image[1] };
      paint(mip, width, height, projection("coronal", shown).values, w, h, grey_, grey);
      paint(cut, width, height, sliceOf(shown.at, facts.shape, view, state.at[1]), w, h, grey_, grey);
    });
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
  $("stage-ticks").append(...stages.map((_, s) => Object.assign(document.createElement("option"), { value: s })));
  $("stage").addEventListener("input", (event) => setStage(Number(event.target.value)));
  if (deviation) {
    $("show").append(Object.assign(document.createElement("option"), { value: "deviation", textContent: deviation.label }));
    document.querySelectorAll(".deviation").forEach((element) => { element.hidden = false; });
  }
  $("show").addEventListener("change", (event) => setShow(event.target.value));
  for (const end of ["low", "high"]) $(end).addEventListener("change", () => {
    const [low, high] = [Number($("low").value), Number($("high").value)];
    if (!(high > low)) { $("low").value = state.low; $("high").value = state.high; return; }
    windows[state.show] = [low, high];
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
    if (event.target.closest("select, input")) return;
    const keys = { ArrowLeft: [0, 1], ArrowRight: [0, -1], ArrowUp: [2, 1], ArrowDown: [2, -1], PageUp: [1, 1], PageDown: [1, -1] };
    if (keys[event.key]) step(...keys[event.key]);
    else if (event.key === "[") setStage(state.stage - 1);
    else if (event.key === "]") setStage(state.stage + 1);
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
