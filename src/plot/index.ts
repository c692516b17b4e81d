/** Pictures: grids of images, charts, and both as files. */

export type { Axis } from "./axis.js";
export * from "./bar-chart.js";
export { type Chart, type ChartOptions, panels } from "./chart.js";
export * from "./figure.js";
export * from "./image-grid.js";
export * from "./line-chart.js";
export { type Pixels, writePngs } from "./png.js";
