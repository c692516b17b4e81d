/** What samples and reconstructions are judged by: numbers from features, probabilities and images. */
export { blockMeans } from "./block-means.js";
export { fitGaussian, frechetDistance, type GaussianFit } from "./frechet.js";
export { type InceptionScore, inceptionScore } from "./inception-score.js";
export { type ManifoldOptions, manifoldRadii, type PrecisionRecall, precisionRecall } from "./manifold.js";
export { meanAbsoluteError } from "./mean-absolute-error.js";
export { msSsim, type SimilarityPerScale, similarityPerScale } from "./ms-ssim.js";
export {
  type ClusterHistograms,
  clusterHistograms,
  type PrdCurve,
  type PrdOptions,
  type PrdScores,
  prd,
  prdCurve,
  prdScores,
} from "./prd.js";
export { rootMeanSquareError } from "./root-mean-square-error.js";
export { type SsimOptions, ssim } from "./ssim.js";
