// The three planes drawn by NiiVue. It shows what page.js tells it to and reports where its cross-hair goes;
// the values on the page never come from it. One volume is kept; another stage is written over its voxels.

/** A NIfTI-1 file in memory: int16 counts on a RAS+ grid. */
function niftiOf(counts, facts) {
  const buffer = new ArrayBuffer(352 + 2 * counts.length), head = new DataView(buffer);
  head.setInt32(0, 348, true);
  [3, ...facts.shape, 1, 1, 1, 1].forEach((n, i) => head.setInt16(40 + 2 * i, n, true));
  head.setInt16(70, 4, true); // int16
  head.setInt16(72, 16, true);
  [1, ...facts.spacing, 0, 0, 0, 0].forEach((n, i) => head.setFloat32(76 + 4 * i, n, true));
  head.setFloat32(108, 352, true);
  head.setFloat32(112, 1, true); // counts, not values: the window is told in counts
  head.setUint8(123, 2); // mm
  head.setInt16(254, 1, true); // sform
  // A grid along the axes with the scan's spacing: an oblique scan is drawn in its own planes.
  [0, 1, 2].forEach((row) => [0, 1, 2, 3].forEach((column) => {
    const value = column === 3 ? -0.5 * (facts.shape[row] - 1) * facts.spacing[row] : row === column ? facts.spacing[row] : 0;
    head.setFloat32(280 + 16 * row + 4 * column, value, true);
  }));
  [0x6e, 0x2b, 0x31, 0].forEach((byte, i) => head.setUint8(344 + i, byte));
  new Int16Array(buffer, 352).set(counts);
  return buffer;
}

class NiivueView {
  /** Set NiiVue up on a canvas; throws where WebGL 2 is not to be had. */
  static async open(canvas, counts, facts, moved) {
    if (!document.createElement("canvas").getContext("webgl2")) throw new Error("WebGL 2 is not available");
    if (!window.niivue) {
      const script = document.createElement("script");
      script.textContent = new TextDecoder().decode(await unpack("niivue-script"));
      document.head.append(script);
    }
    const nv = new window.niivue.Niivue({
      logLevel: "error", backColor: [1, 1, 1, 1], crosshairColor: [0, 0.47, 0.84, 1], crosshairWidth: 1,
      crosshairWidthUnit: "mm", isRadiologicalConvention: true, sagittalNoseLeft: true, isNearestInterpolation: true,
      isOrientationTextVisible: false, isColorbar: false,
      dragAndDropEnabled: false, show3Dcrosshair: false, multiplanarShowRender: 0, dragMode: 0,
      viewModeHotKey: "Unbound", clipPlaneHotKey: "Unbound", cycleClipPlaneHotKey: "Unbound", tileMargin: 0,
    });
    await nv.attachToCanvas(canvas);
    const ramp = (colour) => {
      const n = 9, map = { R: [], G: [], B: [], A: [], I: [] };
      for (let i = 0; i < n; i++) {
        const [r, g, b] = colour(i / (n - 1));
        map.R.push(r); map.G.push(g); map.B.push(b); map.A.push(255); map.I.push(Math.round((255 * i) / (n - 1)));
      }
      return map;
    };
    nv.addColormap("inverse grey", ramp(grey));
    nv.addColormap("blue white red", ramp(blueWhiteRed));
    await nv.loadFromArrayBuffer(niftiOf(counts, facts), "stage.nii");
    if (nv.volumes.length !== 1) throw new Error("NiiVue did not take the volume");
    const view = new NiivueView();
    Object.assign(view, { nv, facts, quiet: false });
    nv.onLocationChange = (location) => {
      if (view.quiet) return;
      const voxel = Array.from(location.vox).slice(0, 3).map((v, a) => Math.min(facts.shape[a] - 1, Math.max(0, Math.round(v))));
      moved(voxel);
    };
    return view;
  }

  /** Where the planes go, as fractions of the canvas (left, top, width, height); a line's width in mm. */
  layout(lineWidth, tiles) {
    this.nv.opts.crosshairWidth = lineWidth;
    const types = { axial: 0, coronal: 1, sagittal: 2 };
    this.nv.resizeListener();
    this.nv.setCustomLayout(Object.entries(tiles).map(([name, position]) => ({ sliceType: types[name], position })));
  }

  /** Show other counts in a window told in counts. */
  show(counts, low, high, signed) {
    const volume = this.nv.volumes[0];
    volume.img.set(counts);
    volume._colormap = signed ? "blue white red" : "inverse grey";
    volume.cal_min = low; volume.cal_max = high;
    this.nv.updateGLVolume();
  }

  /** Interpolate between voxels, or show each as it is. */
  smooth(on) { this.nv.setInterpolation(!on); }

  /** Move the cross-hair to a voxel. */
  move(voxel) {
    this.quiet = true;
    this.nv.scene.crosshairPos = this.nv.vox2frac(voxel);
    this.nv.drawScene();
    this.quiet = false;
  }
}
