/** Data sets as bytes, and the order in which training reads them. */
export { type Augmentation, augment, drawsPerImage } from "./augment.js";
export { BatchOrder } from "./batches.js";
export { cacheFolder } from "./cache.js";
export { type CatalogueEntry, catalogue } from "./catalogue.js";
export { type FitOptions, type FittedSource, fitted } from "./fitted.js";
export type { DatasetRules, Format } from "./format.js";
export { type FormatName, formats } from "./formats.js";
export { type DatasetRequest, openDataset } from "./open.js";
export {
  addDataset,
  type CheckOptions,
  checkDataset,
  type DatasetReport,
  type DatasetStatus,
  listDatasets,
  type SplitReport,
} from "./registry.js";
export {
  type ImageShape,
  type ImageSource,
  imageBytes,
  memorySource,
  type OnProgress,
  type SourceDescription,
  type Split,
  splits,
} from "./source.js";
export { type Variant, type VariantImage, variantNames, variants } from "./variants/index.js";
