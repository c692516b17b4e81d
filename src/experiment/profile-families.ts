/** Operators by what they are for: the families that a profile sums times over. */
import type { ProfileRow } from "../torch/index.js";

/** A name for people, and the operators that belong there by their `plainName`; the first that fits has it. */
const patterns = [
  ["convolution, backward", /conv.*backward/],
  ["convolution, forward", /conv(?!ert)/],
  ["matrix products", /^(mkldnn|mkl)?linear|^(mm|bmm|mv|dot|matmul|einsum|tensordot|b?add(mm|bmm|mv)\w*)$/],
  ["attention", /softmax|attention/],
  ["normalisation", /(group|layer|batch|instance)norm/],
  ["random numbers and dropout", /rand|normal|uniform|bernoulli|multinomial|poisson|exponential|dropout/],
  ["optimiser", /adamw|foreach|vectornorm/],
  [
    "memory",
    new RegExp(
      `^(${[
        "to|tocopy|copy|copyslices|clone|contiguous|cat|stack|concat|pad|\\w+padnd?|\\w+pad[123]d|repeat|tile|roll|flip",
        "empty|emptylike|emptystrided|newempty|newemptystrided|newzeros|full|fulllike|zeros|zeroslike|ones|oneslike",
        "fill|zero|arange|linspace|scalartensor|resize|resizeas|setsource|set|liftfresh|lift|tril|triu",
        "view|unsafeview|viewas|reshape|reshapealias|flatten|unflatten|permute|transpose|t|movedim|expand|expandas",
        "asstrided|slice|select|narrow|split|splitwithsizes|chunk|unbind|squeeze|unsqueeze|unfold|detach|alias",
        "indexselect|index|indexput|indexputimpl|indexadd|gather|scatter|scatteradd|take|resolveconj|resolveneg",
        "upsamplenearest2d|pixelshuffle|pixelunshuffle",
      ].join("|")})$`,
    ),
  ],
  [
    "activations, elementwise, sums",
    new RegExp(
      `^(${[
        "add|sub|rsub|mul|div|truedivide|neg|abs|sgn|sign|reciprocal|remainder|fmod|lerp|addcmul|addcdiv|outer",
        "exp|exp2|expm1|log|log2|log1p|logaddexp|logsumexp|pow|square|sqrt|rsqrt|floor|ceil|round|trunc|frac",
        "sin|cos|tan|tanh|atan|atan2|asin|acos|sinh|cosh|erf|erfc|erfinv|lgamma|digamma",
        "sigmoid|logsigmoid|logsigmoidforward|silu|relu|gelu|elu|leakyrelu|softplus|threshold|hardtanh|mish",
        "clamp|clampmin|clampmax|clip|maximum|minimum|where|maskedfill|eq|ne|lt|le|gt|ge|isfinite|isnan|isinf",
        "logicalnot|logicaland|logicalor|bitwisenot|bitwiseand|bitwiseor",
        "sum|mean|amax|amin|max|min|all|any|prod|var|std|varmean|cumsum|cumprod|norm|argmax|argmin|sort|topk",
        "maxpool2d|maxpool2dwithindices|avgpool2d|adaptiveavgpool2d|upsamplebilinear2d",
        "mseloss|smoothl1loss|nllloss|nlllossnd|nllloss2d|binarycrossentropy|crossentropyloss",
      ].join("|")})$`,
    ),
  ],
  ["other", /(?:)/],
] as const satisfies readonly (readonly [string, RegExp])[];

export type Family = (typeof patterns)[number][0];

/** All of them, in the order of the patterns. */
export const families: readonly Family[] = patterns.map(([family]) => family);

/** An operator as people know it, `MulBackward0` or `GroupNormBackward`; with `engine: ` what autograd does around it. */
export function plainName(name: string): string {
  return name
    .replace(/^autograd::engine::evaluate_function: /, "engine: ")
    .replace(/torch::autograd::CppNode<(?:.*::)?(\w+)>/, "$1Backward")
    .replace(/(aten|varidiff|torch::autograd)::/, "");
}

/**
 * Every operator belongs to one family. The backward of an operator, and what autograd does around that, belongs to the
 * operator's family, except that of convolutions, which is one of its own.
 */
export function familyOf(name: string): Family {
  const key = plainName(name)
    .replace(/^engine: /, "")
    .replaceAll("_", "")
    .toLowerCase();
  const forward = key.replace(/backward\d*$/, "");
  const found = patterns.find(([family, pattern]) =>
    pattern.test(family.startsWith("convolution") ? key : forward),
  );
  return (found as (typeof patterns)[number])[0];
}

export interface FamilyTime {
  readonly family: Family;
  /** Of all its operators. */
  readonly seconds: number;
  /** The slowest first. */
  readonly operators: readonly ProfileRow[];
}

/** Self times summed by family, the slowest first; the operators of all families together are `rows`. */
export function byFamily(rows: readonly ProfileRow[]): readonly FamilyTime[] {
  const sorted = rows.map((row) => ({ row, family: familyOf(row.name) }));
  return families
    .map((family) => {
      const operators = sorted
        .flatMap((each) => (each.family === family ? [each.row] : []))
        .sort((a, b) => b.seconds - a.seconds);
      return { family, seconds: operators.reduce((sum, { seconds }) => sum + seconds, 0), operators };
    })
    .filter(({ operators }) => operators.length > 0)
    .sort((a, b) => b.seconds - a.seconds);
}
