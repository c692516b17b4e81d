/** Max pooling and transposed convolution against their definitions. */
import { expect, test } from "vitest";
import { TransposedConvolution } from "../../src/nn/index.js";
import {
  arange,
  conv2d,
  Generator,
  grad,
  maxPool2d,
  randn,
  Streams,
  tensor,
  transposedConv2d,
} from "../../src/torch/index.js";
import { close } from "../golden.js";

const float64 = { dtype: "float64" } as const;
const draw = (shape: readonly number[], seed: number) => randn(shape, new Generator({ seed }), float64);

test("the largest of every 2 x 2 window, and its gradient to that element alone", () => {
  const x = arange(0, 16, 1, float64).reshape([1, 1, 4, 4]).requireGrad();
  const pooled = maxPool2d(x, 2);
  expect(pooled.toArray()).toEqual([5, 7, 13, 15]);
  const [gradient] = grad([pooled], [x], {
    gradients: [tensor([1, 2, 3, 4], float64).reshape([1, 1, 2, 2])],
  });
  const expected = Array.from({ length: 16 }, (_, i) => [5, 7, 13, 15].indexOf(i) + 1);
  expect(gradient?.toArray()).toEqual(expected);
});

test("a transposed convolution paints its kernel: out[2i + a, 2j + b] = in[i, j] K[a, b] + bias", () => {
  const [x, weight, bias] = [draw([1, 2, 2, 3], 1), draw([2, 4, 2, 2], 2), draw([4], 3)];
  const out = transposedConv2d(x, weight, bias, { stride: 2 });
  expect(out.shape).toEqual([1, 4, 4, 6]);
  for (const [i, j, a, b] of [
    [0, 0, 0, 1],
    [1, 2, 1, 0],
    [1, 1, 1, 1],
  ] as const) {
    const pixel = x.select(0, 0).select(1, i).select(1, j); // [2]
    const kernel = weight.select(2, a).select(2, b); // [2, 4]
    const painted = pixel.unsqueeze(0).matmul(kernel).squeeze(0).add(bias);
    close(
      out
        .select(0, 0)
        .select(1, 2 * i + a)
        .select(1, 2 * j + b),
      painted,
      1e-13,
      "pixel",
    );
  }
});

test("it is the adjoint of the convolution of the same kernel: <conv(x), y> = <x, transposed(y)>", () => {
  const [x, y, weight] = [draw([2, 3, 6, 4], 4), draw([2, 5, 3, 2], 5), draw([5, 3, 2, 2], 6)];
  const left = conv2d(x, weight, null, { stride: 2 }).mul(y).sum().item();
  const right = x
    .mul(transposedConv2d(y, weight, null, { stride: 2 }))
    .sum()
    .item();
  expect(right).toBeCloseTo(left, 10);
});

test("the layer doubles an image; its weights vary by 1 / (4 in), its bias starts at 0", () => {
  const layer = new TransposedConvolution(256, 64).initialise(new Streams(1));
  expect(layer.forward(randn([1, 256, 3, 5], new Generator({ seed: 1 }))).shape).toEqual([1, 64, 6, 10]);
  // 65,536 draws of a law with kurtosis below 3: five deviations of their mean square are 2.8 %
  const variance = layer.weight.value.square().mean().item();
  expect(Math.abs(variance * 4 * 256 - 1)).toBeLessThan(5 * Math.sqrt(2 / layer.weight.size));
  expect(layer.bias.value.abs().max().item()).toBe(0);
  expect(layer.parameterCount()).toBe(256 * 64 * 4 + 64);
});
