/** The one font of every picture, shipped with the package, and the SVG renderer that knows it. */
import fs from "node:fs";
import { fileURLToPath } from "node:url";

/** What an SVG asks for; a viewer without DejaVu Sans has Verdana, whose letters are as wide. */
export const FONT_FAMILY = "DejaVu Sans, Verdana, sans-serif";

const FONT_FOLDER = new URL("../../assets/fonts/", import.meta.url);
const FONT_FILE = fileURLToPath(new URL("DejaVuSans.ttf", FONT_FOLDER));
/** Where fontconfig, the font finder of the renderer, looks for its settings. */
const SYSTEM_SETTINGS = "/etc/fonts/fonts.conf";

type Sharp = typeof import("sharp").default;
let sharpWithFont: Promise<Sharp> | undefined;

async function loadSharp(): Promise<Sharp> {
  // A machine without any fontconfig gets settings of ours: without them it would complain on stderr.
  if (
    !("FONTCONFIG_FILE" in process.env || "FONTCONFIG_PATH" in process.env || fs.existsSync(SYSTEM_SETTINGS))
  ) {
    process.env.FONTCONFIG_FILE = fileURLToPath(new URL("fonts.conf", FONT_FOLDER));
  }
  const { default: sharp } = await import("sharp");
  // Drawing any text with a font file adds that file to the fonts of the whole process.
  await sharp({ text: { text: ".", font: "DejaVu Sans", fontfile: FONT_FILE } })
    .raw()
    .toBuffer();
  return sharp;
}

/** The sharp library, loaded when first needed, with the shipped font known to its SVG renderer. */
export function sharpLibrary(): Promise<Sharp> {
  sharpWithFont ??= loadSharp();
  return sharpWithFont;
}

/** The width in pixels of one line of text whose letters are `size` pixels. */
export async function textWidth(text: string, size: number): Promise<number> {
  if (text.trim() === "") return 0;
  const sharp = await sharpLibrary();
  const font = `DejaVu Sans ${size}`;
  // At 72 dots per inch a point is a pixel. The text is Pango markup, which escapes as XML does.
  const picture = sharp({ text: { text: escapeXml(text), font, fontfile: FONT_FILE, dpi: 72 } });
  const { info } = await picture.raw().toBuffer({ resolveWithObject: true });
  return info.width;
}

/** An estimate of `textWidth` that needs no renderer: DejaVu Sans letters are about 0.6 of their size wide. */
export function estimatedTextWidth(text: string, size: number): number {
  return 0.6 * size * [...text].length;
}

/** Text as it may stand in XML, between tags or in a quoted attribute. */
export function escapeXml(text: string): string {
  return (
    text
      // biome-ignore lint/suspicious/noControlCharactersInRegex: XML allows none of them
      .replace(/[\u0000-\u0008\u000b\u000c\u000e-\u001f]/g, "")
      .replaceAll("&", "&amp;")
      .replaceAll("<", "&lt;")
      .replaceAll(">", "&gt;")
      .replaceAll('"', "&quot;")
  );
}
