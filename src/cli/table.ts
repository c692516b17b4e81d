/** Tables for a terminal. */

/** Rows of cells as lines with aligned columns, two spaces apart; columns of `right` (from 0) end alike. */
export function aligned(
  rows: readonly (readonly string[])[],
  options: { readonly right?: (column: number) => boolean } = {},
): string {
  const right = options.right ?? (() => false);
  const columns = Math.max(0, ...rows.map((row) => row.length));
  const widths = Array.from({ length: columns }, (_, column) =>
    Math.max(...rows.map((row) => row[column]?.length ?? 0)),
  );
  return rows
    .map((row) =>
      row
        .map((cell, i) => (right(i) ? cell.padStart(widths[i] ?? 0) : cell.padEnd(widths[i] ?? 0)))
        .join("  ")
        .trimEnd(),
    )
    .join("\n");
}

/** Rows of cells as a table in Markdown, the first its header, with columns that also look aligned. */
export function markdown(rows: readonly (readonly string[])[]): string {
  const [header = [], ...body] = rows.map((row) => row.map((cell) => cell.replaceAll("|", "\\|")));
  const widths = header.map((head, i) => Math.max(3, head.length, ...body.map((row) => row[i]?.length ?? 0)));
  const line = (cells: readonly string[]) =>
    `| ${widths.map((width, i) => (cells[i] ?? "").padEnd(width)).join(" | ")} |`;
  return [line(header), line(widths.map((width) => "-".repeat(width))), ...body.map(line)].join("\n");
}
