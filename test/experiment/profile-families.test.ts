/** Operators of profiles, sorted into families. Names are those that libtorch gives its operators and autograd nodes. */
import { expect, test } from "vitest";
import {
  byFamily,
  type Family,
  families,
  familyOf,
  plainName,
} from "../../src/experiment/profile-families.js";

const node = (kernel: string) => `torch::autograd::CppNode<varidiff::(anonymous namespace)::${kernel}>`;
const engine = (name: string) => `autograd::engine::evaluate_function: ${name}`;

const known: Readonly<Record<Family, readonly string[]>> = {
  "convolution, forward": [
    ...["aten::conv2d", "aten::convolution", "aten::_convolution", "aten::mkldnn_convolution"],
    ...["aten::thnn_conv2d", "aten::_slow_conv2d_forward", "aten::conv_transpose2d"],
    "varidiff::conv2d_3x3",
  ],
  "convolution, backward": [
    ...["aten::convolution_backward", "aten::_slow_conv2d_backward", "ConvolutionBackward0"],
    ...[engine("ConvolutionBackward0"), node("Convolution3x3"), engine(node("Convolution3x3"))],
  ],
  "matrix products": [
    ...["aten::mm", "aten::bmm", "aten::addmm", "aten::baddbmm", "aten::linear", "aten::matmul"],
    ...["aten::_addmm_activation", "aten::mkldnn_linear_backward_weights", "aten::einsum"],
    ...["MmBackward0", "AddmmBackward0", "BmmBackward0", engine("BmmBackward0")],
  ],
  attention: [
    ...["varidiff::attention", "aten::_softmax", "aten::_log_softmax_backward_data"],
    ...[node("Attention"), engine(node("Attention"))],
  ],
  normalisation: [
    ...["varidiff::group_norm", "varidiff::group_norm_reference", "aten::native_group_norm_backward"],
    ...[node("GroupNorm"), engine(node("GroupNorm"))],
  ],
  "random numbers and dropout": [
    ...["aten::randn", "aten::normal_", "aten::uniform_", "aten::randint", "varidiff::dropout"],
    node("Dropout"),
  ],
  optimiser: ["varidiff::adamw_", "aten::_foreach_norm", "aten::linalg_vector_norm"],
  memory: [
    ...["aten::copy_", "aten::_to_copy", "aten::to", "aten::cat", "aten::empty_strided", "aten::t"],
    ...["aten::transpose", "aten::_reshape_alias", "aten::index_select", "aten::resolve_conj", "detach"],
    ...["aten::constant_pad_nd", "CatBackward0", "ToCopyBackward0", "TBackward0"],
    ...["UnsafeViewBackward0", "aten::slice_backward", engine("SplitBackward0")],
  ],
  "activations, elementwise, sums": [
    ...["aten::add", "aten::add_", "aten::mul", "aten::silu", "aten::silu_backward", "aten::sum"],
    ...["aten::mean", "aten::logsumexp", "aten::lt", "aten::masked_fill_"],
    ...["MulBackward0", "AddBackward1", "PowBackward0", engine("MeanBackward1")],
  ],
  other: ["aten::item", "torch::autograd::AccumulateGrad", "aten::an_operator_to_come", ""],
};

test.each(families)("%s", (family) => {
  expect(known[family].map((name) => [name, familyOf(name)])).toEqual(
    known[family].map((name) => [name, family]),
  );
});

test("every operator is in one family, and the families' times are the operators'", () => {
  const names = Object.values(known).flat();
  const rows = names.map((name, i) => ({ name, calls: 1, seconds: 2 ** (i % 20) })); // sums are exact
  const found = byFamily(rows);
  const total = (each: readonly { readonly seconds: number }[]) =>
    each.reduce((sum, { seconds }) => sum + seconds, 0);
  expect(total(found)).toBe(total(rows));
  for (const { seconds, operators } of found) expect(seconds).toBe(total(operators));
  expect(
    found
      .flatMap(({ operators }) => operators)
      .map(({ name }) => name)
      .sort(),
  ).toEqual([...names].sort());
  const descending = (each: readonly { readonly seconds: number }[]) =>
    [...each].sort((a, b) => b.seconds - a.seconds);
  expect(found).toEqual(descending(found));
  for (const { operators } of found) expect(operators).toEqual(descending(operators));
});

test("families without operators are left out", () => {
  expect(byFamily([])).toEqual([]);
  expect(byFamily([{ name: "aten::mm", calls: 3, seconds: 0.5 }])).toEqual([
    { family: "matrix products", seconds: 0.5, operators: [{ name: "aten::mm", calls: 3, seconds: 0.5 }] },
  ]);
});

test("names for people", () => {
  expect(plainName(engine(node("GroupNorm")))).toBe("engine: GroupNormBackward");
  expect(plainName("aten::bmm")).toBe("bmm");
  expect(plainName("varidiff::adamw_")).toBe("adamw_");
  expect(plainName("torch::autograd::AccumulateGrad")).toBe("AccumulateGrad");
});
