/** Metrics against golden/daed/metrics, at the tolerances of its README. */
import { describe, expect, test } from "vitest";
import {
  fitGaussian,
  frechetDistance,
  inceptionScore,
  manifoldRadii,
  meanAbsoluteError,
  msSsim,
  prdCurve,
  prdScores,
  precisionRecall,
  similarityPerScale,
  ssim,
} from "../../src/metrics/index.js";
import { arange, type Tensor } from "../../src/torch/index.js";
import { close, GoldenFile } from "../golden.js";

const file = new GoldenFile("daed", "metrics");

describe.each(file.matching(/^(\w+)\/features_ref$/))("%s features", (group) => {
  const [reference, sample] = ["ref", "sample"].map((set) => file.tensor(`${group}/features_${set}`)) as [
    Tensor,
    Tensor,
  ];

  test("Frechet distance, also to themselves", () => {
    const [first, second] = [fitGaussian(reference), fitGaussian(sample)];
    // The root that the reference took of a singular product is no better than 1e-4.
    const absolute = group === "rank_deficient" ? 1e-4 : 1e-6;
    const distance = frechetDistance(first, second);
    close(distance, file.number(`${group}/fid`), 1e-6, "fid", { absolute });
    close(distance, file.number(`${group}/fid_symmetric_eig`), 1e-6, "by eigenvalues", { absolute });
    close(frechetDistance(first, first), file.number(`${group}/fid_self`), 1e-6, "to itself", { absolute });
    if (!file.has(`${group}/mu_ref`)) return;
    close(first.mean, file.tensor(`${group}/mu_ref`), 1e-6, "mean");
    close(first.covariance, file.tensor(`${group}/sigma_ref`), 1e-6, "covariance");
  });

  test("radii, precision and recall", () => {
    close(manifoldRadii(reference).square(), file.tensor(`${group}/radii_sq_ref`), 1e-5, "reference");
    close(manifoldRadii(sample).square(), file.tensor(`${group}/radii_sq_sample`), 1e-5, "sample");
    const { precision, recall } = precisionRecall(reference, sample);
    // The reference's distances in float64, float32 and float16 give the same counts.
    for (const dtype of ["f64", "f32", "f16"])
      expect([precision, recall]).toEqual(file.numbers(`${group}/precision_recall_${dtype}`));
  });
});

test("Inception score of one split and of splits of 20", () => {
  const probabilities = file.tensor("is/probs");
  const one = inceptionScore(probabilities);
  close(one.mean, file.number("is/score_one_split"), 1e-10, "one split");
  expect(one.deviation).toBe(0);
  close(
    inceptionScore(probabilities, { splitSize: 20 }).mean,
    file.number("is/score_split20"),
    1e-10,
    "splits of 20",
  );
});

test("PRD curve and scores", () => {
  const curve = prdCurve(file.tensor("prd/eval_hist"), file.tensor("prd/ref_hist"));
  const every25th = arange(0, 1001, 25, { dtype: "int64" });
  close(curve.precision.indexSelect(0, every25th), file.tensor("prd/precision"), 1e-9, "precision");
  close(curve.recall.indexSelect(0, every25th), file.tensor("prd/recall"), 1e-9, "recall");
  const { f8, fEighth } = prdScores(curve);
  close([f8, fEighth], file.numbers("prd/f8_and_f1_8"), 1e-9, "F_8 and F_1/8");
});

describe.each(file.matching(/^msssim\/(.+)\/x_uint8$/))("images %s", (group) => {
  const pair = (scale: (bytes: Tensor) => Tensor) =>
    ["x", "y"].map((name) => scale(file.tensor(`msssim/${group}/${name}_uint8`).unsqueeze(0))) as [
      Tensor,
      Tensor,
    ];
  const unit = pair((bytes) => bytes.div(255));
  const plusMinusOne = pair((bytes) => bytes.div(127.5).sub(1));
  const agrees = (value: Tensor | number, key: string) =>
    close(value, file.numbers(`msssim/${group}/${key}`), 0, key, { absolute: 1e-9 });

  test("MS-SSIM, its scales, the finest of which is SSIM, other windows and ranges; MAE", () => {
    agrees(msSsim(...unit), "win11_L1");
    agrees(msSsim(...unit, { window: 14 }), "win14_L1");
    agrees(msSsim(...plusMinusOne, { range: 2 }), "win11_pm1_L2");
    const scales = similarityPerScale(...unit);
    agrees(scales.ssim.select(0, 0), "win11_L1_ssim_per_scale");
    agrees(scales.cs.select(0, 0), "win11_L1_cs_per_scale");
    const [finest = 0] = file.numbers(`msssim/${group}/win11_L1_ssim_per_scale`);
    close(ssim(...unit), [finest], 0, "SSIM", { absolute: 1e-9 });
    agrees(meanAbsoluteError(...plusMinusOne), "mae_pm1");
  });

  test("the scales give the variant that counts the last one with each of the others", () => {
    const weights = [0.0448, 0.2856, 0.3001, 0.2363, 0.1333];
    for (const window of [11, 14]) {
      const scales = similarityPerScale(...unit, { window });
      const [ssim, cs] = [scales.ssim.toArray(), scales.cs.toArray()];
      const last = (ssim[4] as number) ** (weights[4] as number);
      const fourfold = [0, 1, 2, 3].reduce(
        (product, j) => product * (cs[j] as number) ** (weights[j] as number) * last,
        1,
      );
      agrees(fourfold, `win${window}_L1_fourfold_last`);
    }
  });
});
