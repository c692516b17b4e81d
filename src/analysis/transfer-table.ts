/** Table `transfer`: the numbers of the figure of that name, a row a model, a column a data set (DAED, table 2). */
import type { Row } from "./figure.js";
import { publishedTransfer } from "./published-daed.js";

interface Cell {
  readonly model: string;
  readonly trainedOn: string;
  readonly data: string;
  readonly text: string;
}

const number = (value: unknown, digits = 3) => Number(value).toFixed(digits);

/** The header and the rows, as texts; with the paper's rows below, which are marked as such. */
export function transferCells(
  rows: readonly Row[],
  { published }: { readonly published?: "listed" | undefined } = {},
): readonly (readonly string[])[] {
  const own = rows.map(
    ({ run, trainedOn, data, mae, maeError, msSsim, msSsimError }): Cell => ({
      ...{ model: String(run), trainedOn: String(trainedOn), data: String(data) },
      text: `${number(mae)} ± ${number(maeError)} / ${number(msSsim)} ± ${number(msSsimError)}`,
    }),
  );
  const papers = publishedTransfer.map(
    ({ source, model, target, meanAbsoluteError, msSsim }): Cell => ({
      ...{ model: `paper, table 2: ${model}`, trainedOn: source, data: target },
      text: `${number(meanAbsoluteError)} / ${number(msSsim, 2)}`,
    }),
  );
  const cells = published ? [...own, ...papers] : own;
  const sets = [...new Set(cells.map(({ data }) => data))];
  const models = new Map<string, readonly Cell[]>();
  for (const cell of cells) {
    const key = JSON.stringify([cell.model, cell.trainedOn]);
    models.set(key, [...(models.get(key) ?? []), cell]);
  }
  const body = [...models.values()].map((ofModel) => [
    ...[ofModel[0]?.model ?? "", ofModel[0]?.trainedOn ?? ""],
    ...sets.map((set) => ofModel.find(({ data }) => data === set)?.text ?? ""),
  ]);
  return [["model", "trained on", ...sets.map((set) => `${set}: MAE / MS-SSIM`)], ...body];
}
