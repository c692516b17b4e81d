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
