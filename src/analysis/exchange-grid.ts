/** Grids of latent exchange: a row for each pair of a target and a source, a column for each exchange. */
import type { LatentExchange } from "../diffusion/cold/exchange.js";
import { stripPicture } from "../plot/index.js";
import type { VariationalColdDiffusion } from "../systems/vcd.js";
import type { Tensor } from "../torch/index.js";
import { inScope } from "./cold-walks.js";
import { allLevels, type ExchangePairs, exchangedImages, noLevel, type PairRows } from "./exchange-walks.js";
import type { Drawing, FigureContext, Row } from "./figure.js";

const TARGETS = 2;
const SOURCES = 2;

/** Every target with every source, of which there are as many as asked for. */
export function everyPair(asked: number | undefined): PairRows {
  const sources = asked ?? SOURCES;
  const rows = Array.from(
    { length: TARGETS * sources },
    (_, row) => [Math.floor(row / sources), row % sources] as const,
  );
  return { targets: TARGETS, sources, rows };
}

/** How the column of a source's or a target's own latents is headed, and images that stand before it, one a row. */
export interface OwnColumn {
  readonly label: string;
  readonly beside?: { readonly label: string; readonly pixels: Uint8Array };
}

export interface ExchangeGrid {
  readonly rows: PairRows["rows"];
  readonly pairs: ExchangePairs;
  readonly source: OwnColumn;
  readonly target: OwnColumn;
  readonly exchanges: readonly LatentExchange[];
  readonly rowLabels: readonly string[];
  readonly title: string;
}

interface Column extends OwnColumn {
  readonly exchange: LatentExchange;
}

/** Draws the images of the sources' latents, of the targets', and of every exchange. */
export async function drawExchangeGrid(
  context: FigureContext<VariationalColdDiffusion>,
  { rows, pairs, source, target, exchanges, rowLabels, title }: ExchangeGrid,
): Promise<Extract<Drawing, { readonly kind: "picture" }>> {
  const { system, onProgress } = context;
  const columns: readonly Column[] = [
    { ...source, exchange: allLevels(system.levels) },
    { ...target, exchange: noLevel },
    ...exchanges.map((exchange) => ({ label: exchange.name, exchange })),
  ];
  const count = rows.length;
  const drawn: { readonly column: Column; readonly pixels: Uint8Array; readonly images: Tensor }[] = [];
  try {
    for (const column of columns) {
      const seen = await exchangedImages(context, pairs, {
        exchanged: column.exchange.levels,
        see: (x) => ({ pixels: system.decode(x).toTypedArray() as Uint8Array, images: x.to("float64") }),
      });
      drawn.push({ column, ...seen });
      onProgress?.(drawn.length * count, columns.length * count);
    }
    const [channels, height, width] = system.shape as [1 | 3, number, number];
    const pictures = drawn.flatMap(({ column: { label, beside }, pixels }) => [
      ...(beside ? [beside] : []),
      { label, pixels },
    ]);
    const { svg, png } = await stripPicture(
      pictures.map(({ pixels: data }) => ({ data, count, channels, height, width })),
      { columnLabels: pictures.map(({ label }) => label), rowLabels, title },
    );
    const own = drawn.find(({ column }) => column.exchange === noLevel);
    const table = drawn.flatMap(({ column: { exchange }, images }): Row[] => {
      const changes = inScope(() => (own ? squaredDistance(images, own.images) : []));
      return changes.map((change, row) => ({ pair: rowLabels[row] ?? "", exchanged: exchange.name, change }));
    });
    const settings = { change: changeMeasured, exchanged: columns.map(({ exchange }) => exchange) };
    return { kind: "picture", png, svg, rows: table, settings };
  } finally {
    for (const { images } of drawn) images.dispose();
  }
}

/** What is reported of an exchange. */
export const changeMeasured = "squared difference from the target's image, summed over its values";

function squaredDistance(a: Tensor, b: Tensor): readonly number[] {
  return a.sub(b).square().flatten(1).sum([1]).toArray();
}
