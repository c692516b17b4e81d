/** A grid of small bitmaps with labels, captions and colour bars, as SVG and as the PNG of it. */
import { escapeXml, FONT_FAMILY, sharpLibrary, textWidth } from "./font.js";

/** Small bitmaps are enlarged to about this many pixels a side, ... */
const COMFORTABLE = 80;
/** ... as long as the picture stays about this wide. */
const WIDEST = 2400;
/** Of captions and of the numbers at a colour bar. */
const SMALL_FONT = 11;
const BAR_WIDTH = 12;
/** From a colour bar to its numbers. */
const BAR_GAP = 5;

const COLOURS = {
  white: { paper: "#ffffff", ink: "#222222", muted: "#555555" },
  black: { paper: "#000000", ink: "#f2f2f2", muted: "#b8b8b8" },
} as const;

/** A finished picture: an SVG document that needs nothing else, its size in pixels, and a PNG of that size. */
export interface Picture {
  readonly svg: string;
  readonly png: Uint8Array;
  readonly width: number;
  readonly height: number;
}

/** RGB bytes `[height, width, 3]`. */
export interface Bitmap {
  readonly data: Uint8Array;
  readonly height: number;
  readonly width: number;
}

/** A place of the grid; its caption is written below it. */
export interface Cell {
  readonly bitmap: Bitmap;
  readonly caption?: string;
  /** The colour of a thin line around it, where its own edge may be the colour of the paper. */
  readonly outline?: string;
}

/** A colour bar at the right of some rows, with numbers from its top to its bottom. */
export interface ColourBar {
  readonly firstRow: number;
  readonly rows: number;
  /** The colours of `height` pixels, from top to bottom. */
  bitmap(height: number): Bitmap;
  readonly numbers: readonly string[];
}

/** What a grid of any kind may be given. */
export interface PictureOptions {
  /** Pixels between cells. */
  readonly padding?: number;
  /** How often each pixel is repeated in both directions; default: so that small ones can be seen. */
  readonly scale?: number;
  readonly background?: keyof typeof COLOURS;
  readonly rowLabels?: readonly string[];
  readonly columnLabels?: readonly string[];
  readonly title?: string;
}

/** A grid as it is drawn: rows of cells of one size. */
export interface Grid {
  readonly rows: readonly (readonly (Cell | undefined)[])[];
  /** The size of every bitmap. */
  readonly height: number;
  readonly width: number;
  readonly bars?: readonly ColourBar[];
  /** What the colours mean, above the bars. */
  readonly barLabel?: string;
}

/** Where everything goes, in pixels. */
interface Layout {
  readonly width: number;
  readonly height: number;
  readonly left: number;
  readonly top: number;
  /** From one column (row) to the next. */
  readonly stepX: number;
  readonly stepY: number;
  readonly barLeft: number;
  readonly cellWidth: number;
  readonly cellHeight: number;
  readonly font: number;
  readonly titleFont: number;
  readonly margin: number;
}

async function widestOf(labels: readonly string[], font: number): Promise<number> {
  const widths = await Promise.all(labels.map((label) => textWidth(label, font)));
  return Math.ceil(Math.max(0, ...widths));
}

async function layOut(grid: Grid, options: PictureOptions): Promise<Layout> {
  const { title, rowLabels = [], columnLabels = [] } = options;
  const { bars = [], barLabel } = grid;
  const columns = Math.max(1, ...grid.rows.map((row) => row.length));
  const comfortable = Math.ceil(COMFORTABLE / Math.max(grid.height, grid.width));
  const scale =
    options.scale ?? Math.max(1, Math.min(comfortable, Math.floor(WIDEST / (columns * grid.width))));
  const [cellWidth, cellHeight] = [grid.width * scale, grid.height * scale];
  const padding = options.padding ?? Math.max(2, Math.round(cellWidth / 24));
  const captions = grid.rows.flatMap((row) => row.flatMap((cell) => cell?.caption ?? []));

  const font = Math.max(12, Math.min(20, Math.round(cellHeight / 6)));
  const titleFont = Math.round(1.25 * font);
  // A grid of nothing but images has the padding as its margin; one with text gets air around it.
  const text = title || rowLabels.length || columnLabels.length || captions.length || bars.length;
  const margin = text ? Math.max(padding, font) : padding;
  const rowSpace = rowLabels.length ? (await widestOf(rowLabels, font)) + Math.round(0.75 * font) : 0;
  const columnSpace = columnLabels.length || (bars.length && barLabel) ? Math.round(1.6 * font) : 0;
  const titleSpace = title ? Math.round(1.9 * titleFont) : 0;
  const captionSpace = captions.length ? Math.round(1.6 * SMALL_FONT) : 0;
  const labelWidth = Math.max(await widestOf(columnLabels, font), await widestOf(captions, SMALL_FONT));
  const stepX = Math.max(cellWidth + padding, labelWidth ? labelWidth + font : 0);
  const stepY = cellHeight + captionSpace + padding;
  const left = margin + rowSpace;
  const top = margin + titleSpace + columnSpace;
  // A column label may be wider than the last cell by as much as half of what `stepX` adds to a cell.
  const overhang = Math.max(0, Math.ceil((labelWidth - cellWidth) / 2));
  const gridRight = left + (columns - 1) * stepX + cellWidth + overhang;
  const barLeft = gridRight + margin;
  const numbers = bars.flatMap((bar) => bar.numbers);
  const barSpace = Math.max(
    BAR_WIDTH + BAR_GAP + (await widestOf(numbers, SMALL_FONT)),
    await widestOf(barLabel === undefined ? [] : [barLabel], font),
  );
  const right = bars.length ? barLeft + barSpace : gridRight;
  const titleWidth = title ? Math.ceil(await textWidth(title, titleFont)) : 0;
  const width = Math.max(right, margin + titleWidth) + margin;
  const height = top + grid.rows.length * stepY - padding + margin;
  return { width, height, left, top, stepX, stepY, barLeft, cellWidth, cellHeight, font, titleFont, margin };
}

type Attributes = Readonly<Record<string, string | number>>;

function element(name: string, attributes: Attributes, content = ""): string {
  const written = Object.entries(attributes).map(([key, value]) => ` ${key}="${value}"`);
  return `<${name}${written.join("")}>${content}</${name}>`;
}

/** A bitmap as a PNG inside the SVG: fewer bytes than a rectangle a pixel, and as crisp where it is told so. */
async function embedded(
  bitmap: Bitmap,
  place: { readonly x: number; readonly y: number; readonly width: number; readonly height: number },
): Promise<string> {
  const sharp = await sharpLibrary();
  const { data, width, height } = bitmap;
  const png = await sharp(data, { raw: { width, height, channels: 3 } })
    .png({ compressionLevel: 9 })
    .toBuffer();
  return element("image", {
    ...place,
    preserveAspectRatio: "none",
    style: "image-rendering:pixelated",
    href: `data:image/png;base64,${png.toString("base64")}`,
  });
}

async function cellsSvg({ rows }: Grid, layout: Layout): Promise<string[]> {
  const { left, top, stepX, stepY, cellWidth: width, cellHeight: height } = layout;
  const drawn = rows.flatMap((row, r) =>
    row.map(async (cell, column) => {
      if (!cell) return "";
      const [x, y] = [left + column * stepX, top + r * stepY];
      const around = { x: x - 0.5, y: y - 0.5, width: width + 1, height: height + 1, fill: "none" };
      const outline = cell.outline ? element("rect", { ...around, stroke: cell.outline }) : "";
      const image = (await embedded(cell.bitmap, { x, y, width, height })) + outline;
      if (cell.caption === undefined) return image;
      const place = { x: x + width / 2, y: y + height + 1.2 * SMALL_FONT, "font-size": SMALL_FONT };
      return image + element("text", { ...place, "text-anchor": "middle" }, escapeXml(cell.caption));
    }),
  );
  return Promise.all(drawn);
}

async function barsSvg({ bars = [], barLabel }: Grid, layout: Layout): Promise<string[]> {
  const { top, stepY, barLeft: x, cellHeight, font } = layout;
  const drawn = bars.map(async (bar) => {
    const y = top + bar.firstRow * stepY;
    const height = (bar.rows - 1) * stepY + cellHeight;
    const numbers = bar.numbers.map((number, i) => {
      // The first and last number stand inside the ends of the bar.
      const along = (i / Math.max(1, bar.numbers.length - 1)) * (height - SMALL_FONT);
      const place = { x: x + BAR_WIDTH + BAR_GAP, y: y + along + 0.86 * SMALL_FONT };
      return element("text", { ...place, "font-size": SMALL_FONT }, escapeXml(number));
    });
    return (await embedded(bar.bitmap(height), { x, y, width: BAR_WIDTH, height })) + numbers.join("");
  });
  const label =
    bars.length && barLabel !== undefined
      ? [element("text", { x, y: top - 0.55 * font }, escapeXml(barLabel))]
      : [];
  return [...label, ...(await Promise.all(drawn))];
}

function labelsSvg(layout: Layout, options: PictureOptions): string[] {
  const { left, top, stepX, stepY, cellWidth, cellHeight, font, titleFont, margin } = layout;
  const { ink } = COLOURS[options.background ?? "white"];
  const columnLabels = (options.columnLabels ?? []).map((label, column) => {
    const place = { x: left + column * stepX + cellWidth / 2, y: top - 0.55 * font };
    return element("text", { ...place, "text-anchor": "middle" }, escapeXml(label));
  });
  const rowLabels = (options.rowLabels ?? []).map((label, row) => {
    const place = { x: left - 0.75 * font, y: top + row * stepY + cellHeight / 2 + 0.36 * font };
    return element("text", { ...place, "text-anchor": "end" }, escapeXml(label));
  });
  const { title } = options;
  const place = { x: margin, y: margin + titleFont, "font-size": titleFont, fill: ink };
  return [...(title ? [element("text", place, escapeXml(title))] : []), ...columnLabels, ...rowLabels];
}

/**
 * Draws bitmaps in a grid. Pixels are enlarged by a whole number without smoothing.
 *
 * @throws Error when a bitmap has another size than the grid says.
 */
export async function drawGrid(grid: Grid, options: PictureOptions): Promise<Picture> {
  for (const { bitmap } of grid.rows.flat().filter((cell) => cell !== undefined)) {
    if (bitmap.height !== grid.height || bitmap.width !== grid.width)
      throw new Error(
        `expected all panels to be ${grid.height} by ${grid.width}, got one of ${bitmap.height} by ${bitmap.width}`,
      );
  }
  const layout = await layOut(grid, options);
  const { width, height, font } = layout;
  const { paper, muted } = COLOURS[options.background ?? "white"];
  const content = [
    element("rect", { width, height, fill: paper }),
    ...(await cellsSvg(grid, layout)),
    ...(await barsSvg(grid, layout)),
    ...labelsSvg(layout, options),
  ];
  const svg = element(
    "svg",
    {
      xmlns: "http://www.w3.org/2000/svg",
      width,
      height,
      viewBox: `0 0 ${width} ${height}`,
      "font-family": FONT_FAMILY,
      "font-size": font,
      fill: muted,
    },
    content.join(""),
  );
  const sharp = await sharpLibrary();
  // Laid onto a canvas, since an SVG as the input itself may not be larger than 32767 pixels a side.
  const png = await sharp({ create: { width, height, channels: 3, background: paper } })
    .composite([{ input: Buffer.from(svg) }])
    .removeAlpha()
    .png()
    .toBuffer();
  return { svg, png: new Uint8Array(png), width, height };
}
