/** Element types by name, and libtorch's number for each. */

const codes = {
  uint8: 0,
  int8: 1,
  int16: 2,
  int32: 3,
  int64: 4,
  float16: 5,
  float32: 6,
  float64: 7,
  bool: 11,
  bfloat16: 15,
} as const;

/** The element type of a tensor. */
export type Dtype = keyof typeof codes;

/** Element types a network can compute in. */
export type FloatDtype = "float32" | "float64" | "bfloat16" | "float16";

const names = new Map<number, Dtype>(Object.entries(codes).map(([name, code]) => [code, name as Dtype]));

/** libtorch's number for a dtype. */
export function dtypeCode(dtype: Dtype): number {
  return codes[dtype];
}

/** The name of a dtype that libtorch numbers `code`. */
export function dtypeName(code: number): Dtype {
  const name = names.get(code);
  if (!name)
    throw new TypeError(
      `libtorch's dtype ${code} has no name here (complex and quantised types are not supported)`,
    );
  return name;
}
