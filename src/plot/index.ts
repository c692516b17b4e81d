/** Pictures: grids of images and heat maps, charts, and all of them as files. */

export { type AnimationOptions, animatedGif, animatedPng } from "./animation.js";
export type { Axis } from "./axis.js";
export * from "./bar-chart.js";
export { type Chart, type ChartOptions, panels } from "./chart.js";
export type { ColourMap, ColourRange } from "./colour-map.js";
export * from "./dot-chart.js";
export * from "./figure.js";
export * from "./heatmap.js";
export { type ImageGridOptions, imageGrid, imagePicture } from "./image-grid.js";
export * from "./line-chart.js";
export type { Picture, PictureOptions } from "./picture.js";
export { type Pixels, writePngs } from "./png.js";
export { stripPicture } from "./strip.js";
