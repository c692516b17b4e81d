/** Many images as one picture: samples, reconstructions, strips of a diffusion. */
import { escapeXml, FONT_FAMILY, sharpLibrary, textWidth } from "./font.js";
import { checkPixels, type Pixels } from "./png.js";

/** Small images are enlarged to about this many pixels a side, ... */
const COMFORTABLE = 80;
/** ... as long as the picture stays about this wide. */
const WIDEST = 2400;

const COLOURS = {
  white: { paper: "#ffffff", ink: "#222222", muted: "#555555" },
  black: { paper: "#000000", ink: "#f2f2f2", muted: "#b8b8b8" },
} as const;

/** How a grid is laid out. */
export interface ImageGridOptions {
  /** Images a row; default: as many as there are column labels, or what the row labels imply, or a square. */
  readonly columns?: number;
  /** Pixels between images. */
  readonly padding?: number;
  /** How often each pixel is repeated in both directions; default: so that small images can be seen. */
  readonly scale?: number;
  readonly background?: keyof typeof COLOURS;
  readonly rowLabels?: readonly string[];
  readonly columnLabels?: readonly string[];
  readonly title?: string;
}

function defaultColumns(count: number, { rowLabels, columnLabels }: ImageGridOptions): number {
  if (columnLabels?.length) return columnLabels.length;
  if (rowLabels?.length) return Math.ceil(count / rowLabels.length);
  return Math.max(1, Math.ceil(Math.sqrt(count)));
}

function defaultScale({ height, width }: Pixels, columns: number): number {
  const comfortable = Math.ceil(COMFORTABLE / Math.max(height, width));
  return Math.max(1, Math.min(comfortable, Math.floor(WIDEST / (columns * width))));
}

/** Draws image `index` into an RGBA canvas at (`left`, `top`), every pixel `scale` times `scale`. */
function paint(
  canvas: { readonly data: Uint8Array; readonly width: number },
  pixels: Pixels,
  place: { readonly index: number; readonly left: number; readonly top: number; readonly scale: number },
): void {
  const { data, channels, height, width } = pixels;
  const { index, left, top, scale } = place;
  const plane = height * width;
  const red = index * channels * plane;
  const green = channels === 1 ? red : red + plane;
  const blue = channels === 1 ? red : red + 2 * plane;
  for (let y = 0; y < height * scale; y++) {
    const row = Math.floor(y / scale) * width;
    let at = 4 * ((top + y) * canvas.width + left);
    for (let x = 0; x < width * scale; x++, at += 4) {
      const source = row + Math.floor(x / scale);
      canvas.data[at] = data[red + source] ?? 0;
      canvas.data[at + 1] = data[green + source] ?? 0;
      canvas.data[at + 2] = data[blue + source] ?? 0;
      canvas.data[at + 3] = 255;
    }
  }
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
  readonly font: number;
  readonly titleFont: number;
  readonly margin: number;
}

async function widestOf(labels: readonly string[], font: number): Promise<number> {
  const widths = await Promise.all(labels.map((label) => textWidth(label, font)));
  return Math.max(0, ...widths);
}

async function layOut(
  options: ImageGridOptions,
  grid: {
    readonly columns: number;
    readonly rows: number;
    readonly cellWidth: number;
    readonly cellHeight: number;
    readonly padding: number;
  },
): Promise<Layout> {
  const { title, rowLabels = [], columnLabels = [] } = options;
  const { columns, rows, cellWidth, cellHeight, padding } = grid;
  const font = Math.max(12, Math.min(20, Math.round(cellHeight / 6)));
  const titleFont = Math.round(1.25 * font);
  // A grid of nothing but images has the padding as its margin; one with text gets air around it.
  const margin = title || rowLabels.length || columnLabels.length ? Math.max(padding, font) : padding;
  const rowSpace = rowLabels.length
    ? Math.ceil(await widestOf(rowLabels, font)) + Math.round(0.75 * font)
    : 0;
  const columnSpace = columnLabels.length ? Math.round(1.6 * font) : 0;
  const titleSpace = title ? Math.round(1.9 * titleFont) : 0;
  const columnLabelWidth = Math.ceil(await widestOf(columnLabels, font));
  const stepX = Math.max(cellWidth + padding, columnLabelWidth ? columnLabelWidth + font : 0);
  const left = margin + rowSpace;
  const top = margin + titleSpace + columnSpace;
  const titleWidth = title ? Math.ceil(await textWidth(title, titleFont)) : 0;
  const width = Math.max(left + (columns - 1) * stepX + cellWidth, margin + titleWidth) + margin;
  const height = top + rows * (cellHeight + padding) - padding + margin;
  return { width, height, left, top, stepX, stepY: cellHeight + padding, font, titleFont, margin };
}

function labelsSvg(
  layout: Layout,
  options: ImageGridOptions,
  cell: { readonly width: number; readonly height: number },
): string {
  const { width, height, left, top, stepX, stepY, font, titleFont, margin } = layout;
  const { ink, muted } = COLOURS[options.background ?? "white"];
  const columnLabels = (options.columnLabels ?? []).map((label, column) => {
    const x = left + column * stepX + cell.width / 2;
    return `<text x="${x}" y="${top - 0.55 * font}" text-anchor="middle">${escapeXml(label)}</text>`;
  });
  const rowLabels = (options.rowLabels ?? []).map((label, row) => {
    const y = top + row * stepY + cell.height / 2 + 0.36 * font;
    return `<text x="${left - 0.75 * font}" y="${y}" text-anchor="end">${escapeXml(label)}</text>`;
  });
  const title = options.title
    ? [
        `<text x="${margin}" y="${margin + titleFont}" font-size="${titleFont}" fill="${ink}">${escapeXml(options.title)}</text>`,
      ]
    : [];
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" font-family="${FONT_FAMILY}" font-size="${font}" fill="${muted}">`,
    ...title,
    ...columnLabels,
    ...rowLabels,
    "</svg>",
  ].join("");
}

/**
 * Draws a batch of images in rows, first image top left, as one PNG. Pixels are enlarged without smoothing, so that
 * what is seen is what the model made.
 *
 * @throws Error when there is no image, or the bytes do not fill the shape.
 */
export async function imageGrid(pixels: Pixels, options: ImageGridOptions = {}): Promise<Uint8Array> {
  checkPixels(pixels);
  if (pixels.count < 1) throw new Error("expected at least one image");
  const columns = options.columns ?? defaultColumns(pixels.count, options);
  const rows = Math.ceil(pixels.count / columns);
  const scale = options.scale ?? defaultScale(pixels, columns);
  const cell = { width: pixels.width * scale, height: pixels.height * scale };
  const padding = options.padding ?? Math.max(2, Math.round(cell.width / 24));
  const layout = await layOut(options, {
    columns,
    rows,
    cellWidth: cell.width,
    cellHeight: cell.height,
    padding,
  });

  const { width, height, left, top, stepX, stepY } = layout;
  const canvas = { data: new Uint8Array(width * height * 4), width };
  for (let index = 0; index < pixels.count; index++) {
    const column = index % columns;
    const row = Math.floor(index / columns);
    paint(canvas, pixels, { index, left: left + column * stepX, top: top + row * stepY, scale });
  }
  const sharp = await sharpLibrary();
  const { paper } = COLOURS[options.background ?? "white"];
  const png = await sharp(canvas.data, { raw: { width, height, channels: 4 } })
    .composite([{ input: Buffer.from(labelsSvg(layout, options, cell)) }])
    .flatten({ background: paper })
    .png()
    .toBuffer();
  return new Uint8Array(png);
}
