/** Scalar maps as colours, beside the images that they belong to: noise maps, change maps, variances. */
import { powerOfTen } from "./axis.js";
import { type ColourMap, type ColourRange, colourOf, colourRange } from "./colour-map.js";
import { bitmapOf } from "./image-grid.js";
import { type Bitmap, type ColourBar, drawGrid, type Picture, type PictureOptions } from "./picture.js";
import { checkPixels, type Pixels } from "./png.js";

/** One number a pixel, row by row. */
export interface MapPanel {
  readonly kind: "map";
  /** `[height, width]` */
  readonly values: ArrayLike<number>;
  readonly height: number;
  readonly width: number;
}

/** Image `index` (default the first) of a batch. */
export interface ImagePanel {
  readonly kind: "image";
  readonly pixels: Pixels;
  readonly index?: number;
}

export type Panel = MapPanel | ImagePanel;

export interface HeatmapGridOptions extends PictureOptions {
  /** All panels have one size; `undefined` leaves a place empty. */
  readonly rows: readonly (readonly (Panel | undefined)[])[];
  readonly colours: ColourMap;
  /**
   * What the ends of the colour map stand for: what all maps span (the default), or those of a row, or each by
   * itself, with its range written below it; or two numbers. A diverging map is symmetric about 0.
   */
  readonly range?: "shared" | "row" | "panel" | ColourRange;
  /** What the colours mean, with its unit: above the colour bar. */
  readonly label?: string;
}

/** Around diverging maps, whose zero is as white as paper. */
const OUTLINE = "#cccccc";

/** Three significant digits, a true minus sign. */
function brief(value: number): string {
  const size = Math.abs(value);
  const rounded = Number(value.toPrecision(3));
  const text = size !== 0 && (size < 1e-3 || size >= 1e5) ? powerOfTen(rounded) : String(rounded);
  return text.replace(/^-/, "−");
}

function mapBitmap({ values, height, width }: MapPanel, map: ColourMap, range: ColourRange): Bitmap {
  if (values.length !== height * width)
    throw new Error(
      `expected ${height * width} numbers for a map [${height}, ${width}], got ${values.length}`,
    );
  const data = new Uint8Array(3 * values.length);
  for (let i = 0; i < values.length; i++) data.set(colourOf(values[i] ?? Number.NaN, map, range), 3 * i);
  return { data, height, width };
}

function colourBar(
  map: ColourMap,
  rows: { readonly firstRow: number; readonly rows: number },
  numbers: readonly string[],
): ColourBar {
  return {
    ...rows,
    numbers,
    bitmap: (height) => {
      const values = Array.from({ length: height }, (_, i) => 1 - i / Math.max(1, height - 1));
      return mapBitmap({ kind: "map", values, height, width: 1 }, map, [0, 1]);
    },
  };
}

function imageBitmap({ pixels, index = 0 }: ImagePanel): Bitmap {
  checkPixels(pixels);
  if (index >= pixels.count) throw new Error(`expected one of ${pixels.count} images, got image ${index}`);
  return bitmapOf(pixels, index);
}

const isMap = (panel: Panel | undefined): panel is MapPanel => panel?.kind === "map";

/**
 * Draws maps and images in rows. What is not a number is magenta, a colour of none of the maps.
 *
 * @throws Error when there is no panel, panels differ in size, or the numbers do not fill a map.
 */
export async function heatmapGrid(options: HeatmapGridOptions): Promise<Picture> {
  const { rows, colours, range = "shared", label } = options;
  const size = rows.flat().find((panel) => panel !== undefined);
  if (!size) throw new Error("expected at least one panel");
  const { height, width } = size.kind === "map" ? size : size.pixels;

  const spanned = (panels: readonly (Panel | undefined)[]): ColourRange =>
    colourRange(
      colours,
      panels.filter(isMap).map(({ values }) => values),
    );
  const shared = typeof range === "string" ? spanned(rows.flat()) : colourRange(colours, [range]);
  const rangeOf = (row: readonly (Panel | undefined)[], panel: MapPanel): ColourRange => {
    if (range === "row") return spanned(row);
    return range === "panel" ? spanned([panel]) : shared;
  };
  const captionOf = ([low, high]: ColourRange): string =>
    colours === "diverging" ? `±${brief(high)}` : `${brief(low)} … ${brief(high)}`;

  const cells = rows.map((row) =>
    row.map((panel) => {
      if (!panel) return undefined;
      if (panel.kind === "image") return { bitmap: imageBitmap(panel) };
      const own = rangeOf(row, panel);
      return {
        bitmap: mapBitmap(panel, colours, own),
        ...(colours === "diverging" ? { outline: OUTLINE } : {}),
        ...(range === "panel" ? { caption: captionOf(own) } : {}),
      };
    }),
  );

  const numbers = ([low, high]: ColourRange) => [high, (low + high) / 2, low].map(brief);
  const all = { firstRow: 0, rows: rows.length };
  const bars =
    range === "row"
      ? rows.flatMap((row, firstRow) =>
          row.some(isMap) ? [colourBar(colours, { firstRow, rows: 1 }, numbers(spanned(row)))] : [],
        )
      : range === "panel"
        ? [colourBar(colours, all, colours === "diverging" ? ["+", "0", "−"] : ["high", "low"])]
        : [colourBar(colours, all, numbers(shared))];
  const grid = { rows: cells, height, width, bars, ...(label === undefined ? {} : { barLabel: label }) };
  return drawGrid(grid, options);
}
