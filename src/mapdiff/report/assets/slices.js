// Pictures of a volume on RAS+ axes: what is drawn across and down in each view, and which way round.
// The patient's right (large i) is on the left, the head (large k) up, the front (large j) up or left.
const VIEWS = {
  coronal: { across: 0, down: 2, through: 1, marks: ["R", "L", "H", "F"] },
  sagittal: { across: 1, down: 2, through: 0, marks: ["A", "P", "H", "F"] },
  axial: { across: 0, down: 1, through: 2, marks: ["R", "L", "A", "P"] },
};

function strides(shape) { return [1, shape[0], shape[0] * shape[1]]; }

/** Counts of one slice, row by row as seen: every axis runs from its large end. */
function sliceOf(at, shape, view, index) {
  const s = strides(shape), w = shape[view.across], h = shape[view.down];
  const out = new Float32Array(w * h);
  for (let y = 0; y < h; y++) {
    const row = index * s[view.through] + (h - 1 - y) * s[view.down];
    for (let x = 0; x < w; x++) out[y * w + x] = at(row + (w - 1 - x) * s[view.across]);
  }
  return out;
}

/** The projection of largest size along a view: of values, or for differences of the one furthest from 0. */
function projectionOf(at, shape, view, signed) {
  const s = strides(shape), w = shape[view.across], h = shape[view.down], depth = shape[view.through];
  const values = new Float32Array(w * h), where = new Uint16Array(w * h);
  for (let y = 0; y < h; y++) for (let x = 0; x < w; x++) {
    const start = (h - 1 - y) * s[view.down] + (w - 1 - x) * s[view.across];
    let best = -Infinity, value = 0, place = 0;
    for (let d = 0; d < depth; d++) {
      const v = at(start + d * s[view.through]), size = signed && v < 0 ? -v : v;
      if (size > best) { best = size; value = v; place = d; }
    }
    values[y * w + x] = value; where[y * w + x] = place;
  }
  return { values, where };
}

/** The largest value along parallel lines of sight, from a direction between front and side.
 * 0 degrees is seen from the front, as the coronal projection; 90 from the patient's left. The picture is as wide
 * as the volume is from right to left; what turns beyond it is cut off. */
function turnedProjection(at, shape, spacing, degrees) {
  const [I, J, K] = shape, w = I, h = K, values = new Float32Array(w * h);
  const c = Math.cos((degrees * Math.PI) / 180), s = Math.sin((degrees * Math.PI) / 180);
  const step = Math.min(spacing[0], spacing[1]), reach = Math.hypot(I * spacing[0], J * spacing[1]) / 2;
  for (let x = 0; x < w; x++) {
    const u = (w / 2 - x - 0.5) * spacing[0], line = []; // mm to the viewer's left of the middle
    for (let d = -reach; d <= reach; d += step) {
      const i = Math.floor((u * c - d * s) / spacing[0] + I / 2), j = Math.floor((u * s + d * c) / spacing[1] + J / 2);
      if (i >= 0 && i < I && j >= 0 && j < J && line.at(-1) !== i + I * j) line.push(i + I * j);
    }
    for (let k = 0; k < K; k++) {
      let best = line.length ? -Infinity : 0;
      for (const n of line) { const v = at(n + k * I * J); if (v > best) best = v; }
      values[(h - 1 - k) * w + x] = best;
    }
  }
  return values;
}

/** Inverse grey: 0 at the window's low end is white. */
function grey(t) { const g = Math.round(255 * (1 - Math.min(1, Math.max(0, t)))); return [g, g, g]; }
/** Blue below, white at, red above the middle of the window. */
function blueWhiteRed(t) {
  const d = Math.min(1, Math.max(-1, 2 * t - 1)), away = Math.abs(d);
  const end = d < 0 ? [5, 60, 140] : [150, 10, 30];
  return end.map((c) => Math.round(255 + (c - 255) * away));
}

/** Fit a canvas to its size on the page and the screen's pixels; gives its context in CSS pixels. */
function fitted(canvas, width, height) {
  const ratio = window.devicePixelRatio || 1;
  canvas.width = Math.max(1, Math.round(width * ratio));
  canvas.height = Math.max(1, Math.round(height * ratio));
  canvas.style.width = `${width}px`;
  canvas.style.height = `${height}px`;
  const context = canvas.getContext("2d");
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  return context;
}

/** Draw a picture of w x h values into a canvas of the given size: interpolated, or each value a rectangle. */
function paint(canvas, width, height, values, w, h, window_, colour, smooth = false) {
  const image = new ImageData(w, h), span = window_.high - window_.low || 1;
  const table = Array.from({ length: 512 }, (_, n) => colour(n / 511));
  for (let n = 0; n < values.length; n++) {
    const t = Math.min(511, Math.max(0, Math.round((511 * (values[n] - window_.low)) / span)));
    image.data.set(table[t], 4 * n);
    image.data[4 * n + 3] = 255;
  }
  const small = document.createElement("canvas");
  small.width = w; small.height = h;
  small.getContext("2d").putImageData(image, 0, 0);
  const context = fitted(canvas, width, height);
  context.imageSmoothingEnabled = smooth;
  context.imageSmoothingQuality = "high";
  context.drawImage(small, 0, 0, width, height);
  return context;
}

/** A cross through (x, y), in CSS pixels, open in the middle. */
function cross(context, width, height, x, y) {
  context.strokeStyle = "rgba(0, 120, 215, .85)";
  context.lineWidth = 1;
  context.beginPath();
  context.moveTo(x, 0); context.lineTo(x, y - 6); context.moveTo(x, y + 6); context.lineTo(x, height);
  context.moveTo(0, y); context.lineTo(x - 6, y); context.moveTo(x + 6, y); context.lineTo(width, y);
  context.stroke();
}

/** The letters of the sides: left, right, top, bottom as seen. */
function letters(context, width, height, [left, right, top, bottom]) {
  context.font = "600 13px system-ui, 'DejaVu Sans', sans-serif";
  context.textBaseline = "middle";
  const put = (text, a, b) => {
    context.fillStyle = "rgba(255, 255, 255, .75)"; context.fillRect(a - 7, b - 8, 14, 16);
    context.fillStyle = "#222"; context.textAlign = "center"; context.fillText(text, a, b);
  };
  put(left, 9, height / 2); put(right, width - 9, height / 2); put(top, width / 2, 10); put(bottom, width / 2, height - 10);
}
