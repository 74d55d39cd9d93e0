"use strict";
// Reading what report/embed.py wrote: base64, gzip, the low bytes of all voxels before the high ones.

/** The bytes of a gzip + base64 script element. */
async function unpack(id) {
  const text = atob(document.getElementById(id).textContent);
  const bytes = new Uint8Array(text.length);
  for (let n = 0; n < text.length; n++) bytes[n] = text.charCodeAt(n);
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

/** A volume's counts, first axis fastest; a value is counts * step. */
async function unpackVolume(id, voxels) {
  const planes = await unpack(id);
  if (planes.length !== 2 * voxels) throw new Error(`${id}: ${planes.length} bytes, not ${2 * voxels}`);
  const counts = new Int16Array(voxels);
  for (let n = 0; n < voxels; n++) counts[n] = planes[n] | (planes[voxels + n] << 8);
  return counts;
}
