/** The orthonormal cosine transform (DCT-II), in whose basis heat spreads without crossing the borders of an image. */
import { fromTypedArray, type Tensor } from "../../torch/index.js";

/** `C_{ki} = w_k cos(pi (2i + 1) k / (2 S))`, `w_0 = sqrt(1/S)`, `w_k = sqrt(2/S)`: float64 `[S, S]`, `C C^T = 1`. */
export function dctMatrix(size: number): Tensor {
  const values = new Float64Array(size * size);
  for (let k = 0; k < size; k++)
    for (let i = 0; i < size; i++)
      values[k * size + i] =
        Math.sqrt((k === 0 ? 1 : 2) / size) * Math.cos((Math.PI * (2 * i + 1) * k) / (2 * size));
  return fromTypedArray(values, [size, size]);
}

/** The matrices of one image's height and width, like the image. */
function bases(x: Tensor): { readonly rows: Tensor; readonly columns: Tensor } {
  const basis = (size: number) => dctMatrix(size).toDevice(x.device, x.dtype);
  return { rows: basis(x.dim(x.rank - 2)), columns: basis(x.dim(x.rank - 1)) };
}

/** The cosine transform `C x C^T` of images `[..., H, W]`. Not for loops: it makes its matrices anew. */
export function dct2(x: Tensor): Tensor {
  const { rows, columns } = bases(x);
  return rows.matmul(x).matmul(columns.transpose(0, 1));
}

/** The image `C^T y C` of coefficients `[..., H, W]`. */
export function inverseDct2(y: Tensor): Tensor {
  const { rows, columns } = bases(y);
  return rows.transpose(0, 1).matmul(y).matmul(columns);
}

/** `exp(-(pi k / S)^2 tau)`, k = 0 .. S - 1: what heat leaves of each mode of an axis after the time `tau` in pixels^2. */
export function heatDecay(size: number, tau: number): Float64Array {
  return Float64Array.from({ length: size }, (_, k) => Math.exp(-(((Math.PI * k) / size) ** 2) * tau));
}
