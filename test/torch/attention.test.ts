/** Fused attention against its formula in float64: result, gradient, the gradient's gradient, threads, large scores. */
import { describe, expect, test } from "vitest";
import {
  type AttentionOptions,
  type AttentionOrder,
  attention,
  autocast,
  type FloatDtype,
  Generator,
  grad,
  noGrad,
  randn,
  setThreads,
  type Tensor,
  tensor,
  threads,
} from "../../src/torch/index.js";
import { same } from "../golden.js";

const float64 = { dtype: "float64" } as const;

/** `softmax(q k^T / sqrt(d)) v` in float64, a head at a time. */
function formula(qkv: Tensor, heads: number, order: AttentionOrder): Tensor {
  const [batch, length, channels] = qkv.shape as [number, number, number];
  const d = channels / (3 * heads);
  const parts =
    order === "legacy"
      ? qkv.reshape([batch, length, heads, 3, d]).permute([3, 0, 2, 1, 4])
      : qkv.reshape([batch, length, 3, heads, d]).permute([2, 0, 3, 1, 4]);
  const [q, k, v] = [0, 1, 2].map((part) => parts.select(0, part)) as [Tensor, Tensor, Tensor];
  const scores = q.matmul(k.transpose(2, 3)).div(Math.sqrt(d));
  const joined = scores.softmax(3).matmul(v).transpose(1, 2);
  return joined.reshape([batch, length, heads * d]);
}

/** The largest difference of a and b, in units of the largest number of b. */
const distance = (a: Tensor, b: Tensor): number =>
  a.to("float64").sub(b).abs().max().item() / b.abs().max().item();

interface Case {
  readonly batch: number;
  readonly length: number;
  readonly heads: number;
  readonly d: number;
  readonly order: AttentionOrder;
  /** Of q, k and v; 1 gives scores of unit variance. */
  readonly size?: number;
}

function draw({ batch, length, heads, d, size = 1 }: Case, dtype: FloatDtype) {
  const generator = new Generator({ seed: length * d });
  const qkv = randn([batch, length, 3 * heads * d], generator, float64).mul(size);
  const cotangent = randn([batch, length, heads * d], generator, float64);
  return { qkv: qkv.to(dtype).detach().requireGrad(), cotangent: cotangent.to(dtype) };
}

// Rounding of sums in float32, relative to the largest of thousands of numbers; bfloat16 stores 8 bits (2^-8), of the
// result, of the weights and of the scores' gradients.
const tolerances = [
  ["float32", 5e-6],
  ["bfloat16", 1.5e-2],
] as const;

const cases: readonly Case[] = [
  { batch: 2, length: 1, heads: 2, d: 16, order: "legacy" },
  { batch: 1, length: 5, heads: 1, d: 64, order: "new" },
  { batch: 2, length: 16, heads: 3, d: 32, order: "new" },
  { batch: 2, length: 49, heads: 4, d: 32, order: "legacy" },
  { batch: 1, length: 81, heads: 2, d: 48, order: "new" },
  { batch: 1, length: 196, heads: 2, d: 32, order: "new" },
  { batch: 1, length: 784, heads: 2, d: 16, order: "legacy" },
  { batch: 1, length: 130, heads: 1, d: 144, order: "new" },
  { batch: 2, length: 49, heads: 2, d: 24, order: "legacy" }, // no multiple of 16: composed
  { batch: 40, length: 196, heads: 1, d: 4, order: "new" }, // composed, and in two pieces
];

describe.each(tolerances)("%s", (dtype, tolerance) => {
  test.each(cases)("$batch x $length tokens, $heads heads of $d, $order: result and gradient", (one) => {
    const { heads, order } = one;
    const { qkv, cotangent } = draw(one, dtype);
    const out = attention(qkv, { heads, order });
    expect([out.dtype, ...out.shape]).toEqual([dtype, one.batch, one.length, heads * one.d]);
    const [dQkv] = grad([out], [qkv], { gradients: [cotangent] }) as [Tensor];
    const wide = qkv.detach().to("float64").requireGrad();
    const expected = formula(wide, heads, order);
    const [dWide] = grad([expected], [wide], { gradients: [cotangent.to("float64")] }) as [Tensor];
    expect(distance(out, expected)).toBeLessThan(tolerance);
    expect(distance(dQkv, dWide)).toBeLessThan(tolerance);
  });

  test("large scores: no overflow, and the largest alone counts where it is far above the others", () => {
    const one: Case = { batch: 1, length: 100, heads: 2, d: 16, order: "legacy", size: 60 }; // scores of thousands
    const { qkv, cotangent } = draw(one, dtype);
    const out = attention(qkv, one);
    const [dQkv] = grad([out], [qkv], { gradients: [cotangent] }) as [Tensor];
    const wide = qkv.detach().to("float64").requireGrad();
    const expected = formula(wide, 2, "legacy");
    const [dWide] = grad([expected], [wide], { gradients: [cotangent.to("float64")] }) as [Tensor];
    const rough = Math.max(tolerance, 2e-3); // float32 scores of 10^4 have errors of 10^-3
    expect(distance(out, expected)).toBeLessThan(rough);
    expect(distance(dQkv, dWide)).toBeLessThan(rough);
  });

  test("scores far below zero, and equal ones, weigh all tokens the same", () => {
    const [length, d] = [21, 16];
    const row = (value: number) => Array.from({ length: d }, () => value);
    const tokens = Array.from({ length }, (_, i) => [...row(20), ...row(-20), ...row(i)]); // scores of -1600
    const out = attention(tensor([tokens], { dtype }));
    for (const value of out.toArray()) expect(value).toBeCloseTo(10, 4); // the mean of 0 ... 20
  });

  test("a NaN reaches the results that depend on it, and these alone", () => {
    const one: Case = { batch: 2, length: 20, heads: 1, d: 16, order: "new" };
    const { qkv } = draw(one, dtype);
    noGrad(() =>
      qkv
        .narrow(0, 1, 1)
        .narrow(1, 7, 1)
        .narrow(2, 0, 1)
        .copy_(tensor([[[Number.NaN]]])),
    ); // of a query
    const whole = attention(qkv, one).sum([2]).isFinite().toArray();
    expect(whole.flatMap((finite, i) => (finite ? [] : [i]))).toEqual([27]);
  });

  test("threads change nothing", () => {
    const before = threads();
    const one: Case = { batch: 2, length: 49, heads: 3, d: 16, order: "legacy" };
    const { qkv, cotangent } = draw(one, dtype);
    const run = (count: number) => {
      setThreads(count);
      const out = attention(qkv, one);
      return [out, grad([out], [qkv], { gradients: [cotangent] })[0] as Tensor] as const;
    };
    try {
      const [[out, dQkv], [outTwo, dQkvTwo]] = [run(1), run(2)];
      same(outTwo, out, "result");
      same(dQkvTwo, dQkv, "gradient");
    } finally {
      setThreads(before);
    }
  });

  test("memory in another order is taken as well", () => {
    const { qkv } = draw({ batch: 3, length: 18, heads: 1, d: 16, order: "new" }, dtype);
    const turned = qkv.transpose(1, 2).contiguous().transpose(1, 2);
    same(attention(turned), attention(qkv), "result");
  });
});

// Rounding to bfloat16 moves numbers by 1.65e-3 in the root mean square (at most by 2^-8). Three roundings meet in the gradients
// of q and k, together 1.65e-3 sqrt(3) = 2.9e-3: of the weights that D = sum P dP was made with, of the scores' gradients
// P (dP - D), and of the sums that are stored. The composed operators round scores and dP as well. The gradients of q, k and v
// are looked at one by one: v's would hide the others.
test.each([
  { deviation: 1, length: 196, d: 32 },
  { deviation: 5, length: 196, d: 32 },
  { deviation: 25, length: 196, d: 32 },
  { deviation: 400, length: 400, d: 16 },
  { deviation: 3600, length: 130, d: 16 },
])("bfloat16 gradients under scores of standard deviation $deviation", ({ deviation, length, d }) => {
  const one: Case = { batch: 1, length, heads: 2, d, order: "new", size: Math.sqrt(deviation) };
  const { qkv, cotangent } = draw(one, "bfloat16");
  const slopes = (out: Tensor, of: Tensor) => {
    const gradients = [cotangent.to(out.dtype as FloatDtype)];
    const [all] = grad([out], [of], { gradients }) as [Tensor];
    return [0, 1, 2].map((part) => all.to("float64").narrow(2, part * 2 * d, 2 * d));
  };
  const size = (x: Tensor) => Math.sqrt(x.square().mean().item());
  const wide = qkv.detach().to("float64").requireGrad();
  const expected = slopes(formula(wide, 2, "new"), wide);
  const errors = (implementation: "fused" | "reference") =>
    slopes(attention(qkv, { ...one, implementation }), qkv).map((slope, i) => {
      const right = expected[i] as Tensor;
      return size(slope.sub(right)) / size(right);
    });
  const composed = errors("reference");
  for (const [i, error] of errors("fused").entries()) {
    expect(error).toBeLessThan(3.3e-3);
    expect(error).toBeLessThan(composed[i] as number);
  }
});

test.each(["float32", "float64"] as const)("the gradient of the gradient, %s", (dtype) => {
  const one: Case = { batch: 2, length: 19, heads: 2, d: 16, order: "legacy" };
  const { qkv } = draw(one, dtype);
  const twice = (x: Tensor, run: (x: Tensor) => Tensor) => {
    const [first] = grad([run(x).square().sum()], [x], { createGraph: true }) as [Tensor];
    return grad([first.square().sum()], [x])[0] as Tensor;
  };
  const wide = qkv.detach().to("float64").requireGrad();
  const expected = twice(wide, (x) => formula(x, 2, "legacy"));
  // Differences of products of three softmaxes, relative to the largest: a few roundings more than one gradient has.
  expect(
    distance(
      twice(qkv, (x) => attention(x, one)),
      expected,
    ),
  ).toBeLessThan(dtype === "float32" ? 2e-5 : 1e-12);
});

test("the composed one is the same formula", () => {
  const one: Case = { batch: 2, length: 7, heads: 2, d: 16, order: "new" };
  const { qkv } = draw(one, "float64");
  const reference: AttentionOptions = { heads: 2, order: "new", implementation: "reference" };
  expect(distance(attention(qkv, reference), formula(qkv, 2, "new"))).toBeLessThan(1e-14);
});

test("has qkv's type under autocast too, whatever the width of a head", () => {
  for (const d of [8, 16]) {
    const qkv = randn([2, 5, 3 * d], new Generator({ seed: 1 }));
    expect(autocast({ dtype: "bfloat16" }, () => attention(qkv)).dtype).toBe("float32");
    expect(autocast({ dtype: "bfloat16" }, () => attention(qkv.to("bfloat16"))).dtype).toBe("bfloat16");
  }
});

test("refuses channels that are not three times as many as the heads' in one line", () => {
  expect(() => attention(randn([1, 4, 10], new Generator({ seed: 1 })), { heads: 2 })).toThrow(
    /attention.*expected q, k and v of 2 heads, got 10 channels/,
  );
  expect(() => attention(tensor([], { dtype: "float32" }))).toThrow(/attention.*expected \[q k v\]/);
});
