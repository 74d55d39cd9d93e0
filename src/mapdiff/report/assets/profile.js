// The plot of values along a line through the cross-hair.

/** Ticks at 1, 2 or 5 times a power of ten, about `count` of them, from `least` to `most`. */
function ticks(least, most, count) {
  const rough = (most - least) / count, unit = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((m) => m * unit).find((s) => s >= rough);
  const found = [];
  for (let v = Math.ceil(least / step) * step; v <= most + 1e-9 * step; v += step) found.push(Number(v.toPrecision(12)));
  return found;
}

/** Draw lines of values over a length in mm, with a mark where the cross-hair is.
 * lines: [{ name, values, colour, dash }], here: place of the mark in voxels, ends: words at both ends of the axis. */
function drawLines(canvas, lines, length, here, ends, ink, faint) {
  const width = canvas.clientWidth, height = canvas.clientHeight, context = fitted(canvas, width, height);
  canvas.style.width = canvas.style.height = "";
  const all = lines.flatMap((line) => line.values), count = lines[0].values.length;
  const most = Math.max(1e-9, ...all), least = Math.min(0, ...all);
  context.font = "12px system-ui, 'DejaVu Sans', sans-serif";
  const label = (v) => Number(v.toPrecision(6)).toString(), marks = ticks(least, most, 4);
  const left = 12 + Math.max(20, ...marks.map((v) => context.measureText(label(v)).width)), right = 8, top = 20, bottom = 34;
  const x = (n) => left + ((n + 0.5) * (width - left - right)) / count;
  const y = (v) => height - bottom - ((v - least) * (height - top - bottom)) / (most - least);
  context.lineWidth = 1;
  context.textBaseline = "middle"; context.textAlign = "right";
  for (const v of marks) {
    context.strokeStyle = faint; context.beginPath(); context.moveTo(left, y(v)); context.lineTo(width - right, y(v)); context.stroke();
    context.fillStyle = ink; context.fillText(label(v), left - 4, y(v));
  }
  context.textBaseline = "top"; context.textAlign = "center";
  for (const mm of ticks(0, length, 4)) {
    const at = left + (mm / length) * (width - left - right);
    context.strokeStyle = ink; context.beginPath(); context.moveTo(at, height - bottom); context.lineTo(at, height - bottom + 4); context.stroke();
    context.fillText(mm.toString(), at, height - bottom + 6);
  }
  context.strokeStyle = ink;
  context.beginPath(); context.moveTo(left, height - bottom); context.lineTo(width - right, height - bottom); context.stroke();
  context.textBaseline = "alphabetic";
  context.textAlign = "left"; context.fillText(ends[0], left, height - 2);
  context.textAlign = "center"; context.fillText("mm", (left + width - right) / 2, height - 2);
  context.textAlign = "right"; context.fillText(ends[1], width - right, height - 2);
  context.strokeStyle = ink; context.globalAlpha = 0.6; context.setLineDash([2, 3]);
  context.beginPath(); context.moveTo(x(here), top); context.lineTo(x(here), height - bottom); context.stroke();
  context.globalAlpha = 1;
  for (const { values, colour, dash } of lines) {
    context.strokeStyle = colour; context.lineWidth = 1.8; context.setLineDash(dash); context.beginPath();
    values.forEach((v, n) => (n ? context.lineTo(x(n), y(v)) : context.moveTo(x(n), y(v))));
    context.stroke();
  }
  // The legend shows each line as it is drawn, so that it is told without colour too.
  let at = 4;
  context.textAlign = "left"; context.textBaseline = "middle";
  for (const { name, colour, dash } of lines) {
    context.strokeStyle = colour; context.setLineDash(dash);
    context.beginPath(); context.moveTo(at, 8); context.lineTo(at + 16, 8); context.stroke();
    context.setLineDash([]); context.fillStyle = ink; context.fillText(name, at + 20, 8);
    at += 20 + context.measureText(name).width + 8;
  }
}
