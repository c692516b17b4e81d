/** The fused softmax against its definition, its reference, and the derivative of its derivative. */
import { describe, expect, test } from "vitest";
import { Generator, grad, randn, scaledSoftmax, type Tensor, tensor } from "../../src/torch/index.js";

const worst = (a: Tensor, b: Tensor): number => a.to("float64").sub(b.to("float64")).abs().max().item();

describe("scaledSoftmax", () => {
  test("is exp(scale x) / sum exp(scale x), also where exp would overflow", () => {
    const p = scaledSoftmax(
      tensor(
        [
          [0, Math.log(3)],
          [1000, 1000 - Math.log(4)],
        ],
        { dtype: "float64" },
      ),
      2,
    );
    // scale 2: odds 1 : 9 and 16 : 1
    const expected = [1 / 10, 9 / 10, 16 / 17, 1 / 17];
    for (const [i, value] of p.toArray().entries()) expect(value).toBeCloseTo(expected[i] as number, 12);
  });

  // Rows shorter than a register's 16 lanes, of exactly so many, and with a remainder.
  test.each([1, 2, 15, 16, 17, 64, 83])("rows of %i agree with the reference, with their gradient", (n) => {
    const generator = new Generator({ seed: n });
    // float64: rounding of sums of n terms; float32: its epsilon times a few; bfloat16 stores 8 bits.
    for (const [dtype, tolerance] of [
      ["float64", 1e-14],
      ["float32", 2e-6],
      ["bfloat16", 1e-2],
    ] as const) {
      const x = randn([3, 5, n], generator, { dtype: "float64" }).mul(4).to(dtype).detach().requireGrad();
      const cotangent = randn([3, 5, n], generator, { dtype: "float64" }).to(dtype);
      const [fused, reference] = (["fused", "reference"] as const).map((implementation) => {
        const p = scaledSoftmax(x, 0.3, { implementation });
        expect(p.dtype).toBe(dtype);
        return { p, dx: grad([p], [x], { gradients: [cotangent] })[0] as Tensor };
      }) as [{ p: Tensor; dx: Tensor }, { p: Tensor; dx: Tensor }];
      expect(worst(fused.p, reference.p)).toBeLessThanOrEqual(tolerance);
      expect(worst(fused.dx, reference.dx)).toBeLessThanOrEqual(tolerance);
    }
  });

  test("takes any memory order", () => {
    const x = randn([4, 7, 9], new Generator({ seed: 1 }), { dtype: "float64" }).transpose(1, 2);
    expect(worst(scaledSoftmax(x, 1), scaledSoftmax(x.contiguous(), 1))).toBe(0);
  });

  test("the gradient of the gradient is that of the reference", () => {
    const x = randn([2, 19], new Generator({ seed: 2 }), { dtype: "float64" }).requireGrad();
    const [fused, reference] = (["fused", "reference"] as const).map((implementation) => {
      const y = scaledSoftmax(x, 0.7, { implementation }).square().sum();
      const [first] = grad([y], [x], { createGraph: true }) as [Tensor];
      return grad([first.square().sum()], [x])[0] as Tensor;
    }) as [Tensor, Tensor];
    expect(worst(fused, reference)).toBeLessThan(1e-13);
    expect(reference.abs().max().item()).toBeGreaterThan(1e-4);
  });

  test("refuses nothing to sum in one line", () => {
    expect(() => scaledSoftmax(tensor([], { dtype: "float32" }), 1)).toThrow(
      /scaled_softmax.*expected a tensor with elements/,
    );
  });
});
