/** Directional derivatives against closed forms and central differences. */
import { describe, expect, test } from "vitest";
import {
  attention,
  cat,
  conv2d,
  directionalDerivative,
  full,
  Generator,
  grad,
  groupNorm,
  liveTensors,
  maxPool2d,
  noGrad,
  ones,
  randn,
  scope,
  type Tensor,
  tensor,
  transposedConv2d,
} from "../../src/torch/index.js";
import { collectGarbage } from "../garbage.js";
import { close } from "../golden.js";

const float64 = { dtype: "float64" } as const;
const draw = (shape: readonly number[], seed: number) => randn(shape, new Generator({ seed }), float64);

describe("closed forms", () => {
  const x = tensor([-1, 0.5, 2], float64);
  const v = tensor([1, -2, 0.25], float64);

  test("x sin(x): its value, and (sin(x) + x cos(x)) v", () => {
    const { value, derivative } = directionalDerivative((x) => x.mul(x.sin()), x, v);
    const at = x.toArray();
    close(
      value,
      at.map((x) => x * Math.sin(x)),
      1e-14,
      "value",
    );
    const slope = at.map((x, i) => (Math.sin(x) + x * Math.cos(x)) * (v.toArray()[i] as number));
    close(derivative, slope, 1e-14, "derivative");
  });

  test("ones where no direction is given: each example's own derivative", () => {
    const { derivative } = directionalDerivative((x) => x.square(), x);
    expect(derivative.toArray()).toEqual([-2, 1, 4]);
  });

  test("a result of another shape: J v of a matrix", () => {
    const matrix = draw([4, 3], 1);
    const { derivative } = directionalDerivative((x) => matrix.matmul(x), x, v);
    close(derivative, matrix.matmul(v), 1e-14, "derivative");
  });

  test("0 where the result does not depend on the point, or on anything", () => {
    const weight = ones([2], float64).requireGrad();
    for (const run of [() => weight.mul(3), () => full([2], 3, float64)]) {
      const { value, derivative } = directionalDerivative(run, x);
      expect([value.toArray(), derivative.toArray()]).toEqual([
        [3, 3],
        [0, 0],
      ]);
    }
  });
});

/** Central differences along `direction`; error h^2 |f'''| / 6 + 2e-16 |f| / h, below 1e-8 for values of order 1. */
function slope(run: (x: Tensor) => Tensor, at: Tensor, direction: Tensor, h = 1e-5): Tensor {
  return noGrad(() =>
    run(at.add(direction.mul(h)))
      .sub(run(at.sub(direction.mul(h))))
      .div(2 * h),
  );
}

const weight = draw([6, 6, 3, 3], 2);
const scaling = draw([6], 3);
const offset = draw([6], 4);
const norm = (x: Tensor, activation: "silu" | "none", shift?: Tensor) =>
  groupNorm(x, scaling, offset, { groups: 3, epsilon: 1e-6, activation, shift });

/** What the encoders are made of; every one takes `[2, 6, 4, 4]`, channels last. */
const operations: Readonly<Record<string, (x: Tensor) => Tensor>> = {
  convolution: (x) => conv2d(x, weight, offset, { padding: 1 }),
  "transposed convolution": (x) =>
    transposedConv2d(x, weight.narrow(2, 0, 2).narrow(3, 0, 2), offset, { stride: 2 }),
  "max pooling": (x) => maxPool2d(x, 2),
  "normalisation and SiLU": (x) => norm(x, "silu"),
  "normalisation of a shifted map": (x) => norm(x.sin(), "silu", x.mean([2, 3])),
  "normalisation alone": (x) => norm(x, "none"),
  attention: (x) => {
    const tokens = norm(x, "none").permute([0, 2, 3, 1]).reshape([2, 16, 6]);
    return attention(cat([tokens, tokens.sin(), tokens.mul(0.7)], 2), { heads: 2 });
  },
};

describe.each(Object.entries(operations))("%s", (_, operation) => {
  const run = (x: Tensor) => operation(x.square()); // so that the linear ones' derivatives depend on x too
  const x = draw([2, 6, 4, 4], 5).clone("channelsLast");
  const direction = draw([2, 6, 4, 4], 6).clone("channelsLast");

  test("the derivative equals central differences", () => {
    close(directionalDerivative(run, x, direction).derivative, slope(run, x, direction), 1e-6, "derivative");
  });

  test("so does the gradient of the derivative, through a parameter upstream of the point", () => {
    const cotangent = draw(run(x).shape, 7);
    // point(w) = sin(w x): not the identity, and not linear in w
    const loss = (w: Tensor) =>
      directionalDerivative(run, x.mul(w).sin(), direction).derivative.mul(cotangent).sum();
    const w = tensor(0.8, float64).requireGrad();
    const [gradient] = grad([loss(w)], [w]);
    close(gradient, slope(loss, w.detach(), ones([], float64)), 1e-6, "gradient");
  });
});

test("the direction may carry a graph as well", () => {
  const x = tensor([0.3, -0.7], float64);
  const v = tensor([1, 2], float64).requireGrad();
  const { derivative } = directionalDerivative((x) => x.exp(), x, v);
  const [gradient] = grad([derivative.sum()], [v]);
  close(gradient, x.exp(), 1e-14, "gradient in the direction");
});

describe("without a graph around it", () => {
  const w = tensor([0.5, -2], float64).requireGrad();
  const x = tensor([0.3, 0.9], float64).requireGrad();
  const run = (x: Tensor) => x.mul(w).exp();

  test("gives the same numbers and keeps nothing", () => {
    const expected = directionalDerivative(run, x);
    const { value, derivative } = noGrad(() => directionalDerivative(run, x));
    expect(value.toArray()).toEqual(expected.value.toArray());
    expect(derivative.toArray()).toEqual(expected.derivative.toArray());
    expect([value.requiresGrad, derivative.requiresGrad]).toEqual([false, false]);
    expect([expected.value.requiresGrad, expected.derivative.requiresGrad]).toEqual([true, true]);
  });

  test("leaves no tensor behind but its two results, and touches no gradient", () => {
    collectGarbage();
    const before = liveTensors();
    const results = noGrad(() => directionalDerivative(run, x));
    expect(liveTensors()).toBe(before + 2);
    for (const result of Object.values(results)) result.dispose();
    expect([x.grad, w.grad]).toEqual([null, null]);
  });

  test("a step that learns from the derivative leaves no tensor behind", () => {
    const step = () =>
      scope(() => {
        directionalDerivative(run, x).derivative.sum().backward();
      });
    step(); // makes the gradients
    collectGarbage();
    const before = liveTensors();
    step();
    expect(liveTensors()).toBe(before);
  });
});
